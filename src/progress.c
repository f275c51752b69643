/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  What runs in a database now, in shared memory.
 *
 * A dynamic segment per database, so that nothing has to be preloaded.  The
 * first process that needs it creates it and pins it, so that it outlives its
 * worker; its handle stands in jacksync.shared_state, with the start of the
 * server, since handles mean nothing after a restart.  It holds numbers only:
 * nothing in it belongs to one process.
 *
 * Every cycle of the worker or of a session has a slot, which only its process
 * writes; a spinlock guards the few stores, and readers copy.  The slots of a
 * process that ended without giving them back are taken for free.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "jacksync.h"
#include "progress.h"
#include "secure.h"
#include "statement.h"

JS_FUNCTION(jacksync_progress_slots);
JS_FUNCTION(jacksync_worker_counters);

#define MAGIC		0x4A53504Fu
#define SLOTS		1100		/* cycles of a worker, and some sessions */

/* A cycle that runs. */
typedef struct Slot
{
	slock_t		mutex;
	int			pid;			/* 0: free */
	int32		stream_id;
	int32		phase;
	int64		run_id;
	TimestampTz started;
	TimestampTz phase_started;
	int64		pages;
	int64		records;
	int64		total;			/* -1: not known */
	int64		pushed;
} Slot;

typedef struct Shared
{
	uint32		magic;
	uint32		size;			/* of this struct: is it our layout? */
	Oid			database;
	slock_t		mutex;			/* of what follows, and of taking a slot */
	int			worker_pid;
	int			cycles;			/* that the worker runs now */
	TimestampTz worker_started;
	TimestampTz last_turn;
	int64		turns;			/* of the worker's loop: its wake-ups */
	Slot		slots[SLOTS];
} Shared;

static Shared *shared = NULL;
static dsm_segment *segment = NULL;
static bool exit_callback = false;

static bool attach_to(dsm_handle handle);
static dsm_handle known_handle(bool latest);
static void create(void);
static void at_exit(int code, Datum arg);
static bool alive(int pid);
static Slot *slot_of(int slot);

/*
 * Attach to the segment of this database; with create, make one if there is
 * none.  SPI is connected, and the caller is inside js_internal_begin().
 */
void
js_progress_attach(bool may_create)
{
	dsm_handle	handle = known_handle(false);

	if (segment != NULL && handle == dsm_segment_handle(segment))
		return;
	/* the extension was dropped and created: nobody needs the old one */
	if (segment != NULL && handle == DSM_HANDLE_INVALID && may_create &&
		AmBackgroundWorkerProcess())
		dsm_unpin_segment(dsm_segment_handle(segment));
	js_progress_forget();
	if (handle != DSM_HANDLE_INVALID && attach_to(handle))
		return;
	if (may_create && !RecoveryInProgress())
		create();
}

/* The handle in the table, if this server may use it. */
static dsm_handle
known_handle(bool latest)
{
	static JsStatement statement = {
		"SELECT handle FROM jacksync.shared_state"
		" WHERE server_start = pg_catalog.pg_postmaster_start_time()",
		{InvalidOid}
	};
	uint64		rows = latest ? js_run_latest(&statement, NULL) :
		js_run(&statement, NULL);

	return rows > 0 ? (dsm_handle) js_get_int8(0, 1) : DSM_HANDLE_INVALID;
}

/* Attach to a segment, if it is there and is ours. */
static bool
attach_to(dsm_handle handle)
{
	dsm_segment *found = dsm_attach(handle);
	Shared	   *memory;

	if (found == NULL)
		return false;
	memory = dsm_segment_address(found);
	if (dsm_segment_map_length(found) < sizeof(Shared) ||
		memory->magic != MAGIC || memory->size != sizeof(Shared) ||
		memory->database != MyDatabaseId)
	{
		dsm_detach(found);
		return false;
	}
	dsm_pin_mapping(found);
	segment = found;
	shared = memory;
	return true;
}

