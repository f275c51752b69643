/*-------------------------------------------------------------------------
 *
 * preview.c
 *	  preview_stream(): one page of a stream, as jacksync would read it.
 *
 * For who connects a PMS: what was asked, what came, which records and fields
 * were found in it, and what does not fit.  Nothing is applied.  The requests
 * run in the caller's transaction, so it is for people, not for jobs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "auth.h"
#include "coerce.h"
#include "compat.h"
#include "config.h"
#include "installation.h"
#include "jacksync.h"
#include "jsonb.h"
#include "limiter.h"
#include "record.h"
#include "secure.h"
#include "stream.h"
#include "template.h"
#include "txn.h"
#include "value.h"
#include "verdict.h"
#include "walk.h"
#include "window.h"

JS_FUNCTION(jacksync_preview_stream);

#define SHOWN_RECORDS	10
#define SHOWN_DETAILS	2

/* A preview under way. */
typedef struct Preview
{
	ReturnSetInfo *rsinfo;
	JsEntity   *entity;
	JsStream   *stream;
	JsServer   *server;
	int			records;		/* that were shown */
} Preview;

/* A value that may not fit its column. */
typedef struct Fitting
{
	Oid			owner;			/* of the table */
	JsColumn   *column;
	Jsonb	   *value;
} Fitting;

static void load(Preview *preview, const char *entity, const char *server);
static void show(Preview *preview, const char *id, const char *time,
				 bool deleted, const char *field, Jsonb *value,
				 const char *note);
static void say(Preview *preview, const char *what, Jsonb *value,
				const char *note);
static JsHttpResponse *ask(Preview *preview, JsHttpRequest *request);
static JsHttpResponse *exchange(JsServer *server, JsHttpRequest *request);
static void get_token(Preview *preview);
static void say_request(Preview *preview, JsHttpRequest *request);
static JsPage *read_answer(Preview *preview, JsStream *shape,
						   JsHttpResponse *response);
static char *what_is_there(JsHttpResponse *response);
static void show_page(Preview *preview, JsPage *page, int most);
static void show_record(Preview *preview, Jsonb *raw);
static char *list_within(Jsonb *raw);
static void show_found(Preview *preview, Jsonb *raw, const char *id,
					   const char *time, bool deleted);
static char *misfit(Preview *preview, JsField *field, Jsonb *value);
static void try_to_fit(void *arg);
static char *unused_members(Preview *preview, Jsonb *raw);
static void show_details(Preview *preview, JsPage *page);
static Jsonb *member_names(Jsonb *object);

/*
 * preview_stream(entity text, server name)
 */
Datum
jacksync_preview_stream(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Preview		preview = {0};
	JsHttpRequest request = {0};
	JsHttpResponse *response;
	JsWalk	   *walk;
	JsVars	   *vars;
	JsPage	   *page;
	char	   *problem;
	int			level;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("entity must not be null")));
	InitMaterializedSRF(fcinfo, 0);
	preview.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SPI_connect();
	MemoryContextSwitchTo(caller);
	load(&preview, text_to_cstring(PG_GETARG_TEXT_PP(0)),
		 PG_ARGISNULL(1) ? NULL : NameStr(*PG_GETARG_NAME(1)));
	level = js_pin_settings(preview.stream->datetime_zone);

	walk = js_walk_begin(preview.stream, preview.stream->watermark_known ?
						 JS_WALK_CHANGES : JS_WALK_INITIAL,
						 GetCurrentTimestamp());
	vars = js_vars_new(CurrentMemoryContext);
	js_walk_vars(walk, vars);
	js_server_request(preview.server, &request);
	request.repeatable = true;
	js_template_request(CurrentMemoryContext, walk->request, preview.server,
						vars, &request);
	response = ask(&preview, &request);
	page = response ? read_answer(&preview, walk->source, response) : NULL;
	if (page != NULL)
	{
		if (preview.stream->detail != NULL)
			show_details(&preview, page);
		else
			show_page(&preview, page, SHOWN_RECORDS);
		if (js_walk_next(walk, page, response, &problem))
			say(&preview, "next page", NULL, "there are more pages");
		else
			say(&preview, "next page", NULL,
				problem ? problem : "this is the last page");
	}
	js_unpin_settings(level);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	return (Datum) 0;
}

