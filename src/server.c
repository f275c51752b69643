/*-------------------------------------------------------------------------
 *
 * server.c
 *	  Foreign servers of the wrapper jacksync: options and secrets.
 *
 * Options are checked when they are written (the validator), so that reading
 * them cannot fail but for secrets in files.  Secrets stand in user mappings,
 * or in files that these name; they are read at use, and wiped when the
 * memory of the server goes away.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>

#include <curl/curl.h>

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "common/hashfn.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "compat.h"
#include "jacksync.h"
#include "server.h"
#include "value.h"

JS_FUNCTION(jacksync_validator);

#define MAX_SECRET_BYTES	(64 * 1024)
#define SECRET_PREFIX		"secret_"

typedef enum Kind
{
	KIND_TEXT,
	KIND_URL,
	KIND_AUTH,
	KIND_BOOL,
	KIND_TIME,
	KIND_SIZE,
	KIND_COUNT,
	KIND_RATE,
	KIND_OBJECT,
	KIND_PLACE,
	KIND_CLIENT_AUTH,
	KIND_SECRET
} Kind;

/* Every option that there is. */
static const struct
{
	const char *name;
	Oid			catalog;
	Kind		kind;
}			known[] = {
	{"base_url", ForeignServerRelationId, KIND_URL},
	{"auth", ForeignServerRelationId, KIND_AUTH},
	{"token_url", ForeignServerRelationId, KIND_URL},
	{"token_endpoint_auth_method", ForeignServerRelationId, KIND_CLIENT_AUTH},
	{"token_request", ForeignServerRelationId, KIND_OBJECT},
	{"scope", ForeignServerRelationId, KIND_TEXT},
	{"api_key_name", ForeignServerRelationId, KIND_TEXT},
	{"api_key_in", ForeignServerRelationId, KIND_PLACE},
	{"headers", ForeignServerRelationId, KIND_OBJECT},
	{"rate_limit", ForeignServerRelationId, KIND_RATE},
	{"max_concurrency", ForeignServerRelationId, KIND_COUNT},
	{"connect_timeout", ForeignServerRelationId, KIND_TIME},
	{"timeout", ForeignServerRelationId, KIND_TIME},
	{"max_response_size", ForeignServerRelationId, KIND_SIZE},
	{"ca_file", ForeignServerRelationId, KIND_TEXT},
	{"allow_http", ForeignServerRelationId, KIND_BOOL},
	{"allow_private_address", ForeignServerRelationId, KIND_BOOL},
	{"username", UserMappingRelationId, KIND_SECRET},
	{"password", UserMappingRelationId, KIND_SECRET},
	{"token", UserMappingRelationId, KIND_SECRET},
	{"api_key", UserMappingRelationId, KIND_SECRET},
	{"client_id", UserMappingRelationId, KIND_SECRET},
	{"client_secret", UserMappingRelationId, KIND_SECRET},
	{"refresh_token", UserMappingRelationId, KIND_SECRET},
};

static const char *const auth_names[] = {
	"none", "bearer", "basic", "digest", "api_key",
	"oauth2_client_credentials", "oauth2_refresh_token", "session_token"
};

static Kind option_kind(const char *name, Oid catalog);
static void unknown_option(const char *name, Oid catalog);
static void check_option(const char *name, const char *value, Kind kind);
static void check_url(const char *name, const char *value);
static void bad_value(const char *name, const char *value, const char *hint);
static bool parse_time(const char *value, int64 *us);
static bool parse_rate(const char *value, int *count, int64 *period_us);
static void add_options(MemoryContext mcxt, JsServer *server, List *options,
						bool secret);
static uint64 fingerprint_of(JsServer *server);
static List *mapping_options(Oid userid, Oid serverid, Oid *mapping_user,
							 bool *found);
static char *read_secret(const char *name, const char *path);
static void wipe(void *arg);

/*
 * validator(text[], oid): checks the options of a server or a user mapping.
 */
Datum
jacksync_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	const char *auth = NULL;
	const char *token_url = NULL;
	const char *token_request = NULL;
	const char *base_url = NULL;
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = (DefElem *) lfirst(cell);
		char	   *value = defGetString(option);

		check_option(option->defname, value,
					 option_kind(option->defname, catalog));
		if (strcmp(option->defname, "auth") == 0)
			auth = value;
		else if (strcmp(option->defname, "token_url") == 0)
			token_url = value;
		else if (strcmp(option->defname, "token_request") == 0)
			token_request = value;
		else if (strcmp(option->defname, "base_url") == 0)
			base_url = value;
	}
	if (catalog != ForeignServerRelationId)
		PG_RETURN_VOID();
	if (base_url == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"base_url\" is required"),
				 errhint("OPTIONS (base_url 'https://pms.example.com/api')")));
	if (auth != NULL && strncmp(auth, "oauth2", 6) == 0 && token_url == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("auth \"%s\" needs option \"token_url\"", auth)));
	if (auth != NULL && strcmp(auth, "session_token") == 0 &&
		token_request == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("auth \"%s\" needs option \"token_request\"", auth)));
	PG_RETURN_VOID();
}

