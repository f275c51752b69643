/*-------------------------------------------------------------------------
 *
 * serveroptions.c
 *	  Which options servers and user mappings have, and what they may say:
 *	  the validator of the wrapper.
 *
 * Errors name the option and what would be right.  The value is shown only
 * where it cannot be a secret.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>

#include "access/reloptions.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "compat.h"
#include "jacksync.h"
#include "json.h"
#include "jsonb.h"
#include "serveroptions.h"
#include "value.h"

JS_FUNCTION(jacksync_validator);

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
#define HEADER_CHARACTERS NAME_CHARACTERS "!#$%&'*+.^`|~-"

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
	KIND_HEADERS,
	KIND_TOKEN_REQUEST,
	KIND_HEADER_NAME,
	KIND_PLACE,
	KIND_CLIENT_AUTH,
	KIND_FILE,
	KIND_SECRET
} Kind;

/* Every option that there is; auth is what it is for, NULL: for all. */
static const struct
{
	const char *name;
	Oid			catalog;
	Kind		kind;
	const char *auth;
}			known[] = {
	{"base_url", ForeignServerRelationId, KIND_URL, NULL},
	{"auth", ForeignServerRelationId, KIND_AUTH, NULL},
	{"token_url", ForeignServerRelationId, KIND_URL, "oauth2"},
	{"token_endpoint_auth_method", ForeignServerRelationId, KIND_CLIENT_AUTH, "oauth2"},
	{"scope", ForeignServerRelationId, KIND_TEXT, "oauth2"},
	{"token_request", ForeignServerRelationId, KIND_TOKEN_REQUEST, "session_token"},
	{"api_key_name", ForeignServerRelationId, KIND_HEADER_NAME, "api_key"},
	{"api_key_in", ForeignServerRelationId, KIND_PLACE, "api_key"},
	{"headers", ForeignServerRelationId, KIND_HEADERS, NULL},
	{"rate_limit", ForeignServerRelationId, KIND_RATE, NULL},
	{"max_concurrency", ForeignServerRelationId, KIND_COUNT, NULL},
	{"connect_timeout", ForeignServerRelationId, KIND_TIME, NULL},
	{"timeout", ForeignServerRelationId, KIND_TIME, NULL},
	{"max_response_size", ForeignServerRelationId, KIND_SIZE, NULL},
	{"ca_file", ForeignServerRelationId, KIND_FILE, NULL},
	{"allow_http", ForeignServerRelationId, KIND_BOOL, NULL},
	{"allow_private_address", ForeignServerRelationId, KIND_BOOL, NULL},
	{"username", UserMappingRelationId, KIND_SECRET, NULL},
	{"password", UserMappingRelationId, KIND_SECRET, NULL},
	{"token", UserMappingRelationId, KIND_SECRET, NULL},
	{"api_key", UserMappingRelationId, KIND_SECRET, NULL},
	{"client_id", UserMappingRelationId, KIND_SECRET, NULL},
	{"client_secret", UserMappingRelationId, KIND_SECRET, NULL},
	{"refresh_token", UserMappingRelationId, KIND_SECRET, NULL},
};

static const char *const auth_names[] = {
	"none", "bearer", "basic", "digest", "api_key",
	"oauth2_client_credentials", "oauth2_refresh_token", "session_token"
};

static Kind option_kind(const char *name, Oid catalog);
static bool has_prefix(const char *name, const char *prefix);
static void unknown_option(const char *name, Oid catalog);
static const char *nearest_option(const char *name, Oid catalog, int *distance);
static const char *get(List *options, const char *name);
static void check_together(List *options);
static void check_mail(List *options, const char *auth);
static void check_option(const char *name, const char *value, Kind kind);
static void check_url(const char *name, const char *value);
static void check_secret(const char *name, const char *value);
static Jsonb *parse_object(const char *name, const char *value);
static void check_headers(const char *name, Jsonb *headers);
static void check_token_request(const char *name, Jsonb *request);
static void bad_value(const char *name, const char *value, const char *hint);
static void bad_member(const char *name, const char *member,
					   const char *hint);

/*
 * validator(text[], oid): checks the options of a server or a user mapping.
 */
Datum
jacksync_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = (DefElem *) lfirst(cell);

		check_option(option->defname, defGetString(option),
					 option_kind(option->defname, catalog));
	}
	if (catalog == ForeignServerRelationId)
		check_together(options);
	PG_RETURN_VOID();
}

/* What kind of option it is; an unknown one is an error. */
static Kind
option_kind(const char *name, Oid catalog)
{
	for (int i = 0; i < lengthof(known); i++)
		if (known[i].catalog == catalog && strcmp(known[i].name, name) == 0)
			return known[i].kind;
	if (catalog == UserMappingRelationId && has_prefix(name, SECRET_PREFIX))
		return KIND_SECRET;
	if (catalog == ForeignServerRelationId && has_prefix(name, PARAM_PREFIX))
		return KIND_TEXT;
	unknown_option(name, catalog);
	return KIND_TEXT;			/* keep the compiler quiet */
}

