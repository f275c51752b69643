/*-------------------------------------------------------------------------
 *
 * auth.h
 *	  Credentials of requests, and access tokens.
 *
 * All functions but js_auth_uses_token() run in a transaction with SPI.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_AUTH_H
#define JS_AUTH_H

#include "http.h"
#include "server.h"

typedef enum JsAuthState
{
	JS_AUTH_READY,
	JS_AUTH_NEEDS_TOKEN
} JsAuthState;

extern bool js_auth_uses_token(JsServer *server);
extern JsAuthState js_auth_apply(JsServer *server, JsHttpRequest *request);
extern void js_auth_token_request(MemoryContext mcxt, JsServer *server,
								  JsHttpRequest *request);
extern char *js_auth_token_store(JsServer *server, JsHttpResponse *response);
extern void js_auth_token_forget(JsServer *server);

#endif							/* JS_AUTH_H */
