/*-------------------------------------------------------------------------
 *
 * token.c
 *	  Access tokens: a cache that sessions and workers share.
 *
 * A row of jacksync.token belongs to a server and a user mapping.  A token is
 * replaced some time before it ends, by one process at a time: who finds it
 * old takes a lease (refreshing_until), commits, and asks; others go on with
 * the old one as long as it is good, or wait.  Nothing is locked while the
 * request runs, and a process that dies leaves a lease that ends.
 *
 * A rotated refresh token is on disk before the access token that came with
 * it is used; the one before it is kept until the new one has worked.  Who
 * does not give tokens is not asked again and again: there are hotels whose
 * PMS gives five a day.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "credential.h"
#include "jacksync.h"
#include "json.h"
#include "jsonb.h"
#include "secure.h"
#include "statement.h"
#include "stream.h"
#include "template.h"
#include "token.h"
#include "value.h"
#include "verdict.h"

#define DEFAULT_LIFE_S	3600
#define MARGIN_S		60		/* a token is replaced so long before its end */
#define POLL_MS			200		/* while somebody else gets it */
#define REFUSED_MS		300000	/* after a refusal of the credentials */
#define MAX_BACKOFF_MS	300000
#define PERSON_TRIES	3		/* that a person may make without waiting */

static void keep_token(JsServer *server, const char *token);
static bool take_lease(JsServer *server, bool person);
static uint64 credentials_of(JsServer *server);
static void add_refresh(StringInfo form, JsServer *server);
static void oauth_request(JsServer *server, JsHttpRequest *request);
static char *read_answer(JsServer *server, JsHttpResponse *response);
static char *read_session(JsServer *server, Jsonb *answer);
static char *why_refused(JsHttpResponse *response);
static char *member(Jsonb *object, const char *name);
static char *found(Jsonb *answer, const char *path);
static void store(JsServer *server, const char *token, int64 life_s,
				  const char *refresh);
static void note_failure(JsServer *server, JsHttpResponse *response,
						 const char *problem);
static Jsonb *login(JsServer *server);

/* Does the server hand out tokens? */
bool
js_token_used(JsServer *server)
{
	return server->auth == JS_AUTH_CLIENT_CREDENTIALS ||
		server->auth == JS_AUTH_REFRESH_TOKEN ||
		server->auth == JS_AUTH_SESSION_TOKEN;
}

/*
 * Find a token that is good, or the right to get one.  A person (a session)
 * may try some times before he has to wait as well.
 */
JsTokenState
js_token_take(JsServer *server, bool person, long *wait_ms, char **problem)
{
	static JsStatement statement = {
		"SELECT access_token, refresh_at > pg_catalog.clock_timestamp(),"
		" expires_at > pg_catalog.clock_timestamp() + '2 s'::interval,"
		" refreshing_until > pg_catalog.clock_timestamp(),"
		" (1000 * extract(epoch FROM next_attempt_at - pg_catalog.clock_timestamp()))::bigint,"
		" last_error, refusals,"
		" (1000 * extract(epoch FROM pg_catalog.clock_timestamp() - obtained_at))::bigint"
		" FROM jacksync.token"
		" WHERE server_oid = $1 AND mapping_user = $2 AND fingerprint = $3",
		{OIDOID, OIDOID, INT8OID}
	};
	JsTokenState state = JS_TOKEN_READY;
	JsSecurity	security;
	JsArgs		args = {0};
	bool		fresh;
	bool		usable = false;
	long		pause = 0;
	bool		leased = false;

	js_internal_begin_secret(&security);
	js_arg(&args, ObjectIdGetDatum(server->serverid));
	js_arg(&args, ObjectIdGetDatum(server->mapping_user));
	js_arg(&args, Int64GetDatum((int64) credentials_of(server)));
	fresh = false;
	if (js_run_latest(&statement, &args) > 0)
	{
		char	   *token = js_get_text(0, 1);
		char	   *words = js_get_text(0, 6);

		fresh = token != NULL && js_get_bool(0, 2);
		usable = token != NULL && js_get_bool(0, 3);
		leased = js_get_bool(0, 4);
		pause = js_get_int8(0, 5);
		server->token_refusals = js_get_int4(0, 7);
		server->token_age_ms = js_get_int8(0, 8);
		if (usable || fresh)
			keep_token(server, token);
		*problem = psprintf("could not get an access token: %s",
							words ? words : "no reason given");
	}
	if (!fresh)
	{
		if (take_lease(server, person))
			state = JS_TOKEN_OURS;
		else if (!usable)
			state = leased || pause <= 0 ? JS_TOKEN_WAIT : JS_TOKEN_FAILED;
	}
	js_internal_end(&security);
	*wait_ms = state == JS_TOKEN_FAILED ? pause : POLL_MS;
	return state;
}

