/*-------------------------------------------------------------------------
 *
 * check.c
 *	  What does the PMS promise of writes?  It is tried out.
 *
 * A record is read, and a value that it has already is written back: first
 * under a version that it never had, which a PMS that honours If-Match
 * refuses; then twice under one idempotency key, of which only the first may
 * have an effect.  So nothing is changed, whatever the PMS does about it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "body.h"
#include "check.h"
#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "outbound.h"
#include "secure.h"
#include "statement.h"
#include "txn.h"
#include "value.h"

static char *choose_record(JsCycle *cycle);
static void was_read(JsCycle *cycle, JsHttpResponse *response);
static JsOperation *operation_to_try(JsCycle *cycle);
static Jsonb *value_to_write(JsCycle *cycle, JsOperation *operation,
							 Jsonb *record);
static char *version_of(JsCycle *cycle, JsHttpResponse *response,
						Jsonb *record);
static void probe(JsCycle *cycle, const char *if_match, JsResume resume);
static void make_probe(JsCycle *cycle, JsHttpRequest *request);
static void wrong_version_answered(JsCycle *cycle, JsHttpResponse *response);
static void first_answered(JsCycle *cycle, JsHttpResponse *response);
static void second_answered(JsCycle *cycle, JsHttpResponse *response);
static void conclude(JsCycle *cycle, bool key, const char *about_key);
static void end(JsCycle *cycle, const char *message);

/* Begin: choose a record and read it. */
void
js_check_start(JsCycle *cycle)
{
	JsCheck    *check = cycle->check;
	JsHttpRequest request = {0};
	char	   *id;

	if (operation_to_try(cycle) == NULL || !js_stream_reads_one(cycle->stream))
	{
		end(cycle, "the stream has no push.update to try");
		return;
	}
	id = choose_record(cycle);
	if (id == NULL)
		end(cycle, check->external_id ?
			"the record is not known, or changes of it wait" :
			"there is no record at rest to try it with");
	else if (js_outbound_read_request(cycle, id, &request))
		js_cycle_send(cycle, &request, was_read);
	else
		end(cycle, "the record cannot be asked for");
}

/* A record of which nothing waits; NULL if there is none. */
static char *
choose_record(JsCycle *cycle)
{
	static JsStatement statement = {
		"SELECT external_id FROM jacksync.link WHERE stream_id = $1"
		" AND state = 'l' AND NOT dirty AND NOT conflict AND intent_id IS NULL"
		" AND external_id IS NOT NULL AND ($2 IS NULL OR external_id = $2)"
		" ORDER BY record_id LIMIT 1",
		{INT4OID, TEXTOID}
	};
	JsSecurity	security;
	JsArgs		args = {0};
	char	   *id = NULL;

	js_txn_begin("choosing a record");
	js_internal_begin(&security);
	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_arg_text(&args, cycle->check->external_id);
	if (js_run(&statement, &args) > 0)
		id = MemoryContextStrdup(cycle->mcxt, js_get_text(0, 1));
	js_internal_end(&security);
	js_txn_end();
	return id;
}

/* The update that is tried: one that changes values, not an action. */
static JsOperation *
operation_to_try(JsCycle *cycle)
{
	ListCell   *cell;

	foreach(cell, js_operations(cycle->stream->push, "update"))
		if (((JsOperation *) lfirst(cell))->when == NULL)
		return lfirst(cell);
	return NULL;
}

