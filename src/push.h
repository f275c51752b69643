/*-------------------------------------------------------------------------
 *
 * push.h
 *	  Local changes on their way out: claim, and what became of it.
 *
 * These are the transactions around a push; the requests are sent by cycle.c
 * between them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_PUSH_H
#define JS_PUSH_H

#include "apply.h"

/* What is about to be told to the PMS: committed before it is sent. */
typedef struct JsIntent
{
	int64		intent_id;
	int64		record_id;
	char	   *external_id;
	Jsonb	   *changes;		/* field to value */
	char	   *if_match;		/* NULL: none known */
	char	   *idempotency_key;
	int32		attempts;
} JsIntent;

extern List *js_push_candidates(JsApply *apply, int limit,
								int64 after_record_id);
extern JsIntent *js_push_claim(JsApply *apply, int64 record_id);
extern JsIntent *js_push_copy(MemoryContext mcxt, JsIntent *intent);
extern List *js_push_unknown(JsStream *stream);
extern void js_push_accepted(JsApply *apply, JsIntent *intent,
							 Jsonb *answer, const char *version);
extern bool js_push_looked_up(JsApply *apply, JsIntent *intent,
							  Jsonb *record, const char *version);
extern void js_push_not_sent(JsApply *apply, JsIntent *intent);
extern void js_push_outdated(JsApply *apply, JsIntent *intent, int status);
extern void js_push_rejected(JsApply *apply, JsIntent *intent, int status,
							 const char *message);
extern void js_push_mark_unknown(JsIntent *intent, const char *message);

#endif							/* JS_PUSH_H */
