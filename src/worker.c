/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The background worker of one database.
 *
 * It runs the cycles that are due, all at once over one event loop, and
 * sleeps until the next is due, an answer comes, or a commit with local
 * changes wakes it.  It holds no transaction while it waits.  An error ends
 * the cycle in which it happened and nothing else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "cycle.h"
#include "deliver.h"
#include "http.h"
#include "jacksync.h"
#include "run.h"
#include "secure.h"
#include "statement.h"
#include "txn.h"
#include "worker.h"

PGDLLEXPORT pg_noreturn void jacksync_worker_main(Datum arg);

#define MAX_CYCLES		1024	/* at once: one that hangs must not delay another */
#define NO_EXTENSION_MS 10000	/* look again for CREATE EXTENSION */
#define HEARTBEAT_MS	15000
#define PURGE_MS		3600000 /* housekeeping; sooner if there is more */
#define LONGEST_SLEEP_MS 60000

static List *cycles = NIL;		/* JsCycle */
static MemoryContext worker_context;
static bool registered = false;
static TimestampTz next_heartbeat = 0;
static TimestampTz next_purge = 0;
static ErrorData *delivery_error = NULL;

static void prepare_session(Oid database);
static bool guarded(bool (*work) (void));
static bool extension_usable(void);
static bool start_due_cycles(void);
static bool purge(void);
static bool heartbeat(void);
static void run_cycles(void);
static void deliver(void);
static bool deliver_failed(void);
static bool is_running(int32 stream_id);
static Datum running_streams(void);
static long milliseconds_to_sleep(void);
static void report_error(void);

/* What the launcher registers. */
void
js_worker_describe(BackgroundWorker *worker, Oid database)
{
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, JS_NAME,
			sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, "jacksync_worker_main",
			sizeof(worker->bgw_function_name));
	strlcpy(worker->bgw_type, "jacksync worker", sizeof(worker->bgw_type));
	worker->bgw_main_arg = ObjectIdGetDatum(database);
}

/* Main of the worker; arg is the OID of its database. */
void
jacksync_worker_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	prepare_session(DatumGetObjectId(arg));

	for (;;)
	{
		bool		latch_set;

		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		AcceptInvalidationMessages();

		if (!guarded(extension_usable))
		{
			registered = false;
			js_http_wait(NO_EXTENSION_MS, &latch_set);
			continue;
		}
		(void) guarded(heartbeat);
		(void) guarded(purge);
		(void) guarded(start_due_cycles);
		run_cycles();
		deliver();
		js_http_wait(milliseconds_to_sleep(), &latch_set);
		if (latch_set)
			js_deliver_soon();
	}
}

