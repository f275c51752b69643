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
#include "access/xact.h"
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

/*
 * How far the index was read.  It begins with an id that was asked for, as
 * others of that kind are near it, and goes on from the start of the index
 * when its end is reached.
 */
typedef struct Learned
{
	Oid			indexid;
	struct varlena *begun;		/* with that one */
	struct varlena *next;		/* to be read from here on */
	bool		again;			/* from the start of the index */
	bool		done;
} Learned;

static Learned learned;

/* A walk through it. */
typedef struct Walk
{
	int			left;			/* entries that it still may read */
	struct varlena *until;		/* to there; NULL: to the end */
	struct varlena *next;		/* NULL: it came as far as it was to */
	bool		full;			/* there is no memory for more */
	int			n;				/* entries that are not remembered yet */
	uint64		keys[BATCH];
	ItemPointerData at[BATCH];
} Walk;

static struct varlena *set_keys(JsHeapIndex *index, int32 entity_id,
								int32 stream_id, const char *external_id);
static uint64 place_key(int32 entity_id, int32 stream_id,
						const char *external_id, int len);
static bool is_link(TupleTableSlot *slot, int32 entity_id, int32 stream_id,
					const char *external_id);
static int	look_up(JsHeap *heap, JsHeapIndex *index, int32 entity_id,
					int32 stream_id, const char **external_ids, int n,
					ItemPointerData *at);
static void learn(JsHeap *heap, JsHeapIndex *index, const char *external_id,
				  int entries);
static struct varlena *keep_text(const char *s, int len);
static void set_next(struct varlena *next);
static bool learn_entry(void *arg, IndexTuple entry, TupleDesc desc,
						ItemPointer tid);
static bool is_behind(struct varlena *id, struct varlena *other);
static void remember(Walk *walk);

/*
 * Find a link by its id at the PMS, as js_heap_find() does; index is the one
 * of (external_id, entity_id, stream_id), place what js_linkfind_place() says.
 */
bool
js_linkfind(JsHeap *heap, JsHeapIndex *index, int32 entity_id,
			int32 stream_id, const char *external_id, uint64 place)
{
	ItemPointerData at;
	struct varlena *id;
	bool		found;

	if (js_place_get(place, &at) && js_heap_fetch(heap, &at, false) &&
		is_link(heap->found, entity_id, stream_id, external_id))
		return true;
	id = set_keys(index, entity_id, stream_id, external_id);
	found = js_heap_find(heap, index, false, false);
	pfree(id);
	if (found)
		js_place_put(place, &heap->root);
	return found;
}

/* What the place of a link is remembered by: never 0. */
uint64
js_linkfind_place(int32 entity_id, int32 stream_id, const char *external_id)
{
	return place_key(entity_id, stream_id, external_id, strlen(external_id));
}

/* These records' links will be looked for soon; their places are returned. */
void
js_linkfind_prefetch(JsHeap *heap, JsHeapIndex *index, int32 entity_id,
					 int32 stream_id, const char *const *external_ids,
					 uint64 *places, int n)
{
	ItemPointerData *at = palloc(sizeof(ItemPointerData) * Max(n, 1));
	const char **unknown = palloc(sizeof(char *) * Max(n, 1));
	int			nunknown = 0;
	int			known = 0;

	for (int i = 0; i < n; i++)
	{
		places[i] = js_linkfind_place(entity_id, stream_id, external_ids[i]);
		js_place_prefetch(places[i]);
	}
	for (int i = 0; i < n; i++)
		if (js_place_get(places[i], &at[known]))
			known++;
		else
			unknown[nunknown++] = external_ids[i];
	js_heap_prefetch(heap, at, known);
	if (nunknown > 0)
	{
		known = look_up(heap, index, entity_id, stream_id, unknown, nunknown,
						at);
		js_heap_prefetch(heap, at, known);
		if (known > 0)
			learn(heap, index, unknown[0], known * ENTRIES_PER_DESCENT);
	}
	pfree(unknown);
	pfree(at);
}

/*
 * Ask the index where some links are, in the order of ids, as then descents
 * have something in common.  Returns how many it knows.
 */
