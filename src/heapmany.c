/*-------------------------------------------------------------------------
 *
 * heapmany.c
 *	  New rows of plain tables, many at a time.
 *
 * As COPY writes them: page by page of the table, and index by index.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "utils/rel.h"
#include "utils/sortsupport.h"

#include "compat.h"
#include "heapmany.h"

/* Of a new row in an index. */
typedef struct Entry
{
	Datum	   *values;
	bool	   *isnull;
	ItemPointer tid;
} Entry;

static void index_many(JsHeap *heap, int number, int n);
static void sort_entries(Relation index, Entry *entries, int n);
static int	compare_entries(const void *a, const void *b, void *support);

/* Slots for many new rows; they are kept with the table. */
TupleTableSlot **
js_heap_slots(JsHeap *heap, int n)
{
	MemoryContext old = MemoryContextSwitchTo(heap->mcxt);

	if (n > heap->nmany)
	{
		heap->many = heap->many == NULL ?
			palloc(sizeof(TupleTableSlot *) * n) :
			repalloc(heap->many, sizeof(TupleTableSlot *) * n);
		while (heap->nmany < n)
			heap->many[heap->nmany++] = table_slot_create(heap->rel, NULL);
	}
	MemoryContextSwitchTo(old);
	return heap->many;
}

/*
 * Insert what the first n of these slots have, page by page of the table.  It
 * has neither row triggers, generated columns nor constraints of exclusion, and
 * is no partition; what we write into a table of ours satisfies its checks.
 */
void
js_heap_append_many(JsHeap *heap, int n, bool ours)
{
	for (int i = 0; i < n && !ours; i++)
		if (RelationGetDescr(heap->rel)->constr != NULL)
			ExecConstraints(heap->info, heap->many[i], heap->estate);
	table_multi_insert(heap->rel, heap->many, n, GetCurrentCommandId(true), 0,
					   NULL);
	for (int i = 0; i < heap->info->ri_NumIndices; i++)
		index_many(heap, i, n);
	ResetPerTupleExprContext(heap->estate);
	CommandCounterIncrement();
}

/*
 * The entries of many new rows in one index, in its order: the pages on the way
 * to the next one are at hand then.  Uniqueness is checked at once.
 */
static void
index_many(JsHeap *heap, int number, int n)
{
	Relation	index = heap->info->ri_IndexRelationDescs[number];
	IndexInfo  *info = heap->info->ri_IndexRelationInfo[number];
	ExprContext *econtext = GetPerTupleExprContext(heap->estate);
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(heap->estate));
	ExprState  *predicate = NULL;
	int			natts = info->ii_NumIndexAttrs;
	Entry	   *entries = palloc(sizeof(Entry) * n);
	Datum	   *values = palloc(sizeof(Datum) * n * natts);
	bool	   *isnull = palloc(sizeof(bool) * n * natts);
	int			used = 0;

	if (info->ii_ReadyForInserts && info->ii_Predicate != NIL)
		predicate = ExecPrepareQual(info->ii_Predicate, heap->estate);
	for (int i = 0; i < n && info->ii_ReadyForInserts; i++)
	{
		Entry	   *entry = &entries[used];

		econtext->ecxt_scantuple = heap->many[i];
		if (predicate != NULL && !ExecQual(predicate, econtext))
			continue;
		entry->values = values + used * natts;
		entry->isnull = isnull + used * natts;
		FormIndexDatum(info, heap->many[i], heap->estate, entry->values,
					   entry->isnull);
		entry->tid = &heap->many[i]->tts_tid;
		used++;
	}
	if (used > 1)
		sort_entries(index, entries, used);
	for (int i = 0; i < used; i++)
		index_insert(index, entries[i].values, entries[i].isnull,
					 entries[i].tid, heap->rel,
					 info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
					 false, info);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(heap->estate);
}

/* Sort entries by the first column of the index, if it is a B-tree. */
static void
sort_entries(Relation index, Entry *entries, int n)
{
	SortSupportData support = {0};

	if (index->rd_rel->relam != BTREE_AM_OID)
		return;
	support.ssup_cxt = CurrentMemoryContext;
	support.ssup_collation = index->rd_indcollation[0];
	support.ssup_nulls_first =
		(index->rd_indoption[0] & INDOPTION_NULLS_FIRST) != 0;
	support.ssup_attno = 1;
	js_sort_support(index, (index->rd_indoption[0] & INDOPTION_DESC) != 0,
					&support);
	qsort_arg(entries, n, sizeof(Entry), compare_entries, &support);
}

/* Compare two of them. */
static int
compare_entries(const void *a, const void *b, void *support)
{
	const Entry *left = a;
	const Entry *right = b;

	return ApplySortComparator(left->values[0], left->isnull[0],
							   right->values[0], right->isnull[0], support);
}
