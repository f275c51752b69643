/*-------------------------------------------------------------------------
 *
 * link.c
 *	  The state of one record: rows of jacksync.link.
 *
 * The table is ours and plain, so it is read and written directly (heap.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/itup.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "heap.h"
#include "heapmany.h"
#include "heapread.h"
#include "link.h"
#include "linkfind.h"
#include "place.h"

/* What is kept with the open table. */
typedef struct LinkAccess
{
	JsHeapIndex *primary;
	JsHeapIndex *external;
	JsHeapIndex *local;
	Oid			sequence;
} LinkAccess;

/* A look for the links of an id. */
typedef struct Search
{
	int32		entity_id;
	text	   *external_id;
	List	   *streams;		/* that have one */
} Search;

static JsHeap *open_links(void);
static Oid	index_named(JsHeap *heap, const char *name);
static bool find_external(JsHeap *heap, int32 entity_id, int32 stream_id,
						  const char *external_id, uint64 place);
static bool note_stream(void *arg, IndexTuple entry, TupleDesc desc,
						ItemPointer tid);
static int	compare_numbers(const ListCell *a, const ListCell *b);
static bool find_record(JsHeap *heap, int64 record_id);
static bool find_local(JsHeap *heap, int32 entity_id, const char *local_id);
static JsLink *read_link(TupleTableSlot *slot);
static char *text_at(TupleTableSlot *slot, int column);
static Jsonb *jsonb_at(TupleTableSlot *slot, int column);
static int64 next_number(JsHeap *heap);
static uint64 place_of(JsLink *link);
static void fill_slot(TupleTableSlot *slot, JsLink *link);
static void set_text(TupleTableSlot *slot, int column, const char *text);
static void set_jsonb(TupleTableSlot *slot, int column, Jsonb *json);
static void set_int8(TupleTableSlot *slot, int column, int64 value,
					 bool known);

/* Open the table with its indexes. */
static JsHeap *
open_links(void)
{
	JsHeap	   *heap = js_heap_ours("link");
	LinkAccess *access;

	if (heap->extra != NULL)
		return heap;
	if (RelationGetDescr(heap->rel)->natts != LINK_NATTS)
		elog(ERROR, "table jacksync.link has %d columns, not %d",
			 RelationGetDescr(heap->rel)->natts, LINK_NATTS);
	access = MemoryContextAllocZero(heap->mcxt, sizeof(LinkAccess));
	access->primary = js_heap_index(heap, index_named(heap, "link_pkey"), 1);
	access->external = js_heap_index(heap, index_named(heap, "link_external"),
									 3);
	access->local = js_heap_index(heap, index_named(heap, "link_local"), 2);
	heap->extra = access;
	return heap;
}

/* An index of it by name. */
static Oid
index_named(JsHeap *heap, const char *name)
{
	for (int i = 0; i < heap->info->ri_NumIndices; i++)
	{
		Relation	index = heap->info->ri_IndexRelationDescs[i];

		if (strcmp(RelationGetRelationName(index), name) == 0)
			return RelationGetRelid(index);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("index \"%s\" of table \"%s\" does not exist", name,
					RelationGetRelationName(heap->rel)),
			 errhint("Create the extension anew.")));
	return InvalidOid;			/* keep the compiler quiet */
}

/* Find a link by its number. */
static bool
find_record(JsHeap *heap, int64 record_id)
{
	JsHeapIndex *index = ((LinkAccess *) heap->extra)->primary;

	index->keys[0].sk_argument = Int64GetDatum(record_id);
	return js_heap_find(heap, index, false, false);
}

/* Find a link by its row. */
static bool
find_local(JsHeap *heap, int32 entity_id, const char *local_id)
{
	JsHeapIndex *index = ((LinkAccess *) heap->extra)->local;
	text	   *id = cstring_to_text(local_id);
	bool		found;

	index->keys[0].sk_argument = Int32GetDatum(entity_id);
	index->keys[1].sk_argument = PointerGetDatum(id);
	found = js_heap_find(heap, index, false, false);
	pfree(id);
	return found;
}

