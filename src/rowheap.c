/*-------------------------------------------------------------------------
 *
 * rowheap.c
 *	  Rows of plain tables, without statements.
 *
 * The direct path of row.c.  It serves ordinary tables within a page; what
 * only a statement can do (partitions, rules, statement triggers, transition
 * tables) is an obstacle, and such tables take the general path.  Both give
 * the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/relcache.h"

#include "compat.h"
#include "heap.h"
#include "heapmany.h"
#include "heapread.h"
#include "jacksync.h"
#include "rowheap.h"

/* What is kept with the open table. */
typedef struct RowAccess
{
	JsHeapIndex *primary;
	JsHeapIndex *external;		/* NULL: no index by which it can be found */
	bool		external_first; /* of the index's columns */
	ExprState **defaults;		/* of all columns, once they are wanted */
} RowAccess;

static bool force_general_path = false;

static const char *find_obstacle(JsEntity *entity);
static const char *trigger_obstacle(TriggerDesc *triggers);
static const char *column_obstacle(TupleDesc tupdesc);
static JsHeap *open_rows(JsEntity *entity);
static void find_external_index(JsEntity *entity, JsHeap *heap,
								RowAccess *access);
static JsRowState lock_found(JsEntity *entity, JsHeap *heap,
							 JsHeapIndex *index, bool unique,
							 bool skip_locked, bool unlocked, JsRow *row);
static bool is_row(JsEntity *entity, TupleTableSlot *slot,
				   const char *local_id);
static JsRowState lock_version(JsEntity *entity, JsHeap *heap,
							   bool skip_locked, bool unlocked, JsRow *row,
							   bool *again);
static void read_slot(JsEntity *entity, JsHeap *heap, TupleTableSlot *slot,
					  JsRow *row);
static void take_value(TupleTableSlot *slot, const JsColumn *column,
					   JsValue *value);
static void fill_new(JsEntity *entity, JsHeap *heap, TupleTableSlot *slot,
					 const char *external_id, const char *property,
					 const bool *write, const JsValue *values);
static void prepare_defaults(JsHeap *heap, RowAccess *access);
static void set_column(TupleTableSlot *slot, const JsColumn *column,
					   const JsValue *value, bool *given);

/* Settings of this file. */
void
js_rowheap_define_settings(void)
{
	DefineCustomBoolVariable("jacksync.force_general_path",
							 "Write every table by statements, as if it were none that can be written directly.",
							 "For tests: both paths must give the same.",
							 &force_general_path,
							 false,
							 PGC_USERSET,
							 GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL,
							 NULL, NULL, NULL);
}

/*
 * Why the rows of an entity are written by statements; NULL if they are
 * written directly.
 */
const char *
js_rowheap_obstacle(JsEntity *entity)
{
	if (force_general_path)
		return "jacksync.force_general_path is on";
	if (!entity->path_known)
	{
		entity->obstacle = find_obstacle(entity);
		entity->path_known = true;
	}
	return entity->obstacle;
}

/* Can rows be read and written directly, here and now? */
bool
js_rowheap_usable(JsEntity *entity)
{
	return js_heap_paged() && js_rowheap_obstacle(entity) == NULL;
}

/*
 * Does reading and updating rows run no code of users, here and now?  Then
 * there is no need to become the owner of the table.
 */
bool
js_rowheap_quiet(JsEntity *entity)
{
	return js_rowheap_usable(entity) && open_rows(entity)->quiet;
}