/* Is it a prefix with a name behind it that a placeholder can have? */
static bool
has_prefix(const char *name, const char *prefix)
{
	size_t		len = strlen(prefix);

	return strncmp(name, prefix, len) == 0 && name[len] != '\0' &&
		name[len + strspn(name + len, NAME_CHARACTERS)] == '\0';
}

/*
 * Say that an option is unknown.  If it is, or nearly is, one of the other
 * place, that place is named; else the nearest one of this place.
 */
static void
unknown_option(const char *name, Oid catalog)
{
	Oid			other = catalog == ForeignServerRelationId ?
	UserMappingRelationId : ForeignServerRelationId;
	int			distance = 4;	/* farther ones are no help */
	int			other_distance = 4;
	const char *nearest = nearest_option(name, catalog, &distance);
	const char *elsewhere = nearest_option(name, other, &other_distance);
	StringInfoData list;

	if (other == UserMappingRelationId && has_prefix(name, SECRET_PREFIX))
	{
		elsewhere = name;
		other_distance = 0;
	}
	if (catalog != ForeignServerRelationId && catalog != UserMappingRelationId)
		elsewhere = NULL;
	initStringInfo(&list);
	for (int i = 0; i < lengthof(known); i++)
		if (known[i].catalog == catalog)
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "",
							 known[i].name);
	if (list.len > 0)
		appendStringInfo(&list, ", %s<name>",
						 other == UserMappingRelationId ? PARAM_PREFIX : SECRET_PREFIX);
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 elsewhere && other_distance < distance ?
			 errhint("The option \"%s\" belongs into %s.", elsewhere,
					 other == UserMappingRelationId ? "CREATE USER MAPPING" : "CREATE SERVER") :
			 nearest ? errhint("Perhaps you meant the option \"%s\".", nearest) :
			 list.len > 0 ? errhint("Valid options in this context are: %s.",
									list.data) :
			 errhint("There are no valid options in this context.")));
}

/* The option of a place that is spelt most like a name. */
static const char *
nearest_option(const char *name, Oid catalog, int *distance)
{
	const char *nearest = NULL;

	for (int i = 0; i < lengthof(known) && strlen(name) <= 255; i++)
	{
		int			d;

		if (known[i].catalog != catalog)
			continue;
		d = varstr_levenshtein_less_equal(name, strlen(name), known[i].name,
										  strlen(known[i].name), 1, 1, 1, 4,
										  true);
		if (d < *distance)
		{
			*distance = d;
			nearest = known[i].name;
		}
	}
	return nearest;
}

/* The value of an option; NULL: not given. */
static const char *
get(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = (DefElem *) lfirst(cell);

		if (strcmp(option->defname, name) == 0)
			return defGetString(option);
	}
	return NULL;
}

/* Options of a server that need, or make no sense without, others. */
static void
check_together(List *options)
{
	const char *auth = get(options, "auth");
	const char *needs = NULL;
	const char *url = get(options, "base_url");

	if (url == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"base_url\" is required"),
				 errhint("OPTIONS (base_url 'https://pms.example.com/api')")));
	if (auth == NULL)
		auth = "none";
	if (strncmp(auth, "oauth2", 6) == 0)
		needs = "token_url";
	else if (strcmp(auth, "session_token") == 0)
		needs = "token_request";
	if (needs != NULL && get(options, needs) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("auth \"%s\" needs option \"%s\"", auth, needs)));
	for (int i = 0; i < lengthof(known); i++)
		if (known[i].auth != NULL && get(options, known[i].name) != NULL &&
			strncmp(auth, known[i].auth, strlen(known[i].auth)) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("option \"%s\" has no meaning with auth \"%s\"",
							known[i].name, auth),
					 errhint("It is for auth '%s'.",
							 strcmp(known[i].auth, "oauth2") == 0 ?
							 "oauth2_client_credentials' and 'oauth2_refresh_token" :
							 known[i].auth)));
	if (pg_strncasecmp(url, "smtp", 4) == 0)
		check_mail(options, auth);
}

