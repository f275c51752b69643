/*-------------------------------------------------------------------------
 *
 * outbound.c
 *	  The push half of a cycle: which record is next, read and claimed.
 *
 * One request is under way at a time.  What is the record's own trouble ends
 * in sync_error, and the next record goes on; what is the PMS's trouble ends
 * the cycle, and what is left waits for the next one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "body.h"
#include "compat.h"
#include "gone.h"
#include "guard.h"
#include "jacksync.h"
#include "jsonb.h"
#include "outbound.h"
#include "progress.h"
#include "secure.h"
#include "txn.h"

#define MOST_GONE	20			/* records that are not there, in one cycle */
#define MOST_VISITS 50			/* requests for one record in one cycle */

static void next_record(JsCycle *cycle);
static bool must_read_first(JsCycle *cycle, JsApply *apply, JsLink *link);
static bool id_may_be_number(const char *external_id);
static void claim(JsCycle *cycle, JsApply *apply, int64 record_id);
static void read_first(JsCycle *cycle, const char *external_id);
static void make_read(JsCycle *cycle, JsHttpRequest *request);
static void was_read(JsCycle *cycle, JsHttpResponse *response);
static void was_missing(JsCycle *cycle, JsHttpResponse *response);
static void apply_and_claim(JsCycle *cycle, Jsonb *record,
							JsHttpResponse *response);
static bool was_overtaken(JsCycle *cycle, JsLink *link, const char *version);
static Jsonb *as_it_was(Jsonb *record);
static void postpone(JsCycle *cycle, const char *message);

/* Send what waits. */
void
js_outbound_start(JsCycle *cycle)
{
	cycle->last_record = 0;
	js_progress_phase(cycle->progress, JS_PHASE_PUSH);
	next_record(cycle);
}

/* The present intent is dealt with: go on with the next. */
void
js_outbound_go_on(JsCycle *cycle)
{
	JsIntent   *intent = cycle->intent;

	cycle->intent = NULL;
	if (cycle->resolving)
	{
		js_lookup_next(cycle);
		return;
	}
	/* other changes of the same record go next */
	if (intent != NULL && cycle->again && ++cycle->visits < MOST_VISITS)
		cycle->last_record = intent->record_id - 1;
	else
		cycle->visits = 0;
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
	for (;;)
	{
		JsApply		apply = {0};
		List	   *candidates;
		JsLink	   *link = NULL;
		bool		read = false;

		js_outbound_begin(cycle, &apply, "claiming local changes");
		js_push_durable();
		MemoryContextReset(cycle->push_mcxt);
		cycle->intent = NULL;
		cycle->remote = NULL;
		cycle->refusal = NULL;
		cycle->again = false;
		candidates = js_push_candidates(&apply, 1, cycle->last_record);
		if (candidates != NIL)
		{
			cycle->last_record = *(int64 *) linitial(candidates);
			link = js_link_lock(cycle->last_record, true);
			read = link != NULL && must_read_first(cycle, &apply, link);
			if (link != NULL && !read)
			{
				cycle->seen_hash = link->hash_known ? link->hash : 0;
				claim(cycle, &apply, cycle->last_record);
			}
		}
		js_outbound_end(cycle, &apply);

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
			js_outbound_send(cycle);
			return;
		}
	}
}

/*
 * Must a record be read before it is written?  If the PMS can refuse a write
 * to a version that we have not seen (If-Match), only if we know of a newer
 * one or of none; else always, unless read_before_write is false.  And where
 * the request has more of the record in it than the changes.
 */
static bool
must_read_first(JsCycle *cycle, JsApply *apply, JsLink *link)
{
	Jsonb	   *push = cycle->stream->push;
	bool		deleting = link->state == JS_DELETED_HERE;
	List	   *operations;
	ListCell   *cell;

	if (!js_stream_reads_one(cycle->stream) || link->external_id == NULL ||
		link->state == JS_NEW_HERE)
		return false;
	if (deleting && apply->entity->on_local_delete != JS_DELETE_PUSH)
		return false;
	if (link->must_pull)
		return true;
	operations = js_operations(push, deleting ? "delete" : "update");
	if (operations == NIL || !(link->waiting || deleting))
		return false;
	foreach(cell, operations)
		if (js_body_needs_record(lfirst(cell)) ||
			(js_body_needs_id(lfirst(cell)) &&
			 id_may_be_number(link->external_id)))
		return true;
	if (js_jsonb_member(push, "read_before_write") != NULL)
		return js_option_true(push, "read_before_write");
	return js_option_text(push, "if_match") == NULL || link->version == NULL;
}