/* The record came: what of it is written back? */
static void
was_read(JsCycle *cycle, JsHttpResponse *response)
{
	JsCheck    *check = cycle->check;
	char	   *problem = js_cycle_problem(cycle, response);
	Jsonb	   *record = NULL;
	MemoryContext old;

	if (js_answer_kind(cycle, response) != JS_ANSWER_OK)
	{
		end(cycle, problem);
		return;
	}
	js_txn_begin("reading an answer");
	old = MemoryContextSwitchTo(cycle->mcxt);
	record = js_answer_record(cycle, response, cycle->reading_id);
	if (record != NULL)
	{
		cycle->remote = record;
		check->version = version_of(cycle, response, record);
		check->changes = value_to_write(cycle, operation_to_try(cycle), record);
	}
	MemoryContextSwitchTo(old);
	js_txn_end();
	if (record == NULL)
		end(cycle, "the PMS's answer to push.read is not the record");
	else if (check->changes == NULL)
		end(cycle, "the record has no value that push.update writes");
	else
		probe(cycle, check->version == NULL || check->version[0] != '"' ?
			  psprintf("%s9", check->version ? check->version : "") :
			  "\"jacksync-check\"", wrong_version_answered);
}

/* A value of the record that the operation can write. */
static Jsonb *
value_to_write(JsCycle *cycle, JsOperation *operation, Jsonb *raw)
{
	JsEntity   *entity = js_entity_by_name(cycle->stream->entity, false);
	List	   *operations = js_operations(cycle->stream->push, "update");
	JsRecord   *record = js_record_read(entity, cycle->stream, false, raw);
	Jsonb	   *result = NULL;
	JsSecurity	security;

	js_owner_begin(&security, entity->owner);
	for (int i = 0; i < entity->nfields && result == NULL; i++)
	{
		JsField    *field = &entity->fields[i];
		JsonbParseState *state;

		if (record->fields[i] == NULL || js_jsonb_is_null(record->fields[i]) ||
			!js_stream_pushes(cycle->stream, field->name) ||
			!js_operation_covers(operation, operations, field->name))
			continue;
		state = js_object_begin();
		js_object_put(&state, field->name,
					  js_value_to_json(&field->column,
									   js_value_from_json(&field->column,
														  record->fields[i])));
		result = js_object_end(state);
	}
	js_owner_end(&security);
	return result;
}

/* The version of a record in an answer; NULL: it does not say. */
static char *
version_of(JsCycle *cycle, JsHttpResponse *response, Jsonb *record)
{
	char	   *path = js_option_text(cycle->stream->push, "if_match");
	const char *header = js_http_header(response, "ETag");

	if (path == NULL || path[0] != '$')
		return header ? MemoryContextStrdup(cycle->mcxt, header) : NULL;
	if (record == NULL)
		return NULL;
	return js_record_read(js_entity_by_name(cycle->stream->entity, false),
						  cycle->stream, false, record)->version;
}

/* Write the value back, under a version (NULL: none). */
static void
probe(JsCycle *cycle, const char *if_match, JsResume resume)
{
	JsHttpRequest request = {0};
	char	   *problem;

	cycle->check->if_match = if_match ?
		MemoryContextStrdup(cycle->mcxt, if_match) : NULL;
	problem = js_make_request(cycle, make_probe, &request);
	if (problem != NULL)
		end(cycle, problem);
	else
		js_cycle_send(cycle, &request, resume);
}

/* The request of a probe. */
static void
make_probe(JsCycle *cycle, JsHttpRequest *request)
{
	JsCheck    *check = cycle->check;
	char	   *header = js_option_text(cycle->stream->push, "idempotency_header");
	JsBody		body = {0};
	MemoryContext old;

	body.server = cycle->server;
	body.vars = js_record_vars(cycle, cycle->reading_id, NULL);
	body.stream = cycle->stream;
	body.entity = js_entity_by_name(cycle->stream->entity, false);
	body.operation = operation_to_try(cycle);
	body.kind = "update";
	body.changes = body.base = check->changes;
	body.remote = cycle->remote;
	js_body_request(js_cycle_new_request(cycle), &body, request);

	old = MemoryContextSwitchTo(cycle->request_mcxt);
	if (check->if_match != NULL)
		request->headers = lappend(request->headers,
								   psprintf("If-Match: %s", check->if_match));
	if (header != NULL && check->key != NULL)
		request->headers = lappend(request->headers,
								   psprintf("%s: %s", header, check->key));
	MemoryContextSwitchTo(old);
}