static int
look_up(JsHeap *heap, JsHeapIndex *index, int32 entity_id, int32 stream_id,
		const char **external_ids, int n, ItemPointerData *at)
{
	int			known = 0;
	int			absent = 0;

	qsort(external_ids, n, sizeof(char *), pg_qsort_strcmp);
	for (int i = 0; i < n && absent < ABSENT; i++)
	{
		struct varlena *id = set_keys(index, entity_id, stream_id,
									  external_ids[i]);

		if (js_heap_find_place(heap, index, &at[known]))
		{
			js_place_put(js_linkfind_place(entity_id, stream_id,
										   external_ids[i]), &at[known++]);
			absent = 0;
		}
		else
			absent++;
		pfree(id);
	}
	return known;
}

/* What the index is asked for; returns what is to be freed. */
static struct varlena *
set_keys(JsHeapIndex *index, int32 entity_id, int32 stream_id,
		 const char *external_id)
{
	struct varlena *id = cstring_to_text(external_id);

	index->keys[0].sk_argument = PointerGetDatum(id);
	index->keys[1].sk_argument = Int32GetDatum(entity_id);
	index->keys[2].sk_argument = Int32GetDatum(stream_id);
	return id;
}

/* js_linkfind_place() of an id that is not terminated: that of an index entry. */
static uint64
place_key(int32 entity_id, int32 stream_id, const char *external_id, int len)
{
	uint64		key = hash_bytes_extended((const unsigned char *) external_id,
										  len, ((uint64) entity_id << 32) |
										  (uint32) stream_id);

	return key != 0 ? key : 1;
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

/* Read on in the index; external_id is one that was asked for. */
static void
learn(JsHeap *heap, JsHeapIndex *index, const char *external_id, int entries)
{
	Walk		walk = {entries};
	ScanKeyData from;

	if (learned.indexid != RelationGetRelid(index->rel))
	{
		learned.indexid = RelationGetRelid(index->rel);
		learned.again = learned.done = false;
		if (learned.begun != NULL)
			pfree(learned.begun);
		learned.begun = keep_text(external_id, strlen(external_id));
		set_next(keep_text(external_id, strlen(external_id)));
	}
	/* what is read in vain would be a conflict of serializable transactions */
	if (learned.done || IsolationIsSerializable())
		return;
	walk.until = learned.again ? learned.begun : NULL;
	ScanKeyEntryInitialize(&from, 0, 1, BTGreaterEqualStrategyNumber, TEXTOID,
						   C_COLLATION_OID, F_TEXT_GE,
						   PointerGetDatum(learned.next));
	js_heap_walk(heap, index, &from, learn_entry, &walk);
	remember(&walk);
	if (walk.next == NULL && !learned.again && !walk.full)
	{
		learned.again = true;
		walk.next = keep_text("", 0);
	}
	learned.done = walk.next == NULL;
	set_next(walk.next);
}

/* A text that stays. */
static struct varlena *
keep_text(const char *s, int len)
{
	struct varlena *result = MemoryContextAlloc(CacheMemoryContext,
												VARHDRSZ + len);

	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), s, len);
	return result;
}

/* From here on the index is to be read the next time. */
static void
set_next(struct varlena *next)
{
	if (learned.next != NULL)
		pfree(learned.next);
	learned.next = next;
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
	walk->full = !js_place_room();
	if (walk->full)
		return false;
	id = (struct varlena *) DatumGetPointer(values[0]);
	if (VARATT_IS_COMPRESSED(id))
		return true;
	if (walk->until != NULL && is_behind(id, walk->until))
		return false;
	walk->keys[walk->n] = place_key(DatumGetInt32(values[1]),
									DatumGetInt32(values[2]),
									VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
	walk->at[walk->n++] = *tid;
	if (walk->n == BATCH)
		remember(walk);
	/* however many versions of a link there are, it goes on behind them */
	if (--walk->left > 0 || !is_behind(id, learned.next))
		return true;
	walk->next = keep_text(VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
	return false;
}

/* Does an id come after another one?  As "C" has it, which the index has. */
static bool
is_behind(struct varlena *id, struct varlena *other)
{
	int			len = VARSIZE_ANY_EXHDR(id);
	int			other_len = VARSIZE_ANY_EXHDR(other);
	int			result = memcmp(VARDATA_ANY(id), VARDATA_ANY(other),
								Min(len, other_len));

	return result > 0 || (result == 0 && len > other_len);
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
