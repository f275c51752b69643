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
#include "progress.h"
#include "run.h"
#include "schedule.h"
#include "secure.h"
#include "shared.h"
#include "statement.h"
#include "txn.h"
#include "worker.h"

PGDLLEXPORT pg_noreturn void jacksync_worker_main(Datum arg);

#define MAX_CYCLES		1024	/* at once: one that hangs must not delay
								 * another */
#define NO_EXTENSION_MS 10000	/* look again for CREATE EXTENSION */
#define HEARTBEAT_MS	15000
#define WRITTEN_MS		300000	/* the heartbeat in the table */
#define WRITTEN_ALONE_MS 60000	/* where there is no shared memory */
#define PURGE_MS		3600000 /* housekeeping; sooner if there is more */
#define LONGEST_SLEEP_MS 60000

static List *cycles = NIL;		/* JsCycle */
static MemoryContext worker_context;
static MemoryContext turn_context;	/* of one turn of the loop */
static bool registered = false;
static bool extension_checked = false;
static TimestampTz next_written = 0;
static TimestampTz next_heartbeat = 0;
static TimestampTz next_purge = 0;
static ErrorData *delivery_error = NULL;

static void prepare_session(Oid database);
static bool guarded(bool (*work) (void));
static bool extension_usable(void);
static void start_due_cycles(void);
static bool purge(void);
static bool attach(void);
static bool heartbeat(void);
static void register_worker(void);
static void run_cycles(void);
static void deliver(void);
static bool deliver_failed(void);
static bool is_running(int32 stream_id);
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

		MemoryContextReset(turn_context);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		AcceptInvalidationMessages();

		if (!guarded(extension_usable))
		{
			if (registered)
				js_schedule_forget();
			registered = false;
			js_http_wait(NO_EXTENSION_MS, &latch_set);
			continue;
		}
		(void) guarded(heartbeat);
		(void) guarded(purge);
		if (guarded(js_schedule_update))
			start_due_cycles();
		run_cycles();
		deliver();
		js_http_wait(milliseconds_to_sleep(), &latch_set);
		js_progress_turn(list_length(cycles));
		if (latch_set)
		{
			js_schedule_look_for_changes();
			js_deliver_soon();
		}
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
	turn_context = AllocSetContextCreate(worker_context, "jacksync turn",
										 ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn_context);
	js_schedule_init(worker_context);
	js_txn_use_session(false);

	/*
	 * We give way to users: first to be the victim of a deadlock, and, as who
	 * closes the circle is the one to find it, gone before a user's
	 * deadlock_timeout has passed.
	 */
	SetConfigOption("lock_timeout", "500ms", PGC_SUSET, PGC_S_OVERRIDE);
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
		MemoryContextSwitchTo(turn_context);
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
	extension_checked = false;
	EmitErrorReport();
	FlushErrorState();
	js_txn_abort();
	RESUME_INTERRUPTS();
	MemoryContextSwitchTo(turn_context);
}

/*
 * Is the extension there, in the version of this library?  If its objects are
 * of another version we wait, and do not guess.  Looked up at every heartbeat,
 * after every error, and when our tables are not what they were.
 */
static bool
extension_usable(void)
{
	static bool complained = false;
	bool		usable = false;
	char	   *version = NULL;

	if (extension_checked && registered && !js_schedule_is_stale() &&
		GetCurrentTimestamp() < next_heartbeat)
		return true;
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
	extension_checked = usable;
	return usable;
}

/* Shared memory of this database: not vital, so an error is only reported. */
static bool
attach(void)
{
	JsSecurity	security;

	js_txn_begin("attaching shared memory");
	js_internal_begin(&security);
	js_shared_attach(true);
	js_internal_end(&security);
	js_txn_end();
	js_progress_worker();
	return true;
}

/*
 * Tell that we live, and who we are.  The time of the last turn is in shared
 * memory; the table gets it less often, for standbys and for who comes after
 * us.  Look for stale data as well.
 */
static bool
heartbeat(void)
{
	static JsStatement beat = {
		"UPDATE jacksync.worker SET heartbeat = pg_catalog.clock_timestamp()"
		" WHERE pid = $1",
		{INT4OID}
	};
	static JsStatement stale = {
		"SELECT jacksync.alert_stale()",
		{InvalidOid}
	};
	TimestampTz now = GetCurrentTimestamp();
	JsSecurity	security;
	JsArgs		args = {0};

	if (registered && now < next_heartbeat)
		return true;
	if (!registered)
		(void) guarded(attach);
	js_txn_begin("heartbeat");
	js_internal_begin(&security);
	if (!registered)
		register_worker();
	else if (now >= next_written)
	{
		js_arg(&args, Int32GetDatum(MyProcPid));
		js_run(&beat, &args);
	}
	js_run(&stale, NULL);
	js_internal_end(&security);
	js_txn_end();
	if (!registered || now >= next_written)
		next_written = TimestampTzPlusMilliseconds(now, js_shared() != NULL ?
												   WRITTEN_MS :
												   WRITTEN_ALONE_MS);
	registered = true;
	next_heartbeat = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												 HEARTBEAT_MS);
	js_deliver_soon();
	js_give_back_memory();
	return true;
}

/* The first heartbeat: every session learns whom to wake. */
static void
register_worker(void)
{
	static JsStatement hello = {
		"INSERT INTO jacksync.worker (pid, library_version) VALUES ($1, $2)"
		" ON CONFLICT (pid) DO UPDATE SET heartbeat = pg_catalog.clock_timestamp(),"
		" started_at = pg_catalog.clock_timestamp(), library_version = excluded.library_version",
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
	JsArgs		pid = {0};
	JsArgs		both;

	js_arg(&pid, Int32GetDatum(MyProcPid));
	both = pid;
	js_arg_text(&both, JACKSYNC_VERSION);
	js_run(&back, NULL);
	js_run(&goodbye, &pid);
	js_run(&hello, &both);
	js_schedule_look();
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

/* Start the cycles that are due. */
static void
start_due_cycles(void)
{
	JsDue	   *due;
	int			n = js_schedule_due(&due);

	for (int i = 0; i < n && list_length(cycles) < MAX_CYCLES; i++)
	{
		MemoryContext old;

		if (is_running(due[i].stream_id) ||
			!js_stream_lock(due[i].stream_id, false))
		{
			js_schedule_busy(due[i].stream_id);
			continue;
		}
		old = MemoryContextSwitchTo(worker_context);
		cycles = lappend(cycles, js_cycle_start(worker_context,
												due[i].stream_id,
												due[i].push_only, false));
		MemoryContextSwitchTo(old);
		js_schedule_started(due[i].stream_id);
	}
	pfree(due);
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
				js_schedule_ended(cycle->stream_id, cycle->counts.pushed > 0);
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
		MemoryContextSwitchTo(turn_context);
		delivery_error = CopyErrorData();
		report_error();
	}
	PG_END_TRY();
	if (delivery_error != NULL)
	{
		(void) guarded(deliver_failed);
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

/* Until something is due. */
static long
milliseconds_to_sleep(void)
{
	TimestampTz next = Min(next_heartbeat, next_purge);
	ListCell   *cell;

	next = Min(next, js_deliver_due());
	/* more than we may run at once wait for one that ends */
	if (list_length(cycles) < MAX_CYCLES)
		next = Min(next, js_schedule_next());
	foreach(cell, cycles)
	{
		TimestampTz due = js_cycle_due((JsCycle *) lfirst(cell));

		if (due != 0)
			next = Min(next, due);
	}
	return Min(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next) + 1,
			   LONGEST_SLEEP_MS);
}