/* A mail relay knows no HTTP. */
static void
check_mail(List *options, const char *auth)
{
	if (strcmp(auth, "none") != 0 && strcmp(auth, "basic") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
				 errmsg("auth \"%s\" is not for a mail relay", auth),
				 errhint("Valid values are none and basic (user name and password).")));
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
			if (!js_parse_period(value, &number) || number < 1000 ||
				number > USECS_PER_DAY)
				bad_value(name, value, "Write a time with its unit, such as 30s or 500ms.");
			break;
		case KIND_SIZE:
			if (!parse_int(value, &count, GUC_UNIT_BYTE, NULL) ||
				count < 1024 || count > 512 * 1024 * 1024)
				bad_value(name, value, "Write a size with its unit, such as 32MB; 512MB is the most.");
			break;
		case KIND_COUNT:
			if (!parse_int(value, &count, 0, NULL) || count < 1)
				bad_value(name, value, "Write a whole number of at least 1.");
			break;
		case KIND_RATE:
			if (!js_parse_rate(value, &count, &number))
				bad_value(name, value, "Write requests per time, such as 200/30s.");
			break;
		case KIND_HEADERS:
			check_headers(name, parse_object(name, value));
			break;
		case KIND_TOKEN_REQUEST:
			check_token_request(name, parse_object(name, value));
			break;
		case KIND_HEADER_NAME:
			if (value[0] == '\0' ||
				value[strspn(value, HEADER_CHARACTERS)] != '\0')
				bad_value(name, value, "Write the name of a header or parameter, such as X-Api-Key.");
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
		case KIND_FILE:
			if (!is_absolute_path(value))
				bad_value(name, value, "Write an absolute path of a file on the database server.");
			break;
		case KIND_SECRET:
			check_secret(name, value);
			break;
	}
}

/* A secret, or where it is read from.  Its value is never shown. */
static void
check_secret(const char *name, const char *value)
{
	if (strncmp(value, "file:", 5) != 0)
		return;
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only a superuser may let option \"%s\" be read from a file",
						name)));
	if (!is_absolute_path(value + 5))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
				 errmsg("the file of option \"%s\" is not named by an absolute path",
						name),
				 errhint("Write file:/run/secrets/pms, a file on the database server.")));
}

/* A URL that we could ask. */
static void
check_url(const char *name, const char *value)
{
	static const char *const schemes[] = {"https", "http", "smtp", "smtps"};
	static const CURLUPart no_parts[] = {
		CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT
	};
	CURLU	   *url = curl_url();
	char	   *part = NULL;
	bool		good = false;
	int			found = -1;

	if (url != NULL && curl_url_set(url, CURLUPART_URL, value, 0) == CURLUE_OK &&
		curl_url_get(url, CURLUPART_SCHEME, &part, 0) == CURLUE_OK)
		for (int i = 0; i < lengthof(schemes); i++)
			if (strcmp(schemes[i], part) == 0 &&
				(i < 2 || strcmp(name, "base_url") == 0))
				good = true;
	curl_free(part);
	for (int i = 0; good && found < 0 && i < lengthof(no_parts); i++)
	{
		part = NULL;
		if (curl_url_get(url, no_parts[i], &part, 0) == CURLUE_OK)
			found = i;
		curl_free(part);
	}
	curl_url_cleanup(url);
	if (found == 0 || found == 1)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
				 errmsg("option \"%s\" must not contain a user name or password",
						name),
				 errhint("Put them into CREATE USER MAPPING.")));
	if (found >= 2 && strcmp(name, "base_url") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
				 errmsg("option \"%s\" must not contain a query or fragment",
						name),
				 errdetail("The path of every request is appended to it."),
				 errhint("Parameters go into \"query\" of jacksync.stream.request, keys into CREATE USER MAPPING.")));
	if (!good)
		bad_value(name, value, "Write an address with https:// (http:// to this machine only).");
}

/* A JSON object. */
static Jsonb *
parse_object(const char *name, const char *value)
{
	JsAllocator allocator = js_allocator();
	JsJson	   *root;
	JsJsonError error;

	/* the value is not shown: keys are put there by mistake */
	if (!js_json_parse(value, strlen(value), &js_json_default_limits,
					   &allocator, &root, &error))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
				 errmsg("option \"%s\" is not valid JSON: %s at byte %zu",
						name, error.message, error.offset)));
	if (root->type != JS_JSON_OBJECT || js_json_is_bad(root))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
				 errmsg("option \"%s\" is not a JSON object", name)));
	return js_jsonb_in(value);
}