/* Remember the token in use, and wipe the one before it. */
static void
keep_token(JsServer *server, const char *token)
{
	if (server->token != NULL && strcmp(server->token, token) == 0)
		return;
	if (server->token != NULL)
	{
		explicit_bzero(server->token, strlen(server->token));
		pfree(server->token);
	}
	server->token = MemoryContextStrdup(server->mcxt, token);
}

/*
 * Take the right to get a token.  Tokens of other credentials than the
 * present ones are worth nothing.  Nor is the right of a process that is no
 * more, or of a session that has given up and now comes again.
 */
static bool
take_lease(JsServer *server, bool person)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.token AS t (server_oid, mapping_user, fingerprint, refreshing_until, refreshing_pid)"
		" VALUES ($1, $2, $3, pg_catalog.clock_timestamp() + $4 * '1 ms'::interval, pg_catalog.pg_backend_pid())"
		" ON CONFLICT (server_oid, mapping_user) DO UPDATE SET"
		" refreshing_until = excluded.refreshing_until,"
		" refreshing_pid = excluded.refreshing_pid,"
		" fingerprint = excluded.fingerprint,"
		" access_token = CASE WHEN t.fingerprint = excluded.fingerprint THEN t.access_token END,"
		" refresh_token = CASE WHEN t.fingerprint = excluded.fingerprint THEN t.refresh_token END,"
		" previous_refresh_token = CASE WHEN t.fingerprint = excluded.fingerprint THEN t.previous_refresh_token END,"
		" failures = CASE WHEN t.fingerprint = excluded.fingerprint THEN t.failures ELSE 0 END,"
		" refusals = CASE WHEN t.fingerprint = excluded.fingerprint THEN t.refusals ELSE 0 END"
		" WHERE t.fingerprint <> excluded.fingerprint"
		" OR ((t.refreshing_until IS NULL OR t.refreshing_until <= pg_catalog.clock_timestamp()"
		"       OR ($5 AND t.refreshing_pid = pg_catalog.pg_backend_pid())"
		"       OR NOT EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity(coalesce(t.refreshing_pid, 0))))"
		"  AND (t.refresh_at IS NULL OR t.refresh_at <= pg_catalog.clock_timestamp())"
		"  AND (t.next_attempt_at IS NULL OR t.next_attempt_at <= pg_catalog.clock_timestamp()"
		"       OR ($5 AND t.failures < $6)))"
		" RETURNING t.refresh_token, t.previous_refresh_token, t.failures",
		{OIDOID, OIDOID, INT8OID, INT8OID, BOOLOID, INT4OID}
	};
	JsArgs		args = {0};

	js_arg(&args, ObjectIdGetDatum(server->serverid));
	js_arg(&args, ObjectIdGetDatum(server->mapping_user));
	js_arg(&args, Int64GetDatum((int64) credentials_of(server)));
	js_arg(&args, Int64GetDatum((int64) server->timeout_ms + 5000));
	js_arg(&args, BoolGetDatum(person));
	js_arg(&args, Int32GetDatum(PERSON_TRIES));
	if (js_run(&statement, &args) == 0)
		return false;
	server->refresh[0] = js_get_text(0, 1);
	server->refresh[1] = js_get_text(0, 2);
	for (int i = 0; i < 2; i++)
		if (server->refresh[i] != NULL)
			server->refresh[i] = MemoryContextStrdup(server->mcxt,
													 server->refresh[i]);
	server->token_failures = js_get_int4(0, 3);
	return true;
}

/* A number that changes with what tokens are got with. */
static uint64
credentials_of(JsServer *server)
{
	static const char *const matter[] = {
		"auth", "base_url", "token_url", "token_request", "scope"
	};
	uint64		hash = 1;

	/* once: what is hidden later is no credential */
	if (server->credentials != 0)
		return server->credentials;
	for (JsOption *option = server->options; option; option = option->next)
	{
		bool		matters = option->secret;

		for (int i = 0; i < lengthof(matter); i++)
			matters = matters || strcmp(matter[i], option->name) == 0;
		if (!matters)
			continue;
		hash += hash_bytes_extended((unsigned char *) option->value,
									strlen(option->value),
									hash_bytes_extended((unsigned char *) option->name,
														strlen(option->name), 0));
	}
	server->credentials = hash;
	return hash;
}

