/*-------------------------------------------------------------------------
 *
 * server.c
 *	  Foreign servers of the wrapper jacksync: options and secrets.
 *
 * Options are checked when they are written (serveroptions.c), so that reading
 * them cannot fail but for secrets in files.  Secrets stand in user mappings,
 * or in files that these name; they are read at use, and wiped when the
 * memory of the server goes away.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <sys/stat.h>

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "common/hashfn.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "server.h"
#include "serveroptions.h"

#define MAX_SECRET_BYTES	(64 * 1024)
#define SHOWN_OF_SECRET		7	/* bytes, at the end of a text */

static void add_options(MemoryContext mcxt, JsServer *server, List *options,
						bool secret);
static void set_limits(JsServer *server);
static uint64 fingerprint_of(JsServer *server);
static List *mapping_options(Oid userid, Oid serverid, Oid *mapping_user,
							 bool *found);
static bool is_named(const char *option, const char *prefix,
					 const char *name);
static char *read_secret(const char *name, const char *path);
static char *without(char *text, const char *secret);
static char *without_forms(char *text, const char *secret);
static char *percent_encoded(const char *value);
static void wipe(void *arg);

/*
 * Load a server with the secrets that a user has for it (else PUBLIC's).
 * Errors: no mapping though the server needs credentials; a secret's file
 * that cannot be read.
 */
JsServer   *
js_server_load(MemoryContext mcxt, Oid serverid, Oid userid)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	ForeignServer *foreign = GetForeignServer(serverid);
	JsServer   *server = palloc0(sizeof(JsServer));
	List	   *mapping;
	bool		found;

	server->serverid = serverid;
	server->mcxt = mcxt;
	server->name = foreign->servername;
	server->callback.func = wipe;
	server->callback.arg = server;
	MemoryContextRegisterResetCallback(mcxt, &server->callback);
	add_options(mcxt, server, foreign->options, false);

	server->base_url = unconstify(char *, js_server_option(server, "base_url"));
	server->auth = js_auth_by_name(js_server_option(server, "auth"));

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

	set_limits(server);
	MemoryContextSwitchTo(old);
	return server;
}

/* Time-outs, sizes and rates; they were checked when they were written. */
static void
set_limits(JsServer *server)
{
	const char *value;
	int64		us;
	int			n;

	server->connect_timeout_ms = 5000;
	server->timeout_ms = 60000;
	server->max_response = 32 * 1024 * 1024;
	if ((value = js_server_option(server, "connect_timeout")) != NULL &&
		js_parse_period(value, &us))
		server->connect_timeout_ms = us / 1000;
	if ((value = js_server_option(server, "timeout")) != NULL &&
		js_parse_period(value, &us))
		server->timeout_ms = us / 1000;
	if ((value = js_server_option(server, "max_response_size")) != NULL &&
		parse_int(value, &n, GUC_UNIT_BYTE, NULL))
		server->max_response = n;
	if ((value = js_server_option(server, "max_concurrency")) != NULL &&
		parse_int(value, &n, 0, NULL))
		server->max_concurrency = n;
	if ((value = js_server_option(server, "allow_http")) != NULL)
		(void) parse_bool(value, &server->allow_http);
	if ((value = js_server_option(server, "allow_private_address")) != NULL)
		(void) parse_bool(value, &server->allow_private);
	if ((value = js_server_option(server, "rate_limit")) != NULL)
		(void) js_parse_rate(value, &server->rate_count,
							 &server->rate_period_us);
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

/*
 * Read a secret from a file; the line break at its end does not belong.  Not
 * from a pipe or a device, which could make us wait.
 */
static char *
read_secret(const char *name, const char *path)
{
	FILE	   *file;
	struct stat st;
	char	   *value;
	size_t		len;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" of option \"%s\" is not a regular file",
						path, name)));
	file = AllocateFile(path, PG_BINARY_R);
	if (file == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\" of option \"%s\": %m",
						path, name)));
	value = palloc(MAX_SECRET_BYTES + 1);
	len = fread(value, 1, MAX_SECRET_BYTES + 1, file);
	if (ferror(file))
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\" of option \"%s\": %m",
						path, name)));
	FreeFile(file);
	if (len > MAX_SECRET_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("file \"%s\" of option \"%s\" is longer than %d bytes",
						path, name, MAX_SECRET_BYTES)));
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
	if (server->token != NULL)
		explicit_bzero(server->token, strlen(server->token));
}

