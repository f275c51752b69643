/*-------------------------------------------------------------------------
 *
 * detail.c
 *	  Second requests, for records of which a list has ids or summaries only.
 *
 * Which details are wanted is written down with the page, or the events, that
 * named them; a detail that was applied is crossed out in the transaction
 * that applies it.  So a crash loses none, and asks for none twice but the
 * few that were under way.
 *
 * The next detail is asked for before the present ones are applied; those
 * are gathered and applied together.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "applypage.h"
#include "compat.h"
#include "detail.h"
#include "faultpoint.h"
#include "jacksync.h"
#include "jsonb.h"
#include "progress.h"
#include "secure.h"
#include "statement.h"
#include "txn.h"

#define GATHERED 100			/* details in one transaction */
#define MAX_FAILED 10			/* in a row: then it is not the records' fault */

/* A record whose detail is wanted. */
typedef struct Wanted
{
	char	   *external_id;
	Jsonb	   *listed;			/* NULL: nothing is known of it */
	int64		tick;
	bool		failed_before;
	char	   *problem;		/* why it could not be read; NULL: it was */
} Wanted;

struct JsDetails
{
	MemoryContext mcxt;			/* of what is gathered */
	MemoryContext asked_mcxt;	/* of the request under way */
	JsThen		then;			/* what comes after the last one */
	char	   *last;			/* id of the last one that was asked for */
	char	   *before;			/* the same, of the request before */
	bool		single;			/* one by one: a batch was refused */
	List	   *asked;			/* Wanted */
	List	   *done;			/* Wanted */
	List	   *records;		/* Jsonb */
	int64		tick;			/* of the earliest request of these */
	int			failed;			/* in a row */
};

static bool is_deleted(JsStream *source, Jsonb *record);
static void store_bad_id(JsApply *apply, const char *id, Jsonb *record);
static void want(JsApply *apply, const char *id, Jsonb *record, int64 hash,
				 bool always, bool *wanted);
static bool ask_next(JsCycle *cycle);
static List *read_wanted(JsCycle *cycle, int limit);
static int	batch_size(JsCycle *cycle);
static Jsonb *given_id(JsStream *stream, Wanted *wanted);
static void set_vars(JsStream *stream, JsVars *vars, List *asked);
static void detail_arrived(JsCycle *cycle, JsHttpResponse *response);
static char *take_answer(JsCycle *cycle, JsHttpResponse *response,
						 List *asked);
static bool is_record_problem(JsCycle *cycle, JsHttpResponse *response);
static void match_records(JsCycle *cycle, JsStream *shape, JsPage *page,
						  List *asked);
static void gather(JsCycle *cycle, Wanted *wanted, Jsonb *record);
static void apply_gathered(JsCycle *cycle);
static void forget_problem(JsApply *apply, Wanted *wanted);
static void cross_out(JsCycle *cycle, Wanted *wanted);
static void store_problem(JsCycle *cycle, JsApply *apply, Wanted *wanted);

/*
 * Write down that the details of records of a list are wanted; inside of a
 * transaction that applies.  Records that are listed as before are left out,
 * unless always, or the list does not tell when a record was changed.
 * Returns those that are to be applied as they are: tombstones, and records
 * without an id, which fail.
 */
List	   *
js_details_want(JsCycle *cycle, JsApply *apply, JsStream *source,
				List *records, bool always)
{
	List	   *direct = NIL;
	ListCell   *cell;

	foreach(cell, records)
	{
		Jsonb	   *record = lfirst(cell);
		char	   *id = js_record_id(source, false, record);
		uint64		hash;
		bool		wanted;

		if (id != NULL && (strcmp(id, ".") == 0 || strcmp(id, "..") == 0))
		{
			store_bad_id(apply, id, record);
			continue;
		}
		if (id == NULL || is_deleted(source, record))
		{
			direct = lappend(direct, record);
			continue;
		}
		hash = hash_bytes_extended((unsigned char *) VARDATA_ANY(record),
								   VARSIZE_ANY_EXHDR(record),
								   cycle->stream->seed);
		want(apply, id, record, (int64) hash,
			 always || js_record_time_text(source, record) == NULL, &wanted);
		if (!wanted)
		{
			apply->counts.processed++;
			apply->counts.unchanged++;
		}
	}
	return direct;
}