/* The request that gets a token, after JS_TOKEN_OURS. */
void
js_token_request(MemoryContext mcxt, JsServer *server,
				 JsHttpRequest *request)
{
	js_server_request(server, request);
	js_credential_headers(server, request);
	if (server->auth == JS_AUTH_SESSION_TOKEN)
		js_template_request(mcxt, login(server), server, NULL, request);
	else
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

	js_credential_need(server, "client_id", id);
	initStringInfo(&form);
	if (server->auth == JS_AUTH_REFRESH_TOKEN)
		add_refresh(&form, server);
	else
		appendStringInfoString(&form, "grant_type=client_credentials");
	if (scope != NULL)
		appendStringInfo(&form, "&scope=%s", js_template_encode(scope));
	if (method != NULL && strcmp(method, "client_secret_post") == 0)
		appendStringInfo(&form, "&client_id=%s&client_secret=%s",
						 js_template_encode(id),
						 js_template_encode(secret ? secret : ""));
	else
	{
		char	   *basic = js_credential_base64(psprintf("%s:%s", id,
														  secret ? secret : ""));

		js_server_hide(server, basic);
		request->headers = lappend(request->headers,
								   psprintf("Authorization: Basic %s", basic));
	}
	request->method = "POST";
	request->url = js_server_option(server, "token_url");
	request->headers = lappend(request->headers,
							   "Content-Type: application/x-www-form-urlencoded");
	request->headers = lappend(request->headers, "Accept: application/json");
	request->body = form.data;
	request->body_len = form.len;
}

/*
 * The refresh token: the one that came last; if that is refused, the one
 * before it, and that of the mapping.  None of them is given up.
 */
static void
add_refresh(StringInfo form, JsServer *server)
{
	const char *all[3] = {NULL};
	const char *given = js_server_secret(server, "refresh_token");
	int			n = 0;

	for (int i = 0; i < 2; i++)
		if (server->refresh[i] != NULL)
			all[n++] = server->refresh[i];
	if (given != NULL)
		all[n++] = given;
	js_credential_need(server, "refresh_token", n > 0 ? all[0] : NULL);
	server->refresh_used = MemoryContextStrdup(server->mcxt,
											   all[server->token_failures % Max(n, 1)]);
	appendStringInfo(form, "grant_type=refresh_token&refresh_token=%s",
					 js_template_encode(server->refresh_used));
}

/*
 * A token came, or did not: store it, or when it may be tried again.  NULL,
 * or why there is none.
 */
char	   *
js_token_arrived(JsServer *server, JsHttpResponse *response)
{
	char	   *problem;

	if (response->failure != JS_HTTP_OK)
		problem = pstrdup(response->error);
	else if (response->status < 200 || response->status > 299)
		problem = why_refused(response);
	else
		problem = read_answer(server, response);
	if (problem == NULL)
		return NULL;
	problem = js_server_redact(server, problem);
	note_failure(server, response, problem);
	return psprintf("could not get an access token: %s", problem);
}

/* What the endpoint says of a refusal (RFC 6749, section 5.2). */
static char *
why_refused(JsHttpResponse *response)
{
	JsAllocator allocator = js_allocator();
	JsJson	   *root;
	JsJsonError error;
	JsHttpResponse words = *response;

	if (js_json_parse(response->body, response->body_len,
					  &js_json_default_limits, &allocator, &root, &error) &&
		root->type == JS_JSON_OBJECT && !js_json_is_bad(root))
	{
		Jsonb	   *answer = js_jsonb_in(response->body);
		char	   *code = member(answer, "error");
		char	   *description = member(answer, "error_description");

		if (code != NULL)
		{
			words.body = psprintf("%s%s%s", code, description ? ": " : "",
								  description ? description : "");
			words.body_len = strlen(words.body);
		}
	}
	return psprintf("the token endpoint answered HTTP %ld: %s",
					response->status, js_verdict_words(&words));
}

