/*-------------------------------------------------------------------------
 *
 * auth.c
 *	  Credentials of requests, and access tokens.
 *
 * Tokens are shared by workers and sessions in jacksync.token, which nobody
 * but superusers can read and no dump contains.  They are replaced before
 * they end, and after a 401.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/base64.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "auth.h"
#include "compat.h"
#include "jacksync.h"
#include "json.h"
#include "secure.h"
#include "statement.h"
#include "stream.h"
#include "template.h"
#include "value.h"

#define DEFAULT_LIFE_S	3600
#define MARGIN_S		60		/* a token is replaced so long before its end */

static char *current_token(JsServer *server);
static void add_header(JsHttpRequest *request, const char *name,
					   const char *value);
static List *server_headers(JsServer *server);
static void need(JsServer *server, const char *name, const char *value);
static char *base64(const char *text);
static void oauth_request(JsServer *server, JsHttpRequest *request);
static void store(JsServer *server, const char *token, int64 life_s,
				  const char *refresh);

/* Does the server hand out tokens? */
bool
js_auth_uses_token(JsServer *server)
{
	return server->auth == JS_AUTH_CLIENT_CREDENTIALS ||
		server->auth == JS_AUTH_REFRESH_TOKEN ||
		server->auth == JS_AUTH_SESSION_TOKEN;
}

/* The headers that every request of a server has. */
static List *
server_headers(JsServer *server)
{
	const char *headers = js_server_option(server, "headers");
	JsHttpRequest request = {0};
	JsonbParseState *state = js_object_begin();

	if (headers == NULL)
		return NIL;
	js_object_put(&state, "headers", js_jsonb_in(headers));
	js_template_request(CurrentMemoryContext, js_object_end(state), server,
						NULL, &request);
	/* the last one is Accept, which is there already */
	return list_truncate(request.headers, list_length(request.headers) - 1);
}

/* Add the credentials to a request. */
JsAuthState
js_auth_apply(JsServer *server, JsHttpRequest *request)
{
	const char *name;
	char	   *token;

	request->headers = list_concat(list_copy(request->headers),
								   server_headers(server));
	switch (server->auth)
	{
		case JS_AUTH_NONE:
			break;
		case JS_AUTH_BEARER:
			need(server, "token", js_server_secret(server, "token"));
			add_header(request, "Authorization",
					   psprintf("Bearer %s",
								js_server_secret(server, "token")));
			break;
		case JS_AUTH_BASIC:
		case JS_AUTH_DIGEST:
			need(server, "username", js_server_secret(server, "username"));
			request->username = js_server_secret(server, "username");
			request->password = js_server_secret(server, "password");
			request->digest = server->auth == JS_AUTH_DIGEST;
			break;
		case JS_AUTH_API_KEY:
			need(server, "api_key", js_server_secret(server, "api_key"));
			name = js_server_option(server, "api_key_name");
			if (name == NULL)
				name = "X-Api-Key";
			if (js_server_option(server, "api_key_in") != NULL &&
				strcmp(js_server_option(server, "api_key_in"), "query") == 0)
				request->url = psprintf("%s%c%s=%s", request->url,
										strchr(request->url, '?') ? '&' : '?',
										js_template_encode(name),
										js_template_encode(js_server_secret(server, "api_key")));
			else
				add_header(request, name, js_server_secret(server, "api_key"));
			break;
		case JS_AUTH_CLIENT_CREDENTIALS:
		case JS_AUTH_REFRESH_TOKEN:
		case JS_AUTH_SESSION_TOKEN:
			token = current_token(server);
			if (token == NULL)
				return JS_AUTH_NEEDS_TOKEN;
			add_header(request, "Authorization",
					   psprintf("Bearer %s", token));
			break;
	}
	return JS_AUTH_READY;
}

