/*-------------------------------------------------------------------------
 *
 * reconcile.c
 *	  The full comparison of both sides, field by field.
 *
 * A feed of changes may miss some, and triggers may be evaded.  So once in
 * every reconcile_interval the worker walks through all records of the PMS
 * and looks at each, whatever its hash says; what differs though nobody told
 * of it is written into jacksync.drift and given to the rules like any other
 * difference.  It takes slices of limited length at the end of ordinary
 * cycles, so that no poll waits for it, and goes on where it was after a
 * crash.  Only a walk of which nothing was missed says what is gone.
 *
 * jacksync.reconcile() does the same for a person, at once: it lists all
 * differences, and repairs them at the end, so that no row is locked while
 * the PMS is asked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "applypage.h"
#include "compat.h"
#include "detail.h"
#include "guard.h"
#include "jacksync.h"
#include "notes.h"
#include "reconcile.h"
#include "secure.h"
#include "statement.h"
#include "txn.h"

#define CHUNK 500				/* records in one transaction */
#define RETRY_US (INT64CONST(3600) * USECS_PER_SEC) /* after a failure */

/* One record of a comparison. */
typedef struct Comparison
{
	JsApply    *apply;
	JsReconcile *reconcile;
	Jsonb	   *raw;
	bool		broken;			/* it is to be repaired */
} Comparison;

static int	reconcile_budget;	/* ms of every cycle */
static JsReconcile *under_way = NULL;	/* of this process */

static void sweep(JsCycle *cycle);
static bool is_due(JsCycle *cycle, Jsonb **progress, int64 *run_id,
				   int64 *last_record, int64 *found);
static JsReconcile *known(int32 stream_id);
static void begin_walk(JsCycle *cycle, JsReconcile *r, Jsonb *progress,
					   int64 last_record);
static void page_done(JsCycle *cycle);
static void compare_chunk(JsCycle *cycle, JsPage *page, int from, int64 tick);
static bool compare_guarded(JsApply *apply, JsReconcile *r, Jsonb *raw);
static void try_to_compare(void *arg);
static bool compare(JsApply *apply, JsReconcile *r, Jsonb *raw);
static const char *reason_of(JsLink *link, JsDifference *difference);
static bool is_drift(const char *reason);
static void note(JsApply *apply, JsReconcile *r, JsDrift *drift);
static void note_absent(JsCycle *cycle, JsApply *apply,
						const char *external_id, const char *local_id);
static void save(JsCycle *cycle, JsReconcile *r, Jsonb *progress, bool done,
				 bool failed);
static void complete(JsCycle *cycle);
static void finished(JsCycle *cycle);
static void repair_listed(JsCycle *cycle, JsReconcile *r);

/* Settings of this file. */
void
js_reconcile_define_settings(void)
{
	DefineCustomIntVariable("jacksync.reconcile_budget",
							"How long the full comparison may go on at the end of a cycle.",
							"The rest of it is done at the end of later cycles.",
							&reconcile_budget,
							10000, 100, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
}

/* Memory of one comparison. */
JsReconcile *
js_reconcile_new(MemoryContext parent, int32 stream_id)
{
	MemoryContext mcxt = AllocSetContextCreate(parent, "jacksync reconcile",
											   ALLOCSET_DEFAULT_SIZES);
	JsReconcile *r = MemoryContextAllocZero(mcxt, sizeof(JsReconcile));

	r->mcxt = mcxt;
	r->stream_id = stream_id;
	return r;
}

/* The end of it. */
void
js_reconcile_free(JsReconcile *r)
{
	JsReconcile **link = &under_way;

	while (*link != NULL && *link != r)
		link = &(*link)->next;
	if (*link == r)
		*link = r->next;
	MemoryContextDelete(r->mcxt);
}

/* The comparison of a stream that this process has begun; NULL: none. */
static JsReconcile *
known(int32 stream_id)
{
	for (JsReconcile *r = under_way; r != NULL; r = r->next)
		if (r->stream_id == stream_id)
			return r;
	return NULL;
}

/*
 * At the end of a cycle: sweep through some local rows, and if a comparison is
 * due, or under way, go on with it.
 */
void
js_reconcile_slice(JsCycle *cycle)
{
	Jsonb	   *progress = NULL;
	int64		run_id = 0;
	int64		last_record = 0;
	int64		found = 0;
	JsReconcile *r;

	sweep(cycle);
	r = known(cycle->stream_id);
	if (!is_due(cycle, &progress, &run_id, &last_record, &found))
	{
		if (r != NULL)
			js_reconcile_free(r);
		js_cycle_end(cycle);
		return;
	}
	if (r != NULL && (progress == NULL || r->run.id != run_id))
	{
		js_reconcile_free(r);
		r = NULL;
	}
	if (r == NULL)
	{
		r = js_reconcile_new(TopMemoryContext, cycle->stream_id);
		r->next = under_way;
		under_way = r;
		r->repair = true;
		js_run_begin(&r->run,
					 MemoryContextStrdup(r->mcxt, cycle->stream->entity),
					 MemoryContextStrdup(r->mcxt, cycle->stream->server),
					 "reconcile");
		r->run.id = run_id;
		r->run.stored = run_id != 0;
		r->found = found;
		r->whole = progress == NULL;
	}
	cycle->reconcile = r;
	r->slice_end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											   reconcile_budget);
	begin_walk(cycle, r, progress, last_record);
}