/* What is in the way of writing a table directly? */
static const char *
find_obstacle(JsEntity *entity)
{
	Relation	rel = table_open(entity->relid, AccessShareLock);
	AclMode		wanted = ACL_SELECT | ACL_INSERT | ACL_UPDATE;
	Oid			primary = js_primary_key_index(rel);
	const char *obstacle = NULL;

	if (rel->rd_rel->relkind != RELKIND_RELATION)
		obstacle = "it is no ordinary table";
	else if (rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		obstacle = "its access method is not heap";
	else if (rel->rd_rel->relhasrules)
		obstacle = "it has rules";
	else if (!OidIsValid(primary) || entity->nkeys > JS_HEAP_KEYS)
		obstacle = "its primary key cannot be searched directly";
	else if (pg_class_aclmask(entity->relid, entity->owner, wanted,
							  ACLMASK_ALL) != wanted)
		obstacle = "its owner lacks privileges on it";
	else if (rel->trigdesc != NULL)
		obstacle = trigger_obstacle(rel->trigdesc);
	if (obstacle == NULL)
		obstacle = column_obstacle(RelationGetDescr(rel));
	table_close(rel, AccessShareLock);
	return obstacle;
}

/* Triggers that a single row does not fire. */
static const char *
trigger_obstacle(TriggerDesc *triggers)
{
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (trigger->tgoldtable != NULL || trigger->tgnewtable != NULL)
			return "a trigger of it has transition tables";
		if (!TRIGGER_FOR_ROW(trigger->tgtype) &&
			(TRIGGER_FOR_INSERT(trigger->tgtype) ||
			 TRIGGER_FOR_UPDATE(trigger->tgtype)))
			return "it has statement triggers";
	}
	return NULL;
}

/* Columns that are computed only when a statement reads them. */
static const char *
column_obstacle(TupleDesc tupdesc)
{
	for (int i = 0; i < tupdesc->natts; i++)
	{
		char		generated = TupleDescAttr(tupdesc, i)->attgenerated;

		if (generated != '\0' && generated != ATTRIBUTE_GENERATED_STORED)
			return "it has virtual generated columns";
	}
	return NULL;
}

/* Open the table of an entity with its indexes. */
static JsHeap *
open_rows(JsEntity *entity)
{
	JsHeap	   *heap = js_heap_open(entity->relid);
	RowAccess  *access;

	if (heap->extra != NULL)
		return heap;
	access = MemoryContextAllocZero(heap->mcxt, sizeof(RowAccess));
	access->primary = js_heap_index(heap, js_primary_key_index(heap->rel),
									entity->nkeys);
	find_external_index(entity, heap, access);
	heap->extra = access;
	return heap;
}

/* The index by which rows are found by the id that the PMS gave them. */
static void
find_external_index(JsEntity *entity, JsHeap *heap, RowAccess *access)
{
	int			nkeys = entity->property ? 2 : 1;

	for (int i = 0; i < heap->info->ri_NumIndices; i++)
	{
		Relation	rel = heap->info->ri_IndexRelationDescs[i];
		Form_pg_index form = rel->rd_index;
		bool		first = form->indkey.values[0] == entity->external.attnum;

		if (rel->rd_rel->relam != BTREE_AM_OID || !form->indisvalid ||
			form->indnkeyatts != nkeys ||
			RelationGetIndexPredicate(rel) != NIL ||
			RelationGetIndexExpressions(rel) != NIL)
			continue;
		if (nkeys == 1 ? !first :
			!((first && form->indkey.values[1] == entity->property->attnum) ||
			  (form->indkey.values[0] == entity->property->attnum &&
			   form->indkey.values[1] == entity->external.attnum)))
			continue;
		access->external = js_heap_index(heap, RelationGetRelid(rel), nkeys);
		access->external_first = first;
		return;
	}
}

/*
 * Does an index refuse a second row with the id of a record?  Only then may it
 * be left to the index to find that there is one.
 */
bool
js_rowheap_unique(JsEntity *entity, const char *property)
{
	JsHeap	   *heap = open_rows(entity);
	JsHeapIndex *index = ((RowAccess *) heap->extra)->external;
	bool		result = index != NULL && index->rel->rd_index->indisunique &&
	index->rel->rd_index->indimmediate &&
	(index->nkeys == 1 || property != NULL);

	js_heap_close(heap);
	return result;
}

/*
 * js_row_lock(), directly.  A row that nobody touches need not be locked if
 * the caller can do with an error should somebody do so meanwhile.  hint is
 * where it was last, if that is known.
 */
