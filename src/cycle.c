/*-------------------------------------------------------------------------
 *
 * cycle.c
 *	  One cycle of one stream: resolve, pull, push.
 *
 * The order is that of the protocol: outcomes that are unknown are looked up
 * first, because their records cannot be applied before; then the PMS's
 * changes are pulled and merged; then what is left of the local changes goes
 * out.  This file has the start and the end; request.c sends what the phases
 * ask for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "config.h"
#include "cycle.h"
#include "installation.h"
#include "jacksync.h"
#include "limiter.h"
#include "live.h"
#include "progress.h"
#include "secure.h"
#include "statement.h"
#include "txn.h"

#define MIN_BACKOFF_MS	1000
#define MAX_BACKOFF_MS	300000
#define LONGEST_LEAST_MS 60000

static void load_cycle(JsCycle *cycle);
static void begin_run(JsCycle *cycle);
static void finish(JsCycle *cycle);
static void write_state(JsCycle *cycle, int failures, int64 delay);
static void add_times(JsArgs *args, JsStream *stream);
static void take_times(JsCycle *cycle);
static void tell_codes(JsCycle *cycle);

/*
 * Start a cycle: read the configuration, open a run.  Errors of the
 * configuration end it; they are recorded like any other.
 */
JsCycle    *
js_cycle_start(MemoryContext parent, int32 stream_id, bool push_only,
			   bool narrate)
{
	MemoryContext mcxt = AllocSetContextCreate(parent, "jacksync cycle",
											   ALLOCSET_DEFAULT_SIZES);
	JsCycle    *cycle = MemoryContextAllocZero(mcxt, sizeof(JsCycle));

	cycle->mcxt = mcxt;
	cycle->step = AllocSetContextCreate(mcxt, "jacksync step",
										ALLOCSET_DEFAULT_SIZES);
	cycle->request_mcxt = AllocSetContextCreate(mcxt, "jacksync request",
												ALLOCSET_SMALL_SIZES);
	cycle->push_mcxt = AllocSetContextCreate(mcxt, "jacksync push",
											 ALLOCSET_SMALL_SIZES);
	cycle->stream_id = stream_id;
	cycle->push_only = push_only;
	cycle->narrate = narrate;
	cycle->started = GetCurrentTimestamp();
	return cycle;
}

/* Can the cycle go on now? */
bool
js_cycle_ready(JsCycle *cycle)
{
	if (cycle->done)
		return false;
	if (cycle->call != NULL)
		return js_http_done(cycle->call);
	return cycle->not_before == 0 ||
		cycle->not_before <= GetCurrentTimestamp();
}

/* When it can go on by itself; 0 if it waits for an answer. */
TimestampTz
js_cycle_due(JsCycle *cycle)
{
	return cycle->call != NULL || cycle->done ? 0 : cycle->not_before;
}

/*
 * Go on until the next answer is needed.  Errors are the caller's to catch:
 * it calls js_cycle_fail() then.
 */
void
js_cycle_step(JsCycle *cycle)
{
	MemoryContext old;

	MemoryContextReset(cycle->step);
	old = MemoryContextSwitchTo(cycle->step);
	js_txn_on_write(js_quiet_written, cycle);
	if (cycle->stream == NULL)
		load_cycle(cycle);
	else if (cycle->call == NULL)
		js_request_launch(cycle);
	else
		js_request_answered(cycle);
	js_txn_on_write(NULL, NULL);
	MemoryContextSwitchTo(old);
}

/* The first step: read the configuration, and see what there is to do. */
static void
load_cycle(JsCycle *cycle)
{
	JsSecurity	security;
	JsEntity   *entity;

	js_txn_begin("reading the configuration of a stream");
	js_internal_begin(&security);
	js_installation_check();
	MemoryContextSwitchTo(cycle->mcxt);
	cycle->stream = js_stream_load(cycle->stream_id);
	MemoryContextSwitchTo(cycle->step);
	if (cycle->stream == NULL)
	{
		js_internal_end(&security);
		js_txn_end();
		cycle->done = true;
		return;
	}
	begin_run(cycle);
	js_internal_end(&security);
	js_txn_end();

	js_txn_begin("reading the options of a server");
	if (!OidIsValid(cycle->stream->serverid))
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFIG),
				 errmsg("server \"%s\" does not exist",
						cycle->stream->server),
				 errhint("Run CREATE SERVER ... FOREIGN DATA WRAPPER jacksync.")));
	entity = js_entity_by_name(cycle->stream->entity, false);
	js_entity_check(entity);
	MemoryContextSwitchTo(cycle->mcxt);
	cycle->owner = entity->owner;
	cycle->server = js_server_load(cycle->mcxt, cycle->stream->serverid,
								   cycle->owner);
	MemoryContextSwitchTo(cycle->step);
	js_limiter_load(cycle->server);
	js_txn_end();

	if (cycle->reconcile != NULL)
		js_reconcile_all(cycle);
	else
		js_outbound_resolve(cycle);
}