/* Would the PMS perhaps write this id as a number? */
static bool
id_may_be_number(const char *external_id)
{
	return external_id[0] != '\0' && (external_id[0] != '0' || external_id[1] == '\0') &&
		strspn(external_id, "0123456789") == strlen(external_id);
}

/* Claim a record's changes; the intent outlives the transaction. */
static void
claim(JsCycle *cycle, JsApply *apply, int64 record_id)
{
	JsIntent   *intent = js_push_claim(apply, record_id);

	cycle->intent = intent ? js_push_copy(cycle->push_mcxt, intent) : NULL;
}

/* Read a record before it is written. */
static void
read_first(JsCycle *cycle, const char *external_id)
{
	JsHttpRequest request = {0};
	char	   *problem;

	cycle->reading_record = cycle->last_record;
	cycle->reading_id = MemoryContextStrdup(cycle->push_mcxt, external_id);
	problem = js_make_request(cycle, make_read, &request);
	if (problem != NULL)
		postpone(cycle, problem);
	else
		js_cycle_send(cycle, &request, was_read);
}

/* The request that reads it.  Its tick tells how old the answer can be. */
static void
make_read(JsCycle *cycle, JsHttpRequest *request)
{
	JsVars	   *vars = js_record_vars(cycle, cycle->reading_id, NULL);
	JsSecurity	security;

	js_internal_begin(&security);
	cycle->tick = js_tick_now();
	js_internal_end(&security);
	request->repeatable = true;
	js_template_request(js_cycle_new_request(cycle),
						js_jsonb_member(cycle->stream->push, "read"),
						cycle->server, vars, request);
}

/* The request that reads one record; false if the stream has none. */
bool
js_outbound_read_request(JsCycle *cycle, const char *external_id,
						 JsHttpRequest *request)
{
	if (!js_stream_reads_one(cycle->stream) || external_id == NULL)
		return false;
	cycle->remote = NULL;
	cycle->reading_id = MemoryContextStrdup(cycle->push_mcxt, external_id);
	return js_make_request(cycle, make_read, request) == NULL;
}

/* It was read: apply what the PMS has, then claim what is left. */
static void
was_read(JsCycle *cycle, JsHttpResponse *response)
{
	char	   *problem = js_cycle_problem(cycle, response);
	Jsonb	   *record;

	switch (js_answer_kind(cycle, response))
	{
		case JS_ANSWER_STOP:
			js_cycle_fail(cycle, problem);
			return;
		case JS_ANSWER_GONE:
			was_missing(cycle, response);
			return;
		case JS_ANSWER_REFUSED:
			postpone(cycle, problem);
			return;
		case JS_ANSWER_OK:
			break;
	}
	js_txn_begin("reading an answer");
	record = js_answer_record(cycle, response, cycle->reading_id);
	js_txn_end();
	if (record == NULL)
		postpone(cycle, "the PMS's answer to push.read is not the record");
	else
		apply_and_claim(cycle, record, response);
}

/* In one transaction, so that nothing comes between. */
static void
apply_and_claim(JsCycle *cycle, Jsonb *record, JsHttpResponse *response)
{
	JsApply		apply = {0};
	JsApplied	applied = {0};
	JsCounts	before;
	const char *version = js_http_header(response, "ETag");
	bool		done;

	js_outbound_begin(cycle, &apply, "claiming local changes");
	js_push_durable();
	before = apply.counts;
	apply.tick = cycle->tick;
	apply.look_closely = true;	/* the claim is made on it, changed or not */
	done = js_apply_guarded(&apply, record, version, &applied);
	if (done && was_overtaken(cycle, applied.link, version))
		cycle->last_record = cycle->reading_record - 1;
	else if (done)
	{
		MemoryContext old = MemoryContextSwitchTo(cycle->push_mcxt);

		cycle->remote = as_it_was(record);
		MemoryContextSwitchTo(old);
		cycle->seen_hash = applied.link ? applied.link->hash : 0;
		claim(cycle, &apply, cycle->reading_record);
	}
	before.conflicts = apply.counts.conflicts;
	before.errors = apply.counts.errors;
	apply.counts = before;
	js_outbound_end(cycle, &apply);

	if (cycle->intent != NULL)
		js_outbound_send(cycle);
	else
		next_record(cycle);
}