/*
 * An option that is no secret, by its name or by what stands behind param_;
 * NULL if it is not given.
 */
const char *
js_server_option(JsServer *server, const char *name)
{
	for (JsOption *option = server->options; option; option = option->next)
		if (!option->secret && is_named(option->name, PARAM_PREFIX, name))
			return option->value;
	return NULL;
}

/* Is an option called by its name, or by what stands behind a prefix? */
static bool
is_named(const char *option, const char *prefix, const char *name)
{
	return strcmp(option, name) == 0 ||
		(strncmp(option, prefix, strlen(prefix)) == 0 &&
		 strcmp(option + strlen(prefix), name) == 0);
}

/* A secret by its name, or by what stands behind secret_; else NULL. */
const char *
js_server_secret(JsServer *server, const char *name)
{
	for (JsOption *option = server->options; option; option = option->next)
		if (option->secret && is_named(option->name, SECRET_PREFIX, name))
			return option->value;
	return NULL;
}

/* Something that was made of secrets, and must not be shown either. */
void
js_server_hide(JsServer *server, const char *value)
{
	MemoryContext mcxt = GetMemoryChunkContext(server);
	JsOption   *option;

	for (option = server->options; option; option = option->next)
		if (option->secret && strcmp(option->value, value) == 0)
			return;
	option = MemoryContextAllocZero(mcxt, sizeof(JsOption));
	option->name = MemoryContextStrdup(mcxt, "");
	option->value = MemoryContextStrdup(mcxt, value);
	option->secret = true;
	option->next = server->options;
	server->options = option;
}

/*
 * A text without the values of secrets and tokens, in none of the forms in
 * which they were sent and could come back.
 */
char	   *
js_server_redact(JsServer *server, const char *text)
{
	const char *tokens[] = {
		server->token, server->refresh[0], server->refresh[1]
	};
	char	   *result = pstrdup(text);

	for (JsOption *option = server->options; option; option = option->next)
		if (option->secret)
			result = without_forms(result, option->value);
	for (int i = 0; i < lengthof(tokens); i++)
		if (tokens[i] != NULL)
			result = without_forms(result, tokens[i]);
	return result;
}

/*
 * A text without a secret: as it is, in an address, in JSON, and in JSON that
 * is a string of JSON.
 */
static char *
without_forms(char *text, const char *secret)
{
	const char *form = secret;

	text = without(text, percent_encoded(secret));

	for (int i = 0; i < 3; i++)
	{
		char	   *json = js_jsonb_out(js_jsonb_string(form));

		text = without(text, form);

		json[strlen(json) - 1] = '\0';
		form = json + 1;
	}
	return text;
}

/*
 * A text without a secret, and without the beginning of one: what is shown of
 * an answer may end anywhere.
 */
static char *
without(char *text, const char *secret)
{
	size_t		least = Min(strlen(secret), SHOWN_OF_SECRET + 1);
	char	   *beginning = pnstrdup(secret, least);
	StringInfoData buf;
	char	   *found;

	/* short ones occur by chance */
	if (least < 4)
		return text;

	initStringInfo(&buf);
	while ((found = strstr(text, beginning)) != NULL)
	{
		size_t		same = least;

		while (secret[same] != '\0' && secret[same] == found[same])
			same++;
		appendBinaryStringInfo(&buf, text, found - text);
		/* all of it, or the beginning where the excerpt ends */
		if (secret[same] == '\0' || strchr("\"'.", found[same]) != NULL)
			appendStringInfoString(&buf, "***");
		else
			appendBinaryStringInfo(&buf, found, same);
		text = found + same;
	}
	appendStringInfoString(&buf, text);
	return buf.data;
}

/* As it is in an address or a form. */
static char *
percent_encoded(const char *value)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (const char *p = value; *p; p++)
		if (isalnum((unsigned char) *p) || strchr("-._~", *p) != NULL)
			appendStringInfoChar(&buf, *p);
		else
			appendStringInfo(&buf, "%%%02X", (unsigned char) *p);
	return buf.data;
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