/* Open a run; what finds nothing leaves no trace. */
static void
begin_run(JsCycle *cycle)
{
	js_run_begin(&cycle->run, cycle->stream->entity, cycle->stream->server,
				 cycle->reconcile ? "reconcile" :
				 cycle->push_only ? "push" : "sync");
	cycle->run.idle = js_live_idle(cycle->stream_id);
	js_quiet_begin(cycle);
	if (!cycle->quiet)
		js_run_store(&cycle->run, &cycle->counts);
	cycle->progress = js_progress_begin(cycle->stream_id, cycle->run.id);
}

/* Memory for the next request; that of the last one is gone. */
MemoryContext
js_cycle_new_request(JsCycle *cycle)
{
	MemoryContextReset(cycle->request_mcxt);
	return cycle->request_mcxt;
}

/* Variables that every request may use. */
JsVars	   *
js_cycle_vars(JsCycle *cycle)
{
	return js_vars_new(CurrentMemoryContext);
}

/* The cycle failed. */
void
js_cycle_fail(JsCycle *cycle, const char *error)
{
	if (cycle->reconcile != NULL && !js_reconcile_lists(cycle))
	{
		js_reconcile_give_up(cycle, error);
		return;
	}
	cycle->error = MemoryContextStrdup(cycle->mcxt,
									   cycle->server ?
									   js_server_redact(cycle->server, error) :
									   error);
	js_cycle_end(cycle);
}

/* The cycle is over: write down how it went. */
void
js_cycle_end(JsCycle *cycle)
{
	JsSecurity	security;

	cycle->done = true;
	js_progress_end(cycle->progress);
	cycle->progress = 0;
	if (cycle->call != NULL)
		js_http_close(cycle->call);
	cycle->call = NULL;
	if (cycle->run.entity == NULL && cycle->error == NULL)
		return;
	js_txn_begin("recording the end of a run");
	js_internal_begin(&security);
	if (!js_quiet_end(cycle))
		finish(cycle);
	js_internal_end(&security);
	js_txn_end();
	if (cycle->written != NULL)
		js_live_written(cycle->stream_id, cycle->written);
	else if (cycle->run.stored)
		js_live_counted(cycle->stream_id);
}

/* Record the end of a run, the failures in a row, and when the next is due. */
static void
finish(JsCycle *cycle)
{
	static JsStatement read = {
		"SELECT failure_count,"
		" (1000 * extract(epoch FROM s.poll_interval))::bigint,"
		" s.entity, s.server, t.backoff_from"
		" FROM jacksync.stream_state t JOIN jacksync.stream s USING (stream_id)"
		" WHERE stream_id = $1 FOR UPDATE OF t",
		{INT4OID}
	};
	static JsStatement alert = {
		"SELECT jacksync.alert_run($1, $2, $3, $4, $5)",
		{TEXTOID, NAMEOID, INT4OID, INT4OID, TEXTOID}
	};
	JsArgs		args = {0};
	int			before;
	int			failures;
	int64		delay;
	char	   *entity;
	char	   *server;

	js_pull_record(cycle);
	if (cycle->run.entity != NULL)
		js_run_finish(&cycle->run, &cycle->counts, cycle->error);
	if (cycle->server != NULL)
		js_limiter_save(cycle->server);
	tell_codes(cycle);
	if ((cycle->push_only && cycle->error == NULL) || js_reconcile_lists(cycle))
		return;

	js_arg(&args, Int32GetDatum(cycle->stream_id));
	if (js_run(&read, &args) == 0)
		return;					/* the stream was dropped meanwhile */
	before = js_get_int4(0, 1);
	/* a run that left the server alone, as it should, did not fail once more */
	failures = cycle->error == NULL ? 0 :
		cycle->deferred ? Max(before, 1) : before + 1;
	delay = js_cycle_next_delay(cycle, js_get_int8(0, 2),
								failures - Min(failures, js_get_int4(0, 5)));
	entity = js_get_text(0, 3);
	server = js_get_text(0, 4);

	write_state(cycle, failures, delay);
	if ((failures == 0 && before == 0) || cycle->deferred)
		return;
	memset(&args, 0, sizeof(args));
	js_arg_text(&args, entity);
	js_arg_name(&args, server);
	js_arg(&args, Int32GetDatum(failures));
	js_arg(&args, Int32GetDatum(before));
	js_arg_text(&args, cycle->error);
	js_run(&alert, &args);
}

