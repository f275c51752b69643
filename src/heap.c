/*-------------------------------------------------------------------------
 *
 * heap.c
 *	  Direct access to plain tables: by index, lock, update, insert.
 *
 * What the executor does for one row, without a plan: row triggers fire,
 * constraints are checked, generated columns computed, indexes maintained.
 * The caller sees to it that the table is plain: no partitions, rules,
 * statement triggers (row.c).
 *
 * While a page is applied, tables stay open between records, with their
 * indexes, scans and slots.  That holds in one subtransaction only; in any
 * other a table is opened for one piece of work and closed after it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "parser/parse_relation.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "heap.h"
#include "heapmany.h"
#include "heapread.h"
#include "jacksync.h"

#define LATER 64				/* rows that are inserted together */


static JsHeapPage *current = NULL;

static void prepare_estate(JsHeap *heap);
static void prepare_triggers(JsHeap *heap);
static bool is_capture(Oid function);
static bool is_quiet(JsHeap *heap);
static void close_heap(JsHeap *heap);
static void update_row(JsHeap *heap, ItemPointer tid);
static void append_late(JsHeap *heap);
static void end_statement(JsHeap *heap);

/* From now on keep tables open, until the end of this subtransaction. */
void
js_heap_page_begin(JsHeapPage *page)
{
	page->subid = GetCurrentSubTransactionId();
	page->mcxt = AllocSetContextCreate(CurrentMemoryContext,
									   "jacksync tables",
									   ALLOCSET_DEFAULT_SIZES);
	page->heaps = NULL;
	page->outer = current;
	current = page;
}

/* Close them. */
void
js_heap_page_end(JsHeapPage *page)
{
	for (JsHeap *heap = page->heaps; heap != NULL; heap = heap->next)
		append_late(heap);
	while (page->heaps != NULL)
	{
		JsHeap	   *heap = page->heaps;

		page->heaps = heap->next;
		close_heap(heap);
	}
	MemoryContextDelete(page->mcxt);
	current = page->outer;
}

/* An error has closed them already. */
void
js_heap_page_abort(JsHeapPage *page)
{
	MemoryContextDelete(page->mcxt);
	current = page->outer;
}

/* Are tables being kept open, here and now? */
bool
js_heap_paged(void)
{
	return current != NULL && current->subid == GetCurrentSubTransactionId();
}

/* Open a table for reading and writing. */
JsHeap	   *
js_heap_open(Oid relid)
{
	bool		paged = js_heap_paged();
	MemoryContext mcxt;
	MemoryContext old;
	JsHeap	   *heap;

	if (paged)
		for (heap = current->heaps; heap != NULL; heap = heap->next)
			if (RelationGetRelid(heap->rel) == relid)
				return heap;

	mcxt = AllocSetContextCreate(paged ? current->mcxt : CurrentMemoryContext,
								 "jacksync table", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(mcxt);
	heap = palloc0(sizeof(JsHeap));
	heap->mcxt = mcxt;
	heap->rel = table_open(relid, RowExclusiveLock);
	heap->estate = CreateExecutorState();
	heap->info = makeNode(ResultRelInfo);
	prepare_estate(heap);
	InitResultRelInfo(heap->info, heap->rel, 1, NULL, 0);
	/* AFTER triggers look here, and would open the table again, for good */
	heap->estate->es_opened_result_relations = list_make1(heap->info);
	prepare_triggers(heap);
	ExecOpenIndices(heap->info, false);
	heap->quiet = is_quiet(heap);
	heap->found = table_slot_create(heap->rel, NULL);
	heap->locked = table_slot_create(heap->rel, NULL);
	heap->fresh = table_slot_create(heap->rel, NULL);
	heap->kept = paged;
	if (paged)
	{
		heap->next = current->heaps;
		current->heaps = heap;
	}
	MemoryContextSwitchTo(old);
	return heap;
}

/* Open a table of ours by its name, which stays. */
JsHeap	   *
js_heap_ours(const char *name)
{
	JsHeap	   *heap;

	if (js_heap_paged())
		for (heap = current->heaps; heap != NULL; heap = heap->next)
			if (heap->name == name ||
				(heap->name != NULL && strcmp(heap->name, name) == 0))
				return heap;
	heap = js_heap_open(get_relname_relid(name,
										  get_namespace_oid(JS_SCHEMA, false)));
	heap->name = name;
	return heap;
}

/* The executor asks the range table which columns an UPDATE names. */
static void
prepare_estate(JsHeap *heap)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	List	   *permissions = NIL;

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(heap->rel);
	rte->relkind = heap->rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	heap->columns = js_column_permissions(&permissions, rte);
	js_init_range_table(heap->estate, rte, permissions);
}