/* What kind of option it is; an unknown one is an error. */
static Kind
option_kind(const char *name, Oid catalog)
{
	for (int i = 0; i < lengthof(known); i++)
		if (known[i].catalog == catalog && strcmp(known[i].name, name) == 0)
			return known[i].kind;
	if (catalog == UserMappingRelationId &&
		strncmp(name, SECRET_PREFIX, strlen(SECRET_PREFIX)) == 0 &&
		name[strlen(SECRET_PREFIX)] != '\0')
		return KIND_SECRET;
	unknown_option(name, catalog);
	return KIND_TEXT;			/* keep the compiler quiet */
}

/* Say that an option is unknown, and name the nearest one. */
static void
unknown_option(const char *name, Oid catalog)
{
	const char *nearest = NULL;
	int			distance = 4;	/* farther ones are no help */
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < lengthof(known); i++)
	{
		int			d;

		if (known[i].catalog != catalog)
			continue;
		appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "",
						 known[i].name);
		if (strlen(name) > 255)
			continue;
		d = varstr_levenshtein_less_equal(name, strlen(name), known[i].name,
										  strlen(known[i].name), 1, 1, 1, 4,
										  true);
		if (d < distance)
		{
			distance = d;
			nearest = known[i].name;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 nearest ? errhint("Perhaps you meant the option \"%s\".", nearest) :
			 list.len > 0 ? errhint("Valid options in this context are: %s.",
									list.data) :
			 errhint("There are no valid options in this context.")));
}

/* A value that will not do.  Never called for secrets. */
static void
bad_value(const char *name, const char *value, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
			 errmsg("invalid value for option \"%s\": \"%s\"", name, value),
			 errhint("%s", hint)));
}

/* Check the value of an option. */
static void
check_option(const char *name, const char *value, Kind kind)
{
	bool		flag;
	int			count;
	int64		number;

	switch (kind)
	{
		case KIND_TEXT:
			if (value[0] == '\0')
				bad_value(name, value, "The value must not be empty.");
			break;
		case KIND_URL:
			check_url(name, value);
			break;
		case KIND_AUTH:
			for (int i = 0; i < lengthof(auth_names); i++)
				if (strcmp(auth_names[i], value) == 0)
					return;
			bad_value(name, value, "Valid values are none, bearer, basic, digest, api_key, oauth2_client_credentials, oauth2_refresh_token and session_token.");
			break;
		case KIND_BOOL:
			if (!parse_bool(value, &flag))
				bad_value(name, value, "Valid values are true and false.");
			break;
		case KIND_TIME:
			if (!parse_time(value, &number) || number < 1000 ||
				number > USECS_PER_DAY)
				bad_value(name, value, "Write a time with its unit, such as 30s or 500ms.");
			break;
		case KIND_SIZE:
			if (!parse_int(value, &count, GUC_UNIT_BYTE, NULL) || count < 1024)
				bad_value(name, value, "Write a size with its unit, such as 32MB.");
			break;
		case KIND_COUNT:
			if (!parse_int(value, &count, 0, NULL) || count < 1)
				bad_value(name, value, "Write a whole number of at least 1.");
			break;
		case KIND_RATE:
			if (!parse_rate(value, &count, &number))
				bad_value(name, value, "Write requests per time, such as 200/30s.");
			break;
		case KIND_OBJECT:
			if (!JB_ROOT_IS_OBJECT(js_jsonb_in(value)))
				bad_value(name, value, "Write a JSON object.");
			break;
		case KIND_PLACE:
			if (strcmp(value, "header") != 0 && strcmp(value, "query") != 0)
				bad_value(name, value, "Valid values are header and query.");
			break;
		case KIND_CLIENT_AUTH:
			if (strcmp(value, "client_secret_basic") != 0 &&
				strcmp(value, "client_secret_post") != 0)
				bad_value(name, value, "Valid values are client_secret_basic and client_secret_post.");
			break;
		case KIND_SECRET:
			if (strncmp(value, "file:", 5) == 0 && !superuser())
				ereport(ERROR,
						(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						 errmsg("only a superuser may let option \"%s\" be read from a file",
								name)));
			break;
	}
}

