/*-------------------------------------------------------------------------
 *
 * pull.c
 *	  The pull half of a cycle: walk the pages, apply them.
 *
 * A page's records, what could not be applied of them, and where the walk is
 * are written in one transaction.  The watermark moves only at the end of a
 * complete walk, to the newest time that was seen, but never beyond the start
 * of the walk.  The next page is asked for before the present one is applied,
 * so that the PMS works while we do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "apply.h"
#include "compat.h"
#include "cycle.h"
#include "deletes.h"
#include "faultpoint.h"
#include "jacksync.h"
#include "secure.h"
#include "statement.h"
#include "txn.h"

#define MIN_REGRESSED 5			/* fewer are late deliveries */
#define CHUNK 500				/* records in one transaction */

static char *lower_bound(JsStream *stream);
static char *format_time(JsStream *stream, TimestampTz time);
static void ask_for_page(JsCycle *cycle);
static void page_arrived(JsCycle *cycle, JsHttpResponse *response);
static void apply_chunk(JsCycle *cycle, JsPage *page, int from, int64 tick,
						bool last);
static void note_times(JsCycle *cycle, JsPage *page);
static void store_bad(JsApply *apply, JsPage *page);
static void save_progress(JsCycle *cycle, Jsonb *progress);
static void complete(JsCycle *cycle);
static bool went_back(JsCycle *cycle);
static void settle_deletes(JsCycle *cycle);
static void retry_stored(JsCycle *cycle);

/* Begin to pull; a walk that was cut off goes on where it was. */
void
js_pull_start(JsCycle *cycle)
{
	MemoryContext old;

	if (cycle->push_only)
	{
		js_outbound_start(cycle);
		return;
	}
	retry_stored(cycle);

	js_txn_begin("beginning a walk");
	old = MemoryContextSwitchTo(cycle->mcxt);
	cycle->walk = js_walk_resume(cycle->stream);
	if (cycle->walk == NULL)
		cycle->walk = js_walk_begin(cycle->stream,
									lower_bound(cycle->stream),
									cycle->started);
	MemoryContextSwitchTo(old);
	js_txn_end();
	ask_for_page(cycle);
}

/* {since} of this run, as the PMS wants it; NULL: everything. */
static char *
lower_bound(JsStream *stream)
{
	TimestampTz since;

	if (strcmp(stream->sync_mode, "full_refresh") == 0 || stream->full_wanted)
		return NULL;
	if (stream->watermark_known)
		since = stream->watermark - stream->lookback;
	else if (stream->initial_known)
		since = stream->initial_value;
	else
		return NULL;
	return format_time(stream, since);
}

/*
 * A time as the PMS wants it written, floored to the granularity of the
 * stream: rounding up could skip a record.
 */
static char *
format_time(JsStream *stream, TimestampTz time)
{
	const char *format = stream->datetime_format;
	const char *pattern;
	const char *zone = "UTC";
	int64		epoch_us;
	Datum		local;

	if (stream->granularity > 0)
	{
		int64		rest = time % stream->granularity;

		time -= rest < 0 ? rest + stream->granularity : rest;
	}
	epoch_us = time + ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) *
		USECS_PER_DAY;
	if (strcmp(format, "epoch") == 0)
		return psprintf(INT64_FORMAT, epoch_us / USECS_PER_SEC);
	if (strcmp(format, "epoch_ms") == 0)
		return psprintf(INT64_FORMAT, epoch_us / 1000);

	if (strcmp(format, "iso_z_seconds") == 0)
		pattern = "YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"";
	else if (strcmp(format, "iso_z") == 0)
		pattern = "YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"";
	else if (strcmp(format, "iso_offset") == 0)
		pattern = "YYYY-MM-DD\"T\"HH24:MI:SS\"+00:00\"";
	else
	{
		pattern = format;
		if (stream->datetime_zone != NULL)
			zone = stream->datetime_zone;
	}
	local = DirectFunctionCall2(timestamptz_zone,
								CStringGetTextDatum(zone),
								TimestampTzGetDatum(time));
	local = DirectFunctionCall2(timestamp_to_char, local,
								CStringGetTextDatum(pattern));
	return TextDatumGetCString(local);
}