/* The configuration of the stream. */
static void
load(Preview *preview, const char *entity, const char *server)
{
	JsSecurity	security;
	bool		several;

	js_internal_begin(&security);
	js_installation_check();
	preview->entity = js_entity_by_name(entity, false);
	several = server == NULL && js_stream_count(entity) > 1;
	preview->stream = js_stream_find(entity, server);
	js_internal_end(&security);
	if (several)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
				 errmsg("entity \"%s\" has several streams", entity),
				 errhint("Name the server: preview_stream('%s', 'server').", entity)));
	if (preview->stream == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no stream of entity \"%s\" and server \"%s\"",
						entity, server ? server : "(any)"),
				 errhint("INSERT INTO jacksync.stream (entity, server, request) VALUES (...).")));
	if (strcmp(preview->stream->sync_mode, "event_queue") == 0 &&
		preview->stream->full_request == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("an event queue cannot be looked at: reading takes the events out of it"),
				 errhint("Give the stream a \"full_request\", which is previewed then.")));
	if (!OidIsValid(preview->stream->serverid))
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFIG),
				 errmsg("server \"%s\" does not exist",
						preview->stream->server)));
	js_entity_check(preview->entity);
	preview->server = js_server_load(CurrentMemoryContext,
									 preview->stream->serverid,
									 preview->entity->owner);
}

/* A row of a record; no number before the first record. */
static void
show(Preview *preview, const char *id, const char *time, bool deleted,
	 const char *field, Jsonb *value, const char *note)
{
	Datum		values[7] = {0};
	bool		nulls[7] = {0};
	TimestampTz stamp = 0;

	values[0] = Int32GetDatum(preview->records);
	nulls[0] = preview->records == 0 || id == NULL;
	nulls[1] = id == NULL || id[0] == '\0';
	if (!nulls[1])
		values[1] = CStringGetTextDatum(id);
	nulls[2] = time == NULL || !js_time_parse(time, &stamp);
	values[2] = TimestampTzGetDatum(stamp);
	values[3] = BoolGetDatum(deleted);
	nulls[3] = id == NULL;
	values[4] = CStringGetTextDatum(field);
	nulls[5] = value == NULL;
	values[5] = JsonbPGetDatum(value);
	nulls[6] = note == NULL;
	if (note != NULL)
		values[6] = CStringGetTextDatum(js_server_redact(preview->server, note));
	tuplestore_putvalues(preview->rsinfo->setResult,
						 preview->rsinfo->setDesc, values, nulls);
}

/* A row that is about the whole. */
static void
say(Preview *preview, const char *what, Jsonb *value, const char *note)
{
	show(preview, NULL, NULL, false, psprintf("(%s)", what), value, note);
}

/* Ask the PMS, with credentials; NULL if there is no answer. */
static JsHttpResponse *
ask(Preview *preview, JsHttpRequest *request)
{
	JsHttpResponse *response;
	char	   *problem = NULL;
	long		wait;

	say_request(preview, request);
	if (js_token_used(preview->server))
		get_token(preview);
	if (js_auth_apply(preview->server, request, true, &wait,
					  &problem) != JS_TOKEN_READY)
		ereport(ERROR,
				(errcode(ERRCODE_JS_REMOTE),
				 errmsg("%s", problem ? problem : "there is no access token")));
	response = exchange(preview->server, request);
	if (response->failure != JS_HTTP_OK)
	{
		say(preview, "answer", NULL, response->error);
		return NULL;
	}
	say(preview, "answer",
		js_jsonb_in(psprintf("{\"status\": %ld, \"bytes\": %zu}",
							 response->status, response->body_len)),
		js_http_header(response, "Content-Type"));
	return response;
}