/* Is a record of the list a tombstone? */
static bool
is_deleted(JsStream *source, Jsonb *record)
{
	return source->deleted_path != NULL &&
		js_path_match(source->deleted_path, record);
}

/* An id that would lead to another address is a dead letter. */
static void
store_bad_id(JsApply *apply, const char *id, Jsonb *record)
{
	JsLink		link = {0};
	JsSubject	subject;
	JsFailure	failure = {0};

	link.external_id = pstrdup(id);
	subject = js_apply_subject(apply, &link);
	failure.direction = "pull";
	failure.sqlstate = unpack_sql_state(ERRCODE_JS_BAD_RECORD);
	failure.error = psprintf("id \"%s\" cannot be part of an address", id);
	failure.payload = record;
	failure.dead = true;
	js_failure_record(&subject, &failure);
	apply->counts.processed++;
	apply->counts.errors++;
}

/* Write down that one detail is wanted. */
static void
want(JsApply *apply, const char *id, Jsonb *record, int64 hash, bool always,
	 bool *wanted)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.detail AS d (stream_id, external_id, listed, listed_hash, tick)"
		" SELECT $1, $2, $3, $4, $5 WHERE $6 OR NOT EXISTS (SELECT FROM jacksync.detail k"
		"  WHERE k.stream_id = $1 AND k.external_id = $2 AND k.listed_hash = $4)"
		" ON CONFLICT (stream_id, external_id) DO UPDATE SET wanted = true,"
		" listed = excluded.listed, listed_hash = excluded.listed_hash,"
		" tick = excluded.tick, attempts = 0, next_attempt_at = NULL"
		" WHERE $6 OR d.listed_hash IS DISTINCT FROM excluded.listed_hash"
		" RETURNING true",
		{INT4OID, TEXTOID, JSONBOID, INT8OID, INT8OID, BOOLOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	js_arg_text(&args, id);
	js_arg_jsonb(&args, record);
	js_arg(&args, Int64GetDatum(hash));
	js_arg(&args, Int64GetDatum(apply->tick));
	js_arg(&args, BoolGetDatum(always));
	*wanted = js_run(&statement, &args) > 0;
}

/* Read all details that are wanted, then go on. */
void
js_details_start(JsCycle *cycle, JsThen then)
{
	JsDetails  *details = cycle->details;

	if (details == NULL)
	{
		details = MemoryContextAllocZero(cycle->mcxt, sizeof(JsDetails));
		details->mcxt = AllocSetContextCreate(cycle->mcxt, "jacksync details",
											  ALLOCSET_DEFAULT_SIZES);
		details->asked_mcxt = AllocSetContextCreate(cycle->mcxt,
													"jacksync details asked for",
													ALLOCSET_SMALL_SIZES);
		cycle->details = details;
	}
	details->then = then;
	details->last = MemoryContextStrdup(cycle->mcxt, "");
	details->single = false;
	details->failed = 0;
	if (!ask_next(cycle))
		then(cycle);
}

/* How many details one request brings. */
static int
batch_size(JsCycle *cycle)
{
	Jsonb	   *size = js_jsonb_member(cycle->stream->detail, "batch_size");

	return size == NULL || cycle->details->single ? 1 :
		atoi(js_scalar_text(size));
}

/* Ask for the next detail, or batch of them; false if none is wanted. */
static bool
ask_next(JsCycle *cycle)
{
	JsDetails  *details = cycle->details;
	JsVars	   *vars = js_cycle_vars(cycle);
	JsHttpRequest request = {0};
	JsSecurity	security;
	MemoryContext old;

	MemoryContextReset(details->asked_mcxt);
	js_txn_begin("making a request");
	js_internal_begin(&security);
	old = MemoryContextSwitchTo(details->asked_mcxt);
	details->asked = read_wanted(cycle, batch_size(cycle));
	MemoryContextSwitchTo(old);
	cycle->tick = js_tick_now();
	js_internal_end(&security);
	if (details->asked != NIL)
	{
		if (details->before != NULL)
			pfree(details->before);
		details->before = details->last;
		details->last = MemoryContextStrdup(cycle->mcxt,
											((Wanted *) llast(details->asked))->external_id);
		set_vars(cycle->stream, vars, details->asked);
		js_server_request(cycle->server, &request);
		request.repeatable = true;
		js_template_request(js_cycle_new_request(cycle),
							cycle->stream->detail, cycle->server, vars,
							&request);
	}
	js_txn_end();
	if (details->asked == NIL)
		return false;
	js_cycle_send(cycle, &request, detail_arrived);
	return true;
}