/* Create the segment, unless somebody was faster. */
static void
create(void)
{
	static JsStatement lock = {
		"LOCK TABLE jacksync.shared_state IN SHARE ROW EXCLUSIVE MODE",
		{InvalidOid}
	};
	static JsStatement write = {
		"INSERT INTO jacksync.shared_state (handle, server_start)"
		" VALUES ($1, pg_catalog.pg_postmaster_start_time())"
		" ON CONFLICT (singleton) DO UPDATE SET handle = excluded.handle,"
		" server_start = excluded.server_start",
		{INT8OID}
	};
	dsm_handle	handle;
	dsm_segment *made;
	JsArgs		args = {0};

	js_run(&lock, NULL);
	handle = known_handle(true);
	if (handle != DSM_HANDLE_INVALID && attach_to(handle))
		return;

	made = dsm_create(sizeof(Shared), DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (made == NULL)
		return;
	js_arg(&args, Int64GetDatum((int64) dsm_segment_handle(made)));
	js_run(&write, &args);

	shared = dsm_segment_address(made);
	memset(shared, 0, sizeof(Shared));
	shared->magic = MAGIC;
	shared->size = sizeof(Shared);
	shared->database = MyDatabaseId;
	SpinLockInit(&shared->mutex);
	for (int i = 0; i < SLOTS; i++)
		SpinLockInit(&shared->slots[i].mutex);
	dsm_pin_segment(made);
	dsm_pin_mapping(made);
	segment = made;
}

/* Let go of the segment. */
void
js_progress_forget(void)
{
	if (segment != NULL)
		dsm_detach(segment);
	segment = NULL;
	shared = NULL;
}

/* Give back what an ending process has: the segment is still mapped. */
static void
at_exit(int code, Datum arg)
{
	if (shared == NULL)
		return;
	for (int i = 1; i <= SLOTS; i++)
		if (shared->slots[i - 1].pid == MyProcPid)
			js_progress_end(i);
	SpinLockAcquire(&shared->mutex);
	if (shared->worker_pid == MyProcPid)
		shared->worker_pid = 0;
	SpinLockRelease(&shared->mutex);
}

/* Is there such a process of this server? */
static bool
alive(int pid)
{
	return pid != 0 && BackendPidGetProc(pid) != NULL;
}

/* The slot of a number; NULL for 0. */
static Slot *
slot_of(int slot)
{
	return shared != NULL && slot > 0 ? &shared->slots[slot - 1] : NULL;
}

/* A cycle begins.  Returns its slot; 0 if there is none for it. */
int
js_progress_begin(int32 stream_id, int64 run_id)
{
	TimestampTz now = GetCurrentTimestamp();
	int			number = 0;

	if (shared == NULL)
		return 0;
	if (!exit_callback)
		before_shmem_exit(at_exit, (Datum) 0);
	exit_callback = true;

	for (int i = 1; i <= SLOTS && number == 0; i++)
	{
		Slot	   *slot = slot_of(i);
		int			owner = slot->pid;

		if (owner != 0 && (owner == MyProcPid || alive(owner)))
			continue;
		SpinLockAcquire(&slot->mutex);
		if (slot->pid == owner)
		{
			slot->pid = MyProcPid;
			slot->stream_id = stream_id;
			slot->run_id = run_id;
			slot->phase = JS_PHASE_RESOLVE;
			slot->started = slot->phase_started = now;
			slot->pages = slot->records = slot->pushed = 0;
			slot->total = -1;
			number = i;
		}
		SpinLockRelease(&slot->mutex);
	}
	return number;
}

/* The cycle goes on to another phase. */
void
js_progress_phase(int number, JsPhase phase)
{
	Slot	   *slot = slot_of(number);
	TimestampTz now = GetCurrentTimestamp();

	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	slot->phase = phase;
	slot->phase_started = now;
	SpinLockRelease(&slot->mutex);
}

/* How far it is. */
void
js_progress_note(int number, int64 pages, int64 records, int64 pushed)
{
	Slot	   *slot = slot_of(number);

	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	slot->pages = pages;
	slot->records = records;
	slot->pushed = pushed;
	SpinLockRelease(&slot->mutex);
}

/* How many records there will be, as the PMS says. */
void
js_progress_total(int number, int64 total)
{
	Slot	   *slot = slot_of(number);

	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	slot->total = total;
	SpinLockRelease(&slot->mutex);
}

/* The cycle is over. */
void
js_progress_end(int number)
{
	Slot	   *slot = slot_of(number);

	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	if (slot->pid == MyProcPid)
		slot->pid = 0;
	SpinLockRelease(&slot->mutex);
}

/* This process is the worker. */
void
js_progress_worker(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (shared == NULL)
		return;
	if (!exit_callback)
		before_shmem_exit(at_exit, (Datum) 0);
	exit_callback = true;
	SpinLockAcquire(&shared->mutex);
	shared->worker_pid = MyProcPid;
	shared->worker_started = shared->last_turn = now;
	shared->turns = 0;
	shared->cycles = 0;
	SpinLockRelease(&shared->mutex);
}

/* The worker woke up. */
void
js_progress_turn(int cycles)
{
	TimestampTz now = GetCurrentTimestamp();

	if (shared == NULL)
		return;
	SpinLockAcquire(&shared->mutex);
	shared->last_turn = now;
	shared->turns++;
	shared->cycles = cycles;
	SpinLockRelease(&shared->mutex);
}

/* Attach for reading, as any session may. */
static void
attach_for_reading(void)
{
	JsSecurity	security;

	SPI_connect();
	js_internal_begin(&security);
	js_progress_attach(false);
	js_internal_end(&security);
	SPI_finish();
}

/* progress_slots(): the cycles that run */
Datum
jacksync_progress_slots(PG_FUNCTION_ARGS)
{
	static const char *const phases[] = {
		"look up", "initial load", "pull", "full read", "push"
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	attach_for_reading();
	for (int i = 1; i <= SLOTS && shared != NULL; i++)
	{
		Slot	   *slot = slot_of(i);
		Slot		copy;
		Datum		values[10];
		bool		nulls[10] = {0};

		if (slot->pid == 0)
			continue;
		SpinLockAcquire(&slot->mutex);
		copy = *slot;
		SpinLockRelease(&slot->mutex);
		if (!alive(copy.pid))
			continue;
		values[0] = Int32GetDatum(copy.pid);
		values[1] = Int32GetDatum(copy.stream_id);
		values[2] = Int64GetDatum(copy.run_id);
		values[3] = CStringGetTextDatum(phases[copy.phase]);
		values[4] = TimestampTzGetDatum(copy.started);
		values[5] = TimestampTzGetDatum(copy.phase_started);
		values[6] = Int64GetDatum(copy.pages);
		values[7] = Int64GetDatum(copy.records);
		values[8] = Int64GetDatum(copy.total);
		nulls[8] = copy.total < 0;
		values[9] = Int64GetDatum(copy.pushed);
		tuplestore_putvalues(result->setResult, result->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

/* worker_counters(): what the worker does, without asking a table */
Datum
jacksync_worker_counters(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Datum		values[5];
	bool		nulls[5] = {0};
	int			pid;
	int			cycles;
	TimestampTz started;
	TimestampTz last_turn;
	int64		turns;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	attach_for_reading();
	if (shared == NULL)
		PG_RETURN_NULL();
	SpinLockAcquire(&shared->mutex);
	pid = shared->worker_pid;
	cycles = shared->cycles;
	started = shared->worker_started;
	last_turn = shared->last_turn;
	turns = shared->turns;
	SpinLockRelease(&shared->mutex);
	if (!alive(pid))
		PG_RETURN_NULL();
	values[0] = Int32GetDatum(pid);
	values[1] = TimestampTzGetDatum(started);
	values[2] = TimestampTzGetDatum(last_turn);
	values[3] = Int64GetDatum(turns);
	values[4] = Int32GetDatum(cycles);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  values, nulls)));
}