JsRowState
js_rowheap_lock(JsEntity *entity, const char *local_id, ItemPointer hint,
				bool skip_locked, bool unlocked, JsRow *row)
{
	JsHeap	   *heap = open_rows(entity);
	JsHeapIndex *index = ((RowAccess *) heap->extra)->primary;
	JsValue    *keys;

	/* a row that can be seen and has the key is the row */
	if (hint != NULL && ItemPointerIsValid(hint) &&
		js_heap_fetch(heap, hint, true) &&
		is_row(entity, heap->found, local_id))
	{
		bool		again = false;
		JsRowState	state = lock_version(entity, heap, skip_locked, unlocked,
										 row, &again);

		if (!again)
			return state;
	}
	keys = js_row_parse_id(entity, local_id);
	for (int i = 0; i < entity->nkeys; i++)
		index->keys[i].sk_argument = keys[i].value;
	return lock_found(entity, heap, index, false, skip_locked, unlocked, row);
}

/* Rows that were at these places will be taken soon. */
void
js_rowheap_prefetch(JsEntity *entity, const ItemPointerData *hints, int n)
{
	if (n > 0 && js_rowheap_usable(entity))
		js_heap_prefetch(open_rows(entity), hints, n);
}

/* Has the row in a slot this key? */
static bool
is_row(JsEntity *entity, TupleTableSlot *slot, const char *local_id)
{
	JsValue		keys[JS_HEAP_KEYS];

	slot_getallattrs(slot);
	for (int i = 0; i < entity->nkeys; i++)
		take_value(slot, &entity->keys[i], &keys[i]);
	return strcmp(js_row_id_from_values(entity, keys), local_id) == 0;
}

/*
 * js_row_lock_external(), directly.  Returns false if there is no index that
 * would do.
 */
bool
js_rowheap_lock_external(JsEntity *entity, const char *external_id,
						 const char *property, bool skip_locked, JsRow *row,
						 JsRowState *state)
{
	JsHeap	   *heap = open_rows(entity);
	RowAccess  *access = heap->extra;
	JsHeapIndex *index = access->external;
	int			at = access->external_first ? 0 : 1;

	if (index == NULL || (index->nkeys == 2 && property == NULL))
		return false;
	index->keys[at].sk_argument =
		js_value_from_text(&entity->external, pstrdup(external_id)).value;
	if (index->nkeys == 2)
		index->keys[1 - at].sk_argument =
			js_value_from_text(entity->property, pstrdup(property)).value;
	*state = lock_found(entity, heap, index, !index->rel->rd_index->indisunique,
						skip_locked, false, row);
	return true;
}

/* Find a row by the keys of an index, and lock it. */
static JsRowState
lock_found(JsEntity *entity, JsHeap *heap, JsHeapIndex *index, bool unique,
		   bool skip_locked, bool unlocked, JsRow *row)
{
	while (js_heap_find(heap, index, unique, true))
	{
		bool		again = false;
		JsRowState	state = lock_version(entity, heap, skip_locked, unlocked,
										 row, &again);

		if (!again)
			return state;
	}
	return TTS_EMPTY(heap->found) ? JS_ROW_MISSING : JS_ROW_AMBIGUOUS;
}

/*
 * Lock the version that was found, if that is needed, and read it.  again is
 * set if it has changed meanwhile.
 */
static JsRowState
lock_version(JsEntity *entity, JsHeap *heap, bool skip_locked, bool unlocked,
			 JsRow *row, bool *again)
{
	if (unlocked && js_heap_untouched(heap))
	{
		heap->old = heap->found;
		read_slot(entity, heap, heap->found, row);
		return JS_ROW_FOUND;
	}
	switch (js_heap_lock(heap, skip_locked))
	{
		case JS_HEAP_OK:
			read_slot(entity, heap, heap->locked, row);
			return JS_ROW_FOUND;
		case JS_HEAP_BUSY:
			return JS_ROW_LOCKED;
		case JS_HEAP_GONE:
			return JS_ROW_MISSING;
		case JS_HEAP_MOVED:
			break;
	}
	*again = true;
	return JS_ROW_MISSING;
}