/* Did the PMS refuse a version that never was? */
static void
wrong_version_answered(JsCycle *cycle, JsHttpResponse *response)
{
	JsCheck    *check = cycle->check;
	char	   *problem = js_cycle_problem(cycle, response);

	check->matches = response->failure == JS_HTTP_OK &&
		(response->status == 412 || response->status == 409);
	if (!check->matches && js_answer_kind(cycle, response) != JS_ANSWER_OK)
	{
		end(cycle, problem);
		return;
	}
	if (js_option_text(cycle->stream->push, "idempotency_header") == NULL)
	{
		conclude(cycle, false, "");
		return;
	}
	check->key = MemoryContextAlloc(cycle->mcxt, 37);
	strlcpy(check->key,
			DatumGetCString(DirectFunctionCall1(uuid_out,
												DirectFunctionCall1(gen_random_uuid, (Datum) 0))),
			37);
	if (!check->matches && response->failure == JS_HTTP_OK)
	{
		/* it was taken: that is the version now */
		js_txn_begin("reading an answer");
		check->version = version_of(cycle, response,
									js_answer_record(cycle, response, cycle->reading_id));
		js_txn_end();
	}
	probe(cycle, check->matches ? check->version : NULL, first_answered);
}

/* The first write under the key. */
static void
first_answered(JsCycle *cycle, JsHttpResponse *response)
{
	JsCheck    *check = cycle->check;
	char	   *problem = js_cycle_problem(cycle, response);
	MemoryContext old;

	if (js_answer_kind(cycle, response) != JS_ANSWER_OK)
	{
		end(cycle, problem);
		return;
	}
	js_txn_begin("reading an answer");
	old = MemoryContextSwitchTo(cycle->mcxt);
	check->changed_version = version_of(cycle, response,
										js_answer_record(cycle, response, cycle->reading_id));
	MemoryContextSwitchTo(old);
	js_txn_end();
	probe(cycle, check->matches ? check->version : NULL, second_answered);
}

/*
 * The same once more.  If the key is known, the answer is the first one's; if
 * not, the version is out of date, or there is another one now.
 */
static void
second_answered(JsCycle *cycle, JsHttpResponse *response)
{
	JsCheck    *check = cycle->check;
	char	   *problem = js_cycle_problem(cycle, response);
	bool		taken = js_answer_kind(cycle, response) == JS_ANSWER_OK;
	char	   *version;

	if (!taken && response->status != 412 && response->status != 409)
	{
		end(cycle, problem);
		return;
	}
	js_txn_begin("reading an answer");
	version = taken ? version_of(cycle, response,
								 js_answer_record(cycle, response, cycle->reading_id)) : NULL;
	js_txn_end();
	if (!taken)
		conclude(cycle, false, "The idempotency key is ignored: the repeated request was refused.");
	else if (check->version == NULL || check->changed_version == NULL ||
			 version == NULL || strcmp(check->version, check->changed_version) == 0)
		conclude(cycle, true, "Whether the idempotency key is honoured cannot be seen: nothing tells of the second request.");
	else if (strcmp(version, check->changed_version) == 0)
		conclude(cycle, true, "The idempotency key is honoured.");
	else
		conclude(cycle, false, "The idempotency key is ignored: the repeated request had an effect.");
}

/* What was found. */
static void
conclude(JsCycle *cycle, bool key, const char *about_key)
{
	JsCheck    *check = cycle->check;

	check->measured = check->matches ? (key ? "A" : "B") : (key ? "C" : "D");
	end(cycle, psprintf("%s%s%s", check->matches ?
						"If-Match is honoured: a wrong version was refused." :
						"If-Match is ignored: a wrong version was taken.",
						about_key[0] ? " " : "", about_key));
}

/* The end of it, with what is to be said. */
static void
end(JsCycle *cycle, const char *message)
{
	cycle->check->message = MemoryContextStrdup(cycle->check->mcxt,
												js_server_redact(cycle->server, message));
	js_cycle_end(cycle);
}