/* A credential that the mapping must have. */
static void
need(JsServer *server, const char *name, const char *value)
{
	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFIG),
				 errmsg("user mapping of server \"%s\" has no option \"%s\"",
						server->name, name),
				 errhint("ALTER USER MAPPING ... OPTIONS (ADD %s '...');",
						 name)));
}

/* Add a header; a secret with odd characters is not shown. */
static void
add_header(JsHttpRequest *request, const char *name, const char *value)
{
	if (!js_http_check_header_value(value))
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFIG),
				 errmsg("the credential for header \"%s\" has characters that cannot be sent",
						name)));
	request->headers = lappend(request->headers,
							   psprintf("%s: %s", name, value));
}

/* The token in use; NULL if there is none, or if it ends soon. */
static char *
current_token(JsServer *server)
{
	static JsStatement statement = {
		"SELECT access_token FROM jacksync.token WHERE server_oid = $1"
		" AND (expires_at IS NULL OR expires_at > pg_catalog.clock_timestamp())",
		{OIDOID}
	};
	JsSecurity	security;
	JsArgs		args = {0};
	char	   *token = NULL;

	js_internal_begin(&security);
	js_arg(&args, ObjectIdGetDatum(server->serverid));
	if (js_run(&statement, &args) > 0)
		token = js_get_text(0, 1);
	js_internal_end(&security);
	return token;
}

/* The request that gets a token. */
void
js_auth_token_request(MemoryContext mcxt, JsServer *server,
					  JsHttpRequest *request)
{
	js_server_request(server, request);
	request->headers = server_headers(server);
	if (server->auth == JS_AUTH_SESSION_TOKEN)
	{
		js_template_request(mcxt,
							js_jsonb_in(js_server_option(server, "token_request")),
							server, NULL, request);
		return;
	}
	oauth_request(server, request);
}

/* RFC 6749, sections 4.4 and 6. */
static void
oauth_request(JsServer *server, JsHttpRequest *request)
{
	const char *id = js_server_secret(server, "client_id");
	const char *secret = js_server_secret(server, "client_secret");
	const char *method = js_server_option(server, "token_endpoint_auth_method");
	const char *scope = js_server_option(server, "scope");
	StringInfoData form;

	need(server, "client_id", id);
	initStringInfo(&form);
	if (server->auth == JS_AUTH_REFRESH_TOKEN)
	{
		const char *refresh = js_server_secret(server, "refresh_token");

		need(server, "refresh_token", refresh);
		appendStringInfo(&form, "grant_type=refresh_token&refresh_token=%s",
						 js_template_encode(refresh));
	}
	else
		appendStringInfoString(&form, "grant_type=client_credentials");
	if (scope != NULL)
		appendStringInfo(&form, "&scope=%s", js_template_encode(scope));
	if (method != NULL && strcmp(method, "client_secret_post") == 0)
		appendStringInfo(&form, "&client_id=%s&client_secret=%s",
						 js_template_encode(id),
						 js_template_encode(secret ? secret : ""));
	else
		request->headers = lappend(request->headers,
								   psprintf("Authorization: Basic %s",
											base64(psprintf("%s:%s", id,
															secret ? secret : ""))));
	request->method = "POST";
	request->url = js_server_option(server, "token_url");
	request->headers = lappend(request->headers,
							   "Content-Type: application/x-www-form-urlencoded");
	request->headers = lappend(request->headers, "Accept: application/json");
	request->body = form.data;
	request->body_len = form.len;
}

/* Base64, as Basic credentials want it. */
static char *
base64(const char *text)
{
	int			size = pg_b64_enc_len(strlen(text));
	char	   *result = palloc(size + 1);
	int			n;

#if PG_VERSION_NUM >= 180000
	n = pg_b64_encode((const uint8 *) text, strlen(text), result, size);
#else
	n = pg_b64_encode(text, strlen(text), result, size);
#endif
	result[Max(n, 0)] = '\0';
	return result;
}

