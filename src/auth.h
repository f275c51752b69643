/*-------------------------------------------------------------------------
 *
 * auth.h
 *	  The credentials of requests.
 *
 * js_auth_apply() runs in a transaction with SPI.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_AUTH_H
#define JS_AUTH_H

#include "token.h"

extern JsTokenState js_auth_apply(JsServer *server, JsHttpRequest *request,
								  bool person, long *wait_ms,
								  char **problem);

#endif							/* JS_AUTH_H */
