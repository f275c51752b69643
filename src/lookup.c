/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  Pushes whose outcome is not known: what does the PMS have?
 *
 * A push that was not answered, or after which the server went down, is an
 * intent that is open.  Nothing is sent for its record before a look at the
 * PMS has told what became of it: the record is read, or a new record is
 * looked for by our reference.  Only a new record that is not there is sent
 * again, as the very same request.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "body.h"
#include "check.h"
#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "outbound.h"
#include "secure.h"
#include "txn.h"

#define MOST_LOOKS 10

static void make_read(JsCycle *cycle, JsHttpRequest *request);
static void make_find(JsCycle *cycle, JsHttpRequest *request);
static void was_read(JsCycle *cycle, JsHttpResponse *response);
static void was_found(JsCycle *cycle, JsHttpResponse *response);
static void look_for_new(JsCycle *cycle);
static void settle_by_record(JsCycle *cycle, Jsonb *record,
							 JsHttpResponse *response);
static bool only_the_key_tells(JsCycle *cycle, JsApply *apply, Jsonb *record,
							   JsHttpResponse *response);
static List *with_reference(JsCycle *cycle, List *records);
static void send_again(JsCycle *cycle);
static void look_later(JsCycle *cycle, const char *message);
static void give_up(JsCycle *cycle, const char *message);
static void accept_unseen(JsCycle *cycle);

/* First of all: what became of pushes whose outcome is not known? */
void
js_outbound_resolve(JsCycle *cycle)
{
	JsSecurity	security;
	MemoryContext old;

	if (cycle->check != NULL)
	{
		js_check_start(cycle);
		return;
	}
	js_txn_begin("reading open intents");
	js_internal_begin(&security);
	old = MemoryContextSwitchTo(cycle->mcxt);
	cycle->unknown = js_push_unknown(cycle->stream);
	MemoryContextSwitchTo(old);
	js_internal_end(&security);
	js_txn_end();
	cycle->resolving = true;
	js_lookup_next(cycle);
}

/* Look the next one up, or go on to the pull. */
void
js_lookup_next(JsCycle *cycle)
{
	if (cycle->unknown == NIL)
	{
		cycle->resolving = false;
		js_pull_start(cycle);
		return;
	}
	cycle->refusal = NULL;
	cycle->intent = linitial(cycle->unknown);
	cycle->unknown = list_delete_first(cycle->unknown);
	js_lookup_intent(cycle);
}

/* Look up what became of the present intent. */
void
js_lookup_intent(JsCycle *cycle)
{
	JsIntent   *intent = cycle->intent;
	JsHttpRequest request = {0};
	char	   *problem;

	cycle->remote = NULL;
	if (intent->external_id == NULL)
		look_for_new(cycle);
	else if (js_stream_reads_one(cycle->stream))
	{
		problem = js_make_request(cycle, make_read, &request);
		if (problem != NULL)
			give_up(cycle, problem);
		else
			js_cycle_send(cycle, &request, was_read);
	}
	else if (intent->accepted != 0)
		accept_unseen(cycle);
	else
		give_up(cycle, "whether the PMS took the change is not known, and the stream has no push.read to look");
}

/* Look for a record that was perhaps created. */
static void
look_for_new(JsCycle *cycle)
{
	JsIntent   *intent = cycle->intent;
	Jsonb	   *push = cycle->stream->push;
	JsHttpRequest request = {0};
	char	   *problem;

	if (push != NULL && js_jsonb_member(push, "find") != NULL)
	{
		problem = js_make_request(cycle, make_find, &request);
		if (problem != NULL)
			give_up(cycle, problem);
		else
			js_cycle_send(cycle, &request, was_found);
	}
	else if (intent->accepted == 0 && intent->key_valid &&
			 !intent->lookup_only && push != NULL &&
			 js_option_text(push, "idempotency_header") != NULL)
		send_again(cycle);		/* the PMS knows the key if it came before */
	else
		give_up(cycle, intent->accepted != 0 ?
				"the PMS created a record and did not say its id, and the stream has no push.find to look" :
				"whether the PMS created the record is not known, and the stream has no push.find to look");
}

/* The request that reads the record of the intent. */
static void
make_read(JsCycle *cycle, JsHttpRequest *request)
{
	JsIntent   *intent = cycle->intent;
	JsVars	   *vars = js_record_vars(cycle, intent->external_id, intent);

	request->repeatable = true;
	js_template_request(js_cycle_new_request(cycle),
						js_jsonb_member(cycle->stream->push, "read"),
						cycle->server, vars, request);
}