/* Write what a run means for the next one. */
static void
write_state(JsCycle *cycle, int failures, int64 delay)
{
	static JsStatement write = {
		"UPDATE jacksync.stream_state SET failure_count = $2, last_error = $3,"
		" last_attempt_at = $7,"
		" backoff_from = CASE WHEN $2 > 0 THEN backoff_from ELSE 0 END,"
		/* sync_now() was called while we ran: once more */
		" next_due_at = CASE WHEN next_due_at > $7 AND next_due_at <= pg_catalog.clock_timestamp()"
		"  THEN next_due_at ELSE pg_catalog.clock_timestamp() + $4 * '1 ms'::interval END,"
		" skew = coalesce($5 * '1 us'::interval, skew),"
		" skew_error = coalesce($6 * '1 us'::interval, skew_error),"
		/* what idle cycles found, where nothing has taken its place */
		" last_sync_at = CASE WHEN last_sync_at = $8 THEN $9 ELSE last_sync_at END,"
		" watermark = CASE WHEN watermark IS NOT DISTINCT FROM $10 THEN $11 ELSE watermark END"
		" WHERE stream_id = $1 RETURNING last_sync_at, next_due_at, watermark",
		{INT4OID, INT4OID, TEXTOID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID,
		TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_arg(&args, Int32GetDatum(failures));
	js_arg_text(&args, cycle->error);
	js_arg(&args, Int64GetDatum(delay));
	if (cycle->skew_known)
	{
		js_arg(&args, Int64GetDatum(cycle->stream->skew));
		js_arg(&args, Int64GetDatum(cycle->stream->skew_error));
	}
	else
	{
		js_arg_null(&args);
		js_arg_null(&args);
	}
	js_arg_time(&args, cycle->started, true);
	add_times(&args, cycle->stream);
	js_run(&write, &args);
	take_times(cycle);
}

/* The times that the table had, and those that take their place. */
static void
add_times(JsArgs *args, JsStream *stream)
{
	bool		synced = stream != NULL && stream->synced;
	bool		stored = synced && stream->stored.watermark_known;

	js_arg_time(args, synced ? stream->stored.last_sync : 0, synced);
	js_arg_time(args, synced ? stream->last_sync : 0, synced);
	js_arg_time(args, stored ? stream->stored.watermark : 0, stored);
	js_arg_time(args, synced ? stream->watermark : 0,
				synced && stream->watermark_known);
}

/* Take the times that were written, from the result. */
static void
take_times(JsCycle *cycle)
{
	JsStreamTimes *times = MemoryContextAllocZero(cycle->mcxt,
												  sizeof(JsStreamTimes));
	bool		isnull;

	times->last_sync = DatumGetTimestampTz(js_get(0, 1, &isnull));
	if (isnull)
		return;
	times->next_due = DatumGetTimestampTz(js_get(0, 2, &isnull));
	times->watermark = DatumGetTimestampTz(js_get(0, 3, &isnull));
	times->watermark_known = !isnull;
	if (isnull)
		times->watermark = 0;
	cycle->written = times;
}

/* Tell of codes that no map of the stream knew. */
static void
tell_codes(JsCycle *cycle)
{
	static JsStatement statement = {
		"SELECT jacksync.alert_unknown_codes($1, $2, $3)",
		{TEXTOID, NAMEOID, TEXTOID}
	};
	JsArgs		args = {0};
	StringInfoData codes;
	ListCell   *cell;

	if (cycle->stream == NULL || cycle->stream->unknown_codes == NIL)
		return;
	initStringInfo(&codes);
	foreach(cell, cycle->stream->unknown_codes)
		appendStringInfo(&codes, "%s%s", codes.len > 0 ? ", " : "",
						 (char *) lfirst(cell));
	js_arg_text(&args, cycle->stream->entity);
	js_arg_name(&args, cycle->stream->server);
	js_arg_text(&args, codes.data);
	js_run(&statement, &args);
}

/*
 * Milliseconds until the next run.  After a success the interval, give or
 * take a tenth, so that many streams do not march in step.  After failures
 * anything up to a ceiling that doubles, from the interval to five minutes
 * (full jitter), but never at once; and as long as the PMS asks for, or as
 * its server is left alone.
 */
int64
js_cycle_next_delay(JsCycle *cycle, int64 interval, int failures)
{
	int64		ceiling = Max(interval, MIN_BACKOFF_MS);
	int64		least = Min(interval, LONGEST_LEAST_MS) / 2;
	double		chance = pg_prng_double(&pg_global_prng_state);

	if (failures == 0)
		return interval + (int64) (interval * 0.2 * (chance - 0.5));
	for (int i = 1; i < failures && ceiling < MAX_BACKOFF_MS; i++)
		ceiling *= 2;
	ceiling = Max(Min(ceiling, MAX_BACKOFF_MS), least);
	return Max(least + (int64) ((ceiling - least) * chance),
			   Max(cycle->retry_after_ms,
				   cycle->server ? js_limiter_blocked_ms(cycle->server) : 0));
}

/* Free everything of a cycle, and cancel its request. */
void
js_cycle_free(JsCycle *cycle)
{
	js_progress_end(cycle->progress);
	if (cycle->call != NULL)
		js_http_close(cycle->call);
	MemoryContextDelete(cycle->mcxt);
}