/* Find a link by its id at the PMS. */
static bool
find_external(JsHeap *heap, int32 entity_id, int32 stream_id,
			  const char *external_id, uint64 place)
{
	return js_linkfind(heap, ((LinkAccess *) heap->extra)->external,
					   entity_id, stream_id, external_id, place);
}

/* The link of a record by its id at the PMS; NULL if there is none. */
JsLink	   *
js_link_by_external(int32 entity_id, int32 stream_id, const char *external_id)
{
	JsHeap	   *heap = open_links();
	JsLink	   *link = NULL;

	if (find_external(heap, entity_id, stream_id, external_id,
					  js_linkfind_place(entity_id, stream_id, external_id)))
		link = read_link(heap->found);
	js_heap_close(heap);
	return link;
}

/*
 * The links of an entity that have an id at the PMS, in any stream, by their
 * numbers.  The index is asked, whatever a planner would think of the table.
 */
List	   *
js_links_by_external(int32 entity_id, const char *external_id)
{
	JsHeap	   *heap = open_links();
	Search		search = {entity_id, cstring_to_text(external_id)};
	ScanKeyData from;
	List	   *links = NIL;
	ListCell   *cell;

	ScanKeyEntryInitialize(&from, 0, 1, BTGreaterEqualStrategyNumber, TEXTOID,
						   C_COLLATION_OID, F_TEXT_GE,
						   PointerGetDatum(search.external_id));
	js_heap_walk(heap, ((LinkAccess *) heap->extra)->external, &from,
				 note_stream, &search);
	js_heap_close(heap);
	foreach(cell, search.streams)
	{
		JsLink	   *link = js_link_by_external(entity_id, lfirst_int(cell),
											   external_id);

		if (link != NULL)
			links = lappend(links, link);
	}
	list_sort(links, compare_numbers);
	return links;
}

/* An entry of the index: of which stream is it, if it has that id? */
static bool
note_stream(void *arg, IndexTuple entry, TupleDesc desc, ItemPointer tid)
{
	Search	   *search = arg;
	Datum		values[3];
	bool		nulls[3];

	index_deform_tuple(entry, desc, values, nulls);
	if (!DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID,
											  values[0],
											  PointerGetDatum(search->external_id))))
		return false;
	if (DatumGetInt32(values[1]) == search->entity_id)
		search->streams = list_append_unique_int(search->streams,
												 DatumGetInt32(values[2]));
	return true;
}

/* The order of links by their numbers. */
static int
compare_numbers(const ListCell *a, const ListCell *b)
{
	int64		left = ((JsLink *) lfirst(a))->record_id;
	int64		right = ((JsLink *) lfirst(b))->record_id;

	return left < right ? -1 : left > right;
}

/*
 * The links of these records will be looked for soon.  places are what
 * js_link_gate() is told then.
 */
void
js_link_prefetch(int32 entity_id, int32 stream_id,
				 const char *const *external_ids, uint64 *places, int n)
{
	JsHeap	   *heap = open_links();

	js_linkfind_prefetch(heap, ((LinkAccess *) heap->extra)->external,
						 entity_id, stream_id, external_ids, places, n);
	js_heap_close(heap);
}

/*
 * The hash gate.  True if the record came as it did the last time, and nothing
 * happened here since; else link is the record's link, or NULL.  A local
 * change unsets the hash (fold.c), so what is dirty all the same only waits to
 * be pushed.  local_id is the key of its row then, if it is wanted.
 */
