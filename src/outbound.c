/*-------------------------------------------------------------------------
 *
 * outbound.c
 *	  The push half of a cycle: look up, claim, send, record.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "apply.h"
#include "compat.h"
#include "cycle.h"
#include "faultpoint.h"
#include "jacksync.h"
#include "progress.h"
#include "secure.h"
#include "txn.h"
#include "value.h"

static void look_up_next(JsCycle *cycle);
static void looked_up(JsCycle *cycle, JsHttpResponse *response);
static void odd_answer_looked_up(JsCycle *cycle, JsHttpResponse *response);
static bool settle_unknown(JsCycle *cycle, JsHttpResponse *response);
static void next_record(JsCycle *cycle);
static bool must_read_first(Jsonb *push, JsLink *link);
static void claim(JsCycle *cycle, JsApply *apply, int64 record_id);
static void read_first(JsCycle *cycle, const char *external_id);
static void was_read(JsCycle *cycle, JsHttpResponse *response);
static void send_intent(JsCycle *cycle);
static void intent_answered(JsCycle *cycle, JsHttpResponse *response);
static void with_apply(JsCycle *cycle, JsApply *apply, const char *activity);
static void end_apply(JsCycle *cycle, JsApply *apply);
static Jsonb *body_for(JsCycle *cycle, Jsonb *operation);
static void put_at_path(JsonbParseState **state, Jsonb *changes,
						Jsonb *operation, JsStream *stream,
						JsEntity *entity);
static Jsonb *answer_record(JsCycle *cycle, JsHttpResponse *response,
							const char *external_id);
static bool flag(Jsonb *options, const char *name);
static char *text_of(Jsonb *options, const char *name);

/* First of all: what became of pushes whose outcome is not known? */
void
js_outbound_resolve(JsCycle *cycle)
{
	JsSecurity	security;
	MemoryContext old;

	js_txn_begin("reading open intents");
	js_internal_begin(&security);
	old = MemoryContextSwitchTo(cycle->mcxt);
	cycle->unknown = js_push_unknown(cycle->stream);
	MemoryContextSwitchTo(old);
	js_internal_end(&security);
	js_txn_end();
	look_up_next(cycle);
}

/* Look the next one up, or go on to the pull. */
static void
look_up_next(JsCycle *cycle)
{
	JsHttpRequest request = {0};

	if (cycle->unknown == NIL)
	{
		js_pull_start(cycle);
		return;
	}
	cycle->intent = linitial(cycle->unknown);
	cycle->unknown = list_delete_first(cycle->unknown);
	if (!js_outbound_read_request(cycle, cycle->intent->external_id, &request))
	{
		JsApply		apply = {0};

		/* cannot be looked up: a person must decide */
		with_apply(cycle, &apply, "recording an unknown outcome");
		js_push_rejected(&apply, cycle->intent, 0,
						 "whether the PMS took the change is not known, and the stream has no push.read to look");
		end_apply(cycle, &apply);
		look_up_next(cycle);
		return;
	}
	js_cycle_send(cycle, &request, looked_up);
}

/* The PMS's present state of a record whose push has an unknown outcome. */
static void
looked_up(JsCycle *cycle, JsHttpResponse *response)
{
	if (settle_unknown(cycle, response))
		look_up_next(cycle);
}

/* The same in the midst of pushing. */
static void
odd_answer_looked_up(JsCycle *cycle, JsHttpResponse *response)
{
	if (settle_unknown(cycle, response))
		next_record(cycle);
}

/* Settle an unknown outcome by what was read; false: the cycle failed. */
static bool
settle_unknown(JsCycle *cycle, JsHttpResponse *response)
{
	char	   *problem = js_cycle_problem(cycle, response);
	JsApply		apply = {0};
	Jsonb	   *record;

	if (problem != NULL)
	{
		js_cycle_fail(cycle, problem);
		return false;
	}
	with_apply(cycle, &apply, "settling an unknown outcome");
	record = answer_record(cycle, response, cycle->intent->external_id);
	if (record != NULL)
		js_push_looked_up(&apply, cycle->intent, record,
						  js_http_header(response, "ETag"));
	end_apply(cycle, &apply);
	cycle->intent = NULL;
	if (record == NULL)
		js_cycle_fail(cycle, "the PMS's answer to push.read is not the record");
	return record != NULL;
}

/* Send what waits. */
void
js_outbound_start(JsCycle *cycle)
{
	cycle->last_record = 0;
	js_progress_phase(cycle->progress, JS_PHASE_PUSH);
	next_record(cycle);
}