/* All of it, for a person who waits for the list. */
void
js_reconcile_all(JsCycle *cycle)
{
	cycle->reconcile->run = cycle->run;
	cycle->reconcile->whole = true;
	cycle->reconcile->slice_end = DT_NOEND;
	begin_walk(cycle, cycle->reconcile, NULL, 0);
}

/* Look at some local rows. */
static void
sweep(JsCycle *cycle)
{
	JsApply		apply = {0};

	js_txn_begin("looking at local rows");
	apply.run = &cycle->run;
	apply.skip_locked = true;
	js_apply_begin(&apply, cycle->stream->entity, cycle->stream, false);
	js_sweep(&apply, cycle->quiet);
	js_apply_end(&apply);
	js_txn_end();
}

/*
 * Is a comparison due?  The initial load counts as one.  An event queue can
 * only be compared by its full_request.
 */
static bool
is_due(JsCycle *cycle, Jsonb **progress, int64 *run_id, int64 *last_record,
	   int64 *found)
{
	static JsStatement begin = {
		"INSERT INTO jacksync.reconcile_state AS r (stream_id, done_at)"
		" VALUES ($1, pg_catalog.now()) ON CONFLICT (stream_id) DO UPDATE"
		" SET done_at = coalesce(r.done_at, excluded.done_at)"
		" WHERE r.done_at IS NULL",
		{INT4OID}
	};
	static JsStatement read = {
		/* of one that is over, only when that was */
		"SELECT progress, CASE WHEN progress IS NOT NULL THEN run_id END,"
		" last_record, CASE WHEN progress IS NOT NULL THEN found END,"
		" progress IS NOT NULL OR done_at + $2 * '1 us'::interval < pg_catalog.now()"
		" FROM jacksync.reconcile_state WHERE stream_id = $1 AND done_at IS NOT NULL",
		{INT4OID, INT8OID}
	};
	JsStream   *stream = cycle->stream;
	MemoryContext old;
	JsSecurity	security;
	JsArgs		args = {0};
	JsArgs		first;
	bool		due = false;

	if (!cycle->pull_complete || stream->reconcile_interval <= 0 ||
		(strcmp(stream->sync_mode, "event_queue") == 0 &&
		 stream->full_request == NULL))
		return false;
	js_txn_begin("looking whether a comparison is due");
	js_internal_begin(&security);
	js_arg(&args, Int32GetDatum(cycle->stream_id));
	first = args;
	js_arg(&args, Int64GetDatum(stream->reconcile_interval));
	if (js_run(&read, &args) == 0)
		js_run(&begin, &first);
	else
	{
		old = MemoryContextSwitchTo(cycle->mcxt);
		due = js_get_bool(0, 5);
		*progress = js_get_jsonb(0, 1);
		*run_id = js_get_int8(0, 2);
		*last_record = js_get_int8(0, 3);
		*found = js_get_int8(0, 4);
		MemoryContextSwitchTo(old);
	}
	js_internal_end(&security);
	js_txn_end();
	return due;
}

/* Begin the walk, or go on where it was. */
static void
begin_walk(JsCycle *cycle, JsReconcile *r, Jsonb *progress,
		   int64 last_record)
{
	JsSecurity	security;

	js_txn_begin("beginning a comparison");
	js_internal_begin(&security);
	if (progress == NULL)
		last_record = js_seen_last_record();
	if (!r->run.stored)
		js_run_store(&r->run, &r->counts);
	js_internal_end(&security);
	js_txn_end();
	if (r->seen == NULL)
		r->seen = js_seen_begin(r->mcxt, last_record);
	cycle->stream->progress = progress;
	js_pull_walk(cycle);
}