bool
js_link_gate(int32 entity_id, int32 stream_id, const char *external_id,
			 uint64 place, int64 hash, JsLink **link, char **local_id)
{
	JsHeap	   *heap = open_links();
	TupleTableSlot *slot = heap->found;
	bool		same = false;

	*link = NULL;
	if (place == 0)
		place = js_linkfind_place(entity_id, stream_id, external_id);
	if (find_external(heap, entity_id, stream_id, external_id, place))
	{
		slot_getallattrs(slot);
		same = !slot->tts_isnull[LINK_HASH] &&
			DatumGetInt64(slot->tts_values[LINK_HASH]) == hash &&
			slot->tts_isnull[LINK_INTENT_ID] &&
			!DatumGetBool(slot->tts_values[LINK_MUST_PULL]) &&
			!DatumGetBool(slot->tts_values[LINK_FAILED]);
		if (!same)
		{
			*link = read_link(slot);
			(*link)->space = heap->space;
			(*link)->place = place;
		}
		else if (local_id != NULL)
			*local_id = text_at(slot, LINK_LOCAL_ID);
	}
	js_heap_close(heap);
	return same;
}

/* The link of a local row; NULL if there is none. */
JsLink	   *
js_link_by_local(int32 entity_id, const char *local_id)
{
	JsHeap	   *heap = open_links();
	JsLink	   *link = NULL;

	if (find_local(heap, entity_id, local_id))
		link = read_link(heap->found);
	js_heap_close(heap);
	return link;
}

/*
 * Lock a link and read its newest version.  NULL if it is gone, or if
 * somebody else holds it and skip_locked is set.
 */
JsLink	   *
js_link_lock(int64 record_id, bool skip_locked)
{
	JsHeap	   *heap = open_links();
	JsLink	   *link = NULL;
	bool		again = true;

	while (again && find_record(heap, record_id))
	{
		again = false;
		switch (js_heap_lock(heap, skip_locked))
		{
			case JS_HEAP_OK:
				link = read_link(heap->locked);
				link->locked = true;
				break;
			case JS_HEAP_MOVED:
				again = true;
				break;
			case JS_HEAP_BUSY:
			case JS_HEAP_GONE:
				break;
		}
	}
	js_heap_close(heap);
	return link;
}

/* The same for the link of a local row; waits if somebody else holds it. */
JsLink	   *
js_link_lock_local(int32 entity_id, const char *local_id)
{
	JsHeap	   *heap = open_links();
	JsLink	   *link = NULL;

	while (link == NULL && find_local(heap, entity_id, local_id))
	{
		if (js_heap_lock(heap, false) != JS_HEAP_OK)
			continue;
		link = read_link(heap->locked);
		link->locked = true;
	}
	js_heap_close(heap);
	return link;
}

/* The link in a slot. */
static JsLink *
read_link(TupleTableSlot *slot)
{
	JsLink	   *link = palloc0(sizeof(JsLink));
	bool		shouldFree;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &shouldFree);
	Datum	   *values = slot->tts_values;
	bool	   *nulls = slot->tts_isnull;

	slot_getallattrs(slot);
	link->record_id = DatumGetInt64(values[LINK_RECORD_ID]);
	link->entity_id = DatumGetInt32(values[LINK_ENTITY_ID]);
	link->stream_id = DatumGetInt32(values[LINK_STREAM_ID]);
	link->external_id = text_at(slot, LINK_EXTERNAL_ID);
	link->local_id = text_at(slot, LINK_LOCAL_ID);
	link->state = DatumGetChar(values[LINK_STATE]);
	if (!nulls[LINK_ROW_AT])
		link->row_at = *(ItemPointer) DatumGetPointer(values[LINK_ROW_AT]);
	link->dirty = DatumGetBool(values[LINK_DIRTY]);
	link->waiting = DatumGetBool(values[LINK_WAITING]);
	link->conflict = DatumGetBool(values[LINK_CONFLICT]);
	link->failed = DatumGetBool(values[LINK_FAILED]);
	link->must_pull = DatumGetBool(values[LINK_MUST_PULL]);
	if (!nulls[LINK_INTENT_ID])
		link->intent_id = DatumGetInt64(values[LINK_INTENT_ID]);
	link->finalized_tick = DatumGetInt64(values[LINK_FINALIZED_TICK]);
	link->push_failures = DatumGetInt32(values[LINK_PUSH_FAILURES]);
	link->postponed = !nulls[LINK_NEXT_PUSH_AT];
	if (link->postponed)
		link->next_push_at = DatumGetTimestampTz(values[LINK_NEXT_PUSH_AT]);
	link->local_time_known = !nulls[LINK_LOCAL_UPDATED_AT];
	if (link->local_time_known)
		link->local_updated_at = DatumGetTimestampTz(values[LINK_LOCAL_UPDATED_AT]);
	link->local_times = jsonb_at(slot, LINK_LOCAL_TIMES);
	link->local_base = jsonb_at(slot, LINK_LOCAL_BASE);
	link->decided = jsonb_at(slot, LINK_DECIDED);
	link->version = text_at(slot, LINK_VERSION);
	link->snapshot = jsonb_at(slot, LINK_SNAPSHOT);
	link->pms_time_known = !nulls[LINK_PMS_UPDATED_AT];
	if (link->pms_time_known)
		link->pms_updated_at = DatumGetTimestampTz(values[LINK_PMS_UPDATED_AT]);
	link->hash_known = !nulls[LINK_HASH];
	if (link->hash_known)
		link->hash = DatumGetInt64(values[LINK_HASH]);
	link->tid = slot->tts_tid;
	link->untouched = (tuple->t_data->t_infomask & HEAP_XMAX_INVALID) != 0;
	return link;
}