/* The request that looks for a new record by our reference. */
static void
make_find(JsCycle *cycle, JsHttpRequest *request)
{
	JsVars	   *vars = js_record_vars(cycle, NULL, cycle->intent);

	request->repeatable = true;
	js_template_request(js_cycle_new_request(cycle),
						js_jsonb_member(cycle->stream->push, "find"),
						cycle->server, vars, request);
}

/* The PMS's present state of the record. */
static void
was_read(JsCycle *cycle, JsHttpResponse *response)
{
	JsIntent   *intent = cycle->intent;
	char	   *problem = js_cycle_problem(cycle, response);
	bool		deleting = strcmp(intent->kind, "delete") == 0;
	JsApply		apply = {0};
	Jsonb	   *record;

	switch (js_answer_kind(cycle, response))
	{
		case JS_ANSWER_STOP:
			js_cycle_fail(cycle, problem);
			return;
		case JS_ANSWER_REFUSED:
			look_later(cycle, problem);
			return;
		case JS_ANSWER_GONE:
			if (strcmp(intent->kind, "create") == 0)
			{
				look_later(cycle, problem);
				return;
			}
			if (!deleting && js_outbound_enough_gone(cycle))
				return;
			js_outbound_begin(cycle, &apply, "settling an unknown outcome");
			if (deleting)
				js_push_deleted(&apply, intent, response->status, NULL);
			else
				js_push_gone(&apply, intent, response->status);
			js_outbound_end(cycle, &apply);
			js_outbound_go_on(cycle);
			return;
		case JS_ANSWER_OK:
			break;
	}
	js_txn_begin("reading an answer");
	record = js_answer_record(cycle, response, intent->external_id);
	js_txn_end();
	if (record == NULL)
		look_later(cycle, "the PMS's answer to push.read is not the record");
	else
		settle_by_record(cycle, record, response);
}

/* Settle an unknown outcome by what was read. */
static void
settle_by_record(JsCycle *cycle, Jsonb *record, JsHttpResponse *response)
{
	JsIntent   *intent = cycle->intent;
	JsApply		apply = {0};
	bool		deleted;

	js_outbound_begin(cycle, &apply, "settling an unknown outcome");
	if (only_the_key_tells(cycle, &apply, record, response))
	{
		js_outbound_end(cycle, &apply);
		cycle->remote = record; /* its id has the type that it had */
		send_again(cycle);
		return;
	}
	deleted = cycle->stream->deleted_path != NULL &&
		js_path_match(cycle->stream->deleted_path, record);
	if (strcmp(intent->kind, "delete") == 0 && deleted)
		js_push_deleted(&apply, intent, response->status, record);
	else if (cycle->refusal != NULL && !deleted &&
			 strcmp(intent->kind, "update") == 0)
		js_push_rejected(&apply, intent, 404, cycle->refusal);
	else
		js_push_looked_up(&apply, intent, record,
						  js_http_header(response, "ETag"));
	js_outbound_end(cycle, &apply);
	js_outbound_go_on(cycle);
}

/*
 * The record is neither as it was nor as we wanted it.  Either somebody
 * changed it before our push, which was refused then; or it was taken, and
 * somebody changed it since, who has seen our value.  The same request once
 * more tells: the key brings back the answer of the first one, and without it
 * If-Match refuses.  Taking a guess would make our own value a conflict.
 */
static bool
only_the_key_tells(JsCycle *cycle, JsApply *apply, Jsonb *record,
				   JsHttpResponse *response)
{
	JsIntent   *intent = cycle->intent;
	Jsonb	   *push = cycle->stream->push;
	const char *version = js_http_header(response, "ETag");
	const char *if_match = js_option_text(push, "if_match");
	JsOperation *operation;

	if (strcmp(intent->kind, "update") != 0 || intent->accepted != 0 ||
		!intent->key_valid || intent->lookup_only ||
		js_option_text(push, "idempotency_header") == NULL ||
		if_match == NULL || strcmp(if_match, "etag") != 0 ||
		intent->if_match == NULL || version == NULL ||
		strcmp(version, intent->if_match) == 0 ||
		intent->attempts >= MOST_LOOKS)
		return false;
	operation = js_operation_at(push, intent->kind, intent->place);
	return operation != NULL && !js_body_needs_record(operation) &&
		!js_push_holds(apply, intent, record);
}

