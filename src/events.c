/*-------------------------------------------------------------------------
 *
 * events.c
 *	  Event queues: what is read once must not be lost.
 *
 * Reading an event takes it out of the queue.  So what came is stored, and on
 * disk, before anything else is done with it and before more is asked for.
 * One queue may carry records of several streams: an event is stored for all
 * streams with the same request, and each crosses itself out when it has
 * taken the event: into the details that it wants, or, where events bring the
 * whole record, into the table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "apply.h"
#include "applypage.h"
#include "compat.h"
#include "cycle.h"
#include "detail.h"
#include "faultpoint.h"
#include "jacksync.h"
#include "jsonb.h"
#include "secure.h"
#include "statement.h"
#include "txn.h"
#include "window.h"

#define MAX_POLLS	1000		/* of one cycle */
#define CHUNK		500			/* events in one transaction */

static bool polled_by_another(JsCycle *cycle);
static void poll(JsCycle *cycle);
static void poll_again(JsCycle *cycle);
static void events_arrived(JsCycle *cycle, JsHttpResponse *response);
static JsPage *read_events(JsCycle *cycle, JsHttpResponse *response,
						   char **problem);
static int	store_events(JsCycle *cycle, JsPage *page, List **ids);
static bool store_event(JsCycle *cycle, Jsonb *event, List **ids);
static Jsonb *event_value(JsCycle *cycle, const char *option, Jsonb *event);
static bool acknowledge(JsCycle *cycle, List *ids);
static void acknowledged(JsCycle *cycle, JsHttpResponse *response);
static int64 queue_of(JsStream *stream);
static void take_events(JsCycle *cycle);
static bool take_some(JsCycle *cycle);
static List *records_in(JsStream *stream, Jsonb *event);
static void store_bad_event(JsApply *apply, Jsonb *event);
static void cross_out(JsCycle *cycle, const char *event_id);

/*
 * Take what is stored already, then read the queue until it is empty; a
 * stream of the worker leaves that to another one that has just done it.
 */
void
js_events_start(JsCycle *cycle)
{
	cycle->polls = !cycle->narrate && polled_by_another(cycle) ? MAX_POLLS : 0;
	poll_again(cycle);
}

/* Has another stream just read the same queue?  Then ours is as fresh. */
static bool
polled_by_another(JsCycle *cycle)
{
	static JsStatement statement = {
		"SELECT max(jacksync.live_last_sync(t.stream_id, t.last_sync_at))"
		" FROM jacksync.stream s"
		" JOIN jacksync.stream_state t USING (stream_id)"
		" WHERE s.server = $1 AND s.request = $2 AND s.sync_mode = 'event_queue'"
		" AND s.stream_id <> $3 AND s.enabled AND NOT t.paused AND t.failure_count = 0"
		" AND jacksync.live_last_sync(t.stream_id, t.last_sync_at) > pg_catalog.clock_timestamp() - s.poll_interval / 2",
		{NAMEOID, JSONBOID, INT4OID}
	};
	JsSecurity	security;
	JsArgs		args = {0};
	bool		isnull;
	Datum		when;

	js_txn_begin("looking who reads a queue");
	js_internal_begin(&security);
	js_arg_name(&args, cycle->stream->server);
	js_arg_jsonb(&args, cycle->stream->request);
	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_run(&statement, &args);
	when = js_get(0, 1, &isnull);
	if (!isnull)
		cycle->started = DatumGetTimestampTz(when);
	js_internal_end(&security);
	js_txn_end();
	return !isnull;
}

/* Read the queue. */
static void
poll(JsCycle *cycle)
{
	JsVars	   *vars = js_cycle_vars(cycle);
	JsHttpRequest request = {0};
	Jsonb	   *size = js_jsonb_member(cycle->stream->paginator, "page_size");
	JsSecurity	security;

	js_txn_begin("making a request");
	if (size != NULL)
		js_vars_set_json(vars, "limit", size);
	js_internal_begin(&security);
	cycle->tick = js_tick_now();
	js_internal_end(&security);
	js_server_request(cycle->server, &request);
	js_template_request(js_cycle_new_request(cycle), cycle->stream->request,
						cycle->server, vars, &request);
	js_txn_end();
	cycle->polls++;
	js_cycle_send(cycle, &request, events_arrived);
}