/*
 * The capture trigger would find that it has nothing to do: it is not even
 * queued.
 */
static void
prepare_triggers(JsHeap *heap)
{
	TriggerDesc *triggers = heap->info->ri_TrigDesc;
	bool		insert = false;
	bool		update = false;

	if (triggers == NULL)
		return;
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (!TRIGGER_FOR_ROW(trigger->tgtype))
			continue;
		if (TRIGGER_FOR_BEFORE(trigger->tgtype))
			heap->fires_before = true;
		if (!TRIGGER_FOR_AFTER(trigger->tgtype))
			continue;
		if (is_capture(trigger->tgfoid))
		{
			trigger->tgenabled = TRIGGER_DISABLED;
			continue;
		}
		insert = insert || TRIGGER_FOR_INSERT(trigger->tgtype);
		update = update || TRIGGER_FOR_UPDATE(trigger->tgtype);
	}
	triggers->trig_insert_after_row = insert;
	triggers->trig_update_after_row = update;
	heap->fires_after = insert || update;
}

/* Is a function our capture trigger? */
static bool
is_capture(Oid function)
{
	char	   *name = get_func_name(function);

	return name != NULL && strcmp(name, "capture") == 0 &&
		get_func_namespace(function) == get_namespace_oid(JS_SCHEMA, true);
}

/*
 * Does an update run no code that a user could have written: triggers,
 * constraints, generated columns, expressions of indexes, types?
 */
static bool
is_quiet(JsHeap *heap)
{
	TupleDesc	tupdesc = RelationGetDescr(heap->rel);
	TupleConstr *constraints = tupdesc->constr;

	if (heap->fires_before || heap->fires_after ||
		heap->rel->rd_rel->relispartition ||
		(constraints != NULL && (constraints->num_check > 0 ||
								 constraints->has_generated_stored)))
		return false;
	for (int i = 0; i < heap->info->ri_NumIndices; i++)
		if (RelationGetIndexPredicate(heap->info->ri_IndexRelationDescs[i]) != NIL ||
			RelationGetIndexExpressions(heap->info->ri_IndexRelationDescs[i]) != NIL)
			return false;
	for (int i = 0; i < tupdesc->natts; i++)
		if (TupleDescAttr(tupdesc, i)->atttypid >= FirstNormalObjectId)
			return false;
	return true;
}

/* Done with a table, unless it is kept. */
void
js_heap_close(JsHeap *heap)
{
	if (!heap->kept)
		close_heap(heap);
}

/* Close a table; its lock stays. */
static void
close_heap(JsHeap *heap)
{
	for (JsHeapIndex *index = heap->indexes; index != NULL; index = index->next)
		if (index->scan != NULL)
			index_endscan(index->scan);
	ExecDropSingleTupleTableSlot(heap->found);
	ExecDropSingleTupleTableSlot(heap->locked);
	ExecDropSingleTupleTableSlot(heap->fresh);
	for (int i = 0; i < heap->nmany; i++)
		ExecDropSingleTupleTableSlot(heap->many[i]);
	ExecCloseIndices(heap->info);
	ExecResetTupleTable(heap->estate->es_tupleTable, false);
	FreeExecutorState(heap->estate);
	table_close(heap->rel, NoLock);
	MemoryContextDelete(heap->mcxt);
}

