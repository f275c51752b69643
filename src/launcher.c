/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  Starts a worker for every database, and again when one ends.
 *
 * The launcher is connected to no database.  It is a static background
 * worker where the library is preloaded, and then serves the databases of
 * jacksync.databases; or jacksync.start_worker() starts one for the database
 * it is called in.  In both cases the workers are dynamic and never restarted
 * by the postmaster: the launcher does it, with exponential back-off, and
 * knows when a database is gone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "compat.h"
#include "jacksync.h"
#include "statement.h"
#include "worker.h"

PGDLLEXPORT pg_noreturn void jacksync_launcher_main(Datum arg);

JS_FUNCTION(jacksync_start_worker);

#define MIN_BACKOFF_MS		1000
#define MAX_BACKOFF_MS		60000
#define STEADY_MS			60000	/* a worker that ran this long is well */
#define RESTART_PAUSE_MS	3000
#define LOOK_AGAIN_MS		10000	/* for databases that do not exist yet */

/* A database that is to have a worker. */
typedef struct Database
{
	char		name[NAMEDATALEN];
	Oid			oid;			/* InvalidOid: not there now */
	BackgroundWorkerHandle *handle; /* NULL: no worker */
	TimestampTz started;
	TimestampTz next_start;
	int			backoff_ms;
	bool		wanted;
	bool		complained;		/* that it does not exist */
	struct Database *next;
} Database;

static char *databases_setting;
static Database *databases = NULL;

static void define_settings(void);
static bool check_databases(char **newval, void **extra, GucSource source);
static void read_list(void);
static Database *find_database(const char *name);
static void look_up_oids(Oid only);
static long start_workers(void);
static bool start_worker(Database *database);
static void note_end(Database *database);