/* A URL that we could ask. */
static void
check_url(const char *name, const char *value)
{
	static const char *const schemes[] = {"https", "http", "smtp", "smtps"};
	CURLU	   *url = curl_url();
	char	   *scheme = NULL;
	char	   *user = NULL;
	bool		good = false;
	bool		credentials;

	if (url != NULL && curl_url_set(url, CURLUPART_URL, value, 0) == CURLUE_OK &&
		curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK)
		for (int i = 0; i < lengthof(schemes); i++)
			if (strcmp(schemes[i], scheme) == 0)
				good = true;
	credentials = good &&
		curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_OK;
	curl_free(scheme);
	curl_free(user);
	curl_url_cleanup(url);
	if (credentials)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
				 errmsg("option \"%s\" must not contain a user name or password",
						name),
				 errhint("Put them into CREATE USER MAPPING.")));
	if (!good)
		bad_value(name, value, "Write an address with https:// (http:// to this machine only).");
}

/* A time with its unit, in microseconds. */
static bool
parse_time(const char *value, int64 *us)
{
	int			ms;

	/* a bare number is seconds, as people write it */
	if (strspn(value, "0123456789") == strlen(value))
		value = psprintf("%ss", value);
	if (!parse_int(value, &ms, GUC_UNIT_MS, NULL))
		return false;
	*us = (int64) ms * 1000;
	return true;
}

/* N/period */
static bool
parse_rate(const char *value, int *count, int64 *period_us)
{
	const char *slash = strchr(value, '/');
	char	   *period;

	if (slash == NULL ||
		!parse_int(pnstrdup(value, slash - value), count, 0, NULL) ||
		*count < 1)
		return false;
	period = pstrdup(slash + 1);
	while (*period == ' ')
		period++;
	if (strspn(period, "0123456789") == 0)
		period = psprintf("1%s", period);
	return parse_time(period, period_us) && *period_us >= 1000;
}

/*
 * Load a server with the secrets that a user has for it (else PUBLIC's).
 * Errors: no mapping though the server needs credentials; a secret's file
 * that cannot be read.
 */
JsServer *
js_server_load(MemoryContext mcxt, Oid serverid, Oid userid)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	ForeignServer *foreign = GetForeignServer(serverid);
	JsServer   *server = palloc0(sizeof(JsServer));
	const char *value;
	List	   *mapping;
	bool		found;

	server->serverid = serverid;
	server->name = foreign->servername;
	server->callback.func = wipe;
	server->callback.arg = server;
	MemoryContextRegisterResetCallback(mcxt, &server->callback);
	add_options(mcxt, server, foreign->options, false);

	server->base_url = unconstify(char *, js_server_option(server, "base_url"));
	value = js_server_option(server, "auth");
	for (int i = 0; value != NULL && i < lengthof(auth_names); i++)
		if (strcmp(value, auth_names[i]) == 0)
			server->auth = (JsAuth) i;

	mapping = mapping_options(userid, serverid, &server->mapping_user, &found);
	if (!found && server->auth != JS_AUTH_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("user mapping for \"%s\" on server \"%s\" does not exist",
						GetUserNameFromId(userid, true), server->name),
				 errhint("Run CREATE USER MAPPING FOR %s SERVER %s OPTIONS (...): the owner of the local table is who connects.",
						 quote_identifier(GetUserNameFromId(userid, true)),
						 quote_identifier(server->name))));
	add_options(mcxt, server, mapping, true);
	server->fingerprint = fingerprint_of(server);

	server->connect_timeout_ms = 5000;
	server->timeout_ms = 60000;
	server->max_response = 32 * 1024 * 1024;
	{
		int64		us;
		int			n;

		if ((value = js_server_option(server, "connect_timeout")) != NULL &&
			parse_time(value, &us))
			server->connect_timeout_ms = us / 1000;
		if ((value = js_server_option(server, "timeout")) != NULL &&
			parse_time(value, &us))
			server->timeout_ms = us / 1000;
		if ((value = js_server_option(server, "max_response_size")) != NULL &&
			parse_int(value, &n, GUC_UNIT_BYTE, NULL))
			server->max_response = n;
	}
	if ((value = js_server_option(server, "allow_http")) != NULL)
		(void) parse_bool(value, &server->allow_http);
	if ((value = js_server_option(server, "allow_private_address")) != NULL)
		(void) parse_bool(value, &server->allow_private);
	if ((value = js_server_option(server, "rate_limit")) != NULL)
		(void) parse_rate(value, &server->rate_count, &server->rate_period_us);
	MemoryContextSwitchTo(old);
	return server;
}