/* Take what is wanted of a row out of a slot, which keeps it. */
static void
read_slot(JsEntity *entity, JsHeap *heap, TupleTableSlot *slot, JsRow *row)
{
	slot_getallattrs(slot);
	row->keys = palloc(sizeof(JsValue) * entity->nkeys);
	row->values = palloc(sizeof(JsValue) * Max(entity->nfields, 1));
	for (int i = 0; i < entity->nkeys; i++)
		take_value(slot, &entity->keys[i], &row->keys[i]);
	take_value(slot, &entity->external, &row->external);
	if (entity->property != NULL)
		take_value(slot, entity->property, &row->property);
	if (entity->urgency != NULL)
		take_value(slot, entity->urgency, &row->urgency);
	for (int i = 0; i < entity->nfields; i++)
		take_value(slot, &entity->fields[i].column, &row->values[i]);
	row->local_id = js_row_id_from_values(entity, row->keys);
	row->tid = slot->tts_tid;
	row->root = heap->root;
	row->direct = true;
}

/* One value of a slot that is taken apart. */
static void
take_value(TupleTableSlot *slot, const JsColumn *column, JsValue *value)
{
	value->value = slot->tts_values[column->attnum - 1];
	value->isnull = slot->tts_isnull[column->attnum - 1];
}

/* Is a row the one that was locked, or read, directly just now? */
bool
js_rowheap_has(JsEntity *entity, JsRow *row)
{
	JsHeap	   *heap;

	if (!row->direct || !js_rowheap_usable(entity))
		return false;
	heap = open_rows(entity);
	return heap->old != NULL &&
		ItemPointerEquals(&heap->old->tts_tid, &row->tid);
}

/* js_row_update(), directly. */
bool
js_rowheap_update(JsEntity *entity, JsRow *row, const bool *write,
				  const JsValue *values, const char *external_id)
{
	JsHeap	   *heap = open_rows(entity);
	TupleTableSlot *old = heap->old;
	TupleTableSlot *new = heap->fresh;
	int			natts = new->tts_tupleDescriptor->natts;
	bool	   *given = palloc0(sizeof(bool) * natts);
	Bitmapset  *named = NULL;
	JsValue		id;

	slot_getallattrs(old);
	ExecClearTuple(new);
	memcpy(new->tts_values, old->tts_values, sizeof(Datum) * natts);
	memcpy(new->tts_isnull, old->tts_isnull, sizeof(bool) * natts);
	for (int i = 0; i < entity->nfields; i++)
		if (write[i])
			set_column(new, &entity->fields[i].column, &values[i], given);
	if (external_id != NULL)
	{
		id = js_value_from_text(&entity->external, pstrdup(external_id));
		set_column(new, &entity->external, &id, given);
	}
	for (int i = 0; i < natts; i++)
		if (given[i])
			named = bms_add_member(named, i + 1 -
								   FirstLowInvalidHeapAttributeNumber);
	ExecStoreVirtualTuple(new);
	heap->columns->updatedCols = named;
	if (!js_heap_update_fire(heap))
		return false;
	if (heap->quiet && external_id == NULL)
	{
		JsValue    *before = row->values;

		/* nobody but us had a hand in it */
		row->values = palloc(sizeof(JsValue) * Max(entity->nfields, 1));
		for (int i = 0; i < entity->nfields; i++)
			row->values[i] = write[i] ? values[i] : before[i];
		row->root = heap->root;
	}
	else
	{
		ExecMaterializeSlot(new);
		read_slot(entity, heap, new, row);
	}
	row->direct = false;
	return true;
}

/* js_row_insert(), directly. */
bool
js_rowheap_insert(JsEntity *entity, const char *external_id,
				  const char *property, const bool *write,
				  const JsValue *values, JsRow *row)
{
	JsHeap	   *heap = open_rows(entity);

	fill_new(entity, heap, heap->fresh, external_id, property, write, values);
	if (!js_heap_insert(heap))
		return false;
	read_slot(entity, heap, heap->fresh, row);
	row->direct = false;
	return true;
}

