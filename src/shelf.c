/*-------------------------------------------------------------------------
 *
 * shelf.c
 *	  Records of an initial load that wait for their turn in the order of
 *	  their ids.
 *
 * Ids of a PMS often have nothing to do with the order in which it lists
 * records.  Then every new entry of a large index goes to another page of it,
 * which is in nobody's cache, and that costs more than all the rest of a
 * record.  So a load holds as many records as there is memory for, and takes
 * those next that follow the last ones in the order of ids; at the end it
 * begins with the smallest id again.  As new ones arrive all the time, such a
 * sweep takes about twice as many as are held (Knuth's snow plough: 5.4.1).
 *
 * Records are held as their text, which is a fifth of the size of its tree.
 * Two with the same id come out in the order in which they were put.
 *
 * A record may wait for a whole sweep.  Where a walk may be continued after a
 * crash is therefore known only when all records of a page were taken, and
 * those of all pages before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bswap.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "compat.h"
#include "recordtree.h"
#include "shelf.h"

#define TYPICAL_BYTES 512		/* of memory for a record */
#define AHEAD		4			/* records that are asked for before they are
								 * read */

/* A page of which records are held. */
typedef struct ShelfPage
{
	int			left;			/* records that were not taken yet */
	int64		tick;
	Jsonb	   *progress;		/* NULL: a walk cannot go on from there */
} ShelfPage;

typedef struct ShelfRecord
{
	ShelfPage  *page;
	uint64		number;			/* in the order of arrival */
	size_t		len;			/* of the text */
	char		id[FLEXIBLE_ARRAY_MEMBER];	/* and the text after it */
} ShelfRecord;

/* A record, and eight bytes of its id as a number. */
typedef struct Place
{
	uint64		prefix;			/* behind what most ids begin with */
	ShelfRecord *record;
} Place;

struct JsShelf
{
	MemoryContext mcxt;
	Size		bytes;			/* of the records */
	uint64		arrived;
	List	   *pages;			/* ShelfPage, in their order */
	char	   *common;			/* what most ids begin with */
	int			skip;			/* length of that */
	Place	   *places;			/* in the order of ids */
	int			held;
	int			room;
	int			fresh;			/* behind these: not yet in order */
	int			next;			/* the first one that follows the last taken */
	Place		last;			/* a copy of its id; NULL: none yet */

	/* until js_shelf_taken(): */
	List	   *taken;			/* ShelfRecord */
	Jsonb	   *passed;			/* progress, if it is further than before */
};

static int	load_memory = 24576;	/* kB */

static uint64 prefix_of(JsShelf *shelf, const char *id);
static int	compare(const Place *a, const Place *b);
static int	compare_places(const void *a, const void *b);
static void remember_last(JsShelf *shelf, Place *place);
static void pass_pages(JsShelf *shelf);

/* Settings of this file. */
void
js_shelf_define_settings(void)
{
	DefineCustomIntVariable("jacksync.load_memory",
							"Memory in which an initial load holds records, to write them in the order of their ids.",
							"0 writes them in the order in which they come.",
							&load_memory,
							24576, 0, 2097152,
							PGC_USERSET,
							GUC_UNIT_KB,
							NULL, NULL, NULL);
}

/*
 * Is it worthwhile to hold records, after so many were loaded?  Indexes that
 * are not larger than what could be held are quick as they are.
 */
bool
js_shelf_worthwhile(int64 records)
{
	return load_memory > 0 &&
		records >= (int64) load_memory * 1024 / TYPICAL_BYTES;
}

/* An empty shelf, for ids most of which are between low and high. */
JsShelf    *
js_shelf_begin(MemoryContext parent, const char *low, const char *high)
{
	MemoryContext mcxt = AllocSetContextCreate(parent, "jacksync shelf",
											   ALLOCSET_DEFAULT_SIZES);
	JsShelf    *shelf = MemoryContextAllocZero(mcxt, sizeof(JsShelf));

	shelf->mcxt = mcxt;
	shelf->common = MemoryContextStrdup(mcxt, low);
	while (low[shelf->skip] != '\0' && low[shelf->skip] == high[shelf->skip])
		shelf->skip++;
	return shelf;
}

/*
 * What is put from now on is of a page that was asked for at a tick; progress
 * is where the walk is when it was applied, or NULL.
 */
void
js_shelf_page(JsShelf *shelf, int64 tick, Jsonb *progress)
{
	MemoryContext old = MemoryContextSwitchTo(shelf->mcxt);
	ShelfPage  *page = palloc0(sizeof(ShelfPage));

	page->tick = tick;
	if (progress != NULL)
		page->progress = DatumGetJsonbPCopy(JsonbPGetDatum(progress));
	shelf->pages = lappend(shelf->pages, page);
	MemoryContextSwitchTo(old);
}

/* Hold a copy of a record. */
void
js_shelf_put(JsShelf *shelf, const char *id, const char *text, size_t len)
{
	size_t		idlen = strlen(id) + 1;
	ShelfRecord *record =
	MemoryContextAlloc(shelf->mcxt,
					   offsetof(ShelfRecord, id) + idlen + len);

	if (shelf->held == shelf->room)
	{
		shelf->room = Max(2 * shelf->room, 1024);
		shelf->places = shelf->places ?
			repalloc_huge(shelf->places, shelf->room * sizeof(Place)) :
			MemoryContextAlloc(shelf->mcxt, shelf->room * sizeof(Place));
	}
	memcpy(record->id, id, idlen);
	memcpy(record->id + idlen, text, len);
	record->len = len;
	record->number = shelf->arrived++;
	record->page = llast(shelf->pages);
	record->page->left++;
	shelf->bytes += GetMemoryChunkSpace(record) + sizeof(Place);
	shelf->places[shelf->held].prefix = prefix_of(shelf, id);
	shelf->places[shelf->held++].record = record;
}