/* One request and its answer. */
static JsHttpResponse *
exchange(JsServer *server, JsHttpRequest *request)
{
	JsHttpCall *call;
	bool		latch_set;
	char	   *problem;
	long		wait;

	do
	{
		if (!js_limiter_ask(server, true, &wait, &problem))
			ereport(ERROR,
					(errcode(ERRCODE_JS_REMOTE),
					 errmsg("%s", problem)));
		if (wait > 0)
			js_http_wait(wait, &latch_set);
	} while (wait > 0);
	js_limiter_note(server);
	call = js_http_start(CurrentMemoryContext, request);
	while (!js_http_done(call))
		js_http_wait(-1, &latch_set);
	return js_http_response(call);
}

/*
 * See to it that there is a token.  A refresh token that is rotated must not
 * be lost should the caller roll back: that is left to sync().
 */
static void
get_token(Preview *preview)
{
	JsHttpRequest request = {0};
	char	   *problem = NULL;
	long		wait;

	if (js_token_take(preview->server, true, &wait, &problem) != JS_TOKEN_OURS)
		return;
	if (preview->server->auth == JS_AUTH_REFRESH_TOKEN)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no access token yet"),
				 errhint("Run CALL jacksync.sync('%s', '%s') once: it gets one, and keeps the new refresh token.",
						 preview->stream->entity, preview->stream->server)));
	js_token_request(CurrentMemoryContext, preview->server, &request);
	problem = js_token_arrived(preview->server,
							   exchange(preview->server, &request));
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_REMOTE), errmsg("%s", problem)));
}

/* What is asked, without secrets. */
static void
say_request(Preview *preview, JsHttpRequest *request)
{
	JsonbParseState *state = js_object_begin();

	js_object_put(&state, "method", js_jsonb_string(request->method));
	js_object_put(&state, "url",
				  js_jsonb_string(js_server_redact(preview->server,
												   request->url)));
	if (request->body != NULL)
		js_object_put(&state, "body",
					  js_jsonb_string(js_server_redact(preview->server,
													   request->body)));
	say(preview, "request", js_object_end(state), NULL);
}

/* The page in an answer; NULL if there is none, with the reason shown. */
static JsPage *
read_answer(Preview *preview, JsStream *shape, JsHttpResponse *response)
{
	JsPage	   *page;
	char	   *problem = NULL;

	if (response->status < 200 || response->status > 299)
	{
		say(preview, "problem", NULL,
			psprintf("HTTP %ld: %s", response->status,
					 js_verdict_words(response)));
		return NULL;
	}
	page = js_page_read(shape, response, &problem);
	if (page == NULL)
		say(preview, "problem", NULL,
			psprintf("%s; %s", problem, what_is_there(response)));
	else
		say(preview, "records", js_jsonb_int8(list_length(page->records)),
			page->records != NIL ? NULL :
			response->body_len == 0 ? "the answer is empty" :
			psprintf("none at %s; %s", shape->record_path.text,
					 what_is_there(response)));
	return page;
}

/* What an answer has at its top, for who looks for the record_path. */
static char *
what_is_there(JsHttpResponse *response)
{
	JsAllocator allocator = js_allocator();
	JsJson	   *root;
	JsJsonError error;
	Jsonb	   *document;

	if (!js_json_parse(response->body, response->body_len,
					   &js_json_default_limits, &allocator, &root, &error) ||
		js_json_is_bad(root))
		return psprintf("it begins \"%.80s\"", js_verdict_words(response));
	document = js_jsonb_in(response->body);
	if (JB_ROOT_IS_OBJECT(document))
		return psprintf("the answer has the members %s",
						js_jsonb_out(member_names(document)));
	if (JB_ROOT_IS_ARRAY(document) && !JB_ROOT_IS_SCALAR(document))
		return psprintf("the answer is an array of %d: its records are at $[*]",
						JB_ROOT_COUNT(document));
	return pstrdup("the answer is a single value");
}

/* The names of an object's members, as an array. */
static Jsonb *
member_names(Jsonb *object)
{
	JsonbParseState *state = NULL;
	JsonbIterator *iterator = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_KEY)
			pushJsonbValue(&state, WJB_ELEM, &value);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* The first records of a page. */
