/*-------------------------------------------------------------------------
 *
 * heapread.c
 *	  Finding rows of tables that are open, and locking them.
 *
 * By an index, or where a row was the last time.  What costs here is waiting
 * for memory: so less is read, what will be is asked for in time, and pages
 * are not pruned on the way.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "port/pg_bitutils.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "heapread.h"

#define MOST_RECENT 4194304		/* pages whose buffers are remembered */
#define PREFETCHED_BYTES 512	/* of a row */
#define CACHE_LINE 64

static Buffer *recent = NULL;
static uint32 recent_size;		/* a power of 2 */

static void begin_scan(JsHeap *heap, JsHeapIndex *index);
static bool next_version(JsHeap *heap, IndexScanDesc scan,
						 TupleTableSlot *slot, bool write, ItemPointer root);
static bool fetch_version(JsHeap *heap, ItemPointer tid, Snapshot snapshot,
						  TupleTableSlot *slot, bool write, bool *all_dead);
static Buffer recent_buffer(JsHeap *heap, const ItemPointerData *tid);
static uint32 recent_slot(Relation rel, BlockNumber block);
static void prepare_recent(void);
static Buffer read_buffer(Relation rel, BlockNumber block);
static void prune(JsHeap *heap, Buffer buffer);

/*
 * An index by which rows are found by equality of its first nkeys columns.
 * The caller sets the arguments of the keys.
 */
JsHeapIndex *
js_heap_index(JsHeap *heap, Oid indexid, int nkeys)
{
	JsHeapIndex *index;

	for (index = heap->indexes; index != NULL; index = index->next)
		if (RelationGetRelid(index->rel) == indexid)
			return index;

	index = MemoryContextAllocZero(heap->mcxt, sizeof(JsHeapIndex));
	for (int i = 0; i < heap->info->ri_NumIndices; i++)
		if (RelationGetRelid(heap->info->ri_IndexRelationDescs[i]) == indexid)
			index->rel = heap->info->ri_IndexRelationDescs[i];
	if (index->rel == NULL)
		elog(ERROR, "index %u is none of table \"%s\"", indexid,
			 RelationGetRelationName(heap->rel));
	index->nkeys = nkeys;
	for (int i = 0; i < nkeys; i++)
	{
		Oid			type = index->rel->rd_opcintype[i];
		Oid			operator = get_opfamily_member(index->rel->rd_opfamily[i],
												   type, type,
												   BTEqualStrategyNumber);

		if (!OidIsValid(operator))
			elog(ERROR, "no equality operator for column %d of index \"%s\"",
				 i + 1, RelationGetRelationName(index->rel));
		memset(&index->keys[i], 0, sizeof(ScanKeyData));
		index->keys[i].sk_attno = i + 1;
		index->keys[i].sk_strategy = BTEqualStrategyNumber;
		index->keys[i].sk_subtype = type;
		index->keys[i].sk_collation = index->rel->rd_indcollation[i];
		fmgr_info_cxt(get_opcode(operator), &index->keys[i].sk_func,
					  heap->mcxt);
	}
	index->next = heap->indexes;
	heap->indexes = index;
	return index;
}

/*
 * Find the row of the index's keys, as it is committed now; it is in
 * heap->found then, which keeps its page pinned until it is cleared.  Where it
 * is to be unique, two are none: found is empty then, else it is not.  write
 * says that it is going to be written.
 */
bool
js_heap_find(JsHeap *heap, JsHeapIndex *index, bool unique, bool write)
{
	MemoryContext old = MemoryContextSwitchTo(heap->mcxt);
	bool		found;

	PushActiveSnapshot(GetTransactionSnapshot());
	begin_scan(heap, index);
	ExecClearTuple(heap->found);
	found = next_version(heap, index->scan, heap->found, write, &heap->root);
	if (found && unique)
	{
		ItemPointerData other;

		/* is there another one? */
		if (next_version(heap, index->scan, heap->locked, false, &other))
			found = false;
		ExecClearTuple(heap->locked);
	}
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	return found;
}

