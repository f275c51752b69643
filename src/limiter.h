/*-------------------------------------------------------------------------
 *
 * limiter.h
 *	  Not more requests than a server allows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_LIMITER_H
#define JS_LIMITER_H

#include "server.h"

extern long js_limiter_delay(JsServer *server);
extern void js_limiter_note(JsServer *server);

#endif							/* JS_LIMITER_H */
