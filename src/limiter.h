/*-------------------------------------------------------------------------
 *
 * limiter.h
 *	  Manners towards a server: how often, how many at once, and when not.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_LIMITER_H
#define JS_LIMITER_H

#include "server.h"

/* How a request ended, as far as it matters for the next one. */
typedef enum JsOutcome
{
	JS_OUTCOME_GOOD,			/* an answer of a server that works */
	JS_OUTCOME_DOWN,			/* none, or one of a server that does not */
	JS_OUTCOME_UNTRUSTED,		/* its certificate is not accepted */
	JS_OUTCOME_BUSY,			/* too many requests */
	JS_OUTCOME_REFUSED			/* it does not accept our credentials */
} JsOutcome;

extern bool js_limiter_ask(JsServer *server, bool person, long *wait_ms,
						   char **problem);
extern void js_limiter_note(JsServer *server);
extern void js_limiter_outcome(JsServer *server, JsOutcome outcome,
							   long pause_ms, const char *why);
extern long js_limiter_blocked_ms(JsServer *server);

/* in a transaction: the state that all processes share */
extern void js_limiter_load(JsServer *server);
extern void js_limiter_save(JsServer *server);

#endif							/* JS_LIMITER_H */