/* Settings, and the static launcher if the library is preloaded. */
void
js_launcher_init(void)
{
	BackgroundWorker worker = {0};

	define_settings();
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 5;
	strlcpy(worker.bgw_library_name, JS_NAME, sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "jacksync_launcher_main",
			sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "jacksync launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "jacksync launcher", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}

/* Settings of the launcher. */
static void
define_settings(void)
{
	DefineCustomStringVariable("jacksync.databases",
							   "Databases in which a jacksync worker runs.",
							   "A comma-separated list; it takes effect when the configuration is reloaded.",
							   &databases_setting,
							   "",
							   PGC_SIGHUP,
							   GUC_LIST_INPUT,
							   check_databases, NULL, NULL);
}

/* The setting must be a list of names. */
static bool
check_databases(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names;
	ListCell   *cell;

	if (!SplitIdentifierString(copy, ',', &names))
	{
		GUC_check_errdetail("List syntax is invalid.");
		pfree(copy);
		return false;
	}
	foreach(cell, names)
		if (strlen((char *) lfirst(cell)) >= NAMEDATALEN)
	{
		GUC_check_errdetail("Database name \"%s\" is too long.",
							(char *) lfirst(cell));
		return false;
	}
	list_free(names);
	pfree(copy);
	return true;
}

/*
 * Main of a launcher.  arg is 0, or the OID of the only database to serve.
 */
void
jacksync_launcher_main(Datum arg)
{
	Oid			only = DatumGetObjectId(arg);
	uint32		wait_event;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	wait_event = js_wait_event_new("JacksyncLauncher");

	/*
	 * Not at once after a crash of the server: if it was our worker that
	 * crashed it, the hotel should have some time between.
	 */
	if (GetCurrentTimestamp() - PgStartTime > 10 * USECS_PER_SEC)
		(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 RESTART_PAUSE_MS, wait_event);

	if (OidIsValid(only))
	{
		databases = MemoryContextAllocZero(TopMemoryContext, sizeof(Database));
		databases->oid = only;
		databases->wanted = true;
	}
	else
		read_list();

	for (;;)
	{
		long		timeout;

		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			if (!OidIsValid(only))
				read_list();
		}
		look_up_oids(only);
		timeout = start_workers();

		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH |
						 (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout, wait_event);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Take the list of databases from the setting. */
static void
read_list(void)
{
	char	   *copy = pstrdup(databases_setting);
	List	   *names;
	ListCell   *cell;

	for (Database *database = databases; database; database = database->next)
		database->wanted = false;
	if (SplitIdentifierString(copy, ',', &names))
		foreach(cell, names)
			find_database((char *) lfirst(cell))->wanted = true;
	pfree(copy);
}

/* The entry of a database; made if there is none. */
static Database *
find_database(const char *name)
{
	Database   *database;

	for (database = databases; database; database = database->next)
		if (strcmp(database->name, name) == 0)
			return database;
	database = MemoryContextAllocZero(TopMemoryContext, sizeof(Database));
	strlcpy(database->name, name, NAMEDATALEN);
	database->next = databases;
	databases = database;
	return database;
}

/*
 * Find out which databases exist.  A launcher that serves only one ends, for
 * good, when that one is gone.
 */
static void
look_up_oids(Oid only)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	for (Database *database = databases; database; database = database->next)
		database->oid = InvalidOid;

	/* without a database there are no indexes: read all of pg_database */
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (!form->datallowconn)
			continue;
		for (Database *database = databases; database;
			 database = database->next)
		{
			if (OidIsValid(only) ? form->oid == only :
				strcmp(NameStr(form->datname), database->name) == 0)
			{
				database->oid = form->oid;
				database->complained = false;
				strlcpy(database->name, NameStr(form->datname), NAMEDATALEN);
			}
		}
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();

	if (OidIsValid(only) && !OidIsValid(databases->oid))
		proc_exit(0);
}

/*
 * Start what is due and stop what is not wanted any more.  Returns the
 * milliseconds until something may be due, or -1.
 */
static long
start_workers(void)
{
	long		timeout = -1;
	TimestampTz now = GetCurrentTimestamp();

	for (Database *database = databases; database; database = database->next)
	{
		long		wait = -1;
		pid_t		pid;

		if (database->handle != NULL)
		{
			if (!database->wanted)
				TerminateBackgroundWorker(database->handle);
			if (GetBackgroundWorkerPid(database->handle, &pid) == BGWH_STOPPED)
				note_end(database);
		}
		if (database->handle == NULL && database->wanted)
		{
			if (!OidIsValid(database->oid))
			{
				if (!database->complained)
					ereport(LOG,
							(errmsg("jacksync waits for database \"%s\", which does not exist or allows no connections",
									database->name),
							 errhint("Create it, or take it off jacksync.databases.")));
				database->complained = true;
				wait = LOOK_AGAIN_MS;
			}
			else if (database->next_start > now)
				wait = (database->next_start - now) / 1000 + 1;
			else if (!start_worker(database))
				wait = LOOK_AGAIN_MS;
		}
		if (wait >= 0 && (timeout < 0 || wait < timeout))
			timeout = wait;
	}
	return timeout;
}

/* Start the worker of a database. */
static bool
start_worker(Database *database)
{
	BackgroundWorker worker = {0};
	MemoryContext old;
	bool		started;

	js_worker_describe(&worker, database->oid);
	snprintf(worker.bgw_name, sizeof(worker.bgw_name),
			 "jacksync worker for database %s", database->name);
	worker.bgw_notify_pid = MyProcPid;

	old = MemoryContextSwitchTo(TopMemoryContext);
	started = RegisterDynamicBackgroundWorker(&worker, &database->handle);
	MemoryContextSwitchTo(old);
	if (!started)
	{
		database->handle = NULL;
		ereport(LOG,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("jacksync could not start its worker for database \"%s\"",
						database->name),
				 errhint("Increase max_worker_processes.")));
		return false;
	}
	database->started = GetCurrentTimestamp();
	return true;
}

/* A worker has ended: when is the next one due? */
static void
note_end(Database *database)
{
	TimestampTz now = GetCurrentTimestamp();

	pfree(database->handle);
	database->handle = NULL;
	if (now - database->started > STEADY_MS * INT64CONST(1000) ||
		database->backoff_ms == 0)
		database->backoff_ms = MIN_BACKOFF_MS;
	else
		database->backoff_ms = Min(database->backoff_ms * 2, MAX_BACKOFF_MS);
	database->next_start =
		TimestampTzPlusMilliseconds(now, database->backoff_ms);
}

/*
 * start_worker() returns integer: starts a launcher for this database, unless
 * a worker runs already.  Returns the worker's process id.
 */
Datum
jacksync_start_worker(PG_FUNCTION_ARGS)
{
	static JsStatement running = {
		"SELECT l.pid FROM pg_catalog.pg_locks l"
		" WHERE l.locktype = 'advisory' AND l.database ="
		" (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())"
		" AND l.classid = 27251 AND l.objid = 0 AND l.granted",
		{InvalidOid}
	};
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	int			pid = 0;

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("jacksync does not run on a standby"),
				 errhint("The worker starts by itself after promotion if jacksync is in shared_preload_libraries.")));
	SPI_connect();
	if (js_run(&running, NULL) > 0)
		pid = js_get_int4(0, 1);
	if (pid == 0)
	{
		worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
			BGWORKER_BACKEND_DATABASE_CONNECTION;
		worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
		worker.bgw_restart_time = 5;
		strlcpy(worker.bgw_library_name, JS_NAME,
				sizeof(worker.bgw_library_name));
		strlcpy(worker.bgw_function_name, "jacksync_launcher_main",
				sizeof(worker.bgw_function_name));
		snprintf(worker.bgw_name, sizeof(worker.bgw_name),
				 "jacksync launcher for database %u", MyDatabaseId);
		strlcpy(worker.bgw_type, "jacksync launcher",
				sizeof(worker.bgw_type));
		worker.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
		if (!RegisterDynamicBackgroundWorker(&worker, &handle))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("could not start the jacksync worker"),
					 errhint("Increase max_worker_processes.")));
		for (int i = 0; pid == 0 && i < 100; i++)
		{
			CHECK_FOR_INTERRUPTS();
			pg_usleep(50000);
			if (js_run(&running, NULL) > 0)
				pid = js_get_int4(0, 1);
		}
	}
	SPI_finish();
	if (pid == 0)
		ereport(WARNING,
				(errmsg("the jacksync worker has not started yet"),
				 errhint("See the server log.")));
	PG_RETURN_INT32(pid);
}
