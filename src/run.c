/*-------------------------------------------------------------------------
 *
 * run.c
 *	  Running cycles, in a session or step by step.
 *
 * CALL jacksync.sync() is the same cycle as the worker's, in this session.
 * An advisory lock per stream, held by the session beyond transactions, keeps
 * two from working on one stream.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

#include "check.h"
#include "compat.h"
#include "http.h"
#include "installation.h"
#include "jacksync.h"
#include "progress.h"
#include "run.h"
#include "secure.h"
#include "shared.h"
#include "statement.h"
#include "txn.h"
#include "wake.h"

JS_FUNCTION(jacksync_sync);
JS_FUNCTION(jacksync_push);
JS_FUNCTION(jacksync_check_stream);

#define LONGEST_WAIT_MS 1000	/* then a session looks again by itself */

/* The sum of what several cycles did. */
typedef struct Total
{
	int64		run_id;
	TimestampTz started;
	bool		success;
	JsCounts	counts;
	char	   *error;
	JsCheck    *check;			/* NULL: ordinary cycles */
} Total;

static void record_failure(JsCycle *cycle, const char *message, bool rethrow);
static void run_streams(FunctionCallInfo fcinfo, bool push_only, Total *total);
static int32 *streams_of(const char *entity, const char *server, int *n,
						 char ***names);
static void run_cycle(MemoryContext mcxt, int32 stream_id, const char *what,
					  bool push_only, Total *total);
static void add_up(Total *total, JsCycle *cycle, MemoryContext mcxt);

/*
 * Take the lock of a stream for this session.  Without wait: false if
 * somebody else has it.
 */
bool
js_stream_lock(int32 stream_id, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, JS_LOCK_CLASS, stream_id, 2);
	return LockAcquire(&tag, ExclusiveLock, true, !wait) !=
		LOCKACQUIRE_NOT_AVAIL;
}

/* Give it back. */
void
js_stream_unlock(int32 stream_id)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, JS_LOCK_CLASS, stream_id, 2);
	(void) LockRelease(&tag, ExclusiveLock, true);
}

/*
 * One step of a cycle.  An error is the failure of the cycle, recorded as
 * such; with rethrow, one that is meant for the session goes on.
 */
void
js_run_step(JsCycle *cycle, bool rethrow)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		js_cycle_step(cycle);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(cycle->mcxt);
		error = CopyErrorData();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		{
			if (rethrow)
				PG_RE_THROW();
		}
		FlushErrorState();
		js_txn_abort();
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("synchronization of stream %d failed: %s",
						cycle->stream_id, error->message)));
		record_failure(cycle, error->message, rethrow);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
}

/* Record that a cycle failed; that may fail as well. */
static void
record_failure(JsCycle *cycle, const char *message, bool rethrow)
{
	PG_TRY();
	{
		js_cycle_fail(cycle, message);
	}
	PG_CATCH();
	{
		/* not even that: the next run will tell */
		MemoryContextSwitchTo(cycle->mcxt);
		if (rethrow)
			PG_RE_THROW();
		EmitErrorReport();
		FlushErrorState();
		js_txn_abort();
		cycle->done = true;
	}
	PG_END_TRY();
}

/* Procedure sync(entity text, server name, INOUT ...) */
Datum
jacksync_sync(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Total		total = {0};
	Datum		values[12];
	bool		nulls[12] = {0};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	run_streams(fcinfo, false, &total);
	values[0] = Int64GetDatum(total.run_id);
	nulls[0] = total.run_id == 0;
	values[1] = TimestampTzGetDatum(total.started);
	values[2] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[3] = BoolGetDatum(total.success);
	values[4] = Int64GetDatum(total.counts.processed);
	values[5] = Int64GetDatum(total.counts.created);
	values[6] = Int64GetDatum(total.counts.updated);
	values[7] = Int64GetDatum(total.counts.unchanged);
	values[8] = Int64GetDatum(total.counts.pushed);
	values[9] = Int64GetDatum(total.counts.conflicts);
	values[10] = Int64GetDatum(total.counts.errors);
	nulls[11] = total.error == NULL;
	if (total.error != NULL)
		values[11] = CStringGetTextDatum(total.error);
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  values, nulls)));
}

/* Procedure push(entity text, server name) */
Datum
jacksync_push(PG_FUNCTION_ARGS)
{
	Total		total = {0};

	run_streams(fcinfo, true, &total);
	ereport(NOTICE,
			(errmsg("pushed " INT64_FORMAT " changes", total.counts.pushed)));
	if (total.error != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_JS_REMOTE),
				 errmsg("push failed: %s", total.error)));
	PG_RETURN_VOID();
}

/*
 * Procedure check_stream(entity text, server name, external_id text,
 * INOUT measured, INOUT message): tries the PMS out.
 */