/* Put options into the list; values of secrets may stand in files. */
static void
add_options(MemoryContext mcxt, JsServer *server, List *options, bool secret)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *element = (DefElem *) lfirst(cell);
		JsOption   *option = palloc0(sizeof(JsOption));
		char	   *value = defGetString(element);

		option->name = pstrdup(element->defname);
		option->value = secret && strncmp(value, "file:", 5) == 0 ?
			read_secret(option->name, value + 5) : pstrdup(value);
		option->secret = secret;
		option->next = server->options;
		server->options = option;
	}
}

/*
 * A number that changes with any option or secret.  What belongs to one set
 * of credentials (connections, tokens) is told from others by it.
 */
static uint64
fingerprint_of(JsServer *server)
{
	uint64		hash = ((uint64) server->serverid << 32) | server->mapping_user;

	for (JsOption *option = server->options; option; option = option->next)
	{
		hash = hash_bytes_extended((unsigned char *) option->name,
								   strlen(option->name), hash);
		hash = hash_bytes_extended((unsigned char *) option->value,
								   strlen(option->value), hash);
	}
	return hash;
}

/* The options of a user's mapping, or of PUBLIC's. */
static List *
mapping_options(Oid userid, Oid serverid, Oid *mapping_user, bool *found)
{
	HeapTuple	tuple;
	Datum		value;
	bool		isnull;
	List	   *options = NIL;

	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(userid),
							ObjectIdGetDatum(serverid));
	*mapping_user = HeapTupleIsValid(tuple) ? userid : InvalidOid;
	if (!HeapTupleIsValid(tuple))
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER,
								ObjectIdGetDatum(InvalidOid),
								ObjectIdGetDatum(serverid));
	*found = HeapTupleIsValid(tuple);
	if (!*found)
		return NIL;
	value = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple,
							Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(value);
	ReleaseSysCache(tuple);
	return options;
}

/* Read a secret from a file; the line break at its end does not belong. */
static char *
read_secret(const char *name, const char *path)
{
	FILE	   *file = AllocateFile(path, PG_BINARY_R);
	char	   *value;
	size_t		len;

	if (file == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\" of option \"%s\": %m",
						path, name)));
	value = palloc(MAX_SECRET_BYTES + 1);
	len = fread(value, 1, MAX_SECRET_BYTES, file);
	FreeFile(file);
	while (len > 0 && (value[len - 1] == '\n' || value[len - 1] == '\r'))
		len--;
	value[len] = '\0';
	return value;
}

/* Secrets do not stay in freed memory. */
static void
wipe(void *arg)
{
	JsServer   *server = (JsServer *) arg;

	for (JsOption *option = server->options; option; option = option->next)
		if (option->secret)
			explicit_bzero(option->value, strlen(option->value));
}

/* An option that is no secret; NULL if it is not given. */
const char *
js_server_option(JsServer *server, const char *name)
{
	for (JsOption *option = server->options; option; option = option->next)
		if (!option->secret && strcmp(option->name, name) == 0)
			return option->value;
	return NULL;
}

/* A secret by its name, or by what stands behind secret_; else NULL. */
const char *
js_server_secret(JsServer *server, const char *name)
{
	for (JsOption *option = server->options; option; option = option->next)
		if (option->secret &&
			(strcmp(option->name, name) == 0 ||
			 (strncmp(option->name, SECRET_PREFIX, strlen(SECRET_PREFIX)) == 0 &&
			  strcmp(option->name + strlen(SECRET_PREFIX), name) == 0)))
			return option->value;
	return NULL;
}

/* A text without the values of secrets. */
char *
js_server_redact(JsServer *server, const char *text)
{
	char	   *result = pstrdup(text);

	for (JsOption *option = server->options; option; option = option->next)
	{
		size_t		len = strlen(option->value);
		char	   *found;

		/* short ones occur by chance */
		if (!option->secret || len < 4)
			continue;
		while ((found = strstr(result, option->value)) != NULL)
			result = psprintf("%.*s***%s", (int) (found - result), result,
							  found + len);
	}
	return result;
}

/* What every request to the server has. */
void
js_server_request(JsServer *server, JsHttpRequest *request)
{
	request->connect_timeout_ms = server->connect_timeout_ms;
	request->timeout_ms = server->timeout_ms;
	request->max_response = server->max_response;
	request->allow_http = server->allow_http;
	request->allow_private = server->allow_private;
	request->ca_file = js_server_option(server, "ca_file");
	request->pool = server->fingerprint;
	request->group = server->serverid;
}
