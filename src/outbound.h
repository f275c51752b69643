/*-------------------------------------------------------------------------
 *
 * outbound.h
 *	  What the sending half of a cycle and its look-ups share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_OUTBOUND_H
#define JS_OUTBOUND_H

#include "cycle.h"

/* What an answer means for the cycle, whatever was asked. */
typedef enum JsAnswer
{
	JS_ANSWER_OK,				/* 2xx */
	JS_ANSWER_GONE,				/* 404, 410 */
	JS_ANSWER_REFUSED,			/* the record's own trouble */
	JS_ANSWER_STOP				/* the PMS's trouble: no use in going on */
} JsAnswer;

typedef void (*JsMakeRequest) (JsCycle *cycle, JsHttpRequest *request);

/* in outbound.c */
extern void js_outbound_go_on(JsCycle *cycle);
extern void js_outbound_begin(JsCycle *cycle, JsApply *apply,
							  const char *activity);
extern void js_outbound_end(JsCycle *cycle, JsApply *apply);
extern bool js_outbound_enough_gone(JsCycle *cycle);

/* in sending.c */
extern void js_outbound_send(JsCycle *cycle);

/* in lookup.c */
extern void js_lookup_next(JsCycle *cycle);
extern void js_lookup_intent(JsCycle *cycle);

/* in answer.c */
extern JsAnswer js_answer_kind(JsCycle *cycle, JsHttpResponse *response);
extern Jsonb *js_answer_document(JsHttpResponse *response);
extern Jsonb *js_answer_record(JsCycle *cycle, JsHttpResponse *response,
							   const char *external_id);
extern List *js_answer_records(JsCycle *cycle, JsHttpResponse *response,
							   Jsonb *template);
extern char *js_answer_new_id(JsCycle *cycle, JsOperation *operation,
							  JsHttpResponse *response, Jsonb *document);
extern bool js_answer_tells(JsApply *apply, JsIntent *intent, Jsonb *record);
extern char *js_answer_words(JsCycle *cycle, const char *text);

/* in answer.c: requests about one record */
extern JsVars *js_record_vars(JsCycle *cycle, const char *external_id,
							  JsIntent *intent);
extern char *js_make_request(JsCycle *cycle, JsMakeRequest make,
							 JsHttpRequest *request);

#endif							/* JS_OUTBOUND_H */