Datum
jacksync_check_stream(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Total		total = {0};
	JsCheck		check = {0};
	Datum		values[2];
	bool		nulls[2];

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("entity must not be null")));
	check.mcxt = CurrentMemoryContext;
	check.external_id = PG_ARGISNULL(2) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(2));
	total.check = &check;
	run_streams(fcinfo, true, &total);
	if (check.message == NULL)
		check.message = total.error;
	nulls[0] = check.measured == NULL;
	if (check.measured != NULL)
		values[0] = CStringGetTextDatum(check.measured);
	nulls[1] = check.message == NULL;
	if (check.message != NULL)
		values[1] = CStringGetTextDatum(check.message);
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  values, nulls)));
}

/* Run a cycle of every stream that the arguments name. */
static void
run_streams(FunctionCallInfo fcinfo, bool push_only, Total *total)
{
	CallContext *context = (CallContext *) fcinfo->context;
	MemoryContext mcxt = AllocSetContextCreate(PortalContext,
											   "jacksync sync",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = CurrentMemoryContext;
	char	   *entity;
	char	   *server;
	int32	   *ids;
	char	  **names;
	int			n;

	if (context == NULL || !IsA(context, CallContext) || context->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("cannot synchronize inside a transaction block"),
				 errhint("Run CALL jacksync.sync() by itself: it commits page by page.")));

	MemoryContextSwitchTo(mcxt);
	entity = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	server = PG_ARGISNULL(1) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(1)));
	total->started = GetCurrentTimestamp();
	total->success = true;
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	MemoryContextSwitchTo(mcxt);
	js_txn_use_session(true);
	ids = streams_of(entity, server, &n, &names);
	for (int i = 0; i < n; i++)
		run_cycle(mcxt, ids[i], names[i], push_only, total);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	if (total->error != NULL)
		total->error = pstrdup(total->error);
	MemoryContextDelete(mcxt);
}

/* The streams of an entity and a server (NULL: all); none is an error. */
static int32 *
streams_of(const char *entity, const char *server, int *n, char ***names)
{
	static JsStatement statement = {
		"SELECT s.stream_id, s.entity || ' from ' || s.server"
		" FROM jacksync.stream s"
		" JOIN jacksync.entity e ON e.entity = s.entity"
		" JOIN jacksync.stream_state t USING (stream_id)"
		" WHERE ($1 IS NULL OR s.entity = $1)"
		" AND ($2 IS NULL OR s.server = $2)"
		" AND s.enabled AND e.enabled AND NOT t.paused"
		" ORDER BY s.stream_id",
		{TEXTOID, NAMEOID}
	};
	JsSecurity	security;
	JsArgs		args = {0};
	int32	   *ids;

	js_txn_begin("looking for streams");
	js_internal_begin(&security);
	js_installation_version();
	js_shared_attach(true);
	js_arg_text(&args, entity);
	js_arg_name(&args, server);
	*n = (int) js_run(&statement, &args);
	ids = palloc(sizeof(int32) * Max(*n, 1));
	*names = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		ids[i] = js_get_int4(i, 1);
		(*names)[i] = js_get_text(i, 2);
	}
	js_internal_end(&security);
	js_txn_end();
	if (*n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no enabled stream of entity \"%s\" and server \"%s\"",
						entity ? entity : "(any)", server ? server : "(any)"),
				 errhint("SELECT entity, server, enabled FROM jacksync.stream lists the streams.")));
	return ids;
}

/* Run one cycle to its end. */
static void
run_cycle(MemoryContext mcxt, int32 stream_id, const char *what,
		  bool push_only, Total *total)
{
	JsCycle    *volatile cycle = NULL;

	if (!js_stream_lock(stream_id, false))
	{
		ereport(NOTICE,
				(errmsg("another session or the worker is busy with %s; waiting",
						what)));
		(void) js_stream_lock(stream_id, true);
	}
	PG_TRY();
	{
		cycle = js_cycle_start(mcxt, stream_id, push_only, true);
		cycle->check = total->check;
		while (!cycle->done)
		{
			bool		latch_set;
			TimestampTz due = js_cycle_due(cycle);

			if (js_cycle_ready(cycle))
				js_run_step(cycle, true);
			else
				js_http_wait(due == 0 ? LONGEST_WAIT_MS :
							 Min(LONGEST_WAIT_MS,
								 TimestampDifferenceMilliseconds(GetCurrentTimestamp(), due)),
							 &latch_set);
		}
	}
	PG_CATCH();
	{
		if (cycle != NULL)
			js_progress_end(cycle->progress);
		js_stream_unlock(stream_id);
		PG_RE_THROW();
	}
	PG_END_TRY();
	js_stream_unlock(stream_id);
	add_up(total, cycle, mcxt);
	js_cycle_free(cycle);
}

/* Add what a cycle did. */
static void
add_up(Total *total, JsCycle *cycle, MemoryContext mcxt)
{
	total->run_id = cycle->run.id;
	total->counts.processed += cycle->counts.processed;
	total->counts.created += cycle->counts.created;
	total->counts.updated += cycle->counts.updated;
	total->counts.unchanged += cycle->counts.unchanged;
	total->counts.pushed += cycle->counts.pushed;
	total->counts.conflicts += cycle->counts.conflicts;
	total->counts.errors += cycle->counts.errors;
	if (cycle->error != NULL)
	{
		total->success = false;
		total->error = MemoryContextStrdup(mcxt, cycle->error);
	}
}