/* Events came: they are stored before anything else happens. */
static void
events_arrived(JsCycle *cycle, JsHttpResponse *response)
{
	char	   *problem = js_cycle_problem(cycle, response);
	JsPage	   *page = problem == NULL ?
	read_events(cycle, response, &problem) : NULL;
	List	   *ids = NIL;
	int			fresh = 0;

	if (page == NULL)
	{
		js_cycle_fail(cycle, problem);
		return;
	}
	if (page->count > 0)
		fresh = store_events(cycle, page, &ids);
	JS_FAULT("events_stored");
	if (fresh == 0)
		cycle->polls = MAX_POLLS;	/* nothing new: that would go on for ever */
	if (page->count > 0 && acknowledge(cycle, ids))
		return;
	poll_again(cycle);
}

/* Read the queue again, or go on with what came. */
static void
poll_again(JsCycle *cycle)
{
	if (cycle->polls < MAX_POLLS)
	{
		poll(cycle);
		return;
	}
	take_events(cycle);
	if (cycle->stream->detail != NULL)
		js_details_start(cycle, js_pull_complete);
	else
		js_pull_complete(cycle);
}

/* All events of an answer, those of other streams too. */
static JsPage *
read_events(JsCycle *cycle, JsHttpResponse *response, char **problem)
{
	JsStream	all = *cycle->stream;
	JsPage	   *page;

	if (all.record_path.head == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFIG),
				 errmsg("record_path \"%s\" does not say where the events are",
						all.record_path.text),
				 errhint("Write the path of the list, then a filter: $.events[*] ? (@.type == \"Reservation\").")));
	all.record_path.rest = NULL;
	all.parent_path = NULL;
	all.key_template = NULL;
	js_txn_begin("reading events");
	page = js_page_read(&all, response, problem);
	js_txn_end();
	return page;
}

/* Store events; returns how many are new. */
static int
store_events(JsCycle *cycle, JsPage *page, List **ids)
{
	static JsStatement wake = {
		"UPDATE jacksync.stream_state t SET next_due_at = pg_catalog.clock_timestamp()"
		" FROM jacksync.stream s WHERE s.stream_id = t.stream_id AND s.server = $1"
		" AND s.request = $2 AND s.sync_mode = 'event_queue' AND s.stream_id <> $3"
		" AND t.failure_count = 0"
		" AND jacksync.live_next_due(t.stream_id, t.next_due_at) > pg_catalog.clock_timestamp()",
		{NAMEOID, JSONBOID, INT4OID}
	};
	JsStream   *stream = cycle->stream;
	JsSecurity	security;
	JsArgs		args = {0};
	ListCell   *cell;
	int			fresh = 0;
	int			level;

	js_txn_begin("storing events");
	js_internal_begin(&security);
	/* they are in no queue any more: they must be on disk */
	(void) set_config_option("synchronous_commit", "on", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	level = js_pin_settings(stream->datetime_zone);
	foreach(cell, page->records)
		if (store_event(cycle, lfirst(cell), ids))
		fresh++;
	foreach(cell, page->bad)
		if (store_event(cycle,
						js_jsonb_string(((JsBadRecord *) lfirst(cell))->text),
						ids))
		fresh++;
	js_unpin_settings(level);
	js_arg_name(&args, stream->server);
	js_arg_jsonb(&args, stream->request);
	js_arg(&args, Int32GetDatum(stream->stream_id));
	if (fresh > 0)
		js_run(&wake, &args);
	js_internal_end(&security);
	js_txn_end();
	return fresh;
}

/* Store one event for all streams of its queue; false if it is known. */
static bool
store_event(JsCycle *cycle, Jsonb *event, List **ids)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.event (server, queue, event_id, event_time, payload, pending)"
		" SELECT $1, $2, $3, $4, $5, ARRAY("
		"  SELECT s.stream_id FROM jacksync.stream s WHERE s.server = $1"
		"  AND s.sync_mode = 'event_queue' AND s.request = $6)"
		" ON CONFLICT (server, queue, event_id) DO NOTHING RETURNING true",
		{NAMEOID, INT8OID, TEXTOID, TIMESTAMPTZOID, JSONBOID, JSONBOID}
	};
	Jsonb	   *id = event_value(cycle, "event_id", event);
	Jsonb	   *when = event_value(cycle, "event_time", event);
	char	   *id_text = id ? js_scalar_text(id) : NULL;
	char	   *when_text = when ? js_scalar_text(when) : NULL;
	TimestampTz time = 0;
	bool		timed = when_text != NULL && js_time_parse(when_text, &time);
	JsArgs		args = {0};

	if (id_text == NULL)
		id_text = psprintf("#" UINT64_FORMAT,
						   hash_bytes_extended((unsigned char *) VARDATA_ANY(event),
											   VARSIZE_ANY_EXHDR(event), 0));
	else
		*ids = lappend(*ids, id);
	js_arg_name(&args, cycle->stream->server);
	js_arg(&args, Int64GetDatum(queue_of(cycle->stream)));
	js_arg_text(&args, id_text);
	js_arg_time(&args, time, timed);
	js_arg_jsonb(&args, event);
	js_arg_jsonb(&args, cycle->stream->request);
	return js_run(&statement, &args) > 0;
}

