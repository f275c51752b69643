/*-------------------------------------------------------------------------
 *
 * complete.c
 *	  The end of a complete pull: watermark, deletes, a PMS that went back.
 *
 * Only a pull that saw everything it asked for moves the watermark and
 * carries out deletes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "absent.h"
#include "apply.h"
#include "compat.h"
#include "cycle.h"
#include "deletes.h"
#include "faultpoint.h"
#include "secure.h"
#include "statement.h"
#include "txn.h"

#define MIN_REGRESSED 5			/* fewer are late deliveries */

static void record_completion(JsCycle *cycle, bool missed);
static void save_walk(JsCycle *cycle, Jsonb *progress);
static void want_comparison(int32 stream_id);
static bool went_back(JsCycle *cycle);
static void settle_deletes(JsCycle *cycle);

/*
 * Store where the walk is; NULL: there is none.  Where nothing else was
 * written it is only kept, for the case that the walk fails.
 */
void
js_pull_save(JsCycle *cycle, Jsonb *progress)
{
	if (progress != NULL && js_quiet(cycle))
	{
		MemoryContext old = MemoryContextSwitchTo(cycle->mcxt);

		if (cycle->unwritten_walk != NULL)
			pfree(cycle->unwritten_walk);
		cycle->unwritten_walk = DatumGetJsonbPCopy(JsonbPGetDatum(progress));
		MemoryContextSwitchTo(old);
		return;
	}
	save_walk(cycle, progress);
}

/* Write it. */
static void
save_walk(JsCycle *cycle, Jsonb *progress)
{
	static JsStatement statement = {
		"UPDATE jacksync.stream_state SET progress = $2 WHERE stream_id = $1",
		{INT4OID, JSONBOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_arg_jsonb(&args, progress);
	js_run(&statement, &args);
	cycle->unwritten_walk = NULL;
}

/*
 * The walk is complete: the watermark moves, and the data is as fresh as the
 * start of the walk.  Then what is left of local changes goes out.
 */
void
js_pull_complete(JsCycle *cycle)
{
	JsWalk	   *walk = cycle->walk;
	bool		queue = strcmp(cycle->stream->sync_mode, "event_queue") == 0;
	bool		missed;

	js_recount_end(&cycle->recount, &cycle->counts);
	if (went_back(cycle))
		return;
	settle_deletes(cycle);
	JS_FAULT("cp04");
	cycle->pulled = true;
	cycle->pulled_all = walk != NULL ? walk->kind != JS_WALK_CHANGES :
		cycle->stream->full_request == NULL;
	cycle->pulled_at = walk ? walk->started : cycle->started;
	cycle->pulled_upto_known = walk != NULL &&
		js_walk_watermark(walk, cycle->stream, &cycle->pulled_upto);
	missed = walk != NULL && walk->missed && walk->kind != JS_WALK_RECONCILE;
	if (missed || !js_quiet(cycle))
		record_completion(cycle, missed);
	if (queue && walk != NULL)
	{
		cycle->walk = NULL;
		/* everything was read; now what happened meanwhile */
		js_events_start(cycle);
		return;
	}
	cycle->pull_complete = true;
	if (cycle->seen != NULL && !cycle->seen->spoilt)
		js_absent_settle(cycle, cycle->seen, &cycle->run, true, NULL,
						 js_outbound_start);
	else
		js_outbound_start(cycle);
}

/* A transaction for that. */
static void
record_completion(JsCycle *cycle, bool missed)
{
	JsSecurity	security;

	js_txn_begin("completing a walk");
	js_internal_begin(&security);
	js_pull_record(cycle);
	if (missed)
		want_comparison(cycle->stream_id);
	JS_FAULT("cp15");
	js_internal_end(&security);
	js_txn_end();
}

/*
 * Write what the pull has come to, if that was only kept so far: that it is
 * complete, or where the walk is.
 */
void
js_pull_record(JsCycle *cycle)
{
	static JsStatement statement = {
		"UPDATE jacksync.stream_state SET progress = NULL,"
		" watermark = greatest(watermark, $2), last_sync_at = $3,"
		" initial_done = true, full_wanted = full_wanted AND NOT $4"
		" WHERE stream_id = $1",
		{INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID}
	};
	JsArgs		args = {0};

	if (!cycle->pulled)
	{
		if (cycle->unwritten_walk != NULL)
			save_walk(cycle, cycle->unwritten_walk);
		return;
	}
	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_arg_time(&args, cycle->pulled_upto, cycle->pulled_upto_known);
	js_arg_time(&args, cycle->pulled_at, true);
	js_arg(&args, BoolGetDatum(cycle->pulled_all));
	js_run(&statement, &args);
	cycle->pulled = false;
	cycle->unwritten_walk = NULL;
}

/* A walk may have missed something: the full comparison is due. */
static void
want_comparison(int32 stream_id)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.reconcile_state AS r (stream_id, done_at)"
		" VALUES ($1, '-infinity') ON CONFLICT (stream_id) DO UPDATE"
		" SET done_at = excluded.done_at",
		{INT4OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(stream_id));
	js_run(&statement, &args);
}

/*
 * Did the PMS send many records as they were before, and hardly any newer one?
 * A few are late deliveries; many are a PMS that was restored from a backup.
 * Its old values are nobody's edits: none was applied, and the stream waits
 * for a person.
 */
static bool
went_back(JsCycle *cycle)
{
	static JsStatement statement = {
		"SELECT jacksync.quarantine($1, $2, $3)",
		{INT4OID, INT8OID, INT8OID}
	};
	JsSecurity	security;
	JsArgs		args = {0};
	char	   *words;

	if (cycle->regressed < MIN_REGRESSED ||
		cycle->regressed <= 4 * cycle->advanced)
		return false;
	js_txn_begin("putting a stream into quarantine");
	js_internal_begin(&security);
	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_arg(&args, Int64GetDatum(cycle->regressed));
	js_arg(&args, Int64GetDatum(cycle->counts.processed));
	js_run(&statement, &args);
	words = js_get_text(0, 1);
	cycle->walk = NULL;
	js_pull_save(cycle, NULL);
	js_internal_end(&security);
	js_txn_end();
	js_cycle_fail(cycle, words);
	return true;
}

/* Carry out the deletes of a pull that is complete, unless they are too many. */
static void
settle_deletes(JsCycle *cycle)
{
	bool		more = true;

	for (bool first = true; more; first = false)
	{
		JsApply		apply = {0};

		js_txn_begin("deleting what the PMS deleted");
		apply.run = &cycle->run;
		apply.skip_locked = true;
		js_apply_begin(&apply, cycle->stream->entity, cycle->stream, false);
		apply.counts = cycle->counts;
		more = false;
		if (apply.pending_deletes)
		{
			if (first)
				js_deletes_weigh(cycle->stream);
			more = js_deletes_apply(&apply);
		}
		cycle->counts = apply.counts;
		js_apply_end(&apply);
		js_txn_end();
	}
}