/* Look for the keys of an index. */
static void
begin_scan(JsHeap *heap, JsHeapIndex *index)
{
	if (index->scan == NULL)
		index->scan = js_index_beginscan(heap->rel, index->rel,
										 GetActiveSnapshot(), index->nkeys);
	index->scan->xs_snapshot = GetActiveSnapshot();
	index_rescan(index->scan, index->keys, index->nkeys, NULL, 0);
}

/*
 * Where the index says that the row of its keys is.  The row itself is not
 * looked at: it may be a dead one.
 */
bool
js_heap_find_place(JsHeap *heap, JsHeapIndex *index, ItemPointer root)
{
	MemoryContext old = MemoryContextSwitchTo(heap->mcxt);
	ItemPointer found;

	PushActiveSnapshot(GetTransactionSnapshot());
	begin_scan(heap, index);
	found = index_getnext_tid(index->scan, ForwardScanDirection);
	if (found != NULL)
		*root = *found;
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	return found != NULL;
}

/*
 * Give what an index has of its rows to a function, from a key of its first
 * column on, until there is no more or the function returns false.  Rows may
 * be dead ones.
 */
void
js_heap_walk(JsHeap *heap, JsHeapIndex *index, ScanKey from, JsHeapVisit visit,
			 void *arg)
{
	IndexScanDesc scan;
	ItemPointer tid;

	PushActiveSnapshot(GetTransactionSnapshot());
	scan = js_index_beginscan(heap->rel, index->rel, GetActiveSnapshot(), 1);
	scan->xs_want_itup = true;
	index_rescan(scan, from, 1, NULL, 0);
	do
		tid = index_getnext_tid(scan, ForwardScanDirection);
	while (tid != NULL && visit(arg, scan->xs_itup, scan->xs_itupdesc, tid));
	index_endscan(scan);
	PopActiveSnapshot();
}

/*
 * Look where a row once was: true if a visible version is there, be it of that
 * row or of another; it is in heap->found then.
 */
bool
js_heap_fetch(JsHeap *heap, ItemPointer root, bool write)
{
	MemoryContext old;
	bool		all_dead;
	bool		found;

	if (ItemPointerGetBlockNumber(root) >= heap->nblocks)
		heap->nblocks = RelationGetNumberOfBlocks(heap->rel);
	if (ItemPointerGetBlockNumber(root) >= heap->nblocks)
		return false;
	old = MemoryContextSwitchTo(heap->mcxt);
	PushActiveSnapshot(GetTransactionSnapshot());
	ExecClearTuple(heap->found);
	found = fetch_version(heap, root, GetActiveSnapshot(), heap->found, write,
						  &all_dead);
	heap->root = *root;
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	return found;
}

/*
 * Rows that were at these places will be fetched soon: get what is in memory
 * of them into the caches of the processor, all at a time instead of one after
 * the other.  Nothing is locked, and so nothing is relied on.
 */
void
js_heap_prefetch(JsHeap *heap, const ItemPointerData *roots, int n)
{
	for (int i = 0; i < n; i++)
	{
		Buffer		buffer = recent_buffer(heap, &roots[i]);
		Page		page;

		if (!BufferIsValid(buffer))
			continue;
		js_prefetch(GetBufferDescriptor(buffer - 1));
		page = BufferGetPage(buffer);
		js_prefetch(page);
		js_prefetch(PageGetItemId(page, ItemPointerGetOffsetNumber(&roots[i])));
	}
	for (int i = 0; i < n; i++)
	{
		Buffer		buffer = recent_buffer(heap, &roots[i]);
		Page		page;
		ItemIdData	item;

		if (!BufferIsValid(buffer))
			continue;
		page = BufferGetPage(buffer);
		item = *PageGetItemId(page, ItemPointerGetOffsetNumber(&roots[i]));
		if (ItemIdIsRedirected(&item) &&
			ItemIdGetRedirect(&item) <= MaxHeapTuplesPerPage)
			item = *PageGetItemId(page, ItemIdGetRedirect(&item));
		for (uint32 at = 0; at < ItemIdGetLength(&item) && at < PREFETCHED_BYTES;
			 at += CACHE_LINE)
			js_prefetch((char *) page + ItemIdGetOffset(&item) + at);
	}
}

