/*-------------------------------------------------------------------------
 *
 * place.c
 *	  Where links were found lately, in the memory of this process.
 *
 * Polls overlap, so most records were seen by this process before.  A descent
 * of the index costs a dozen cache misses, a look in here one or two.  These
 * are hints: whoever takes one looks whether the right link is there, and asks
 * the index if not.  So nothing has to be invalidated.
 *
 * The table has buckets of one cache line.  It doubles when half of its places
 * are taken, up to jacksync.hint_memory: 16 to 32 bytes for each record that
 * was seen.  After that, a new one takes the place of another.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "compat.h"
#include "place.h"

#define WAYS		8			/* entries of a bucket */
#define FIRST_SIZE	1024		/* buckets */
#define FIRST_BITS	10

/*
 * An entry says where a link is, and as much of its key as there is room for:
 * block (32 bits), row pointer (11), and of the key what follows the bits that
 * say the bucket of the smallest table (21), so that the table can grow.  In
 * the largest table one look in a hundred finds another link.
 */
typedef uint64 Entry;			/* 0: free, as no row pointer is 0 */

#define OFFSET_BITS 11
#define TAG_BITS	21

StaticAssertDecl(MaxHeapTuplesPerPage < 1 << OFFSET_BITS,
				 "a page has more rows than an entry can tell");

static int	hint_memory = 131072;	/* kB */
static Entry *entries = NULL;
static uint32 size = 0;			/* buckets; a power of 2 */
static uint32 used = 0;

static Entry *bucket_of(uint64 key);
static uint32 tag_of(uint64 key);
static uint32 entry_tag(Entry entry);
static bool may_grow(void);
static void grow(void);
static void put(Entry *bucket, Entry entry);

/* Settings of this file. */
void
js_place_define_settings(void)
{
	DefineCustomIntVariable("jacksync.hint_memory",
							"Memory in which a process remembers where records are, at most.",
							"It takes 16 to 32 bytes for each record that the process has seen.",
							&hint_memory,
							131072, 64, 2097152,
							PGC_USERSET,
							GUC_UNIT_KB,
							NULL, NULL, NULL);
}

/* The bucket of a key. */
static Entry *
bucket_of(uint64 key)
{
	return &entries[(key & (size - 1)) * WAYS];
}

/* What an entry says of its key. */
static uint32
tag_of(uint64 key)
{
	return (uint32) (key >> FIRST_BITS) & ((1U << TAG_BITS) - 1);
}

/* The same of an entry. */
static uint32
entry_tag(Entry entry)
{
	return (uint32) entry & ((1U << TAG_BITS) - 1);
}

/* This key will be asked for soon. */
void
js_place_prefetch(uint64 key)
{
	if (size > 0)
		js_prefetch(bucket_of(key));
}

/* Where was the link of this key, perhaps?  False: not known. */
bool
js_place_get(uint64 key, ItemPointer at)
{
	Entry	   *bucket;
	uint32		tag = tag_of(key);

	if (size == 0)
		return false;
	bucket = bucket_of(key);
	for (int i = 0; i < WAYS && bucket[i] != 0; i++)
		if (entry_tag(bucket[i]) == tag)
		{
			ItemPointerSet(at, (BlockNumber) (bucket[i] >> 32),
						   (bucket[i] >> TAG_BITS) & ((1U << OFFSET_BITS) - 1));
			return true;
		}
	return false;
}

/* Remember where it is. */
void
js_place_put(uint64 key, ItemPointer at)
{
	if (used >= size * (WAYS / 2) && may_grow())
		grow();
	put(bucket_of(key),
		((uint64) ItemPointerGetBlockNumber(at) << 32) |
		((uint64) ItemPointerGetOffsetNumber(at) << TAG_BITS) | tag_of(key));
}

/* Is there room for one more without another losing its place? */
bool
js_place_room(void)
{
	return used < size * (WAYS / 2) || may_grow();
}

/* Into the place it has already, a free one, or that of another. */
static void
put(Entry *bucket, Entry entry)
{
	int			i = 0;

	while (i < WAYS && bucket[i] != 0 &&
		   entry_tag(bucket[i]) != entry_tag(entry))
		i++;
	if (i == WAYS)
		i = (entry >> 32) % WAYS;	/* any */
	if (bucket[i] == 0)
		used++;
	bucket[i] = entry;
}

/* Does the setting allow a larger table?  There is always a first one. */
static bool
may_grow(void)
{
	return size == 0 ||
		(Size) size * 2 * WAYS * sizeof(Entry) <= (Size) hint_memory * 1024;
}

/* Twice as many buckets. */
static void
grow(void)
{
	Entry	   *old = entries;
	uint32		old_size = size;

	size = size == 0 ? FIRST_SIZE : size * 2;
	entries = MemoryContextAllocExtended(CacheMemoryContext,
										 sizeof(Entry) * WAYS * size,
										 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	used = 0;
	for (uint32 i = 0; i < old_size * WAYS; i++)
		if (old[i] != 0)
			put(bucket_of((i / WAYS % FIRST_SIZE) |
						  (uint64) entry_tag(old[i]) << FIRST_BITS), old[i]);
	if (old != NULL)
		pfree(old);
}