/*
 * Take the next record with local changes.  Those with nothing to push (an
 * edit that is undone, say) are dealt with here; one that is to be pushed is
 * claimed, or first read.
 */
static void
next_record(JsCycle *cycle)
{
	Jsonb	   *push = cycle->stream->push;

	for (;;)
	{
		JsApply		apply = {0};
		List	   *candidates;
		JsLink	   *link = NULL;
		bool		read = false;

		with_apply(cycle, &apply, "claiming local changes");
		/* the claim must be on disk before anything is sent */
		(void) set_config_option("synchronous_commit", "on", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
								 false);
		cycle->intent = NULL;
		candidates = js_push_candidates(&apply, 1, cycle->last_record);
		if (candidates != NIL)
		{
			cycle->last_record = *(int64 *) linitial(candidates);
			link = js_link_lock(cycle->last_record, true);
			read = link != NULL && push != NULL &&
				(link->waiting || link->must_pull) &&
				link->external_id != NULL &&
				js_jsonb_member(push, "read") != NULL &&
				must_read_first(push, link);
			if (link != NULL && !read)
				claim(cycle, &apply, cycle->last_record);
		}
		end_apply(cycle, &apply);

		if (candidates == NIL)
		{
			if (cycle->push_only)
				js_cycle_end(cycle);
			else
				js_reconcile_slice(cycle);
			return;
		}
		if (read)
		{
			read_first(cycle, link->external_id);
			return;
		}
		if (cycle->intent != NULL)
		{
			send_intent(cycle);
			return;
		}
	}
}

/*
 * Must a record be read before it is written?  If the PMS can refuse a write
 * to a version that we have not seen (If-Match), only if we know of a newer
 * one or of none; else always, unless read_before_write is false.
 */
static bool
must_read_first(Jsonb *push, JsLink *link)
{
	if (link->must_pull)
		return true;
	if (js_jsonb_member(push, "read_before_write") != NULL)
		return flag(push, "read_before_write");
	return text_of(push, "if_match") == NULL || link->version == NULL;
}

/* Claim a record's changes; the intent outlives the transaction. */
static void
claim(JsCycle *cycle, JsApply *apply, int64 record_id)
{
	JsIntent   *intent = js_push_claim(apply, record_id);

	MemoryContextReset(cycle->push_mcxt);
	cycle->intent = intent ? js_push_copy(cycle->push_mcxt, intent) : NULL;
}

/* Read a record before it is written. */
static void
read_first(JsCycle *cycle, const char *external_id)
{
	JsHttpRequest request = {0};

	cycle->reading_record = cycle->last_record;
	cycle->reading_id = MemoryContextStrdup(cycle->mcxt, external_id);
	if (!js_outbound_read_request(cycle, external_id, &request))
	{
		js_cycle_fail(cycle, "the stream has no push.read");
		return;
	}
	js_cycle_send(cycle, &request, was_read);
}

