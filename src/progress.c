/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  What runs in a database now, in shared memory.
 *
 * Every cycle of the worker or of a session has a slot, which only its process
 * writes; a spinlock guards the few stores, and readers copy.  The slots of a
 * process that ended without giving them back are taken for free.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "jacksync.h"
#include "progress.h"
#include "shared.h"

JS_FUNCTION(jacksync_progress_slots);
JS_FUNCTION(jacksync_worker_counters);

static bool exit_callback = false;

static void at_exit(int code, Datum arg);
static bool alive(int pid);
static JsSlot *slot_of(int slot);

/* Give back what an ending process has: the segment is still mapped. */
static void
at_exit(int code, Datum arg)
{
	JsShared   *shared = js_shared();

	if (shared == NULL)
		return;
	for (int i = 1; i <= JS_SLOTS; i++)
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
static JsSlot *
slot_of(int slot)
{
	JsShared   *shared = js_shared();

	return shared != NULL && slot > 0 ? &shared->slots[slot - 1] : NULL;
}

/* A cycle begins.  Returns its slot; 0 if there is none for it. */
int
js_progress_begin(int32 stream_id, int64 run_id)
{
	JsShared   *shared = js_shared();
	TimestampTz now = GetCurrentTimestamp();
	int			number = 0;

	if (shared == NULL)
		return 0;
	if (!exit_callback)
		before_shmem_exit(at_exit, (Datum) 0);
	exit_callback = true;

	for (int i = 1; i <= JS_SLOTS && number == 0; i++)
	{
		JsSlot	   *slot = slot_of(i);
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

/* The cycle has got a number. */
void
js_progress_run(int number, int64 run_id)
{
	JsSlot	   *slot = slot_of(number);

	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	slot->run_id = run_id;
	SpinLockRelease(&slot->mutex);
}

/* The cycle goes on to another phase. */
void
js_progress_phase(int number, JsPhase phase)
{
	JsSlot	   *slot = slot_of(number);
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
	JsSlot	   *slot = slot_of(number);

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
	JsSlot	   *slot = slot_of(number);

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
	JsSlot	   *slot = slot_of(number);

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
	JsShared   *shared = js_shared();
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
	JsShared   *shared = js_shared();
	TimestampTz now = GetCurrentTimestamp();

	if (shared == NULL)
		return;
	SpinLockAcquire(&shared->mutex);
	shared->last_turn = now;
	shared->turns++;
	shared->cycles = cycles;
	SpinLockRelease(&shared->mutex);
}

/* The memory, for reading, as any session may. */
static JsShared *
shared_for_reading(void)
{
	(void) js_shared_look();
	return js_shared();
}

/* progress_slots(): the cycles that run */
Datum
jacksync_progress_slots(PG_FUNCTION_ARGS)
{
	static const char *const phases[] = {
		"look up", "initial load", "pull", "full read", "push"
	};
	JsShared   *shared;
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	shared = shared_for_reading();
	for (int i = 1; i <= JS_SLOTS && shared != NULL; i++)
	{
		JsSlot	   *slot = slot_of(i);
		JsSlot		copy;
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
		nulls[2] = copy.run_id == 0;
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
	JsShared   *shared;
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
	shared = shared_for_reading();
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
