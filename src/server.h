/*-------------------------------------------------------------------------
 *
 * server.h
 *	  Foreign servers of the wrapper jacksync: options and secrets.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SERVER_H
#define JS_SERVER_H

#include "http.h"

typedef enum JsAuth
{
	JS_AUTH_NONE,
	JS_AUTH_BEARER,
	JS_AUTH_BASIC,
	JS_AUTH_DIGEST,
	JS_AUTH_API_KEY,
	JS_AUTH_CLIENT_CREDENTIALS,
	JS_AUTH_REFRESH_TOKEN,
	JS_AUTH_SESSION_TOKEN
} JsAuth;

/* A name and a value; secret ones are wiped when the server is freed. */
typedef struct JsOption
{
	char	   *name;
	char	   *value;
	bool		secret;
	struct JsOption *next;
} JsOption;

typedef struct JsServer
{
	Oid			serverid;
	Oid			mapping_user;	/* whose mapping it is; InvalidOid: PUBLIC's */
	uint64		fingerprint;	/* of all options, secrets included */
	char	   *name;
	char	   *base_url;
	JsAuth		auth;
	JsOption   *options;
	int			connect_timeout_ms;
	int			timeout_ms;
	int64		max_response;
	bool		allow_http;
	bool		allow_private;
	int			rate_count;		/* 0: no limit */
	int64		rate_period_us;
	int			max_concurrency;	/* 0: no limit */

	/* where the server hands out tokens (token.c) */
	uint64		credentials;	/* a number that changes with them; 0: not yet */
	char	   *token;			/* in use */
	int			token_refusals; /* of tokens before it */
	int64		token_age_ms;
	int			token_failures; /* in a row, to get one */
	char	   *refresh[2];		/* the last one, and the one before */
	char	   *refresh_used;
	MemoryContext mcxt;
	MemoryContextCallback callback;
} JsServer;

extern JsServer *js_server_load(MemoryContext mcxt, Oid serverid, Oid userid);
extern const char *js_server_option(JsServer *server, const char *name);
extern const char *js_server_secret(JsServer *server, const char *name);
extern void js_server_hide(JsServer *server, const char *value);
extern char *js_server_redact(JsServer *server, const char *text);
extern void js_server_request(JsServer *server, JsHttpRequest *request);

#endif							/* JS_SERVER_H */