/*
 * Did we hear of a newer version while this one was on its way, from a webhook
 * say?  Then the link has not got its ETag, and a write would overwrite
 * whatever is there: it is read again.  But only once, as a PMS whose clock
 * was set back is never newer: from then on the ETag stands for what is there,
 * and a PMS that has something newer refuses the write.
 */
static bool
was_overtaken(JsCycle *cycle, JsLink *link, const char *version)
{
	bool		overtaken = version != NULL && link != NULL &&
	(link->version == NULL || strcmp(link->version, version) != 0);

	if (overtaken && cycle->overtaken != cycle->reading_record)
	{
		cycle->overtaken = cycle->reading_record;
		return true;
	}
	if (overtaken && link->version == NULL)
	{
		link->version = pstrdup(version);
		js_link_update(link);
	}
	cycle->overtaken = 0;
	return false;
}

/* A record without what reading it has added. */
static Jsonb *
as_it_was(Jsonb *record)
{
	static const char *const added[] = {JS_KEY, JS_PARENT, JS_LISTED, JS_GONE};
	JsonbParseState *state = js_object_begin();
	ListCell   *cell;

	foreach(cell, js_object_keys(record))
	{
		char	   *name = lfirst(cell);
		bool		ours = false;

		for (int i = 0; i < lengthof(added); i++)
			ours = ours || strcmp(name, added[i]) == 0;
		if (!ours)
			js_object_put(&state, name, js_jsonb_member(record, name));
	}
	return js_object_end(state);
}

/* The PMS does not have it any more: what waits for it is over. */
static void
was_missing(JsCycle *cycle, JsHttpResponse *response)
{
	JsApply		apply = {0};

	if (js_outbound_enough_gone(cycle))
		return;
	js_outbound_begin(cycle, &apply, "recording that a record is gone");
	claim(cycle, &apply, cycle->reading_record);
	if (cycle->intent == NULL)
		(void) js_apply_gone(&apply, cycle->reading_id);
	else if (strcmp(cycle->intent->kind, "delete") == 0)
		js_push_deleted(&apply, cycle->intent, response->status, NULL);
	else
		js_push_gone(&apply, cycle->intent, response->status);
	js_outbound_end(cycle, &apply);
	next_record(cycle);
}

/*
 * If many records are not there any more it is rather the address that is
 * wrong, or a permission that was taken away: nothing is believed then.
 */
bool
js_outbound_enough_gone(JsCycle *cycle)
{
	if (++cycle->gone <= MOST_GONE)
		return false;
	js_cycle_fail(cycle, psprintf("the PMS says of more than %d records that it does not have them: is push.read right?",
								  MOST_GONE));
	return true;
}

/* The record cannot be read, for a reason of its own: later. */
static void
postpone(JsCycle *cycle, const char *message)
{
	JsApply		apply = {0};

	js_outbound_begin(cycle, &apply, "recording that a record could not be read");
	js_apply_postpone(&apply, cycle->reading_record, ERRCODE_JS_REMOTE,
					  js_answer_words(cycle, message));
	js_outbound_end(cycle, &apply);
	next_record(cycle);
}

/* A transaction in which records are applied. */
void
js_outbound_begin(JsCycle *cycle, JsApply *apply, const char *activity)
{
	js_txn_begin(activity);
	apply->run = &cycle->run;
	apply->skip_locked = true;
	js_apply_begin(apply, cycle->stream->entity, cycle->stream, false);
	apply->counts = cycle->counts;
}

/* The end of it. */
void
js_outbound_end(JsCycle *cycle, JsApply *apply)
{
	cycle->counts = apply->counts;
	js_apply_end(apply);
	js_txn_end();
	js_progress_note(cycle->progress, cycle->walk ? cycle->walk->pages : 0,
					 cycle->counts.processed, cycle->counts.pushed);
}