/* The next ones that are wanted. */
static List *
read_wanted(JsCycle *cycle, int limit)
{
	static JsStatement statement = {
		"SELECT external_id, listed, tick, attempts > 0 FROM jacksync.detail"
		" WHERE stream_id = $1 AND wanted AND external_id > $2"
		" AND (next_attempt_at IS NULL OR next_attempt_at <= pg_catalog.now())"
		" ORDER BY external_id LIMIT $3",
		{INT4OID, TEXTOID, INT8OID}
	};
	JsArgs		args = {0};
	List	   *result = NIL;
	uint64		rows;

	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_arg_text(&args, cycle->details->last);
	js_arg(&args, Int64GetDatum(limit));
	rows = js_run(&statement, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		Wanted	   *wanted = palloc0(sizeof(Wanted));

		wanted->external_id = js_get_text(row, 1);
		wanted->listed = js_get_jsonb(row, 2);
		wanted->tick = js_get_int8(row, 3);
		wanted->failed_before = js_get_bool(row, 4);
		result = lappend(result, wanted);
	}
	return result;
}

/*
 * The id of a record as the PMS gave it: that of ours may be made of several
 * values.
 */
static Jsonb *
given_id(JsStream *stream, Wanted *wanted)
{
	Jsonb	   *id = wanted->listed != NULL ?
	js_path_first(&stream->primary_key, wanted->listed) : NULL;
	char	   *text = id ? js_scalar_text(id) : NULL;

	return text != NULL && (stream->key_template != NULL ||
							strcmp(text, wanted->external_id) == 0) ?
		id : js_jsonb_string(wanted->external_id);
}

/*
 * The placeholders: {record.id}; {record.ids} and, joined with commas,
 * {record.id_list} of a batch; {record.x} and {parent.x} of what the list has.
 */
static void
set_vars(JsStream *stream, JsVars *vars, List *asked)
{
	Wanted	   *first = linitial(asked);
	JsonbParseState *ids = NULL;
	StringInfoData list;
	ListCell   *cell;

	initStringInfo(&list);
	pushJsonbValue(&ids, WJB_BEGIN_ARRAY, NULL);
	foreach(cell, asked)
	{
		Jsonb	   *id = given_id(stream, lfirst(cell));

		js_array_push(&ids, id);
		appendStringInfo(&list, "%s%s", list.len > 0 ? "," : "",
						 js_scalar_text(id));
	}
	if (first->listed != NULL && JB_ROOT_IS_OBJECT(first->listed))
	{
		Jsonb	   *parent = js_jsonb_member(first->listed, JS_PARENT);

		js_vars_set_json(vars, "record", first->listed);
		if (parent != NULL)
			js_vars_set_json(vars, "parent", parent);
	}
	js_vars_set_json(vars, "record.ids",
					 JsonbValueToJsonb(pushJsonbValue(&ids, WJB_END_ARRAY, NULL)));
	js_vars_set_text(vars, "record.id_list", list.data);
	js_vars_set_json(vars, "record.id", given_id(stream, first));
}

/* A detail came, or a batch of them. */
static void
detail_arrived(JsCycle *cycle, JsHttpResponse *response)
{
	JsDetails  *details = cycle->details;
	List	   *asked = details->asked;
	char	   *problem = take_answer(cycle, response, asked);
	bool		more = false;

	if (problem == NULL)
		more = ask_next(cycle);
	if (!more || list_length(details->done) >= GATHERED)
		apply_gathered(cycle);
	JS_FAULT("detail_applied");
	if (problem != NULL)
		js_cycle_fail(cycle, problem);
	else if (!more && !cycle->done)
		details->then(cycle);
}

/*
 * Take what an answer brings.  Returns what is wrong, if the cycle cannot go
 * on; what is wrong with one record does not stop the others.
 */