/* Store the token of an answer.  NULL, or why there is none. */
char *
js_auth_token_store(JsServer *server, JsHttpResponse *response)
{
	JsAllocator allocator = js_allocator();
	JsJson	   *root;
	JsJsonError error;
	JsJson	   *token;
	JsJson	   *life;
	JsJson	   *refresh;

	if (response->status < 200 || response->status > 299)
		return psprintf("the token endpoint answered HTTP %ld",
						response->status);
	if (!js_json_parse(response->body, response->body_len,
					   &js_json_default_limits, &allocator, &root, &error) ||
		js_json_is_bad(root))
		return pstrdup("the answer of the token endpoint is not valid JSON");
	if (server->auth == JS_AUTH_SESSION_TOKEN)
	{
		Jsonb	   *request = js_jsonb_in(js_server_option(server, "token_request"));
		Jsonb	   *path = js_jsonb_member(request, "token_path");
		Jsonb	   *found = NULL;
		JsonbValue	scalar;

		if (path != NULL && JsonbExtractScalar(&path->root, &scalar) &&
			scalar.type == jbvString)
			found = js_path_first(js_path_make(pnstrdup(scalar.val.string.val,
														scalar.val.string.len)),
								  js_jsonb_in(response->body));
		if (found == NULL || !JB_ROOT_IS_SCALAR(found) ||
			!JsonbExtractScalar(&found->root, &scalar) ||
			scalar.type != jbvString)
			return pstrdup("the answer of the token endpoint has nothing at token_path");
		store(server, pnstrdup(scalar.val.string.val, scalar.val.string.len),
			  DEFAULT_LIFE_S, NULL);
		return NULL;
	}
	token = js_json_get(root, "access_token", strlen("access_token"));
	life = js_json_get(root, "expires_in", strlen("expires_in"));
	refresh = js_json_get(root, "refresh_token", strlen("refresh_token"));
	if (token == NULL || token->type != JS_JSON_STRING)
		return pstrdup("the answer of the token endpoint has no access_token");
	store(server, pnstrdup(token->text, token->len),
		  life && (life->type == JS_JSON_NUMBER || life->type == JS_JSON_STRING) ?
		  strtol(pnstrdup(life->text, life->len), NULL, 10) : DEFAULT_LIFE_S,
		  refresh && refresh->type == JS_JSON_STRING ?
		  pnstrdup(refresh->text, refresh->len) : NULL);
	return NULL;
}

/* Put a token where all can find it. */
static void
store(JsServer *server, const char *token, int64 life_s, const char *refresh)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.token AS t (server_oid, access_token, expires_at,"
		" refresh_token) VALUES ($1, $2,"
		" pg_catalog.clock_timestamp() + $3 * '1 s'::interval, $4)"
		" ON CONFLICT (server_oid) DO UPDATE"
		" SET access_token = excluded.access_token,"
		" expires_at = excluded.expires_at,"
		" refresh_token = coalesce(excluded.refresh_token, t.refresh_token)",
		{OIDOID, TEXTOID, INT8OID, TEXTOID}
	};
	int64		margin = Min(MARGIN_S, life_s / 10);
	JsSecurity	security;
	JsArgs		args = {0};

	js_internal_begin(&security);
	js_arg(&args, ObjectIdGetDatum(server->serverid));
	js_arg_text(&args, token);
	js_arg(&args, Int64GetDatum(Max(life_s - margin, 0)));
	js_arg_text(&args, refresh);
	js_run(&statement, &args);
	js_internal_end(&security);
}

/* A token was refused: the next request gets a new one. */
void
js_auth_token_forget(JsServer *server)
{
	static JsStatement statement = {
		"UPDATE jacksync.token SET expires_at = '-infinity'"
		" WHERE server_oid = $1",
		{OIDOID}
	};
	JsSecurity	security;
	JsArgs		args = {0};

	js_internal_begin(&security);
	js_arg(&args, ObjectIdGetDatum(server->serverid));
	js_run(&statement, &args);
	js_internal_end(&security);
}