/* A text of a slot as a string; NULL for null. */
static char *
text_at(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL :
		TextDatumGetCString(slot->tts_values[column]);
}

/* A copy of a jsonb of a slot; NULL for null. */
static Jsonb *
jsonb_at(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL :
		DatumGetJsonbPCopy(slot->tts_values[column]);
}

/* Make the version of a link that is to be written. */
static void
fill_slot(TupleTableSlot *slot, JsLink *link)
{
	Datum	   *values = slot->tts_values;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, sizeof(bool) * LINK_NATTS);
	values[LINK_RECORD_ID] = Int64GetDatum(link->record_id);
	values[LINK_ENTITY_ID] = Int32GetDatum(link->entity_id);
	values[LINK_STREAM_ID] = Int32GetDatum(link->stream_id);
	set_text(slot, LINK_EXTERNAL_ID, link->external_id);
	set_text(slot, LINK_LOCAL_ID, link->local_id);
	values[LINK_STATE] = CharGetDatum(link->state);
	slot->tts_isnull[LINK_ROW_AT] = !ItemPointerIsValid(&link->row_at);
	values[LINK_ROW_AT] = PointerGetDatum(&link->row_at);
	values[LINK_DIRTY] = BoolGetDatum(link->dirty);
	values[LINK_WAITING] = BoolGetDatum(link->waiting);
	values[LINK_CONFLICT] = BoolGetDatum(link->conflict);
	values[LINK_FAILED] = BoolGetDatum(link->failed);
	values[LINK_MUST_PULL] = BoolGetDatum(link->must_pull);
	set_int8(slot, LINK_INTENT_ID, link->intent_id, link->intent_id != 0);
	values[LINK_FINALIZED_TICK] = Int64GetDatum(link->finalized_tick);
	values[LINK_PUSH_FAILURES] = Int32GetDatum(link->push_failures);
	set_int8(slot, LINK_NEXT_PUSH_AT, link->next_push_at, link->postponed);
	set_int8(slot, LINK_LOCAL_UPDATED_AT, link->local_updated_at,
			 link->local_time_known);
	set_jsonb(slot, LINK_LOCAL_TIMES, link->local_times);
	set_jsonb(slot, LINK_LOCAL_BASE, link->local_base);
	set_jsonb(slot, LINK_DECIDED, link->decided);
	set_text(slot, LINK_VERSION, link->version);
	set_jsonb(slot, LINK_SNAPSHOT, link->snapshot);
	set_int8(slot, LINK_PMS_UPDATED_AT, link->pms_updated_at,
			 link->pms_time_known);
	values[LINK_LAST_SYNC_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	set_int8(slot, LINK_HASH, link->hash, link->hash_known);
	ExecStoreVirtualTuple(slot);
}