/* It was read: apply what the PMS has, then claim what is left. */
static void
was_read(JsCycle *cycle, JsHttpResponse *response)
{
	char	   *problem = js_cycle_problem(cycle, response);
	JsApply		apply = {0};
	JsApplied	applied = {0};
	Jsonb	   *record;

	if (problem != NULL)
	{
		js_cycle_fail(cycle, problem);
		return;
	}
	with_apply(cycle, &apply, "claiming local changes");
	(void) set_config_option("synchronous_commit", "on", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	record = answer_record(cycle, response, cycle->reading_id);
	if (record != NULL)
	{
		JsCounts	before = apply.counts;
		const char *version = js_http_header(response, "ETag");

		cycle->intent = NULL;
		apply.tick = cycle->tick;
		if (js_apply_guarded(&apply, record, version, &applied))
			claim(cycle, &apply, cycle->reading_record);
		before.conflicts = apply.counts.conflicts;
		apply.counts = before;
	}
	end_apply(cycle, &apply);
	if (record == NULL)
		js_cycle_fail(cycle, "the PMS's answer to push.read is not the record");
	else if (cycle->intent != NULL)
		send_intent(cycle);
	else
		next_record(cycle);
}

/* Send a claimed change: no transaction is open. */
static void
send_intent(JsCycle *cycle)
{
	JsIntent   *intent = cycle->intent;
	Jsonb	   *push = cycle->stream->push;
	Jsonb	   *operation = js_jsonb_member(push, "update");
	JsVars	   *vars = js_cycle_vars(cycle);
	JsHttpRequest request = {0};
	MemoryContext old;
	char	   *header;

	JS_FAULT("cp08");
	js_txn_begin("making a request");
	js_vars_set_json(vars, "record.id", js_jsonb_string(intent->external_id));
	js_vars_set_json(vars, "changes", body_for(cycle, operation));
	js_server_request(cycle->server, &request);
	if (js_jsonb_member(operation, "body") == NULL)
	{
		/* the changes alone are the body */
		JsonbParseState *state = js_object_begin();
		JsonbIterator *iterator = JsonbIteratorInit(&operation->root);
		JsonbIteratorToken token;
		JsonbValue	value;

		while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		{
			char	   *key;

			if (token != WJB_KEY)
				continue;
			key = pnstrdup(value.val.string.val, value.val.string.len);
			js_object_put(&state, key, js_jsonb_member(operation, key));
		}
		js_object_put(&state, "body", js_jsonb_string("{changes}"));
		operation = js_object_end(state);
	}
	js_template_request(js_cycle_new_request(cycle), operation, cycle->server, vars, &request);

	/* like all of the request these outlive the step: it may be repeated */
	old = MemoryContextSwitchTo(cycle->request_mcxt);
	if (intent->if_match != NULL && text_of(push, "if_match") != NULL &&
		js_http_check_header_value(intent->if_match))
		request.headers = lappend(request.headers,
								  psprintf("If-Match: %s", intent->if_match));
	header = text_of(push, "idempotency_header");
	if (header != NULL)
		request.headers = lappend(request.headers,
								  psprintf("%s: %s", header,
										   intent->idempotency_key));
	MemoryContextSwitchTo(old);
	js_txn_end();
	js_cycle_send(cycle, &request, intent_answered);
}

/* The PMS answered to a change, or did not. */
static void
intent_answered(JsCycle *cycle, JsHttpResponse *response)
{
	JsIntent   *intent = cycle->intent;
	char	   *problem = js_cycle_problem(cycle, response);
	JsApply		apply = {0};
	bool		stop = false;
	bool		odd = false;

	JS_FAULT("cp10");
	with_apply(cycle, &apply, "recording the outcome of a push");
	if (problem == NULL)
	{
		Jsonb	   *record = answer_record(cycle, response,
										   intent->external_id);

		odd = record == NULL && response->body_len > 0;
		if (odd)
			js_push_mark_unknown(intent, "the answer is not the record");
		else
			js_push_accepted(&apply, intent, record,
							 js_http_header(response, "ETag"));
	}
	else if (response->failure != JS_HTTP_OK && !response->sent)
	{
		js_push_not_sent(&apply, intent);
		stop = true;
	}
	else if (response->failure != JS_HTTP_OK || response->status >= 500)
	{
		js_push_mark_unknown(intent, problem);
		stop = true;
	}
	else if (cycle->by_rule && cycle->verdict == JS_VERDICT_FAIL_RECORD)
		js_push_rejected(&apply, intent, response->status, problem);
	else if (cycle->by_rule)
	{
		/* the PMS did nothing, and the rule says to try later */
		js_push_not_sent(&apply, intent);
		stop = true;
	}
	else if (response->status == 409 || response->status == 412)
		js_push_outdated(&apply, intent, response->status);
	else if (response->status == 429 || response->status == 408 ||
			 response->status == 425 || response->status == 401)
	{
		js_push_not_sent(&apply, intent);
		stop = true;
	}
	else
		js_push_rejected(&apply, intent, response->status, problem);
	end_apply(cycle, &apply);
	JS_FAULT("cp12");

	if (odd)
	{
		/* 2xx is no proof: see what the PMS has now */
		JsHttpRequest request = {0};

		if (js_outbound_read_request(cycle, intent->external_id, &request))
			js_cycle_send(cycle, &request, odd_answer_looked_up);
		return;
	}
	if (response->failure == JS_HTTP_OK && !cycle->by_rule &&
		(response->status == 409 || response->status == 412))
		cycle->last_record--;	/* read it, and try again */
	cycle->intent = NULL;
	if (stop)
		js_cycle_fail(cycle, problem);
	else
		next_record(cycle);
}

/* A transaction in which records are applied. */
static void
with_apply(JsCycle *cycle, JsApply *apply, const char *activity)
{
	js_txn_begin(activity);
	apply->run_id = cycle->run_id;
	apply->skip_locked = true;
	js_apply_begin(apply, cycle->stream->entity, cycle->stream, false);
	apply->counts = cycle->counts;
}

/* The end of it. */
static void
end_apply(JsCycle *cycle, JsApply *apply)
{
	cycle->counts = apply->counts;
	js_apply_end(apply);
	js_txn_end();
	js_progress_note(cycle->progress, cycle->walk ? cycle->walk->pages : 0,
					 cycle->counts.processed, cycle->counts.pushed);
}

/* Can one record be read by itself? */
bool
js_outbound_can_read(JsCycle *cycle)
{
	return cycle->stream->push != NULL &&
		js_jsonb_member(cycle->stream->push, "read") != NULL;
}

/* The request that reads one record; false if the stream has none. */
bool
js_outbound_read_request(JsCycle *cycle, const char *external_id,
						 JsHttpRequest *request)
{
	Jsonb	   *template = cycle->stream->push ?
	js_jsonb_member(cycle->stream->push, "read") : NULL;
	JsVars	   *vars = js_cycle_vars(cycle);
	JsSecurity	security;

	if (template == NULL || external_id == NULL)
		return false;
	js_vars_set_json(vars, "record.id", js_jsonb_string(external_id));
	js_txn_begin("making a request");
	js_internal_begin(&security);
	cycle->tick = js_tick();
	js_internal_end(&security);
	js_server_request(cycle->server, request);
	request->repeatable = true;
	js_template_request(js_cycle_new_request(cycle), template, cycle->server, vars, request);
	js_txn_end();
	return true;
}

/* The changes of the intent as the operation wants to send them. */
static Jsonb *
body_for(JsCycle *cycle, Jsonb *operation)
{
	JsonbParseState *state = js_object_begin();
	Jsonb	   *constants = js_jsonb_member(operation, "constants");
	JsEntity   *entity = js_entity_by_name(cycle->stream->entity, false);

	put_at_path(&state, cycle->intent->changes, operation, cycle->stream,
				entity);
	if (constants != NULL)
	{
		JsonbIterator *iterator = JsonbIteratorInit(&constants->root);
		JsonbIteratorToken token;
		JsonbValue	value;

		while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		{
			char	   *key;

			if (token != WJB_KEY)
				continue;
			key = pnstrdup(value.val.string.val, value.val.string.len);
			js_object_put(&state, key, js_jsonb_member(constants, key));
		}
	}
	return js_object_end(state);
}

/* Add every change under the name that the operation or the stream gives. */
static void
put_at_path(JsonbParseState **state, Jsonb *changes, Jsonb *operation,
			JsStream *stream, JsEntity *entity)
{
	Jsonb	   *names = js_jsonb_member(operation, "fields");
	char	   *wrap = text_of(operation, "wrap");

	for (int i = 0; i < entity->nfields; i++)
	{
		JsField    *field = &entity->fields[i];
		Jsonb	   *value = js_jsonb_member(changes, field->name);
		Jsonb	   *name = names ? js_jsonb_member(names, field->name) : NULL;

		if (value == NULL || (names != NULL && name == NULL))
			continue;
		value = js_record_push_value(stream, field, value);
		if (wrap != NULL)
		{
			JsonbParseState *wrapped = js_object_begin();

			js_object_put(&wrapped, wrap, value);
			value = js_object_end(wrapped);
		}
		js_object_put(state, name ? text_of(names, field->name) : field->name,
					  value);
	}
}

/*
 * The record in an answer, if the answer is one: it must have the id that we
 * asked for.
 */
static Jsonb *
answer_record(JsCycle *cycle, JsHttpResponse *response,
			  const char *external_id)
{
	Jsonb	   *read = cycle->stream->push ?
	js_jsonb_member(cycle->stream->push, "read") : NULL;
	char	   *path = read ? text_of(read, "record_path") : NULL;
	JsStream	shape = *cycle->stream;
	JsPage	   *page;
	char	   *problem;
	char	   *id;

	shape.record_path = *js_path_make(path ? path : "$");
	page = js_page_read(&shape, response, &problem);
	if (page == NULL || list_length(page->records) != 1)
		return NULL;
	id = js_record_id(cycle->stream, false, linitial(page->records));
	return id != NULL && strcmp(id, external_id) == 0 ?
		linitial(page->records) : NULL;
}

/* A boolean option. */
static bool
flag(Jsonb *options, const char *name)
{
	Jsonb	   *value = js_jsonb_member(options, name);
	JsonbValue	scalar;

	return value != NULL && JB_ROOT_IS_SCALAR(value) &&
		JsonbExtractScalar(&value->root, &scalar) &&
		scalar.type == jbvBool && scalar.val.boolean;
}

/* A text option, or NULL. */
static char *
text_of(Jsonb *options, const char *name)
{
	Jsonb	   *value = js_jsonb_member(options, name);
	JsonbValue	scalar;

	if (value == NULL || !JB_ROOT_IS_SCALAR(value) ||
		!JsonbExtractScalar(&value->root, &scalar) ||
		scalar.type != jbvString)
		return NULL;
	return pnstrdup(scalar.val.string.val, scalar.val.string.len);
}