/* Does a comparison leave the rest to a later cycle? */
bool
js_reconcile_pauses(JsCycle *cycle)
{
	return cycle->reconcile != NULL &&
		GetCurrentTimestamp() >= cycle->reconcile->slice_end;
}

/*
 * A page came; more: there is another one, which has been asked for unless the
 * slice is over, or details of this page are to be read first.
 */
void
js_reconcile_page(JsCycle *cycle, JsPage *page, int64 tick, bool more)
{
	JsReconcile *r = cycle->reconcile;

	r->more = more;
	js_seen_page(r->seen, cycle->walk->source, page);
	for (int from = 0; from < list_length(page->records); from += CHUNK)
		compare_chunk(cycle, page, from, tick);
	if (cycle->stream->detail != NULL)
		js_details_start(cycle, page_done);
	else
		page_done(cycle);
}

/* A page came, and is not counted yet: perhaps it is one that was. */
void
js_reconcile_recount(JsCycle *cycle)
{
	JsReconcile *r = cycle->reconcile;
	int64		regressed = 0;

	js_recount_page(&r->recount, cycle->walk, &r->counts, &regressed);
}

/* A page was compared: go on with the next one, or with the next cycle. */
static void
page_done(JsCycle *cycle)
{
	JsReconcile *r = cycle->reconcile;

	if (!r->more)
	{
		complete(cycle);
		return;
	}
	if (!r->listing)
		save(cycle, r, js_walk_progress(cycle->walk), false, false);
	if (cycle->call != NULL || cycle->not_before != 0)
		return;					/* it has been asked for */
	if (js_reconcile_pauses(cycle))
	{
		cycle->reconcile = NULL;
		js_cycle_end(cycle);
	}
	else
		js_pull_ask(cycle);
}

/* Compare some records of a page; or ask for their details. */
static void
compare_chunk(JsCycle *cycle, JsPage *page, int from, int64 tick)
{
	JsReconcile *r = cycle->reconcile;
	JsApply		apply = {0};
	List	   *records = NIL;

	for (int i = from; i < from + CHUNK && i < list_length(page->records); i++)
		records = lappend(records, list_nth(page->records, i));
	js_txn_begin("comparing records");
	apply.run = &r->run;
	apply.tick = tick;
	apply.skip_locked = true;
	apply.defer_deletes = true;
	js_apply_begin(&apply, cycle->stream->entity, cycle->walk->source, false);
	if (cycle->stream->detail != NULL)
		records = js_details_want(cycle, &apply, cycle->walk->source, records,
								  true);
	js_reconcile_records(cycle, &apply, records);
	js_apply_end(&apply);
	js_txn_end();
}

/*
 * Compare records, and let the rules decide what differs: inside of
 * js_apply_begin().
 */
void
js_reconcile_records(JsCycle *cycle, JsApply *apply, List *records)
{
	JsReconcile *r = cycle->reconcile;
	List	   *broken = NIL;
	ListCell   *cell;

	apply->counts = r->counts;
	apply->look_closely = true;
	foreach(cell, records)
	{
		CHECK_FOR_INTERRUPTS();
		if (compare_guarded(apply, r, lfirst(cell)))
			broken = lappend(broken, lfirst(cell));
		else
		{
			apply->counts.processed++;
			apply->counts.unchanged++;
		}
	}
	if (r->repair && !r->listing && broken != NIL)
		js_apply_page(apply, broken);
	else if (r->repair)
	{
		MemoryContext old = MemoryContextSwitchTo(r->mcxt);

		foreach(cell, broken)
			r->broken = lappend(r->broken,
								DatumGetJsonbPCopy(JsonbPGetDatum(lfirst(cell))));
		MemoryContextSwitchTo(old);
	}
	r->counts = apply->counts;
	js_run_progress(&r->run, &r->counts);
}

/*
 * Compare one record.  One that cannot even be compared is given to apply,
 * which knows what to do about it.
 */
static bool
compare_guarded(JsApply *apply, JsReconcile *r, Jsonb *raw)
{
	Comparison	comparison = {apply, r, raw, true};
	ErrorData  *error = js_txn_try(try_to_compare, &comparison);

	if (error != NULL && js_must_rethrow(error->sqlerrcode, false))
		ReThrowError(error);
	return error != NULL || comparison.broken;
}