/* Take the token out of an answer and store it.  NULL, or what is wrong. */
static char *
read_answer(JsServer *server, JsHttpResponse *response)
{
	JsAllocator allocator = js_allocator();
	JsJson	   *root;
	JsJsonError error;
	Jsonb	   *answer;
	char	   *token;
	char	   *life;

	if (!js_json_parse(response->body, response->body_len,
					   &js_json_default_limits, &allocator, &root, &error) ||
		js_json_is_bad(root))
		return pstrdup("the answer of the token endpoint is not valid JSON");
	answer = js_jsonb_in(response->body);
	if (server->auth == JS_AUTH_SESSION_TOKEN)
		return read_session(server, answer);
	token = member(answer, "access_token");
	life = member(answer, "expires_in");
	if (token == NULL)
		return pstrdup("the answer of the token endpoint has no access_token");
	store(server, token, life ? strtol(life, NULL, 10) : DEFAULT_LIFE_S,
		  member(answer, "refresh_token"));
	return NULL;
}

/* The same for a login of a shape of its own. */
static char *
read_session(JsServer *server, Jsonb *answer)
{
	Jsonb	   *request = login(server);
	char	   *token = found(answer, member(request, "token_path"));
	char	   *life = member(request, "expires_path") ?
	found(answer, member(request, "expires_path")) : NULL;

	if (life == NULL)
		life = member(request, "lifetime");
	if (token == NULL)
		return psprintf("the answer of the login has nothing at %s",
						member(request, "token_path"));
	store(server, token, life ? strtol(life, NULL, 10) : DEFAULT_LIFE_S, NULL);
	return NULL;
}

/* The description of the login. */
static Jsonb *
login(JsServer *server)
{
	return js_jsonb_in(js_server_option(server, "token_request"));
}

/* A scalar at a path, as text; NULL: none. */
static char *
found(Jsonb *answer, const char *path)
{
	Jsonb	   *value = js_path_first(js_path_make(path), answer);
	JsonbParseState *state = js_object_begin();

	if (value == NULL)
		return NULL;
	js_object_put(&state, "v", value);
	return member(js_object_end(state), "v");
}

/* A scalar member, as text; NULL: none. */
static char *
member(Jsonb *object, const char *name)
{
	Jsonb	   *value = JB_ROOT_IS_OBJECT(object) ?
	js_jsonb_member(object, name) : NULL;
	JsonbValue	scalar;

	if (value == NULL || js_jsonb_is_null(value) || !JB_ROOT_IS_SCALAR(value) ||
		!JsonbExtractScalar(&value->root, &scalar))
		return NULL;
	if (scalar.type == jbvString)
		return pnstrdup(scalar.val.string.val, scalar.val.string.len);
	return js_jsonb_out(value);
}