/* A value of an event that an option of the paginator names. */
static Jsonb *
event_value(JsCycle *cycle, const char *option, Jsonb *event)
{
	Jsonb	   *path = js_jsonb_member(cycle->stream->paginator, option);

	return path ? js_path_first(js_path_make(js_scalar_text(path)), event) :
		NULL;
}

/* Which queue of its server a stream reads. */
static int64
queue_of(JsStream *stream)
{
	return (int64) hash_bytes_extended((unsigned char *) VARDATA_ANY(stream->request),
									   VARSIZE_ANY_EXHDR(stream->request), 0);
}

/* Tell the PMS that events are stored; false if it does not want to know. */
static bool
acknowledge(JsCycle *cycle, List *ids)
{
	Jsonb	   *ack = js_jsonb_member(cycle->stream->paginator, "ack");
	JsVars	   *vars = js_cycle_vars(cycle);
	JsHttpRequest request = {0};
	JsonbParseState *array = NULL;
	ListCell   *cell;

	if (ack == NULL || ids == NIL)
		return false;
	js_txn_begin("making a request");
	pushJsonbValue(&array, WJB_BEGIN_ARRAY, NULL);
	foreach(cell, ids)
		js_array_push(&array, lfirst(cell));
	js_vars_set_json(vars, "record.ids",
					 JsonbValueToJsonb(pushJsonbValue(&array, WJB_END_ARRAY, NULL)));
	js_vars_set_json(vars, "record.id", llast(ids));
	js_server_request(cycle->server, &request);
	js_template_request(js_cycle_new_request(cycle), ack, cycle->server, vars,
						&request);
	js_txn_end();
	js_cycle_send(cycle, &request, acknowledged);
	return true;
}

/* The PMS knows it, or will bring the events again. */
static void
acknowledged(JsCycle *cycle, JsHttpResponse *response)
{
	char	   *problem = js_cycle_problem(cycle, response);

	if (problem != NULL)
		js_cycle_fail(cycle, psprintf("events could not be acknowledged: %s",
									  problem));
	else
		poll_again(cycle);
}

/* Take all events that wait for this stream. */
static void
take_events(JsCycle *cycle)
{
	while (take_some(cycle))
		;
}