/* Ask for the page at which the walk is. */
static void
ask_for_page(JsCycle *cycle)
{
	JsStream   *stream = cycle->stream;
	JsVars	   *vars = js_cycle_vars(cycle);
	JsHttpRequest request = {0};
	Jsonb	   *template = stream->request;
	JsSecurity	security;

	if (cycle->walk->since == NULL && stream->full_request != NULL)
		template = stream->full_request;
	js_walk_vars(cycle->walk, vars);

	js_txn_begin("making a request");
	js_internal_begin(&security);
	cycle->tick = js_tick();
	js_internal_end(&security);
	js_server_request(cycle->server, &request);
	request.repeatable = true;
	js_template_request(js_cycle_new_request(cycle), template, cycle->server, vars, &request);
	if (cycle->walk->cursor != NULL &&
		(cycle->walk->paging == JS_NEXT_URL ||
		 cycle->walk->paging == JS_HEADER_LINK))
		request.url = js_http_same_origin(cycle->request_mcxt,
										  request.url, cycle->walk->cursor);
	js_txn_end();
	if (request.url == NULL)
	{
		js_cycle_fail(cycle, "the next page is on another host, which is not asked");
		return;
	}
	js_cycle_send(cycle, &request, page_arrived);
}

/* A page came. */
static void
page_arrived(JsCycle *cycle, JsHttpResponse *response)
{
	char	   *problem = js_cycle_problem(cycle, response);
	int64		tick = cycle->tick;
	JsPage	   *page = NULL;
	bool		more = false;

	if (problem == NULL)
	{
		/* casts and jsonpath need the catalogs */
		js_txn_begin("reading a page");
		page = js_page_read(cycle->stream, response, &problem);
		if (page != NULL)
			more = js_walk_next(cycle->walk, cycle->stream, page, response,
								&problem);
		js_txn_end();
	}
	if (problem != NULL)
	{
		js_cycle_fail(cycle, problem);
		return;
	}
	JS_FAULT("cp02");
	for (int from = 0; from == 0 || from < list_length(page->records);
		 from += CHUNK)
		apply_chunk(cycle, page, from, tick,
					from + CHUNK >= list_length(page->records));
	if (cycle->narrate)
		ereport(NOTICE,
				(errmsg("%s from %s: page %d, " INT64_FORMAT " records so far",
						cycle->stream->entity, cycle->stream->server,
						cycle->walk->pages, cycle->counts.processed)));
	if (more)
		ask_for_page(cycle);
	else
		complete(cycle);
}

/*
 * Apply some records of a page; with the last ones, store where the walk is.
 */
static void
apply_chunk(JsCycle *cycle, JsPage *page, int from, int64 tick, bool last)
{
	JsApply		apply = {0};
	List	   *records = NIL;

	for (int i = from; i < from + CHUNK && i < list_length(page->records); i++)
		records = lappend(records, list_nth(page->records, i));

	js_txn_begin(psprintf("applying %s from %s", cycle->stream->entity,
						  cycle->stream->server));
	apply.run_id = cycle->run_id;
	apply.tick = tick;
	apply.skip_locked = true;
	apply.defer_deletes = true;
	js_apply_begin(&apply, cycle->stream->entity, cycle->stream, false);
	apply.counts = cycle->counts;
	js_apply_page(&apply, records);
	if (last)
		store_bad(&apply, page);
	cycle->counts = apply.counts;
	cycle->regressed += apply.regressed;
	cycle->advanced += apply.advanced;
	js_run_progress(cycle->run_id, &cycle->counts);
	if (last)
	{
		note_times(cycle, page);
		save_progress(cycle, js_walk_progress(cycle->walk));
	}
	js_apply_end(&apply);
	js_txn_end();
	JS_FAULT("cp06");
}

/* Note the newest time of the page's records: the watermark to be. */
static void
note_times(JsCycle *cycle, JsPage *page)
{
	JsWalk	   *walk = cycle->walk;
	ListCell   *cell;

	if (cycle->stream->cursor_path == NULL)
		return;
	foreach(cell, page->records)
	{
		TimestampTz time;

		if (!js_record_time(cycle->stream, lfirst(cell), &time))
			continue;
		if (!walk->max_known || time > walk->max_seen)
			walk->max_seen = time;
		walk->max_known = true;
	}
}

