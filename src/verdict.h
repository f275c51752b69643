/*-------------------------------------------------------------------------
 *
 * verdict.h
 *	  What an answer of the PMS means: success, or what to do about it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_VERDICT_H
#define JS_VERDICT_H

#include "http.h"
#include "stream.h"

typedef enum JsVerdict
{
	JS_VERDICT_OK,
	JS_VERDICT_IGNORE,			/* as an answer without content */
	JS_VERDICT_RETRY,			/* later, the same again */
	JS_VERDICT_RATE_LIMITED,	/* the same, after a pause for all streams */
	JS_VERDICT_REFRESH_TOKEN,	/* the same, with new credentials */
	JS_VERDICT_FAIL_RECORD,		/* this record only */
	JS_VERDICT_FAIL				/* the run */
} JsVerdict;

extern JsVerdict js_verdict(JsStream *stream, JsHttpResponse *response,
							bool *by_rule);
extern char *js_verdict_words(JsHttpResponse *response);
extern long js_verdict_pause_ms(JsHttpResponse *response);

#endif							/* JS_VERDICT_H */