/*
 * Eight bytes of an id, behind what most begin with: compared as numbers they
 * are in order, and as they differ soon few ids are read to be compared.
 */
static uint64
prefix_of(JsShelf *shelf, const char *id)
{
	uint64		prefix = 0;
	int			result = strncmp(id, shelf->common, shelf->skip);

	if (result != 0)
		return result < 0 ? 0 : PG_UINT64_MAX;
	memcpy(&prefix, id + shelf->skip,
		   strnlen(id + shelf->skip, sizeof(prefix)));
	return pg_ntoh64(prefix);
}

/* The order of ids, as strcmp() has it. */
static int
compare(const Place *a, const Place *b)
{
	if (a->prefix != b->prefix)
		return a->prefix < b->prefix ? -1 : 1;
	return strcmp(a->record->id, b->record->id);
}

/* The same for qsort(); equal ones as they came. */
static int
compare_places(const void *a, const void *b)
{
	const Place *left = a;
	const Place *right = b;
	int			result = compare(left, right);

	if (result != 0)
		return result;
	return left->record->number < right->record->number ? -1 : 1;
}

/* Bring what was put into its order. */
void
js_shelf_sort(JsShelf *shelf)
{
	Place	   *places = shelf->places;
	int			n = shelf->held - shelf->fresh;
	int			i = shelf->fresh - 1;
	Place	   *fresh;

	if (n == 0)
		return;
	qsort(places + shelf->fresh, n, sizeof(Place), compare_places);
	fresh = palloc(n * sizeof(Place));
	memcpy(fresh, places + shelf->fresh, n * sizeof(Place));

	/* what is not behind the last one waits for the next sweep */
	for (int j = 0; j < n && shelf->last.record != NULL &&
		 compare(&fresh[j], &shelf->last) <= 0; j++)
		shelf->next++;

	/* the one that arrived later is the later one of two equal ones */
	for (int j = n - 1, at = shelf->held - 1; j >= 0; at--)
		if (i >= 0 && compare(&places[i], &fresh[j]) > 0)
			places[at] = places[i--];
		else
			places[at] = fresh[j--];
	shelf->fresh = shelf->held;
	pfree(fresh);
}

/* Is nothing held? */
bool
js_shelf_empty(JsShelf *shelf)
{
	return shelf->held == 0;
}

/* Is there as much as there is memory for? */
bool
js_shelf_full(JsShelf *shelf)
{
	/* the setting may have become 0 meanwhile */
	return shelf->held > 0 && shelf->bytes >= (Size) load_memory * 1024;
}

/*
 * Take up to n records, of those that js_shelf_sort() has seen.  Their texts
 * and the progress are there until js_shelf_taken(), the list and its items in
 * the current context.
 */
void
js_shelf_take(JsShelf *shelf, int n, JsShelfSlice *slice)
{
	Place	   *places;
	MemoryContext old;

	if (shelf->next >= shelf->held)
		shelf->next = 0;
	n = Min(n, shelf->held - shelf->next);
	places = shelf->places + shelf->next;
	slice->items = NIL;
	slice->tick = PG_INT64_MAX;
	for (int i = 0; i < n; i++)
	{
		ShelfRecord *record = places[i].record;

		if (i + AHEAD < n)
			js_prefetch(places[i + AHEAD].record);
		slice->items = lappend(slice->items,
							   js_tree_unread(record->id +
											  strlen(record->id) + 1,
											  record->len));
		slice->tick = Min(slice->tick, record->page->tick);
	}
	old = MemoryContextSwitchTo(shelf->mcxt);
	for (int i = 0; i < n; i++)
	{
		shelf->taken = lappend(shelf->taken, places[i].record);
		places[i].record->page->left--;
	}
	if (n > 0)
		remember_last(shelf, &places[n - 1]);
	shelf->held -= n;
	shelf->fresh -= n;
	memmove(places, places + n, (shelf->held - shelf->next) * sizeof(Place));
	pass_pages(shelf);
	MemoryContextSwitchTo(old);
	slice->progress = shelf->passed;
}

/* Keep the id of the last record that was taken. */
static void
remember_last(JsShelf *shelf, Place *place)
{
	size_t		idlen = strlen(place->record->id) + 1;
	ShelfRecord *copy = MemoryContextAllocZero(shelf->mcxt,
											   offsetof(ShelfRecord, id) +
											   idlen);

	if (shelf->last.record != NULL)
		pfree(shelf->last.record);
	memcpy(copy->id, place->record->id, idlen);
	shelf->last.prefix = place->prefix;
	shelf->last.record = copy;
}

/* Up to where is everything taken? */
static void
pass_pages(JsShelf *shelf)
{
	while (shelf->pages != NIL)
	{
		ShelfPage  *page = linitial(shelf->pages);

		if (page->left > 0)
			break;
		if (page->progress != NULL)
		{
			if (shelf->passed != NULL)
				pfree(shelf->passed);
			shelf->passed = page->progress;
		}
		shelf->pages = list_delete_first(shelf->pages);
		pfree(page);
	}
}

/* What was taken is not needed any more. */
void
js_shelf_taken(JsShelf *shelf)
{
	ListCell   *cell;

	foreach(cell, shelf->taken)
	{
		shelf->bytes -= GetMemoryChunkSpace(lfirst(cell)) + sizeof(Place);
		pfree(lfirst(cell));
	}
	list_free(shelf->taken);
	shelf->taken = NIL;
	if (shelf->passed != NULL)
		pfree(shelf->passed);
	shelf->passed = NULL;
}