/*
 * Take some of them, in their order: into the details that are wanted, or
 * applied as they are.  False if there are no more.
 */
static bool
take_some(JsCycle *cycle)
{
	static JsStatement statement = {
		"SELECT event_id, payload FROM jacksync.event"
		" WHERE server = $1 AND queue = $2 AND pending <> '{}' AND $3 = ANY (pending)"
		" ORDER BY event_time, length(event_id), event_id LIMIT $4",
		{NAMEOID, INT8OID, INT4OID, INT8OID}
	};
	JsApply		apply = {0};
	JsArgs		args = {0};
	List	   *events = NIL;
	List	   *records = NIL;
	List	   *taken = NIL;
	ListCell   *cell;
	uint64		rows;

	js_txn_begin("taking events");
	apply.run = &cycle->run;
	apply.tick = cycle->tick;
	apply.skip_locked = true;
	apply.defer_deletes = true;
	js_apply_begin(&apply, cycle->stream->entity, cycle->stream, false);
	apply.counts = cycle->counts;
	js_arg_name(&args, cycle->stream->server);
	js_arg(&args, Int64GetDatum(queue_of(cycle->stream)));
	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_arg(&args, Int64GetDatum(CHUNK));
	rows = js_run(&statement, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		taken = lappend(taken, js_get_text(row, 1));
		events = lappend(events, js_get_jsonb(row, 2));
	}
	foreach(cell, events)
	{
		if (JB_ROOT_IS_OBJECT((Jsonb *) lfirst(cell)))
			records = list_concat(records,
								  records_in(cycle->stream, lfirst(cell)));
		else
			store_bad_event(&apply, lfirst(cell));
	}
	if (cycle->stream->detail != NULL)
		records = js_details_want(cycle, &apply, cycle->stream, records, true);
	js_apply_page(&apply, records);
	foreach(cell, taken)
		cross_out(cycle, lfirst(cell));
	cycle->counts = apply.counts;
	cycle->regressed += apply.regressed;
	cycle->advanced += apply.advanced;
	js_run_progress(&cycle->run, &cycle->counts);
	js_apply_end(&apply);
	js_txn_end();
	return rows == CHUNK;
}

/* The records of this stream in an event: itself, or what its filter finds. */
static List *
records_in(JsStream *stream, Jsonb *event)
{
	List	   *result = NIL;
	Jsonb	   *all;

	if (stream->record_path.rest == NULL)
		return list_make1(event);
	all = js_path_all(stream->record_path.rest, event);
	for (int i = 0; all != NULL && i < JB_ROOT_COUNT(all); i++)
		result = lappend(result,
						 js_jsonb_from_value(getIthJsonbValueFromContainer(&all->root, i)));
	return result;
}

/* An event that could not be stored as it came. */
static void
store_bad_event(JsApply *apply, Jsonb *event)
{
	JsLink		link = {0};
	JsSubject	subject = js_apply_subject(apply, &link);
	JsFailure	failure = {0};

	failure.direction = "pull";
	failure.sqlstate = unpack_sql_state(ERRCODE_JS_BAD_RECORD);
	failure.error = "event is no object, or cannot be stored";
	failure.payload = event;
	failure.dead = true;
	js_failure_record(&subject, &failure);
	apply->counts.processed++;
	apply->counts.errors++;
}

/* This stream has taken an event. */
static void
cross_out(JsCycle *cycle, const char *event_id)
{
	static JsStatement statement = {
		"UPDATE jacksync.event SET pending = pg_catalog.array_remove(pending, $4)"
		" WHERE server = $1 AND queue = $2 AND event_id = $3",
		{NAMEOID, INT8OID, TEXTOID, INT4OID}
	};
	JsArgs		args = {0};

	js_arg_name(&args, cycle->stream->server);
	js_arg(&args, Int64GetDatum(queue_of(cycle->stream)));
	js_arg_text(&args, event_id);
	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_run(&statement, &args);
}
