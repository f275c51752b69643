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
 * The table has buckets of one cache line; it doubles while it fills up, to at
 * most 16 MB, where a million records were seen.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "compat.h"
#include "place.h"

#define WAYS		4			/* entries of a bucket */
#define FIRST_SIZE	256			/* buckets */
#define LAST_SIZE	262144

typedef struct Entry
{
	uint64		key;			/* 0: free */
	ItemPointerData at;
} Entry;

static Entry *entries = NULL;
static uint32 size = 0;			/* buckets; a power of 2 */
static uint32 used = 0;

static Entry *bucket_of(uint64 key);
static void grow(void);
static void put(uint64 key, ItemPointer at);

/* The bucket of a key. */
static Entry *
bucket_of(uint64 key)
{
	return &entries[(key & (size - 1)) * WAYS];
}

/* This key will be asked for soon. */
void
js_place_prefetch(uint64 key)
{
	if (size > 0)
		js_prefetch(bucket_of(key));
}

/* Where was the link of this key?  False: not known. */
bool
js_place_get(uint64 key, ItemPointer at)
{
	Entry	   *bucket;

	if (size == 0)
		return false;
	bucket = bucket_of(key);
	for (int i = 0; i < WAYS; i++)
		if (bucket[i].key == key)
		{
			*at = bucket[i].at;
			return true;
		}
	return false;
}

/* Remember where it is. */
void
js_place_put(uint64 key, ItemPointer at)
{
	if (key == 0)
		return;
	if (used >= size && size < LAST_SIZE)
		grow();
	put(key, at);
}

/* Into the place it has already, a free one, or that of another. */
static void
put(uint64 key, ItemPointer at)
{
	Entry	   *bucket = bucket_of(key);
	int			i = 0;

	while (i < WAYS && bucket[i].key != key && bucket[i].key != 0)
		i++;
	if (i == WAYS)
		i = (key >> 32) % WAYS;
	else if (bucket[i].key == 0)
		used++;
	bucket[i].key = key;
	bucket[i].at = *at;
}

/* Twice as many buckets. */
static void
grow(void)
{
	Entry	   *old = entries;
	uint32		n = size * WAYS;

	size = size == 0 ? FIRST_SIZE : size * 2;
	entries = MemoryContextAllocZero(CacheMemoryContext,
									 sizeof(Entry) * WAYS * size);
	used = 0;
	for (uint32 i = 0; i < n; i++)
		if (old[i].key != 0)
			put(old[i].key, &old[i].at);
	if (old != NULL)
		pfree(old);
}