/* Connect, and pin what the protocol relies on. */
static void
prepare_session(Oid database)
{
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	worker_context = AllocSetContextCreate(TopMemoryContext,
										   "jacksync worker",
										   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(worker_context);
	js_txn_use_session(false);

	/* we give way to users: short waits for locks, first to be the victim */
	SetConfigOption("lock_timeout", "2s", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("deadlock_timeout", "100ms", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed",
					PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_USERSET,
					PGC_S_OVERRIDE);
	SetConfigOption("session_replication_role", "origin", PGC_SUSET,
					PGC_S_OVERRIDE);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET,
					PGC_S_OVERRIDE);
	SetConfigOption("idle_in_transaction_session_timeout", "0", PGC_USERSET,
					PGC_S_OVERRIDE);

	/* one worker a database; it ends with the process */
	if (!js_worker_lock(true))
	{
		ereport(LOG,
				(errmsg("another jacksync worker runs in this database")));
		proc_exit(0);
	}
}

/* Take the session lock that the only worker of a database holds. */
bool
js_worker_lock(bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, JS_LOCK_CLASS, 0, 2);
	return LockAcquire(&tag, ExclusiveLock, true, true) !=
		LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Do a piece of work in transactions of its own.  An error is reported, and
 * counts as false.
 */
static bool
guarded(bool (*work) (void))
{
	volatile bool result = false;

	PG_TRY();
	{
		result = work();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(worker_context);
		report_error();
	}
	PG_END_TRY();
	return result;
}

/* Report an error that was caught, and clean up after it. */
static void
report_error(void)
{
	HOLD_INTERRUPTS();
	EmitErrorReport();
	FlushErrorState();
	js_txn_abort();
	RESUME_INTERRUPTS();
	MemoryContextSwitchTo(worker_context);
}

/*
 * Is the extension there, in the version of this library?  If its objects are
 * of another version we wait, and do not guess.
 */
static bool
extension_usable(void)
{
	static bool complained = false;
	bool		usable = false;
	char	   *version = NULL;

	js_txn_begin("looking for the extension");
	if (js_extension_present())
	{
		SPI_execute("SELECT extversion FROM pg_catalog.pg_extension"
					" WHERE extname = 'jacksync'", true, 1);
		/* it may have been dropped since */
		if (SPI_processed > 0)
			version = js_get_text(0, 1);
		usable = version != NULL && strcmp(version, JACKSYNC_VERSION) == 0;
		if (version != NULL && !usable && !complained)
			ereport(LOG,
					(errmsg("jacksync waits: the extension has version %s, the library %s",
							version, JACKSYNC_VERSION),
					 errhint("Run ALTER EXTENSION jacksync UPDATE, or restart the server to load the new library.")));
		complained = !usable;
	}
	js_txn_end();
	return usable;
}

/* Tell that we live, and who we are. */
static bool
heartbeat(void)
{
	static JsStatement hello = {
		"INSERT INTO jacksync.worker (pid, library_version) VALUES ($1, $2)"
		" ON CONFLICT (pid) DO UPDATE SET heartbeat = pg_catalog.clock_timestamp(),"
		" started_at = pg_catalog.clock_timestamp()",
		{INT4OID, TEXTOID}
	};
	static JsStatement back = {
		"SELECT jacksync.alert_worker_back()",
		{InvalidOid}
	};
	static JsStatement goodbye = {
		"DELETE FROM jacksync.worker WHERE pid <> $1",
		{INT4OID}
	};
	static JsStatement beat = {
		"UPDATE jacksync.worker SET heartbeat = pg_catalog.clock_timestamp()"
		" WHERE pid = $1",
		{INT4OID}
	};
	static JsStatement stale = {
		"SELECT jacksync.alert_stale()",
		{InvalidOid}
	};
	JsSecurity	security;
	JsArgs		args = {0};

	if (registered && GetCurrentTimestamp() < next_heartbeat)
		return true;
	js_txn_begin("heartbeat");
	js_internal_begin(&security);
	js_arg(&args, Int32GetDatum(MyProcPid));
	if (!registered)
	{
		JsArgs		both = args;

		js_run(&back, NULL);
		js_run(&goodbye, &args);
		js_arg_text(&both, JACKSYNC_VERSION);
		js_run(&hello, &both);
	}
	else
		js_run(&beat, &args);
	js_run(&stale, NULL);
	js_internal_end(&security);
	js_txn_end();
	registered = true;
	next_heartbeat = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												 HEARTBEAT_MS);
	return true;
}

/* Delete what is older than is to be kept: a small batch at a time. */
static bool
purge(void)
{
	static JsStatement statement = {
		"SELECT jacksync.purge(1000)",
		{InvalidOid}
	};
	JsSecurity	security;
	int64		deleted;

	if (GetCurrentTimestamp() < next_purge)
		return true;
	/* should it fail, not at once again */
	next_purge = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PURGE_MS);
	js_txn_begin("deleting what is old");
	js_internal_begin(&security);
	js_run(&statement, NULL);
	deleted = js_get_int8(0, 1);
	js_internal_end(&security);
	js_txn_end();
	if (deleted >= 1000)
		next_purge = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 1000);
	return true;
}

/*
 * Start a cycle for every stream that is due, and one that only pushes for
 * every stream with local changes.
 */
static bool
start_due_cycles(void)
{
	static JsStatement statement = {
		"SELECT s.stream_id, t.next_due_at <= pg_catalog.clock_timestamp()"
		" FROM jacksync.stream s"
		" JOIN jacksync.stream_state t USING (stream_id)"
		" JOIN jacksync.entity e ON e.entity = s.entity"
		" WHERE s.enabled AND e.enabled AND NOT t.paused"
		" AND NOT jacksync.in_maintenance(s.server)"
		" AND (t.next_due_at <= pg_catalog.clock_timestamp()"
		"      OR (t.failure_count = 0 AND t.initial_done AND ("
		"       EXISTS (SELECT FROM jacksync.change c WHERE c.entity_id = e.entity_id)"
		"       OR EXISTS (SELECT FROM jacksync.link l WHERE l.dirty"
		"        AND l.entity_id = e.entity_id AND l.stream_id = s.stream_id"
		"        AND l.state = 'l' AND l.intent_id IS NULL))))"
		" ORDER BY t.next_due_at",
		{InvalidOid}
	};
	JsSecurity	security;
	uint64		rows;
	int32	   *ids;
	bool	   *due;
	int			n = 0;

	js_txn_begin("looking for streams that are due");
	js_internal_begin(&security);
	rows = js_run(&statement, NULL);
	ids = palloc(sizeof(int32) * Max(rows, 1));
	due = palloc(sizeof(bool) * Max(rows, 1));
	for (uint64 row = 0; row < rows; row++)
	{
		ids[n] = js_get_int4(row, 1);
		due[n] = js_get_bool(row, 2);
		n++;
	}
	js_internal_end(&security);
	js_txn_end();

	for (int i = 0; i < n && list_length(cycles) < MAX_CYCLES; i++)
	{
		MemoryContext old;

		if (is_running(ids[i]) || !js_stream_lock(ids[i], false))
			continue;
		old = MemoryContextSwitchTo(worker_context);
		cycles = lappend(cycles, js_cycle_start(worker_context, ids[i],
												!due[i], false));
		MemoryContextSwitchTo(old);
	}
	pfree(ids);
	pfree(due);
	return true;
}