/*
 * The buffer where a row's page is or was the last time; invalid: not known.
 * A page that is in none is read ahead.
 */
static Buffer
recent_buffer(JsHeap *heap, const ItemPointerData *tid)
{
	BlockNumber block;
	uint32		slot;

	if (!ItemPointerIsValid(tid) ||
		ItemPointerGetOffsetNumber(tid) > MaxHeapTuplesPerPage)
		return InvalidBuffer;
	if (recent == NULL)
		prepare_recent();
	block = ItemPointerGetBlockNumber(tid);
	slot = recent_slot(heap->rel, block);
	if (!BufferIsValid(recent[slot]))
		recent[slot] = PrefetchBuffer(heap->rel, MAIN_FORKNUM, block).recent_buffer;
	return recent[slot];
}

/* Where the buffer of a page is remembered. */
static uint32
recent_slot(Relation rel, BlockNumber block)
{
	return murmurhash32(js_file_number(rel) * 31 + block) & (recent_size - 1);
}

/* As many as there are buffers: a word for each. */
static void
prepare_recent(void)
{
	recent_size = pg_nextpower2_32(Min(Max(NBuffers, 1024), MOST_RECENT));
	recent = MemoryContextAllocZero(CacheMemoryContext,
									sizeof(Buffer) * recent_size);
}

