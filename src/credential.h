/*-------------------------------------------------------------------------
 *
 * credential.h
 *	  Putting what stands in a user mapping into a request.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CREDENTIAL_H
#define JS_CREDENTIAL_H

#include "http.h"
#include "server.h"

extern void js_credential_need(JsServer *server, const char *name,
							   const char *value);
extern void js_credential_header(JsHttpRequest *request, const char *name,
								 const char *value);
extern void js_credential_headers(JsServer *server, JsHttpRequest *request);
extern char *js_credential_base64(const char *text);

#endif							/* JS_CREDENTIAL_H */
