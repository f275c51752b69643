/*-------------------------------------------------------------------------
 *
 * quiet.c
 *	  Cycles of the worker that find nothing, and so write nothing.
 *
 * Most polls of most streams find nothing.  Such a cycle gets no row in
 * sync_run and leaves our tables as they are; that the data was right at a
 * certain time, and when the next cycle is due, is kept in shared memory
 * (live.c).  The first of its transactions that writes something, whatever it
 * is, makes an ordinary cycle of it: the row of the run and what was kept so
 * far are written in the same transaction.
 *
 * Shared memory is lost with the server, and standbys do not see it.  So the
 * table must not be behind by more than a part of the age at which data is
 * stale; then a cycle is an ordinary one, whatever it finds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "cycle.h"
#include "limiter.h"
#include "live.h"
#include "progress.h"
#include "secure.h"
#include "statement.h"

#define SKEW_MOVED	USECS_PER_SEC	/* the clock of the PMS was set */

static bool may_be_behind(JsCycle *cycle);
static bool still_stored(JsCycle *cycle, int64 *interval);
static bool skew_is_known(JsCycle *cycle);

/*
 * Is the cycle that begins one that may find nothing?  Only of a stream that
 * is in sync.  Who calls sync() wants to see a run, and who calls sync_now():
 * then the times are others than we wrote.
 */
void
js_quiet_begin(JsCycle *cycle)
{
	JsStream   *stream = cycle->stream;

	cycle->stored_skew = stream->skew;
	cycle->quiet = !cycle->narrate && cycle->check == NULL &&
		cycle->reconcile == NULL && stream->synced && stream->initial_done &&
		!stream->full_wanted && stream->progress == NULL &&
		stream->failure_count == 0 &&
		js_live_known(cycle->stream_id, &stream->stored) &&
		(cycle->push_only || may_be_behind(cycle));
}

/*
 * May the table stay as it is for another cycle?  It may be behind by a
 * quarter of critical_stale_age; where standbys are connected, which see only
 * the table, by a quarter of max_stale_age.
 */
static bool
may_be_behind(JsCycle *cycle)
{
	static JsStatement statement = {
		"SELECT $3 < $2 + CASE"
		" WHEN EXISTS (SELECT FROM pg_catalog.pg_stat_get_wal_senders())"
		" THEN greatest('10 s'::interval, least('15 min'::interval,"
		"  coalesce(p.max_stale_age, w.warning, '5 min'::interval) / 4))"
		" ELSE greatest('1 min'::interval, least('15 min'::interval,"
		"  coalesce(p.critical_stale_age, w.critical, '1 hour'::interval) / 4)) END"
		" FROM (SELECT max(a.warning) * '1 s'::interval AS warning,"
		"  max(a.critical) * '1 s'::interval AS critical"
		"  FROM jacksync.alert_threshold a WHERE a.metric = 'stale_data') w"
		" LEFT JOIN jacksync.stale_policy p ON p.entity = $1",
		{TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	JsArgs		args = {0};

	js_arg_text(&args, cycle->stream->entity);
	js_arg_time(&args, cycle->stream->stored.last_sync, true);
	js_arg_time(&args, cycle->started, true);
	js_run(&statement, &args);
	return js_get_bool(0, 1);
}

/* Was nothing written until now, also not in the present transaction? */
bool
js_quiet(JsCycle *cycle)
{
	return cycle->quiet && !cycle->run.stored &&
		!TransactionIdIsValid(GetTopTransactionIdIfAny());
}

/*
 * Called at the end of every transaction of a cycle that wrote something: it
 * is an ordinary cycle from now on.
 */
void
js_quiet_written(void *arg)
{
	JsCycle    *cycle = arg;
	JsSecurity	security;

	if (!cycle->quiet || cycle->run.stored)
		return;
	js_internal_begin(&security);
	js_run_store(&cycle->run, &cycle->counts);
	js_progress_run(cycle->progress, cycle->run.id);
	js_pull_record(cycle);
	js_internal_end(&security);
}

/*
 * The end of a cycle.  If it found nothing, keep the times, and return true;
 * if not, or if somebody has changed the stream meanwhile, its end is to be
 * written.
 */
bool
js_quiet_end(JsCycle *cycle)
{
	JsStream   *stream = cycle->stream;
	JsStreamTimes now;
	int64		interval;

	if (!cycle->quiet || cycle->run.stored || cycle->error != NULL ||
		stream->unknown_codes != NIL)
		return false;
	js_limiter_save(cycle->server);
	if (!js_quiet(cycle))
		return false;
	if (cycle->push_only)
		return true;
	if (!cycle->pulled || !skew_is_known(cycle) ||
		!still_stored(cycle, &interval))
		return false;
	now.last_sync = cycle->pulled_at;
	now.next_due = GetCurrentTimestamp() +
		js_cycle_next_delay(cycle, interval, 0) * 1000;
	now.watermark_known = stream->watermark_known || cycle->pulled_upto_known;
	now.watermark = !cycle->pulled_upto_known ? stream->watermark :
		!stream->watermark_known ? cycle->pulled_upto :
		Max(stream->watermark, cycle->pulled_upto);
	js_live_idled(cycle->stream_id, &now);
	return true;
}

/* Is the clock of the PMS where the table says? */
static bool
skew_is_known(JsCycle *cycle)
{
	int64		moved = cycle->stream->skew - cycle->stored_skew;

	return !cycle->skew_known ||
		Max(moved, -moved) < SKEW_MOVED + cycle->stream->skew_error;
}

/* Does the table have what it had when the cycle began? */
static bool
still_stored(JsCycle *cycle, int64 *interval)
{
	static JsStatement statement = {
		"SELECT (1000 * extract(epoch FROM s.poll_interval))::bigint"
		" FROM jacksync.stream_state t JOIN jacksync.stream s USING (stream_id)"
		" WHERE t.stream_id = $1 AND t.last_sync_at = $2 AND t.next_due_at = $3"
		" AND t.watermark IS NOT DISTINCT FROM $4 AND t.failure_count = 0"
		" AND t.progress IS NULL AND t.initial_done AND NOT t.full_wanted",
		{INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	JsStreamTimes *stored = &cycle->stream->stored;
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_arg_time(&args, stored->last_sync, true);
	js_arg_time(&args, stored->next_due, true);
	js_arg_time(&args, stored->watermark, stored->watermark_known);
	if (js_run(&statement, &args) == 0)
		return false;
	*interval = js_get_int8(0, 1);
	return true;
}