/*
 * Put heap->fresh in the place of the version at tid, in a table of ours: it
 * has neither triggers nor generated columns, and what we write satisfies its
 * constraints.  Unless the version is locked by us, never waits.  space is what
 * was free on its page; 0: not known.
 */
JsHeapLock
js_heap_update(JsHeap *heap, ItemPointer tid, bool locked, Size space)
{
	TM_FailureData failure;
	LockTupleMode mode;
	TM_Result	result;
	JsUpdateIndexes indexes;
	Size		len;

	CheckCmdReplicaIdentity(heap->rel, CMD_UPDATE);
	ExecClearTuple(heap->found);
	len = MAXALIGN(ExecFetchSlotHeapTuple(heap->fresh, true, NULL)->t_len);
	/* others of this page of records may have taken some of it since */
	if (space < 3 * len)
		js_heap_make_room(heap, tid, len);
	result = table_tuple_update(heap->rel, tid, heap->fresh,
								GetCurrentCommandId(true), InvalidSnapshot,
								InvalidSnapshot, locked, &failure, &mode,
								&indexes);
	if (result == TM_Ok)
	{
		ItemPointerSetInvalid(&heap->root);
		if (js_moved(indexes))
			heap->root = heap->fresh->tts_tid;
		(void) js_insert_index_tuples(heap->info, heap->fresh, heap->estate,
									  indexes);
		end_statement(heap);
		return JS_HEAP_OK;
	}
	if (result == TM_BeingModified || result == TM_WouldBlock)
		return JS_HEAP_BUSY;
	return result == TM_Deleted ? JS_HEAP_GONE : JS_HEAP_MOVED;
}

/* Delete a row of a table of ours.  Never waits. */
JsHeapLock
js_heap_delete(JsHeap *heap, ItemPointer tid)
{
	TM_FailureData failure;
	TM_Result	result;

	CheckCmdReplicaIdentity(heap->rel, CMD_DELETE);
	result = table_tuple_delete(heap->rel, tid, GetCurrentCommandId(true),
								InvalidSnapshot, InvalidSnapshot, false,
								&failure, false);
	if (result == TM_Ok)
		return JS_HEAP_OK;
	return result == TM_BeingModified || result == TM_WouldBlock ?
		JS_HEAP_BUSY : JS_HEAP_GONE;
}

/*
 * Put heap->fresh in the place of heap->old, which is locked or was untouched,
 * with all that an UPDATE does.  Returns false if a trigger suppressed it;
 * else heap->fresh has what was written.
 */
bool
js_heap_update_fire(JsHeap *heap)
{
	ItemPointerData tid = heap->old->tts_tid;
	bool		done = true;
	EPQState	epq;

	PushActiveSnapshot(GetTransactionSnapshot());
	heap->estate->es_snapshot = GetActiveSnapshot();
	heap->estate->es_output_cid = GetCurrentCommandId(true);
	if (heap->fires_after)
		AfterTriggerBeginQuery();
	if (heap->fires_before)
	{
		js_epq_init(&epq, heap->estate);
		ExecSimpleRelationUpdate(heap->info, heap->estate, &epq, heap->old,
								 heap->fresh);
		EvalPlanQualEnd(&epq);
		ItemPointerSetInvalid(&heap->root);
	}
	else
		update_row(heap, &tid);
	if (heap->fires_after)
		AfterTriggerEndQuery(heap->estate);
	heap->estate->es_snapshot = NULL;
	PopActiveSnapshot();
	end_statement(heap);

	if (heap->fires_before)
	{
		/* a row that can still be seen was not updated */
		PushActiveSnapshot(GetTransactionSnapshot());
		done = !table_tuple_fetch_row_version(heap->rel, &tid,
											  GetActiveSnapshot(),
											  heap->found);
		ExecClearTuple(heap->found);
		PopActiveSnapshot();
	}
	return done;
}

/*
 * What ExecSimpleRelationUpdate() does for a table without BEFORE triggers;
 * but never waits: somebody who has come first is an error, upon which the
 * record is done again under a lock.
 */
