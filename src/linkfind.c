/*-------------------------------------------------------------------------
 *
 * linkfind.c
 *	  Finding links by the ids of records at the PMS.
 *
 * A descent of the index is some twenty cache misses, and where tables are
 * large that is a quarter of what a record costs.  So places are remembered
 * (place.c), and a process that does not know them yet learns them: for each
 * descent it reads on in the index, where entries lie side by side, as far as
 * costs about as much as the descent.  So what is learned in vain never costs
 * more than what had to be done anyway, and a process that goes on applying
 * records soon knows them all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/itup.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

#include "compat.h"
#include "linkfind.h"
#include "place.h"

#define ENTRIES_PER_DESCENT 40	/* are read for what a descent costs */
#define BATCH		64			/* entries whose place is asked for at a time */
#define ABSENT		8			/* new records in a row: probably all are */

/* How far the index was read. */
static struct
{
	Oid			indexid;
	text	   *last;			/* NULL: not at all */
	bool		all;
}			learned;

/* A walk through it. */
typedef struct Walk
{
	int			left;			/* entries that it still may read */
	text	   *last;
	int			n;				/* entries that are not remembered yet */
	uint64		keys[BATCH];
	ItemPointerData at[BATCH];
} Walk;

static text * set_keys(JsHeapIndex *index, int32 entity_id, int32 stream_id,
					   const char *external_id);
static uint64 place_key(int32 entity_id, int32 stream_id,
						const char *external_id, int len);
static bool is_link(TupleTableSlot *slot, int32 entity_id, int32 stream_id,
					const char *external_id);
static void learn(JsHeap *heap, JsHeapIndex *index, int entries);
static bool learn_entry(void *arg, IndexTuple entry, TupleDesc desc,
						ItemPointer tid);
static void remember(Walk *walk);

/*
 * Find a link by its id at the PMS, as js_heap_find() does; index is the one
 * of (external_id, entity_id, stream_id).
 */
bool
js_linkfind(JsHeap *heap, JsHeapIndex *index, int32 entity_id,
			int32 stream_id, const char *external_id)
{
	uint64		key = place_key(entity_id, stream_id, external_id,
								strlen(external_id));
	ItemPointerData at;
	text	   *id;
	bool		found;

	if (js_place_get(key, &at) && js_heap_fetch(heap, &at, false) &&
		is_link(heap->found, entity_id, stream_id, external_id))
		return true;
	id = set_keys(index, entity_id, stream_id, external_id);
	found = js_heap_find(heap, index, false, false);
	pfree(id);
	if (found)
		js_place_put(key, &heap->root);
	return found;
}

/* Remember where indexes find a link. */
void
js_linkfind_put(int32 entity_id, int32 stream_id, const char *external_id,
				ItemPointer root)
{
	js_place_put(place_key(entity_id, stream_id, external_id,
						   strlen(external_id)), root);
}

/*
 * These records' links will be looked for soon.  ids are in order, so that
 * descents of the index have something in common.
 */
void
js_linkfind_prefetch(JsHeap *heap, JsHeapIndex *index, int32 entity_id,
					 int32 stream_id, const char *const *external_ids, int n)
{
	uint64	   *keys = palloc(sizeof(uint64) * Max(n, 1));
	ItemPointerData *at = palloc(sizeof(ItemPointerData) * Max(n, 1));
	int			known = 0;
	int			descents = 0;
	int			absent = 0;

	for (int i = 0; i < n; i++)
	{
		keys[i] = place_key(entity_id, stream_id, external_ids[i],
							strlen(external_ids[i]));
		js_place_prefetch(keys[i]);
	}
	for (int i = 0; i < n; i++)
	{
		text	   *id;

		if (js_place_get(keys[i], &at[known]))
		{
			known++;
			continue;
		}
		if (absent == ABSENT)
			continue;
		id = set_keys(index, entity_id, stream_id, external_ids[i]);
		if (js_heap_find_place(heap, index, &at[known]))
		{
			js_place_put(keys[i], &at[known++]);
			descents++;
			absent = 0;
		}
		else
			absent++;
		pfree(id);
	}
	js_heap_prefetch(heap, at, known);
	if (descents > 0)
		learn(heap, index, descents * ENTRIES_PER_DESCENT);
	pfree(at);
	pfree(keys);
}