/* The next visible version that an index scan finds, and where it did. */
static bool
next_version(JsHeap *heap, IndexScanDesc scan, TupleTableSlot *slot,
			 bool write, ItemPointer root)
{
	ItemPointer tid;

	while ((tid = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
	{
		bool		all_dead;

		*root = *tid;
		if (fetch_version(heap, tid, scan->xs_snapshot, slot, write,
						  &all_dead))
			return true;
		if (!scan->xactStartedInRecovery)
			scan->kill_prior_tuple = all_dead;
	}
	return false;
}

/*
 * Fetch the visible version of the row whose first version is at tid.
 *
 * An ordinary index scan prunes nearly every page that it comes by, since
 * nearly every one was written by the page of records before; that costs more
 * than the look-up.  Here a page is pruned only where the next version would
 * not fit otherwise: for many versions at once.
 */
static bool
fetch_version(JsHeap *heap, ItemPointer tid, Snapshot snapshot,
			  TupleTableSlot *slot, bool write, bool *all_dead)
{
	HeapTuple	tuple = &((BufferHeapTupleTableSlot *) slot)->base.tupdata;
	Buffer		buffer = read_buffer(heap->rel,
									 ItemPointerGetBlockNumber(tid));
	ItemPointerData at = *tid;
	bool		found;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	found = heap_hot_search_buffer(&at, heap->rel, buffer, snapshot, tuple,
								   all_dead, true);
	heap->space = PageGetHeapFreeSpace(BufferGetPage(buffer));
	if (found && write && heap->space < MAXALIGN(tuple->t_len))
	{
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		prune(heap, buffer);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		at = *tid;
		found = heap_hot_search_buffer(&at, heap->rel, buffer, snapshot,
									   tuple, all_dead, true);
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (!found)
	{
		ReleaseBuffer(buffer);
		return false;
	}
	tuple->t_self = at;
	tuple->t_tableOid = RelationGetRelid(heap->rel);
	slot->tts_tableOid = tuple->t_tableOid;
	ExecStorePinnedBufferHeapTuple(tuple, slot, buffer);
	return true;
}

/*
 * Read a page.  Which buffer it was in the last time is remembered: if it still
 * is there, the shared table of buffers need not be asked, which costs several
 * cache misses.  Now and then it is asked all the same, so that the page counts
 * as used.
 */
static Buffer
read_buffer(Relation rel, BlockNumber block)
{
	static uint32 count = 0;
	uint32		slot;
	Buffer		buffer;

	if (recent == NULL)
		prepare_recent();
	slot = recent_slot(rel, block);
	buffer = recent[slot];
	if (BufferIsValid(buffer) && ++count % 8 != 0 &&
		ReadRecentBuffer(js_file_of(rel), MAIN_FORKNUM, block, buffer))
		return buffer;
	buffer = ReadBuffer(rel, block);
	if (!BufferIsLocal(buffer))
		recent[slot] = buffer;
	return buffer;
}

/* Prune a page that has no room for another version of its row at tid. */
void
js_heap_make_room(JsHeap *heap, ItemPointer tid, Size len)
{
	Buffer		buffer = read_buffer(heap->rel,
									 ItemPointerGetBlockNumber(tid));

	if (PageGetHeapFreeSpace(BufferGetPage(buffer)) < len)
		prune(heap, buffer);
	ReleaseBuffer(buffer);
}

/* Prune a page, which looks at the header of every version on it. */
static void
prune(JsHeap *heap, Buffer buffer)
{
	Page		page = BufferGetPage(buffer);
	OffsetNumber last = PageGetMaxOffsetNumber(page);

	if (!TransactionIdIsValid(((PageHeader) page)->pd_prune_xid))
		return;
	for (OffsetNumber i = FirstOffsetNumber; i <= last; i++)
	{
		ItemId		item = PageGetItemId(page, i);

		if (ItemIdIsNormal(item))
			js_prefetch(PageGetItem(page, item));
	}
	heap_page_prune_opt(heap->rel, buffer);
}

/*
 * Lock the row that was found, in its newest version, as FOR NO KEY UPDATE
 * does; it is in heap->locked then.
 */
JsHeapLock
js_heap_lock(JsHeap *heap, bool skip_locked)
{
	ItemPointerData tid = heap->found->tts_tid;
	TM_FailureData failure;
	TM_Result	result;

	PushActiveSnapshot(GetTransactionSnapshot());
	result = table_tuple_lock(heap->rel, &tid, GetActiveSnapshot(),
							  heap->locked, GetCurrentCommandId(false),
							  LockTupleNoKeyExclusive,
							  skip_locked ? LockWaitSkip : LockWaitBlock,
							  IsolationUsesXactSnapshot() ? 0 :
							  TUPLE_LOCK_FLAG_FIND_LAST_VERSION,
							  &failure);
	PopActiveSnapshot();
	switch (result)
	{
		case TM_Ok:
			ExecMaterializeSlot(heap->locked);
			heap->old = heap->locked;
			return failure.traversed ? JS_HEAP_MOVED : JS_HEAP_OK;
		case TM_WouldBlock:
			return JS_HEAP_BUSY;
		case TM_SelfModified:
			return JS_HEAP_MOVED;
		case TM_Updated:
		case TM_Deleted:
			if (IsolationUsesXactSnapshot())
				ereport(ERROR,
						(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						 errmsg("could not serialize access due to concurrent update")));
			return result == TM_Deleted ? JS_HEAP_GONE : JS_HEAP_MOVED;
		default:
			elog(ERROR, "unexpected result of table_tuple_lock: %d", result);
	}
	return JS_HEAP_GONE;		/* keep the compiler quiet */
}

/*
 * Did nobody lock or change the version that was found?  Then it need not be
 * locked to be replaced: js_heap_update_fire() replaces it only if that is
 * still so.  A BEFORE trigger would lock it, and wait for who else does.
 */
bool
js_heap_untouched(JsHeap *heap)
{
	HeapTuple	tuple = ExecFetchSlotHeapTuple(heap->found, false, NULL);

	return !heap->fires_before &&
		(tuple->t_data->t_infomask & HEAP_XMAX_INVALID) != 0;
}