/* The part of it that may fail. */
static void
try_to_compare(void *arg)
{
	Comparison *comparison = arg;

	comparison->broken = compare(comparison->apply, comparison->reconcile,
								 comparison->raw);
}

/* Compare one record; true if it is to be repaired. */
static bool
compare(JsApply *apply, JsReconcile *r, Jsonb *raw)
{
	JsEntity   *entity = apply->entity;
	JsRecord   *record = js_record_read(entity, apply->stream, false, raw);
	JsLink	   *link = js_link_by_external(entity->entity_id,
										   js_apply_stream_id(apply),
										   record->external_id);
	JsDrift		drift = {0};
	JsRow		row;
	JsRowState	state = JS_ROW_MISSING;
	bool		broken = false;
	ListCell   *cell;

	drift.external_id = record->external_id;
	drift.repaired = r->repair;
	if (record->deleted || (link != NULL && (link->state == JS_FORGOTTEN ||
											 link->state == JS_DELETED_HERE)))
		return record->deleted && link != NULL && link->state == JS_LINKED;
	if (link != NULL && (link->intent_id != 0 ||
						 link->finalized_tick > apply->tick))
		return false;			/* the page is older than our push */

	if (link != NULL && link->local_id != NULL)
	{
		JsSecurity	security;

		drift.local_id = link->local_id;
		js_owner_begin(&security, entity->owner);
		state = js_row_read(entity, link->local_id, &row);
		js_owner_end(&security);
	}
	if (state != JS_ROW_FOUND)
	{
		drift.reason = "missing_here";
		drift.local_id = NULL;
		note(apply, r, &drift);
		return true;
	}
	foreach(cell, js_facts_differences(apply, record, link, &row))
	{
		JsDifference *difference = lfirst(cell);

		drift.reason = reason_of(link, difference);
		if (drift.reason == NULL)
			continue;
		drift.field = difference->field->name;
		drift.base = difference->base;
		drift.local = difference->local;
		drift.pms = difference->pms;
		drift.repaired = r->repair && is_drift(drift.reason);
		broken = broken || is_drift(drift.reason);
		note(apply, r, &drift);
	}
	return broken;
}

/* Why a field differs; NULL: because the rule wants it so. */
static const char *
reason_of(JsLink *link, JsDifference *difference)
{
	JsField    *field = difference->field;

	if (difference->held)
		return "held";
	if (difference->local_changed && difference->pms_changed)
		return "both_changed";
	if (difference->pms_changed)
		return "missed_at_pms";
	if (link->dirty || link->waiting)
		return "waiting";
	if (!field->push && field->strategy != JS_PMS_WINS)
		return NULL;
	return "uncaptured";
}

/* Is it a difference that nobody told of? */
static bool
is_drift(const char *reason)
{
	return strcmp(reason, "held") != 0 && strcmp(reason, "waiting") != 0;
}

/* Note a difference: in the table, or for the person who asked. */
static void
note(JsApply *apply, JsReconcile *r, JsDrift *drift)
{
	if (is_drift(drift->reason))
		r->found++;
	if (r->listing)
	{
		MemoryContext old = MemoryContextSwitchTo(r->mcxt);
		JsDrift    *copy = palloc(sizeof(JsDrift));

		*copy = *drift;
		if (drift->local_id != NULL)
			copy->local_id = pstrdup(drift->local_id);
		if (drift->external_id != NULL)
			copy->external_id = pstrdup(drift->external_id);
		if (drift->field != NULL)
			copy->field = pstrdup(drift->field);
		if (drift->base != NULL)
			copy->base = DatumGetJsonbPCopy(JsonbPGetDatum(drift->base));
		if (drift->local != NULL)
			copy->local = DatumGetJsonbPCopy(JsonbPGetDatum(drift->local));
		if (drift->pms != NULL)
			copy->pms = DatumGetJsonbPCopy(JsonbPGetDatum(drift->pms));
		r->listed = lappend(r->listed, copy);
		MemoryContextSwitchTo(old);
	}
	else if (is_drift(drift->reason))
		js_drift_record(apply, drift);
}

/* A record that we know was not in the list. */
static void
note_absent(JsCycle *cycle, JsApply *apply, const char *external_id,
			const char *local_id)
{
	JsDrift		drift = {0};

	drift.external_id = external_id;
	drift.local_id = local_id;
	drift.reason = "missing_at_pms";
	drift.repaired = cycle->reconcile->repair;
	note(apply, cycle->reconcile, &drift);
}