/* Records that cannot even be stored as they came: dead letters. */
static void
store_bad(JsApply *apply, JsPage *page)
{
	ListCell   *cell;

	foreach(cell, page->bad)
	{
		JsBadRecord *bad = lfirst(cell);
		JsLink		link = {0};
		JsSubject	subject;
		JsFailure	failure = {0};

		link.external_id = bad->external_id;
		subject = js_apply_subject(apply, &link);
		failure.direction = "pull";
		failure.sqlstate = unpack_sql_state(ERRCODE_JS_BAD_RECORD);
		failure.error = psprintf("record cannot be stored: %s", bad->problem);
		failure.payload = js_jsonb_string(bad->text);
		failure.dead = true;
		js_failure_record(&subject, &failure);
		apply->counts.processed++;
		apply->counts.errors++;
	}
}

/* Store where the walk is; NULL: there is none. */
static void
save_progress(JsCycle *cycle, Jsonb *progress)
{
	static JsStatement statement = {
		"UPDATE jacksync.stream_state SET progress = $2 WHERE stream_id = $1",
		{INT4OID, JSONBOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_arg_jsonb(&args, progress);
	js_run(&statement, &args);
}

/*
 * The walk is complete: the watermark moves, and the data is as fresh as the
 * start of the walk.
 */
static void
complete(JsCycle *cycle)
{
	static JsStatement statement = {
		"UPDATE jacksync.stream_state SET progress = NULL,"
		" watermark = greatest(watermark, $2), last_sync_at = $3,"
		" initial_done = true, full_wanted = false"
		" WHERE stream_id = $1",
		{INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	JsStream   *stream = cycle->stream;
	JsWalk	   *walk = cycle->walk;
	TimestampTz limit = walk->started + stream->skew - stream->skew_error;
	JsSecurity	security;
	JsArgs		args = {0};

	if (went_back(cycle))
		return;
	settle_deletes(cycle);
	JS_FAULT("cp04");
	js_txn_begin("completing a walk");
	js_internal_begin(&security);
	js_arg(&args, Int32GetDatum(cycle->stream_id));
	if (stream->cursor_path == NULL)
		js_arg_time(&args, limit, true);
	else
		js_arg_time(&args, Min(walk->max_seen, limit), walk->max_known);
	js_arg_time(&args, walk->started, true);
	js_run(&statement, &args);
	JS_FAULT("cp15");
	js_internal_end(&security);
	js_txn_end();
	cycle->pull_complete = true;
	js_outbound_start(cycle);
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
	save_progress(cycle, NULL);
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
		apply.run_id = cycle->run_id;
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

/*
 * Try again what was stored and is due: records that failed, or whose row
 * was locked, or that came while a push was open.
 */
static void
retry_stored(JsCycle *cycle)
{
	static JsStatement statement = {
		"SELECT payload, tick FROM jacksync.sync_error"
		" WHERE entity = $1 AND server = $2 AND direction = 'pull'"
		" AND state IN ('waiting', 'retry') AND next_attempt_at <= pg_catalog.now()"
		" AND pg_catalog.jsonb_typeof(payload) <> 'string'"
		" ORDER BY error_id LIMIT 200",
		{TEXTOID, NAMEOID}
	};
	JsApply		apply = {0};
	JsArgs		args = {0};
	List	   *payloads = NIL;
	List	   *ticks = NIL;
	ListCell   *payload;
	ListCell   *tick;
	uint64		rows;

	js_txn_begin("retrying stored records");
	js_arg_text(&args, cycle->stream->entity);
	js_arg_name(&args, cycle->stream->server);
	apply.run_id = cycle->run_id;
	apply.skip_locked = true;
	apply.defer_deletes = true;
	js_apply_begin(&apply, cycle->stream->entity, cycle->stream, false);
	rows = js_run(&statement, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		int64	   *copy = palloc(sizeof(int64));

		*copy = js_get_int8(row, 2);
		payloads = lappend(payloads, js_get_jsonb(row, 1));
		ticks = lappend(ticks, copy);
	}
	apply.counts = cycle->counts;
	forboth(payload, payloads, tick, ticks)
	{
		apply.tick = *(int64 *) lfirst(tick);
		js_apply_page(&apply, list_make1(lfirst(payload)));
	}
	cycle->counts = apply.counts;
	js_apply_end(&apply);
	js_txn_end();
}