static void
show_page(Preview *preview, JsPage *page, int most)
{
	ListCell   *cell;

	foreach(cell, page->records)
	{
		if (preview->records == SHOWN_RECORDS || most-- == 0)
			break;
		preview->records++;
		show_record(preview, lfirst(cell));
	}
	foreach(cell, page->bad)
		say(preview, "bad record", js_jsonb_string(((JsBadRecord *) lfirst(cell))->text),
			((JsBadRecord *) lfirst(cell))->problem);
}

/* A record: its fields, and what no field takes. */
static void
show_record(Preview *preview, Jsonb *raw)
{
	JsStream   *stream = preview->stream;
	char	   *id = js_record_id(stream, false, raw);
	char	   *time = js_record_time_text(stream, raw);
	bool		deleted = stream->deleted_path != NULL &&
	js_path_match(stream->deleted_path, raw);
	TimestampTz stamp;
	char	   *unused;

	if (id == NULL)
		show(preview, "", time, deleted, "(id)", NULL,
			 psprintf("nothing at %s (primary_key); the record has the members %s%s",
					  stream->primary_key.text,
					  JB_ROOT_IS_OBJECT(raw) ? js_jsonb_out(member_names(raw)) : "(none)",
					  list_within(raw)));
	if (stream->cursor_path != NULL && (time == NULL || !js_time_parse(time, &stamp)))
		show(preview, id ? id : "", time, deleted, "(time)",
			 time ? js_jsonb_string(time) : NULL,
			 psprintf("no time at %s (cursor_path)", stream->cursor_path->text));
	for (int i = 0; i < preview->entity->nfields; i++)
	{
		JsField    *field = &preview->entity->fields[i];
		Jsonb	   *value = js_field_read(stream, field, raw);

		if (value != NULL)
			show(preview, id ? id : "", time, deleted, field->name, value,
				 misfit(preview, field, value));
		else if (js_jsonb_member(stream->fields, field->name) != NULL)
			show(preview, id ? id : "", time, deleted, field->name, NULL,
				 "not in the record");
	}
	show_found(preview, raw, id, time, deleted);
	unused = unused_members(preview, raw);
	if (unused != NULL)
		show(preview, id ? id : "", time, deleted, "(others)",
			 js_jsonb_in(unused),
			 "members that no field takes");
}

/* If a record holds a list of objects: where that is, for who looks for it. */
static char *
list_within(Jsonb *raw)
{
	Jsonb	   *names = JB_ROOT_IS_OBJECT(raw) ? member_names(raw) : NULL;

	for (int i = 0; names != NULL && i < JB_ROOT_COUNT(names); i++)
	{
		char	   *key = js_scalar_text(js_jsonb_from_value(getIthJsonbValueFromContainer(&names->root, i)));
		Jsonb	   *value = js_jsonb_member(raw, key);

		if (JB_ROOT_IS_ARRAY(value) && !JB_ROOT_IS_SCALAR(value) &&
			JB_ROOT_COUNT(value) > 0 &&
			getIthJsonbValueFromContainer(&value->root, 0)->type == jbvBinary)
			return psprintf("; perhaps the records are at $.%s[*] (record_path)",
							key);
	}
	return "";
}

/* Members for which a column is there: apply makes fields of them by itself. */
static void
show_found(Preview *preview, Jsonb *raw, const char *id, const char *time,
		   bool deleted)
{
	Jsonb	   *names = JB_ROOT_IS_OBJECT(raw) ? member_names(raw) : NULL;
	Relation	rel = table_open(preview->entity->relid, AccessShareLock);

	for (int i = 0; names != NULL && i < JB_ROOT_COUNT(names); i++)
	{
		JsField		field = {0};
		AttrNumber	attnum;
		Jsonb	   *value;

		field.name = js_scalar_text(js_jsonb_from_value(getIthJsonbValueFromContainer(&names->root, i)));
		if (strcmp(field.name, "id") == 0 ||
			js_entity_field(preview->entity, field.name) != NULL ||
			(attnum = js_entity_column_for(preview->entity, field.name)) <= 0)
			continue;
		js_column_init(&field.column, rel, attnum, CurrentMemoryContext);
		value = js_field_read(preview->stream, &field, raw);
		if (value != NULL)
			show(preview, id ? id : "", time, deleted, field.name, value,
				 misfit(preview, &field, value));
	}
	table_close(rel, NoLock);
}