static void
update_row(JsHeap *heap, ItemPointer tid)
{
	TupleTableSlot *slot = heap->fresh;
	TupleConstr *constraints = RelationGetDescr(heap->rel)->constr;
	List	   *recheck = NIL;
	TM_FailureData failure;
	LockTupleMode mode;
	TM_Result	result;
	JsUpdateIndexes indexes;

	CheckCmdReplicaIdentity(heap->rel, CMD_UPDATE);
	if (constraints != NULL && constraints->has_generated_stored)
		ExecComputeStoredGenerated(heap->info, heap->estate, slot, CMD_UPDATE);
	if (constraints != NULL)
		ExecConstraints(heap->info, slot, heap->estate);
	if (heap->rel->rd_rel->relispartition)
		ExecPartitionCheck(heap->info, slot, heap->estate, true);
	result = table_tuple_update(heap->rel, tid, slot,
								GetCurrentCommandId(true),
								heap->estate->es_snapshot, InvalidSnapshot,
								false, &failure, &mode, &indexes);
	if (result != TM_Ok && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
	if (result != TM_Ok)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("another session works on the row")));
	if (js_moved(indexes))
		heap->root = slot->tts_tid;
	if (heap->info->ri_NumIndices > 0)
		recheck = js_insert_index_tuples(heap->info, slot, heap->estate,
										 indexes);
	if (heap->fires_after)
		ExecARUpdateTriggers(heap->estate, heap->info, NULL, NULL, tid, NULL,
							 slot, recheck, NULL, false);
	list_free(recheck);
}

/*
 * Insert heap->fresh, with all that an INSERT does.  Returns false if a
 * trigger suppressed it; else heap->fresh has what was written.
 */
bool
js_heap_insert(JsHeap *heap)
{
	ItemPointerSetInvalid(&heap->fresh->tts_tid);
	PushActiveSnapshot(GetTransactionSnapshot());
	heap->estate->es_snapshot = GetActiveSnapshot();
	heap->estate->es_output_cid = GetCurrentCommandId(true);
	if (heap->fires_after)
		AfterTriggerBeginQuery();
	ExecSimpleRelationInsert(heap->info, heap->estate, heap->fresh);
	ExecMaterializeSlot(heap->fresh);
	if (heap->fires_after)
		AfterTriggerEndQuery(heap->estate);
	heap->estate->es_snapshot = NULL;
	PopActiveSnapshot();
	end_statement(heap);
	heap->root = heap->fresh->tts_tid;
	return ItemPointerIsValid(&heap->root);
}

/* Insert heap->fresh into a table of ours, as js_heap_update() writes it. */
void
js_heap_append(JsHeap *heap)
{
	table_tuple_insert(heap->rel, heap->fresh, GetCurrentCommandId(true), 0,
					   NULL);
	if (heap->info->ri_NumIndices > 0)
		(void) js_insert_all_index_tuples(heap->info, heap->fresh,
										  heap->estate);
	end_statement(heap);
}

/*
 * A slot for a new row of a table of ours that nobody looks for before the end
 * of the page; js_heap_append_later() inserts it then, together with others.
 */
TupleTableSlot *
js_heap_later(JsHeap *heap)
{
	return heap->kept ? js_heap_slots(heap, LATER)[heap->nlater] : heap->fresh;
}

/* That slot has been filled. */
void
js_heap_append_later(JsHeap *heap)
{
	if (!heap->kept)
	{
		js_heap_append(heap);
		return;
	}
	ExecMaterializeSlot(heap->many[heap->nlater++]);
	if (heap->nlater == LATER)
		append_late(heap);
}

/* Insert what has been put off. */
static void
append_late(JsHeap *heap)
{
	if (heap->nlater > 0)
		js_heap_append_many(heap, heap->nlater, true);
	heap->nlater = 0;
}

/* What was written can be seen from now on. */
static void
end_statement(JsHeap *heap)
{
	ResetPerTupleExprContext(heap->estate);
	CommandCounterIncrement();
}