/* The records that have our reference. */
static void
was_found(JsCycle *cycle, JsHttpResponse *response)
{
	JsIntent   *intent = cycle->intent;
	char	   *problem = js_cycle_problem(cycle, response);
	JsAnswer	kind = js_answer_kind(cycle, response);
	Jsonb	   *document;
	List	   *records = NIL;
	char	   *id = NULL;

	if (kind == JS_ANSWER_STOP)
	{
		js_cycle_fail(cycle, problem);
		return;
	}
	if (kind == JS_ANSWER_REFUSED)
	{
		look_later(cycle, problem);
		return;
	}
	js_txn_begin("reading an answer");
	document = js_answer_document(response);
	if (kind == JS_ANSWER_OK && document != NULL)
		records = with_reference(cycle,
								 js_answer_records(cycle, response,
												   js_jsonb_member(cycle->stream->push, "find")));
	if (records != NIL)
		id = js_record_id(cycle->stream, false, linitial(records));
	js_txn_end();

	if (kind == JS_ANSWER_OK && document == NULL && response->body_len > 0)
		look_later(cycle, "the PMS's answer to push.find cannot be read");
	else if (list_length(records) > 1)
		give_up(cycle, psprintf("the PMS has %d records with our reference %s",
								list_length(records), intent->idempotency_key));
	else if (records == NIL && cycle->refusal != NULL)
		give_up(cycle, cycle->refusal);
	else if (records == NIL && intent->accepted != 0)
		look_later(cycle, "the PMS created a record that push.find does not find");
	else if (records == NIL)
		send_again(cycle);
	else if (id == NULL)
		look_later(cycle, "the record that push.find found has no id");
	else
	{
		intent->external_id = MemoryContextStrdup(cycle->mcxt, id);
		settle_by_record(cycle, linitial(records), response);
	}
}

/* Of the records, those with our reference, if the stream says where it is. */
static List *
with_reference(JsCycle *cycle, List *records)
{
	char	   *path = js_option_text(cycle->stream->push, "reference_path");
	List	   *result = NIL;
	ListCell   *cell;

	if (path == NULL)
		return records;
	foreach(cell, records)
	{
		Jsonb	   *found = js_path_first(js_path_make(path), lfirst(cell));
		char	   *text = found ? js_option_text(found, NULL) : NULL;

		if (text != NULL &&
			pg_strcasecmp(text, cycle->intent->idempotency_key) == 0)
			result = lappend(result, lfirst(cell));
	}
	return result;
}

/* The very same request once more: the same values under the same key. */
static void
send_again(JsCycle *cycle)
{
	JsSecurity	security;

	if (cycle->intent->attempts >= MOST_LOOKS)
	{
		give_up(cycle, psprintf("the PMS did not create the record in %d tries",
								MOST_LOOKS));
		return;
	}
	js_txn_begin("claiming local changes");
	js_push_durable();
	js_internal_begin(&security);
	js_push_again(cycle->intent);
	js_internal_end(&security);
	js_txn_end();
	js_outbound_send(cycle);
}

/*
 * The look told nothing, for a reason of this record: again in the next
 * cycle, a few times.  The others go on.
 */
static void
look_later(JsCycle *cycle, const char *message)
{
	JsSecurity	security;

	if (cycle->intent->attempts >= MOST_LOOKS)
	{
		give_up(cycle, message);
		return;
	}
	js_txn_begin("recording an unknown outcome");
	js_internal_begin(&security);
	js_push_mark_unknown(cycle->intent, js_answer_words(cycle, message), true);
	js_internal_end(&security);
	js_txn_end();
	js_outbound_go_on(cycle);
}

/* It cannot be found out: a person must decide. */
static void
give_up(JsCycle *cycle, const char *message)
{
	JsApply		apply = {0};

	js_outbound_begin(cycle, &apply, "recording an unknown outcome");
	cycle->intent->divisible = false;
	js_push_rejected(&apply, cycle->intent, 0, js_answer_words(cycle, message));
	js_outbound_end(cycle, &apply);
	js_outbound_go_on(cycle);
}

/* The PMS took it, and it cannot be read: what was sent is believed. */
static void
accept_unseen(JsCycle *cycle)
{
	JsApply		apply = {0};

	js_outbound_begin(cycle, &apply, "recording the outcome of a push");
	js_push_accepted(&apply, cycle->intent, NULL, NULL);
	js_outbound_end(cycle, &apply);
	js_outbound_go_on(cycle);
}
