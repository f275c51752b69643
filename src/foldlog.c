/*-------------------------------------------------------------------------
 *
 * foldlog.c
 *	  The log of changes of one entity, as it is read to be taken up.
 *
 * jacksync.change has no index: it is read as a whole, directly.  Of a long
 * one only the beginning is kept.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "changelog.h"
#include "compat.h"
#include "foldlog.h"

#define BUCKETS 4096

static void keep_first(JsFoldLog *log);
static void read_change(JsChange *change, TupleTableSlot *slot);
static int	compare_changes(const void *a, const void *b);

/* Read the changes of an entity, in their order. */
JsFoldLog  *
js_log_read(JsEntity *entity)
{
	JsFoldLog  *log = palloc0(sizeof(JsFoldLog));
	Relation	rel = table_open(entity->change_relid, RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan;

	if (js_changelog_flush())
		CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		slot_getallattrs(slot);
		if (DatumGetInt32(slot->tts_values[JS_CHANGE_ENTITY]) !=
			entity->entity_id)
			continue;
		if (log->n == 4 * JS_FOLD_LIMIT)
			keep_first(log);
		if (log->more && DatumGetInt64(slot->tts_values[JS_CHANGE_ID]) >
			log->changes[JS_FOLD_LIMIT].id)
			continue;
		if (log->n == log->room)
		{
			log->room = Max(log->room * 2, 64);
			log->changes = log->changes == NULL ?
				palloc(sizeof(JsChange) * log->room) :
				repalloc_huge(log->changes, sizeof(JsChange) * log->room);
		}
		read_change(&log->changes[log->n++], slot);
	}
	table_endscan(scan);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	if (log->n > 1)
		qsort(log->changes, log->n, sizeof(JsChange), compare_changes);
	return log;
}

/*
 * Of a log that is long, only the beginning is wanted: what is one more than
 * JS_FOLD_LIMIT says that it is.
 */
static void
keep_first(JsFoldLog *log)
{
	qsort(log->changes, log->n, sizeof(JsChange), compare_changes);
	while (log->n > JS_FOLD_LIMIT + 1)
	{
		JsChange   *change = &log->changes[--log->n];

		pfree(change->local_id);
		if (change->old_local_id != NULL)
			pfree(change->old_local_id);
		if (change->columns != NULL)
			pfree(change->columns);
	}
	log->more = true;
}

/* Copy one. */
static void
read_change(JsChange *change, TupleTableSlot *slot)
{
	Datum	   *values = slot->tts_values;
	bool	   *nulls = slot->tts_isnull;

	memset(change, 0, sizeof(JsChange));
	change->tid = slot->tts_tid;
	change->id = DatumGetInt64(values[JS_CHANGE_ID]);
	change->at = DatumGetTimestampTz(values[JS_CHANGE_AT]);
	change->op = DatumGetChar(values[JS_CHANGE_OP]);
	change->waiting = DatumGetBool(values[JS_CHANGE_WAITING]);
	change->local_id = TextDatumGetCString(values[JS_CHANGE_LOCAL_ID]);
	if (!nulls[JS_CHANGE_OLD_LOCAL_ID])
		change->old_local_id =
			TextDatumGetCString(values[JS_CHANGE_OLD_LOCAL_ID]);
	if (!nulls[JS_CHANGE_COLUMNS])
		change->columns = DatumGetByteaPCopy(values[JS_CHANGE_COLUMNS]);
	change->hash = js_log_hash(change->old_local_id ? change->old_local_id :
							   change->local_id);
}

/* Order changes by their numbers. */
static int
compare_changes(const void *a, const void *b)
{
	int64		left = ((const JsChange *) a)->id;
	int64		right = ((const JsChange *) b)->id;

	return left < right ? -1 : left > right;
}

/* Make the changes of a row easy to find. */
void
js_log_index(JsFoldLog *log)
{
	log->buckets = palloc0(sizeof(JsChange *) * BUCKETS);
	for (int i = log->n - 1; i >= 0; i--)
	{
		JsChange   *change = &log->changes[i];
		JsChange  **bucket = &log->buckets[change->hash % BUCKETS];

		change->next = *bucket;
		*bucket = change;
		log->filter[change->hash % JS_FILTER_BYTES] |=
			1 << (change->hash / JS_FILTER_BYTES % 8);
	}
}

/* The first change of a row that is not taken; NULL: none. */
JsChange   *
js_log_find(JsFoldLog *log, const char *local_id, uint32 hash)
{
	JsChange   *change = NULL;

	/* most rows have no change, which is seen without a walk through memory */
	if (log->filter[hash % JS_FILTER_BYTES] & (1 << (hash / JS_FILTER_BYTES % 8)))
		change = log->buckets[hash % BUCKETS];
	while (change != NULL && !js_log_about(change, local_id, hash))
		change = change->next;
	return change;
}

/* Is a change of this row, and not taken? */
bool
js_log_about(JsChange *change, const char *local_id, uint32 hash)
{
	return change->hash == hash && !change->taken &&
		strcmp(change->local_id, local_id) == 0;
}

/* The hash of a key. */
uint32
js_log_hash(const char *local_id)
{
	return hash_bytes((const unsigned char *) local_id, strlen(local_id));
}