/* What the index is asked for; returns what is to be freed. */
static text *
set_keys(JsHeapIndex *index, int32 entity_id, int32 stream_id,
		 const char *external_id)
{
	text	   *id = cstring_to_text(external_id);

	index->keys[0].sk_argument = PointerGetDatum(id);
	index->keys[1].sk_argument = Int32GetDatum(entity_id);
	index->keys[2].sk_argument = Int32GetDatum(stream_id);
	return id;
}

/* What the place of a link is remembered by. */
static uint64
place_key(int32 entity_id, int32 stream_id, const char *external_id, int len)
{
	return hash_bytes_extended((const unsigned char *) external_id, len,
							   ((uint64) entity_id << 32) | (uint32) stream_id);
}

/* Is it that link which was found? */
static bool
is_link(TupleTableSlot *slot, int32 entity_id, int32 stream_id,
		const char *external_id)
{
	struct varlena *id;
	int			len = strlen(external_id);

	slot_getsomeattrs(slot, LINK_EXTERNAL_ID + 1);
	if (slot->tts_isnull[LINK_EXTERNAL_ID] ||
		DatumGetInt32(slot->tts_values[LINK_ENTITY_ID]) != entity_id ||
		DatumGetInt32(slot->tts_values[LINK_STREAM_ID]) != stream_id)
		return false;
	id = (struct varlena *) DatumGetPointer(slot->tts_values[LINK_EXTERNAL_ID]);
	return !VARATT_IS_EXTERNAL(id) && !VARATT_IS_COMPRESSED(id) &&
		VARSIZE_ANY_EXHDR(id) == len &&
		memcmp(VARDATA_ANY(id), external_id, len) == 0;
}

/* Read on in the index, as long as there is memory for what it says. */
static void
learn(JsHeap *heap, JsHeapIndex *index, int entries)
{
	Walk		walk = {entries};
	ScanKeyData from;
	bool		all;

	if (learned.indexid != RelationGetRelid(index->rel))
	{
		learned.indexid = RelationGetRelid(index->rel);
		learned.all = false;
		if (learned.last != NULL)
			pfree(learned.last);
		learned.last = NULL;
	}
	if (learned.all)
		return;
	if (learned.last != NULL)
		ScanKeyEntryInitialize(&from, 0, 1, BTGreaterEqualStrategyNumber,
							   TEXTOID, C_COLLATION_OID, F_TEXT_GE,
							   PointerGetDatum(learned.last));
	all = js_heap_walk(heap, index, learned.last != NULL ? &from : NULL,
					   learn_entry, &walk);
	remember(&walk);
	if (learned.last != NULL)
		pfree(learned.last);
	learned.last = walk.last;
	learned.all = all || walk.last == NULL;
}

/* What the index has of a link. */
static bool
learn_entry(void *arg, IndexTuple entry, TupleDesc desc, ItemPointer tid)
{
	Walk	   *walk = arg;
	Datum		values[3];
	bool		nulls[3];
	struct varlena *id;

	index_deform_tuple(entry, desc, values, nulls);
	/* rows that the PMS does not have come last */
	if (nulls[0] || !js_place_room())
		return false;
	id = (struct varlena *) DatumGetPointer(values[0]);
	if (VARATT_IS_COMPRESSED(id))
		return true;
	walk->keys[walk->n] = place_key(DatumGetInt32(values[1]),
									DatumGetInt32(values[2]),
									VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
	walk->at[walk->n++] = *tid;
	if (walk->n == BATCH)
		remember(walk);
	if (--walk->left > 0)
		return true;
	walk->last = (text *) MemoryContextAlloc(CacheMemoryContext,
											 VARHDRSZ + VARSIZE_ANY_EXHDR(id));
	SET_VARSIZE(walk->last, VARHDRSZ + VARSIZE_ANY_EXHDR(id));
	memcpy(VARDATA(walk->last), VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
	return false;
}

/* Remember the entries that were read, unless their places are known. */
static void
remember(Walk *walk)
{
	ItemPointerData known;

	for (int i = 0; i < walk->n; i++)
		js_place_prefetch(walk->keys[i]);
	for (int i = 0; i < walk->n; i++)
		if (!js_place_get(walk->keys[i], &known))
			js_place_put(walk->keys[i], &walk->at[i]);
	walk->n = 0;
}