/* Has the stream a cycle already? */
static bool
is_running(int32 stream_id)
{
	ListCell   *cell;

	foreach(cell, cycles)
		if (((JsCycle *) lfirst(cell))->stream_id == stream_id)
		return true;
	return false;
}

/* Let every cycle that can go on do so; those that are done go away. */
static void
run_cycles(void)
{
	bool		progress = true;

	while (progress)
	{
		ListCell   *cell;

		progress = false;
		foreach(cell, cycles)
		{
			JsCycle    *cycle = (JsCycle *) lfirst(cell);

			if (js_cycle_ready(cycle))
			{
				js_run_step(cycle, false);
				progress = true;
			}
			if (cycle->done)
			{
				cycles = foreach_delete_current(cycles, cell);
				js_deliver_soon();
				js_stream_unlock(cycle->stream_id);
				js_cycle_free(cycle);
			}
			CHECK_FOR_INTERRUPTS();
		}
	}
}

/* Send alerts.  An error ends the message in which it happened. */
static void
deliver(void)
{
	PG_TRY();
	{
		(void) js_deliver_finish();
		(void) js_deliver_start();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(worker_context);
		delivery_error = CopyErrorData();
		report_error();
	}
	PG_END_TRY();
	if (delivery_error != NULL)
	{
		(void) guarded(deliver_failed);
		FreeErrorData(delivery_error);
		delivery_error = NULL;
	}
}

/* Record the error of a message. */
static bool
deliver_failed(void)
{
	js_deliver_fail(delivery_error->message);
	return true;
}

/* The streams that have a cycle now, as an array. */
static Datum
running_streams(void)
{
	Datum		ids[MAX_CYCLES];
	int			n = 0;
	ListCell   *cell;

	foreach(cell, cycles)
		ids[n++] = Int32GetDatum(((JsCycle *) lfirst(cell))->stream_id);
	return PointerGetDatum(construct_array(ids, n, INT4OID, 4, true,
										   TYPALIGN_INT));
}

/* Until something is due. */
static long
milliseconds_to_sleep(void)
{
	static JsStatement statement = {
		"SELECT min(t.next_due_at) FROM jacksync.stream s"
		" JOIN jacksync.stream_state t USING (stream_id)"
		" JOIN jacksync.entity e ON e.entity = s.entity"
		" WHERE s.enabled AND e.enabled AND NOT t.paused"
		" AND s.stream_id <> ALL ($1) AND NOT jacksync.in_maintenance(s.server)",
		{INT4ARRAYOID}
	};
	TimestampTz now = GetCurrentTimestamp();
	JsArgs		args = {0};
	long		sleep = TimestampDifferenceMilliseconds(now,
													Min(next_heartbeat, next_purge));
	JsSecurity	security;
	ListCell   *cell;
	volatile TimestampTz next = 0;

	PG_TRY();
	{
		js_txn_begin("looking when the next stream is due");
		js_internal_begin(&security);
		js_arg(&args, running_streams());
		js_run(&statement, &args);
		next = js_get_int8(0, 1);
		js_internal_end(&security);
		js_txn_end();
	}
	PG_CATCH();
	{
		report_error();
	}
	PG_END_TRY();

	sleep = Min(sleep, TimestampDifferenceMilliseconds(now, js_deliver_due()) + 1);
	if (next != 0)
		sleep = Min(sleep, TimestampDifferenceMilliseconds(now, next) + 1);
	foreach(cell, cycles)
	{
		TimestampTz due = js_cycle_due((JsCycle *) lfirst(cell));

		if (due != 0)
			sleep = Min(sleep, TimestampDifferenceMilliseconds(now, due) + 1);
	}
	return Min(sleep, LONGEST_SLEEP_MS);
}