/* Set a text; NULL is null. */
static void
set_text(TupleTableSlot *slot, int column, const char *text)
{
	slot->tts_isnull[column] = text == NULL;
	slot->tts_values[column] = text ? CStringGetTextDatum(text) : (Datum) 0;
}

/* Set a jsonb; NULL is null. */
static void
set_jsonb(TupleTableSlot *slot, int column, Jsonb *json)
{
	slot->tts_isnull[column] = json == NULL;
	slot->tts_values[column] = PointerGetDatum(json);
}

/* Set a bigint or a time. */
static void
set_int8(TupleTableSlot *slot, int column, int64 value, bool known)
{
	slot->tts_isnull[column] = !known;
	slot->tts_values[column] = known ? Int64GetDatum(value) : (Datum) 0;
}

/*
 * Take rows out of the log of changes.  What somebody else is taking up
 * meanwhile he also writes into the link, after us.
 */
void
js_link_take(const ItemPointerData *tids, int n)
{
	JsHeap	   *heap = js_heap_ours("change");

	for (int i = 0; i < n; i++)
	{
		ItemPointerData tid = tids[i];

		(void) js_heap_delete(heap, &tid);
	}
	js_heap_close(heap);
}

/* The number of a new link. */
static int64
next_number(JsHeap *heap)
{
	LinkAccess *access = heap->extra;

	if (!OidIsValid(access->sequence))
		access->sequence =
			get_relname_relid("link_record_id_seq",
							  RelationGetNamespace(heap->rel));
	return nextval_internal(access->sequence, false);
}

/* Insert many links; their numbers are set. */
void
js_link_insert_many(JsLink *links, int n)
{
	JsHeap	   *heap = open_links();
	TupleTableSlot **slots = js_heap_slots(heap, n);

	for (int i = 0; i < n; i++)
	{
		links[i].record_id = next_number(heap);
		fill_slot(slots[i], &links[i]);
	}
	js_heap_append_many(heap, n, true);
	js_heap_close(heap);
}

/* Insert a link; its number is set. */
void
js_link_insert(JsLink *link)
{
	JsHeap	   *heap = open_links();

	link->record_id = next_number(heap);
	fill_slot(heap->fresh, link);
	js_heap_append(heap);
	link->tid = heap->fresh->tts_tid;
	if (link->external_id != NULL)
		js_place_put(place_of(link), &link->tid);
	link->untouched = true;
	js_heap_close(heap);
}

/* What the place of a link that has an id is remembered by. */
static uint64
place_of(JsLink *link)
{
	return link->place != 0 ? link->place :
		js_linkfind_place(link->entity_id, link->stream_id,
						  link->external_id);
}

/*
 * Write the state of a link.  It is locked, or nobody may have touched it
 * since it was read: then somebody who did is an error, upon which its record
 * is done again under a lock.  We never wait for a link with a row in hand.
 */
void
js_link_update(JsLink *link)
{
	JsHeap	   *heap = open_links();
	JsHeapLock	result = JS_HEAP_MOVED;

	if (ItemPointerIsValid(&link->tid))
	{
		fill_slot(heap->fresh, link);
		result = js_heap_update(heap, &link->tid, link->locked, link->space);
	}
	if (result == JS_HEAP_MOVED && find_record(heap, link->record_id) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(ExecFetchSlotHeapTuple(heap->found, false, NULL)->t_data)))
	{
		/* a statement of ours has updated it meanwhile */
		JsLink	   *newest = read_link(heap->found);

		link->postponed = newest->postponed;
		link->next_push_at = newest->next_push_at;
		fill_slot(heap->fresh, link);
		result = js_heap_update(heap, &newest->tid, true, 0);
	}
	if (result != JS_HEAP_OK)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("another session works on record " INT64_FORMAT,
						link->record_id)));
	link->tid = heap->fresh->tts_tid;
	link->untouched = true;
	if (ItemPointerIsValid(&heap->root) && link->external_id != NULL)
		js_place_put(place_of(link), &heap->root);
	js_heap_close(heap);
	if (link->ntaken > 0)
		js_link_take(link->taken, link->ntaken);
	link->ntaken = 0;
}