/* Does a value fit its column?  NULL if so, else what the type says. */
static char *
misfit(Preview *preview, JsField *field, Jsonb *value)
{
	Fitting		fitting = {preview->entity->owner, &field->column, value};
	ErrorData  *error = js_txn_try(try_to_fit, &fitting);

	if (error == NULL)
		return NULL;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	return psprintf("does not fit column %s: %s", field->column.name,
					error->message);
}

/* Cast a value, as the owner of the table. */
static void
try_to_fit(void *arg)
{
	Fitting    *fitting = arg;
	JsSecurity	security;

	js_owner_begin(&security, fitting->owner);
	(void) js_value_from_json(fitting->column, fitting->value);
	js_owner_end(&security);
}

/* Top members that no field is read from, as a JSON array; NULL: none. */
static char *
unused_members(Preview *preview, Jsonb *raw)
{
	JsStream   *stream = preview->stream;
	char	   *specs = js_jsonb_out(stream->fields);
	StringInfoData buf;
	Jsonb	   *names;

	if (!JB_ROOT_IS_OBJECT(raw))
		return NULL;
	initStringInfo(&buf);
	names = member_names(raw);
	for (int i = 0; i < JB_ROOT_COUNT(names); i++)
	{
		Jsonb	   *name = js_jsonb_from_value(getIthJsonbValueFromContainer(&names->root, i));
		char	   *key = js_scalar_text(name);
		char	   *path = psprintf("$.%s", key);

		if (key[0] == '_' || js_entity_field(preview->entity, key) != NULL ||
			js_entity_column_for(preview->entity, key) > 0 ||
			strstr(specs, path) != NULL ||
			strstr(stream->primary_key.text, key) != NULL ||
			(stream->cursor_path && strstr(stream->cursor_path->text, key)) ||
			(stream->deleted_path && strstr(stream->deleted_path->text, key)))
			continue;
		appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "[",
						 js_jsonb_out(name));
	}
	if (buf.len > 0)
		appendStringInfoChar(&buf, ']');
	return buf.len > 0 ? buf.data : NULL;
}

/* The first records of the list, each by its detail request. */
static void
show_details(Preview *preview, JsPage *page)
{
	JsStream   *stream = preview->stream;
	Jsonb	   *path = js_jsonb_member(stream->detail, "record_path");
	Jsonb	   *key = js_jsonb_member(stream->detail, "primary_key");
	JsStream	shape = *stream;
	ListCell   *cell;

	shape.record_path = *js_path_make(path ? js_scalar_text(path) : "$");
	shape.success_path = NULL;
	if (key != NULL)
		shape.primary_key = *js_path_make(js_scalar_text(key));
	foreach(cell, page->records)
	{
		Jsonb	   *listed = lfirst(cell);
		char	   *id = js_record_id(stream, false, listed);
		JsVars	   *vars = js_vars_new(CurrentMemoryContext);
		JsHttpRequest request = {0};
		JsHttpResponse *response;
		JsPage	   *detail;

		if (foreach_current_index(cell) == SHOWN_DETAILS)
			break;
		if (id == NULL)
		{
			show_record(preview, listed);
			continue;
		}
		if (JB_ROOT_IS_OBJECT(listed))
			js_vars_set_json(vars, "record", listed);
		js_vars_set_json(vars, "record.ids",
						 js_jsonb_in(psprintf("[%s]", js_jsonb_out(js_jsonb_string(id)))));
		js_vars_set_text(vars, "record.id_list", id);
		js_vars_set_json(vars, "record.id", JB_ROOT_IS_SCALAR(listed) ?
						 listed : js_jsonb_string(id));
		js_server_request(preview->server, &request);
		request.repeatable = true;
		js_template_request(CurrentMemoryContext, stream->detail,
							preview->server, vars, &request);
		response = ask(preview, &request);
		detail = response ? read_answer(preview, &shape, response) : NULL;
		if (detail != NULL)
			show_page(preview, detail, 1);
	}
}