/* Headers: names and texts. */
static void
check_headers(const char *name, Jsonb *headers)
{
	static const char *const ours[] = {
		"Host", "Content-Length", "Transfer-Encoding", "Connection"
	};
	JsonbIterator *iterator = JsonbIteratorInit(&headers->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char	   *header;
		JsonbValue	content;
		Jsonb	   *text;

		if (token != WJB_KEY)
			continue;
		header = pnstrdup(value.val.string.val, value.val.string.len);
		if (header[0] == '\0' ||
			header[strspn(header, HEADER_CHARACTERS)] != '\0')
			bad_member(name, header, "The name of a header has letters, digits and hyphens.");
		for (int i = 0; i < lengthof(ours); i++)
			if (pg_strcasecmp(header, ours[i]) == 0)
				bad_member(name, header, "This header is made by the connection itself.");
		text = js_jsonb_member(headers, header);

		if (!JB_ROOT_IS_SCALAR(text) ||
			!JsonbExtractScalar(&text->root, &content) ||
			(content.type != jbvString && content.type != jbvNumeric))
			bad_member(name, header, "The value of a header is a string.");
		if (content.type == jbvString)
			for (int i = 0; i < content.val.string.len; i++)
				if ((unsigned char) content.val.string.val[i] < ' ')
					bad_member(name, header, "A header is one line.");
	}
}

/* A login of a shape of its own. */
static void
check_token_request(const char *name, Jsonb *request)
{
	static const struct
	{
		const char *name;
		bool		needed;
		int			type;		/* jbvString, jbvNumeric; -1: object */
	}			members[] = {
		{"method", false, jbvString}, {"path", true, jbvString},
		{"query", false, -1}, {"headers", false, -1}, {"body", false, -1},
		{"body_style", false, jbvString}, {"token_path", true, jbvString},
		{"token_header", false, jbvString}, {"token_prefix", false, jbvString},
		{"expires_path", false, jbvString}, {"lifetime", false, jbvNumeric},
	};
	JsonbIterator *iterator = JsonbIteratorInit(&request->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char	   *key;
		bool		found = false;

		if (token != WJB_KEY)
			continue;
		key = pnstrdup(value.val.string.val, value.val.string.len);
		for (int i = 0; i < lengthof(members); i++)
			found = found || strcmp(members[i].name, key) == 0;
		if (!found)
			bad_member(name, key, "Valid members are method, path, query, headers, body, body_style, token_path, token_header, token_prefix, expires_path and lifetime.");
	}
	for (int i = 0; i < lengthof(members); i++)
	{
		Jsonb	   *member = js_jsonb_member(request, members[i].name);
		JsonbValue	scalar;

		if (member == NULL && members[i].needed)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
					 errmsg("option \"%s\" has no member \"%s\"", name,
							members[i].name),
					 errhint("Such as {\"method\": \"POST\", \"path\": \"/login\", \"body\": {\"user\": \"{secret.username}\"}, \"token_path\": \"$.token\"}.")));
		if (member == NULL)
			continue;
		if (members[i].type < 0 ? !JB_ROOT_IS_OBJECT(member) :
			!(JB_ROOT_IS_SCALAR(member) &&
			  JsonbExtractScalar(&member->root, &scalar) &&
			  scalar.type == members[i].type))
			bad_member(name, members[i].name,
					   members[i].type < 0 ? "It must be a JSON object." :
					   members[i].type == jbvString ? "It must be a string." :
					   "It must be a number of seconds.");
	}
	if (js_jsonb_member(request, "headers") != NULL)
		check_headers(name, js_jsonb_member(request, "headers"));
	for (int i = 0; i < lengthof(members); i++)
		if (strcmp(members[i].name, "token_path") == 0 ||
			strcmp(members[i].name, "expires_path") == 0)
		{
			Jsonb	   *path = js_jsonb_member(request, members[i].name);
			JsonbValue	scalar;

			if (path != NULL && JsonbExtractScalar(&path->root, &scalar))
				(void) DirectFunctionCall1(jsonpath_in,
										   CStringGetDatum(pnstrdup(scalar.val.string.val,
																	scalar.val.string.len)));
		}
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

/* A member of an object that will not do; its value may be secret. */
static void
bad_member(const char *name, const char *member, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_STRING_FORMAT),
			 errmsg("invalid member \"%s\" of option \"%s\"", member, name),
			 errhint("%s", hint)));
}

/* The kind of authentication of that name; NULL: none. */
JsAuth
js_auth_by_name(const char *name)
{
	for (int i = 0; name != NULL && i < lengthof(auth_names); i++)
		if (strcmp(name, auth_names[i]) == 0)
			return (JsAuth) i;
	return JS_AUTH_NONE;
}

/* A time with its unit, in microseconds. */
bool
js_parse_period(const char *value, int64 *us)
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
bool
js_parse_rate(const char *value, int *count, int64 *period_us)
{
	const char *slash = strchr(value, '/');
	char	   *period;

	if (slash == NULL ||
		!parse_int(pnstrdup(value, slash - value), count, 0, NULL) ||
		*count < 1 || *count > 1000000)
		return false;
	period = pstrdup(slash + 1);
	while (*period == ' ')
		period++;
	if (strspn(period, "0123456789") == 0)
		period = psprintf("1%s", period);
	return js_parse_period(period, period_us) && *period_us >= 1000;
}
