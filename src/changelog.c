/*-------------------------------------------------------------------------
 *
 * changelog.c
 *	  Writing jacksync.change, the log of captured changes.
 *
 * Rows go in by the heap's own routines, without executor and without a look
 * at privileges.  Those of one statement are written together, 64 at most at
 * a time, when its AFTER triggers have run (ExecutorFinish): that is half of
 * the WAL and a third of the time.  Where no hook of ours is around the
 * trigger (COPY, logical replication, a session that has loaded the library
 * just now), a row is written at once.
 *
 * Rows belong to the subtransaction that captured them, and can only be
 * written in it.  A trigger may begin another one while rows wait; then there
 * is more than one batch.
 *
 * The numbers of the log order the changes of one row: they are positions in
 * the WAL, which costs less than a sequence.  They are taken when rows are
 * written: by then we hold the locks of their rows, and there is WAL of ours
 * before whoever changes a row after us gets his.  Before a subtransaction
 * captures something, what its parents have waiting gets numbers, too.  (What
 * a dump brings from another server: jacksync.number_change().)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "changelog.h"
#include "compat.h"
#include "link.h"

#define BATCH 64				/* rows of a batch */

/* Rows that wait to be written. */
typedef struct Batch
{
	struct Batch *outer;		/* of a parent of the subtransaction */
	SubTransactionId subid;
	MemoryContext mcxt;			/* what the values point to */
	Oid			relid;
	int			n;
	int			numbered;		/* those that have their numbers */
	Datum		values[BATCH][JS_CHANGE_NATTS];
	bool		nulls[BATCH][JS_CHANGE_NATTS];
} Batch;

static Batch *waiting = NULL;	/* of the innermost subtransaction first */
static Batch *unused = NULL;
static int	finishing = 0;		/* depth of our hook */
static ExecutorFinish_hook_type next_hook = NULL;

static void finish(QueryDesc *query);
static void at_end_of_transaction(XactEvent event, void *arg);
static void at_end_of_subtransaction(SubXactEvent event,
									 SubTransactionId subid,
									 SubTransactionId parent, void *arg);
static Batch *batch_of(JsEntity *entity);
static Datum column_bits(Bitmapset *columns);
static void number(Batch *batch);
static void write_batch(Batch *batch);
static void write_many(Relation rel, Batch *batch);
static void forget(void);

/* Install the hooks, once per process. */
void
js_changelog_init(void)
{
	next_hook = ExecutorFinish_hook;
	ExecutorFinish_hook = finish;
	RegisterXactCallback(at_end_of_transaction, NULL);
	RegisterSubXactCallback(at_end_of_subtransaction, NULL);
}

/* AFTER triggers run: what they capture is written together. */
static void
finish(QueryDesc *query)
{
	finishing++;
	PG_TRY();
	{
		if (next_hook)
			next_hook(query);
		else
			standard_ExecutorFinish(query);
		(void) js_changelog_flush();
	}
	PG_FINALLY();
	{
		finishing--;
	}
	PG_END_TRY();
}

/* Nothing may wait at the end. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			(void) js_changelog_flush();
			break;
		case XACT_EVENT_ABORT:
			while (waiting != NULL)
				forget();
			break;
		default:
			break;
	}
}

/* The same for what belongs to a subtransaction. */
static void
at_end_of_subtransaction(SubXactEvent event, SubTransactionId subid,
						 SubTransactionId parent, void *arg)
{
	if (waiting == NULL || waiting->subid != subid)
		return;
	if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
		(void) js_changelog_flush();
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		forget();
}

/*
 * Log a change.  A derived one, by a trigger upon what we write ourselves, is
 * nobody's edit, and has no time.
 */
void
js_changelog_add(JsEntity *entity, char op, bool derived, bool waits,
				 const char *local_id, const char *old_local_id,
				 Bitmapset *columns)
{
	Batch	   *batch = batch_of(entity);
	MemoryContext old = MemoryContextSwitchTo(batch->mcxt);
	Datum	   *values = batch->values[batch->n];
	bool	   *nulls = batch->nulls[batch->n];

	values[JS_CHANGE_AT] =
		TimestampTzGetDatum(derived ? DT_NOBEGIN : GetCurrentTimestamp());
	values[JS_CHANGE_ENTITY] = Int32GetDatum(entity->entity_id);
	values[JS_CHANGE_OP] = CharGetDatum(op);
	values[JS_CHANGE_WAITING] = BoolGetDatum(waits);
	values[JS_CHANGE_LOCAL_ID] = CStringGetTextDatum(local_id);
	nulls[JS_CHANGE_OLD_LOCAL_ID] = old_local_id == NULL;
	if (old_local_id != NULL)
		values[JS_CHANGE_OLD_LOCAL_ID] = CStringGetTextDatum(old_local_id);
	nulls[JS_CHANGE_COLUMNS] = bms_is_empty(columns);
	if (!bms_is_empty(columns))
		values[JS_CHANGE_COLUMNS] = column_bits(columns);
	MemoryContextSwitchTo(old);
	batch->n++;
	if (batch->n == BATCH || finishing == 0)
		(void) js_changelog_flush();
}