/* Put a token where all can find it; on disk before it is used. */
static void
store(JsServer *server, const char *token, int64 life_s, const char *refresh)
{
	static JsStatement statement = {
		"UPDATE jacksync.token SET access_token = $4,"
		" obtained_at = pg_catalog.clock_timestamp(),"
		" expires_at = pg_catalog.clock_timestamp() + $5 * '1 s'::interval,"
		" refresh_at = pg_catalog.clock_timestamp() + $6 * '1 s'::interval,"
		" previous_refresh_token = CASE WHEN $7 IS NULL THEN previous_refresh_token ELSE $8 END,"
		" refresh_token = coalesce($7, $8, refresh_token),"
		" refreshing_until = NULL, failures = 0, next_attempt_at = NULL, last_error = NULL"
		" WHERE server_oid = $1 AND mapping_user = $2 AND fingerprint = $3",
		{OIDOID, OIDOID, INT8OID, TEXTOID, INT8OID, INT8OID, TEXTOID, TEXTOID}
	};
	JsSecurity	security;
	JsArgs		args = {0};

	life_s = Max(Min(life_s, 10 * 365 * 86400), 1);
	js_internal_begin_secret(&security);
	(void) set_config_option("synchronous_commit", "on", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	js_arg(&args, ObjectIdGetDatum(server->serverid));
	js_arg(&args, ObjectIdGetDatum(server->mapping_user));
	js_arg(&args, Int64GetDatum((int64) credentials_of(server)));
	js_arg_text(&args, token);
	js_arg(&args, Int64GetDatum(life_s));
	js_arg(&args, Int64GetDatum(life_s - Min(MARGIN_S, life_s / 10)));
	js_arg_text(&args, refresh);
	js_arg_text(&args, server->refresh_used);
	js_run(&statement, &args);
	js_internal_end(&security);
}

/*
 * No token: when may it be tried again?  Who refuses the credentials is asked
 * every five minutes, who is down sooner.
 */
static void
note_failure(JsServer *server, JsHttpResponse *response, const char *problem)
{
	static JsStatement statement = {
		"UPDATE jacksync.token SET refreshing_until = NULL, failures = failures + 1,"
		" next_attempt_at = pg_catalog.clock_timestamp() + $3 * '1 ms'::interval,"
		" last_error = $4"
		" WHERE server_oid = $1 AND mapping_user = $2",
		{OIDOID, OIDOID, INT8OID, TEXTOID}
	};
	bool		refused = response->failure == JS_HTTP_OK &&
	response->status >= 400 && response->status < 500 &&
	response->status != 429 && response->status != 408;
	int64		pause = 1000;
	JsSecurity	security;
	JsArgs		args = {0};

	for (int i = 0; i < server->token_failures && pause < MAX_BACKOFF_MS; i++)
		pause *= 2;
	pause = refused ? REFUSED_MS :
		500 + (int64) (Min(pause, MAX_BACKOFF_MS) *
					   pg_prng_double(&pg_global_prng_state));
	/* another refresh token may do better: at once */
	if (refused && server->refresh[0] != NULL && server->token_failures < 2)
		pause = 0;
	pause = Max(pause, js_verdict_pause_ms(response));

	js_internal_begin_secret(&security);
	js_arg(&args, ObjectIdGetDatum(server->serverid));
	js_arg(&args, ObjectIdGetDatum(server->mapping_user));
	js_arg(&args, Int64GetDatum(pause));
	js_arg_text(&args, problem);
	js_run(&statement, &args);
	js_internal_end(&security);
}

/*
 * The token that was used was refused.  True if it is worth to try again:
 * with a new one, or with one that somebody else got meanwhile.  A PMS that
 * refuses whatever it gives out would else be asked for tokens without end.
 */
bool
js_token_refused(JsServer *server)
{
	static JsStatement statement = {
		"UPDATE jacksync.token SET refresh_at = '-infinity', expires_at = '-infinity',"
		" refusals = refusals + 1"
		" WHERE server_oid = $1 AND mapping_user = $2 AND access_token = $3"
		" AND (refusals < 2 OR obtained_at < pg_catalog.clock_timestamp()"
		"  - least('5 min'::interval * (4 ^ least(refusals - 2, 6)), '6 hours'::interval))",
		{OIDOID, OIDOID, TEXTOID}
	};
	static JsStatement replaced = {
		"SELECT FROM jacksync.token WHERE server_oid = $1 AND mapping_user = $2"
		" AND access_token <> $3",
		{OIDOID, OIDOID, TEXTOID}
	};
	JsSecurity	security;
	JsArgs		args = {0};
	bool		again;

	if (server->token == NULL)
		return false;
	js_internal_begin_secret(&security);
	js_arg(&args, ObjectIdGetDatum(server->serverid));
	js_arg(&args, ObjectIdGetDatum(server->mapping_user));
	js_arg_text(&args, server->token);
	again = js_run(&statement, &args) > 0 || js_run(&replaced, &args) > 0;
	js_internal_end(&security);
	return again;
}

/* A token that follows refused ones is good: they are forgotten. */
void
js_token_good(JsServer *server)
{
	static JsStatement statement = {
		"UPDATE jacksync.token SET refusals = 0"
		" WHERE server_oid = $1 AND mapping_user = $2",
		{OIDOID, OIDOID}
	};
	JsSecurity	security;
	JsArgs		args = {0};

	js_internal_begin_secret(&security);
	js_arg(&args, ObjectIdGetDatum(server->serverid));
	js_arg(&args, ObjectIdGetDatum(server->mapping_user));
	js_run(&statement, &args);
	js_internal_end(&security);
	server->token_refusals = 0;
}

/* Put the token into a request. */
void
js_token_apply(JsServer *server, JsHttpRequest *request)
{
	const char *header = "Authorization";
	const char *prefix = "Bearer ";

	if (server->auth == JS_AUTH_SESSION_TOKEN)
	{
		Jsonb	   *request_spec = login(server);

		if (member(request_spec, "token_header") != NULL)
		{
			header = member(request_spec, "token_header");
			prefix = "";
		}
		if (member(request_spec, "token_prefix") != NULL)
			prefix = member(request_spec, "token_prefix");
	}
	js_credential_header(request, header,
						 psprintf("%s%s", prefix, server->token));
}