/* Make a new row in a slot. */
static void
fill_new(JsEntity *entity, JsHeap *heap, TupleTableSlot *slot,
		 const char *external_id, const char *property, const bool *write,
		 const JsValue *values)
{
	RowAccess  *access = heap->extra;
	ExprContext *econtext = GetPerTupleExprContext(heap->estate);
	int			natts = slot->tts_tupleDescriptor->natts;
	bool	   *given = palloc0(sizeof(bool) * natts);
	JsValue		value;

	if (access->defaults == NULL)
		prepare_defaults(heap, access);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * natts);
	value = js_value_from_text(&entity->external, pstrdup(external_id));
	set_column(slot, &entity->external, &value, given);
	if (entity->property != NULL && property != NULL)
	{
		value = js_value_from_text(entity->property, pstrdup(property));
		set_column(slot, entity->property, &value, given);
	}
	for (int i = 0; i < entity->nfields; i++)
		if (write[i])
			set_column(slot, &entity->fields[i].column, &values[i], given);
	for (int i = 0; i < natts; i++)
		if (access->defaults[i] != NULL && !given[i])
			slot->tts_values[i] = ExecEvalExpr(access->defaults[i], econtext,
											   &slot->tts_isnull[i]);
	ExecStoreVirtualTuple(slot);
}

/*
 * Can many new rows be inserted at once?  No trigger may want to see each,
 * nothing but the values that are given and defaults may be in them, and
 * indexes must be able to refuse them by themselves.
 */
bool
js_rowheap_bulk(JsEntity *entity)
{
	JsHeap	   *heap = open_rows(entity);
	TupleConstr *constraints = RelationGetDescr(heap->rel)->constr;

	for (int i = 0; i < heap->info->ri_NumIndices; i++)
		if (heap->info->ri_IndexRelationInfo[i]->ii_ExclusionOps != NULL ||
			!heap->info->ri_IndexRelationDescs[i]->rd_index->indimmediate)
			return false;
	return !heap->fires_before && !heap->fires_after &&
		!heap->rel->rd_rel->relispartition &&
		!(constraints != NULL && constraints->has_generated_stored);
}

/* Make the new row of that number; returns its id. */
char	   *
js_rowheap_add(JsEntity *entity, int number, const char *external_id,
			   const char *property, const bool *write,
			   const JsValue *values)
{
	JsHeap	   *heap = open_rows(entity);
	TupleTableSlot *slot = js_heap_slots(heap, number + 1)[number];
	JsValue    *keys = palloc(sizeof(JsValue) * entity->nkeys);

	fill_new(entity, heap, slot, external_id, property, write, values);
	for (int i = 0; i < entity->nkeys; i++)
		take_value(slot, &entity->keys[i], &keys[i]);
	return js_row_id_from_values(entity, keys);
}

/* Insert the rows that were made; tells where they are. */
void
js_rowheap_insert_many(JsEntity *entity, int n, ItemPointerData *tids)
{
	JsHeap	   *heap = open_rows(entity);

	js_heap_append_many(heap, n, false);
	for (int i = 0; i < n; i++)
		tids[i] = heap->many[i]->tts_tid;
}

/* Prepare the defaults of all columns that have one. */
static void
prepare_defaults(JsHeap *heap, RowAccess *access)
{
	TupleDesc	tupdesc = RelationGetDescr(heap->rel);
	MemoryContext old = MemoryContextSwitchTo(heap->mcxt);

	access->defaults = palloc0(sizeof(ExprState *) * Max(tupdesc->natts, 1));
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);
		Expr	   *expression;

		if (att->attisdropped || att->attgenerated)
			continue;
		expression = (Expr *) build_column_default(heap->rel, i + 1);
		if (expression != NULL)
			access->defaults[i] = ExecInitExpr(expression_planner(expression),
											   NULL);
	}
	MemoryContextSwitchTo(old);
}

/* Set a column of the version that is to be written, and note that it is. */
static void
set_column(TupleTableSlot *slot, const JsColumn *column,
		   const JsValue *value, bool *given)
{
	slot->tts_values[column->attnum - 1] = value->value;
	slot->tts_isnull[column->attnum - 1] = value->isnull;
	given[column->attnum - 1] = true;
}
