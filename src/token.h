/*-------------------------------------------------------------------------
 *
 * token.h
 *	  Access tokens: a cache that sessions and workers share.
 *
 * All functions run in a transaction with SPI.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_TOKEN_H
#define JS_TOKEN_H

#include "http.h"
#include "server.h"

typedef enum JsTokenState
{
	JS_TOKEN_READY,				/* server->token */
	JS_TOKEN_OURS,				/* to get: nobody else does meanwhile */
	JS_TOKEN_WAIT,				/* somebody else gets it */
	JS_TOKEN_FAILED				/* it could not be got a short while ago */
} JsTokenState;

extern bool js_token_used(JsServer *server);
extern JsTokenState js_token_take(JsServer *server, bool person,
								  long *wait_ms, char **problem);
extern void js_token_request(MemoryContext mcxt, JsServer *server,
							 JsHttpRequest *request);
extern char *js_token_arrived(JsServer *server, JsHttpResponse *response);
extern bool js_token_refused(JsServer *server);
extern void js_token_good(JsServer *server);
extern void js_token_apply(JsServer *server, JsHttpRequest *request);

#endif							/* JS_TOKEN_H */