/*
 * Write down where the comparison is; or that it is done, or has failed: then
 * it is begun anew in an hour.
 */
static void
save(JsCycle *cycle, JsReconcile *r, Jsonb *progress, bool done, bool failed)
{
	static JsStatement statement = {
		"UPDATE jacksync.reconcile_state SET progress = $2, run_id = $3,"
		" last_record = $4, found = $5,"
		" done_at = CASE WHEN $6 THEN pg_catalog.now() - $7 * '1 us'::interval"
		" ELSE done_at END WHERE stream_id = $1",
		{INT4OID, JSONBOID, INT8OID, INT8OID, INT8OID, BOOLOID, INT8OID}
	};
	int64		interval = cycle->stream->reconcile_interval;
	JsSecurity	security;
	JsArgs		args = {0};

	js_txn_begin("noting where a comparison is");
	js_internal_begin(&security);
	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_arg_jsonb(&args, progress);
	js_arg(&args, Int64GetDatum(r->run.id));
	js_arg(&args, Int64GetDatum(r->seen ? r->seen->last_record : 0));
	js_arg(&args, Int64GetDatum(r->found));
	js_arg(&args, BoolGetDatum(done || failed));
	js_arg(&args, Int64GetDatum(failed ? Max(interval - RETRY_US, 0) : 0));
	js_run(&statement, &args);
	js_internal_end(&security);
	js_txn_end();
}

/* Every page was compared: what is gone? */
static void
complete(JsCycle *cycle)
{
	JsReconcile *r = cycle->reconcile;

	js_recount_end(&r->recount, &r->counts);
	if (r->listing && r->repair)
		repair_listed(cycle, r);
	if (r->whole && !r->seen->spoilt)
		js_absent_settle(cycle, r->seen, &r->run, r->repair, note_absent,
						 finished);
	else
		finished(cycle);
}

/* Repair what was listed: only now are rows locked. */
static void
repair_listed(JsCycle *cycle, JsReconcile *r)
{
	JsApply		apply = {0};

	js_txn_begin("repairing what differs");
	apply.run = &r->run;
	apply.tick = cycle->tick;
	apply.skip_locked = true;
	apply.look_closely = true;
	apply.defer_deletes = true;
	js_apply_begin(&apply, cycle->stream->entity, cycle->walk->source, false);
	apply.counts = r->counts;
	js_apply_page(&apply, r->broken);
	r->counts = apply.counts;
	js_apply_end(&apply);
	js_txn_end();
}

/* The comparison is done: write it down, and tell if anything was found. */
static void
finished(JsCycle *cycle)
{
	static JsStatement tell = {
		"SELECT jacksync.alert_drift('drift', $1, $2, $3)",
		{TEXTOID, NAMEOID, INT8OID}
	};
	JsReconcile *r = cycle->reconcile;
	JsSecurity	security;
	JsArgs		args = {0};

	if (r->listing)
	{
		cycle->counts = r->counts;
		js_cycle_end(cycle);
		return;
	}
	save(cycle, r, NULL, true, false);
	js_txn_begin("completing a comparison");
	js_internal_begin(&security);
	js_run_finish(&r->run, &r->counts, NULL);
	js_arg_text(&args, cycle->stream->entity);
	js_arg_name(&args, cycle->stream->server);
	js_arg(&args, Int64GetDatum(r->found));
	js_run(&tell, &args);
	js_internal_end(&security);
	js_txn_end();
	cycle->reconcile = NULL;
	js_reconcile_free(r);
	js_cycle_end(cycle);
}

/* Does a person wait for the comparison of a cycle? */
bool
js_reconcile_lists(JsCycle *cycle)
{
	return cycle->reconcile != NULL && cycle->reconcile->listing;
}

/*
 * The comparison cannot go on.  That is no failure of the cycle, whose pull
 * and push were complete: it is written down as a failed run, and begun anew
 * later.
 */
void
js_reconcile_give_up(JsCycle *cycle, const char *problem)
{
	JsReconcile *r = cycle->reconcile;
	JsSecurity	security;

	if (r->listing)
	{
		js_cycle_fail(cycle, problem);
		return;
	}
	cycle->reconcile = NULL;
	save(cycle, r, NULL, false, true);
	js_txn_begin("ending a comparison");
	js_internal_begin(&security);
	js_run_finish(&r->run, &r->counts,
				  js_server_redact(cycle->server, problem));
	js_internal_end(&security);
	js_txn_end();
	js_reconcile_free(r);
	js_cycle_end(cycle);
}
