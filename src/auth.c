/*-------------------------------------------------------------------------
 *
 * auth.c
 *	  The credentials of requests.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "auth.h"
#include "compat.h"
#include "credential.h"
#include "jacksync.h"
#include "template.h"

static void add_api_key(JsServer *server, JsHttpRequest *request);

/*
 * Add the credentials to a request.  Where the server hands out tokens there
 * may be none: then the answer says what to do about it.
 */
JsTokenState
js_auth_apply(JsServer *server, JsHttpRequest *request, bool person,
			  long *wait_ms, char **problem)
{
	JsTokenState state = JS_TOKEN_READY;
	const char *secret;

	js_credential_headers(server, request);
	switch (server->auth)
	{
		case JS_AUTH_NONE:
			break;
		case JS_AUTH_BEARER:
			secret = js_server_secret(server, "token");
			js_credential_need(server, "token", secret);
			js_credential_header(request, "Authorization",
								 psprintf("Bearer %s", secret));
			break;
		case JS_AUTH_BASIC:
		case JS_AUTH_DIGEST:
			secret = js_server_secret(server, "username");
			js_credential_need(server, "username", secret);
			request->username = secret;
			request->password = js_server_secret(server, "password");
			request->digest = server->auth == JS_AUTH_DIGEST;
			js_server_hide(server,
						   js_credential_base64(psprintf("%s:%s", secret,
														 request->password ? request->password : "")));
			break;
		case JS_AUTH_API_KEY:
			add_api_key(server, request);
			break;
		case JS_AUTH_CLIENT_CREDENTIALS:
		case JS_AUTH_REFRESH_TOKEN:
		case JS_AUTH_SESSION_TOKEN:
			state = js_token_take(server, person, wait_ms, problem);
			if (state == JS_TOKEN_READY)
				js_token_apply(server, request);
			break;
	}
	return state;
}

/* The key, in a header or a parameter of any name. */
static void
add_api_key(JsServer *server, JsHttpRequest *request)
{
	const char *key = js_server_secret(server, "api_key");
	const char *name = js_server_option(server, "api_key_name");
	const char *place = js_server_option(server, "api_key_in");

	js_credential_need(server, "api_key", key);
	if (name == NULL)
		name = "X-Api-Key";
	if (place != NULL && strcmp(place, "query") == 0)
		request->url = psprintf("%s%c%s=%s", request->url,
								strchr(request->url, '?') ? '&' : '?',
								js_template_encode(name),
								js_template_encode(key));
	else
		js_credential_header(request, name, key);
}