static char *
take_answer(JsCycle *cycle, JsHttpResponse *response, List *asked)
{
	JsDetails  *details = cycle->details;
	Wanted	   *first = linitial(asked);
	char	   *problem = js_cycle_problem(cycle, response);
	JsStream	shape = *cycle->stream;
	Jsonb	   *path = js_jsonb_member(shape.detail, "record_path");
	Jsonb	   *key = js_jsonb_member(shape.detail, "primary_key");
	JsPage	   *page;
	bool		gone = response->failure == JS_HTTP_OK &&
	(response->status == 404 || response->status == 410);

	if (details->done == NIL)
		details->tick = cycle->tick;
	if (problem != NULL && !is_record_problem(cycle, response))
		return problem;

	js_txn_begin("reading a detail");
	shape.parent_path = NULL;
	shape.keyed = false;
	shape.key_template = NULL;
	shape.record_path = *js_path_make(path ? js_scalar_text(path) : "$");
	if (key != NULL)
		shape.primary_key = *js_path_make(js_scalar_text(key));
	page = problem == NULL ? js_page_read(&shape, response, &problem) : NULL;
	if (page != NULL)
		match_records(cycle, &shape, page, asked);
	else if (list_length(asked) > 1)
	{
		/* which of them is it?  once more, one by one */
		details->single = true;
		details->last = MemoryContextStrdup(cycle->mcxt, details->before);
	}
	else
	{
		if (!gone)
			first->problem = problem;
		gather(cycle, first, gone ? js_jsonb_in("{\"" JS_GONE "\": true}") : NULL);
		details->failed = gone ? 0 : details->failed + 1;
	}
	js_txn_end();
	return details->failed >= MAX_FAILED ? problem : NULL;
}

/* Is an answer that is no success about the record, and not about us? */
static bool
is_record_problem(JsCycle *cycle, JsHttpResponse *response)
{
	if (response->failure != JS_HTTP_OK)
		return false;
	if (cycle->verdict == JS_VERDICT_FAIL_RECORD)
		return true;
	return !cycle->by_rule && response->status >= 400 &&
		response->status < 500 && response->status != 401 &&
		response->status != 403 && response->status != 408 &&
		response->status != 425 && response->status != 429;
}

/* Find the records of an answer among those that were asked for. */
static void
match_records(JsCycle *cycle, JsStream *shape, JsPage *page, List *asked)
{
	ListCell   *cell;

	foreach(cell, asked)
	{
		Wanted	   *wanted = lfirst(cell);
		char	   *given = js_scalar_text(given_id(cycle->stream, wanted));
		Jsonb	   *found = NULL;
		ListCell   *item;

		foreach(item, page->records)
		{
			char	   *id = js_record_id(shape, false, lfirst(item));

			/* one that does not say its id is the one that was asked for */
			if (id == NULL ? list_length(asked) == 1 &&
				list_length(page->records) == 1 :
				strcmp(id, given) == 0)
				found = lfirst(item);
		}
		if (found == NULL)
			wanted->problem = page->bad != NIL ?
				psprintf("detail cannot be stored: %s",
						 ((JsBadRecord *) linitial(page->bad))->problem) :
				pstrdup("the answer to the request for the detail does not have the record");
		gather(cycle, wanted, found);
	}
	cycle->details->failed = 0;
}

/* Keep a detail, or the reason why there is none, until it is applied. */
static void
gather(JsCycle *cycle, Wanted *wanted, Jsonb *record)
{
	JsDetails  *details = cycle->details;
	MemoryContext old = MemoryContextSwitchTo(details->mcxt);
	Wanted	   *copy = palloc0(sizeof(Wanted));

	copy->external_id = pstrdup(wanted->external_id);
	copy->tick = wanted->tick;
	copy->failed_before = wanted->failed_before;
	copy->problem = wanted->problem ? pstrdup(wanted->problem) : NULL;
	details->done = lappend(details->done, copy);
	if (record != NULL && JB_ROOT_IS_OBJECT(record))
	{
		record = js_record_with(record, JS_KEY,
								js_jsonb_string(wanted->external_id));
		/* an event says nothing that lasts */
		if (wanted->listed != NULL && JB_ROOT_IS_OBJECT(wanted->listed) &&
			strcmp(cycle->stream->sync_mode, "event_queue") != 0)
			record = js_record_with(record, JS_LISTED, wanted->listed);
		details->records = lappend(details->records, record);
	}
	else if (record != NULL)
		copy->problem = pstrdup("detail is no object");
	MemoryContextSwitchTo(old);
}