/*
 * Write what waits, as far as it belongs to the present subtransaction.
 * Returns whether there was anything.
 */
bool
js_changelog_flush(void)
{
	if (waiting == NULL || waiting->subid != GetCurrentSubTransactionId())
		return false;
	write_batch(waiting);
	forget();
	return true;
}

/* The batch that the next row of an entity goes into. */
static Batch *
batch_of(JsEntity *entity)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	Batch	   *batch = waiting;

	if (batch != NULL && batch->subid == subid)
	{
		if (batch->numbered == 0)
			return batch;
		(void) js_changelog_flush();	/* what comes now is later */
	}
	for (batch = waiting; batch != NULL; batch = batch->outer)
		number(batch);
	batch = unused;
	if (batch != NULL)
		unused = batch->outer;
	else
	{
		batch = MemoryContextAllocZero(TopMemoryContext, sizeof(Batch));
		batch->mcxt = AllocSetContextCreate(TopMemoryContext,
											"jacksync captured changes",
											ALLOCSET_DEFAULT_SIZES);
	}
	batch->subid = subid;
	batch->relid = entity->change_relid;
	batch->outer = waiting;
	waiting = batch;
	return batch;
}

/* Attribute numbers as bits of a bytea: get_bit() with the number is 1. */
static Datum
column_bits(Bitmapset *columns)
{
	int			last = bms_prev_member(columns, -1);
	int			size = VARHDRSZ + last / 8 + 1;
	bytea	   *bits = palloc0(size);
	int			attnum = -1;

	SET_VARSIZE(bits, size);
	while ((attnum = bms_next_member(columns, attnum)) >= 0)
		VARDATA(bits)[attnum / 8] |= 1 << (attnum % 8);
	return PointerGetDatum(bits);
}

/*
 * Give the rows of a batch their numbers.  Every row takes more of the WAL
 * than one byte, so that numbers of two batches can only meet while none of
 * them is written.
 */
static void
number(Batch *batch)
{
	static int64 last = 0;
	int64		here = (int64) GetXLogInsertRecPtr();

	for (int i = batch->numbered; i < batch->n; i++)
	{
		last = Max(here, last + 1);
		batch->values[i][JS_CHANGE_ID] = Int64GetDatum(last);
	}
	batch->numbered = batch->n;
}

/* Write the rows of a batch. */
static void
write_batch(Batch *batch)
{
	Relation	rel = table_open(batch->relid, RowExclusiveLock);
	MemoryContext old = MemoryContextSwitchTo(batch->mcxt);

	number(batch);
	if (batch->n == 1)
		simple_heap_insert(rel, heap_form_tuple(RelationGetDescr(rel),
												batch->values[0],
												batch->nulls[0]));
	else
		write_many(rel, batch);
	MemoryContextSwitchTo(old);
	/* the lock stays, as after any INSERT: the next row finds it held */
	table_close(rel, NoLock);
}

/* Write more than one. */
static void
write_many(Relation rel, Batch *batch)
{
	TupleDesc	desc = CreateTupleDescCopy(RelationGetDescr(rel));
	TupleTableSlot *slots[BATCH];

	for (int i = 0; i < batch->n; i++)
	{
		slots[i] = MakeTupleTableSlot(desc, &TTSOpsHeapTuple);
		ExecStoreHeapTuple(heap_form_tuple(desc, batch->values[i],
										   batch->nulls[i]),
						   slots[i], true);
	}
	heap_multi_insert(rel, slots, batch->n, GetCurrentCommandId(true), 0, NULL);
}

/* The innermost batch is written, or will never be. */
static void
forget(void)
{
	Batch	   *batch = waiting;

	waiting = batch->outer;
	batch->outer = unused;
	unused = batch;
	batch->n = batch->numbered = 0;
	MemoryContextReset(batch->mcxt);
}