/* Apply what was gathered. */
static void
apply_gathered(JsCycle *cycle)
{
	JsDetails  *details = cycle->details;
	JsApply		apply = {0};
	ListCell   *cell;

	if (details->done == NIL)
		return;
	js_txn_begin(psprintf("applying %s from %s", cycle->stream->entity,
						  cycle->stream->server));
	apply.run = &cycle->run;
	apply.tick = details->tick;
	apply.skip_locked = true;
	apply.defer_deletes = true;
	js_apply_begin(&apply, cycle->stream->entity, cycle->stream, false);
	apply.counts = cycle->counts;
	foreach(cell, details->done)
		forget_problem(&apply, lfirst(cell));
	if (cycle->reconcile != NULL)
		js_reconcile_records(cycle, &apply, details->records);
	else
		js_apply_page(&apply, details->records);
	foreach(cell, details->done)
	{
		Wanted	   *wanted = lfirst(cell);

		if (wanted->problem != NULL)
			store_problem(cycle, &apply, wanted);
		else
			cross_out(cycle, wanted);
	}
	if (cycle->reconcile == NULL)
	{
		cycle->counts = apply.counts;
		cycle->regressed += apply.regressed;
		cycle->advanced += apply.advanced;
		js_run_progress(&cycle->run, &cycle->counts);
	}
	js_apply_end(&apply);
	js_txn_end();
	js_progress_note(cycle->progress, cycle->walk ? cycle->walk->pages : 0,
					 cycle->counts.processed, cycle->counts.pushed);
	if (cycle->narrate)
		ereport(NOTICE,
				(errmsg("%s from %s: details, " INT64_FORMAT " records so far",
						cycle->stream->entity, cycle->stream->server,
						cycle->counts.processed)));
	details->done = NIL;
	details->records = NIL;
	MemoryContextReset(details->mcxt);
}

/* A detail that could not be read is here now. */
static void
forget_problem(JsApply *apply, Wanted *wanted)
{
	JsLink		link = {0};
	JsSubject	subject;

	if (wanted->problem != NULL || !wanted->failed_before)
		return;
	link.external_id = wanted->external_id;
	subject = js_apply_subject(apply, &link);
	js_failure_resolved(&subject, "pull");
}

/* A detail was applied: it is not wanted any more, unless it is again. */
static void
cross_out(JsCycle *cycle, Wanted *wanted)
{
	static JsStatement statement = {
		"UPDATE jacksync.detail SET wanted = false, listed = NULL, attempts = 0,"
		" next_attempt_at = NULL"
		" WHERE stream_id = $1 AND external_id = $2 AND tick = $3",
		{INT4OID, TEXTOID, INT8OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_arg_text(&args, wanted->external_id);
	js_arg(&args, Int64GetDatum(wanted->tick));
	js_run(&statement, &args);
}

/* A detail could not be read: later, and say so. */
static void
store_problem(JsCycle *cycle, JsApply *apply, Wanted *wanted)
{
	static JsStatement statement = {
		"UPDATE jacksync.detail SET attempts = attempts + 1,"
		" next_attempt_at = pg_catalog.now() + least('1 hour'::interval,"
		" '30 s'::interval * pg_catalog.power(2, least(attempts, 8)))"
		" WHERE stream_id = $1 AND external_id = $2",
		{INT4OID, TEXTOID}
	};
	JsLink		link = {0};
	JsSubject	subject;
	JsFailure	failure = {0};
	JsArgs		args = {0};

	link.external_id = wanted->external_id;
	subject = js_apply_subject(apply, &link);
	failure.direction = "pull";
	failure.sqlstate = unpack_sql_state(ERRCODE_JS_REMOTE);
	failure.error = wanted->problem;
	failure.tick = wanted->tick;
	js_failure_record(&subject, &failure);
	apply->counts.processed++;
	apply->counts.errors++;
	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_arg_text(&args, wanted->external_id);
	js_run(&statement, &args);
}
