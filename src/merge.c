/*-------------------------------------------------------------------------
 *
 * merge.c
 *	  Three-way merge of JSON values and of lines of text.
 *
 * Arrays are ordered sets.  An element that either side added is in the
 * result, one that the PMS removed is not, one that was removed here comes
 * back: only the PMS can remove.  The order is that of the base, then what
 * was added here, then what the PMS added.  If only one side changed, the
 * result is that side's value (with what it may not remove).
 *
 * Objects are merged by key, by the same rule.  Where only one value can be,
 * the side that changed wins, and the newer one if both did.
 *
 * A NULL pointer and JSON null are "nothing": the empty set.  The result is
 * null only if both sides are.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "merge.h"

/* An element of a set, to be sorted: equal ones in the order they came. */
typedef struct Element
{
	const JsJson *value;
	int			position;
} Element;

/* A set: its elements in their order, and sorted. */
typedef struct Set
{
	const JsJson *array;		/* NULL: empty */
	int			n;
	Element    *sorted;
} Set;

static bool nothing(const JsJson *value);
static JsJson *as_result(const JsAllocator *allocator, const JsJson *value);
static JsJson *merge_arrays(const JsAllocator *allocator, const JsJson *base,
							const JsJson *local, const JsJson *pms);
static JsJson *merge_objects(const JsAllocator *allocator, const JsJson *base,
							 const JsJson *local, const JsJson *pms,
							 JsMergeSide newer);
static JsJson *merge_members(const JsAllocator *allocator, const JsJson *base,
							 const JsJson *local, const JsJson *pms,
							 JsMergeSide newer);
static JsJson *one_of(const JsAllocator *allocator, const JsJson *base,
					  const JsJson *local, const JsJson *pms,
					  JsMergeSide newer);
static void make_set(const JsAllocator *allocator, Set *set,
					 const JsJson *array);
static bool contains(const Set *set, const JsJson *value);
static void append(JsJson *array, const JsJson *value);
static void drop_duplicates(const JsAllocator *allocator, JsJson *array);
static int	compare_elements(const void *a, const void *b);
static JsJson *lines_of(const JsAllocator *allocator, const char *text);

static bool
nothing(const JsJson *value)
{
	return value == NULL || value->type == JS_JSON_NULL;
}

/* A value of an input as the result: trees are never changed, so shared. */
static JsJson *
as_result(const JsAllocator *allocator, const JsJson *value)
{
	return value ? (JsJson *) value : js_json_make(allocator, JS_JSON_NULL);
}

/*
 * Merge three values.  A NULL base means that it is not known: then the
 * result is the union.
 */
JsJson	   *
js_merge(const JsAllocator *allocator, const JsJson *base,
		 const JsJson *local, const JsJson *pms, JsMergeSide newer)
{
	JsJsonType	kind;

	if (nothing(local) && nothing(pms))
		return js_json_make(allocator, JS_JSON_NULL);
	kind = nothing(local) ? pms->type : local->type;
	if ((kind == JS_JSON_ARRAY || kind == JS_JSON_OBJECT) &&
		(nothing(local) || local->type == kind) &&
		(nothing(pms) || pms->type == kind) &&
		(nothing(base) || base->type == kind))
	{
		return kind == JS_JSON_ARRAY ?
			merge_arrays(allocator, base, local, pms) :
			merge_objects(allocator, base, local, pms, newer);
	}
	return one_of(allocator, base, local, pms, newer);
}

/* Values of which only one can be. */
static JsJson *
one_of(const JsAllocator *allocator, const JsJson *base, const JsJson *local,
	   const JsJson *pms, JsMergeSide newer)
{
	if (base != NULL && js_json_equal(local, base))
		return as_result(allocator, pms);
	if (base != NULL && js_json_equal(pms, base))
	{
		/* a value that was only removed here comes back */
		return as_result(allocator, nothing(local) ? pms : local);
	}
	if (base == NULL && nothing(local))
		return as_result(allocator, pms);
	if (base == NULL && nothing(pms))
		return as_result(allocator, local);
	return as_result(allocator, newer == JS_NEWER_PMS ? pms : local);
}

/* Arrays as ordered sets. */
static JsJson *
merge_arrays(const JsAllocator *allocator, const JsJson *base,
			 const JsJson *local, const JsJson *pms)
{
	JsJson	   *result;
	Set			b;
	Set			l;
	Set			p;

	/* only the PMS changed: its value as it is */
	if (base != NULL && js_json_equal(nothing(local) ? NULL : local, base))
		return as_result(allocator, nothing(pms) ?
						 js_json_make(allocator, JS_JSON_ARRAY) : pms);

	make_set(allocator, &b, base);
	make_set(allocator, &l, local);
	make_set(allocator, &p, pms);
	result = js_json_make(allocator, JS_JSON_ARRAY);
	result->items = allocator->alloc(allocator->ctx,
									 (b.n + l.n + p.n + 1) * sizeof(JsJson *));

	if (base != NULL && js_json_equal(nothing(pms) ? NULL : pms, base))
	{
		/* only we changed: our order, then what may not be removed here */
		for (int i = 0; i < l.n; i++)
			append(result, local->items[i]);
		for (int i = 0; i < b.n; i++)
			if (!contains(&l, base->items[i]))
				append(result, base->items[i]);
	}
	else
	{
		for (int i = 0; i < b.n; i++)
			if (contains(&p, base->items[i]))
				append(result, base->items[i]);
		for (int i = 0; i < l.n; i++)
			if (!contains(&b, local->items[i]))
				append(result, local->items[i]);
		for (int i = 0; i < p.n; i++)
			if (!contains(&b, pms->items[i]))
				append(result, pms->items[i]);
	}
	drop_duplicates(allocator, result);
	return result;
}

/* Sort the elements of an array. */
static void
make_set(const JsAllocator *allocator, Set *set, const JsJson *array)
{
	set->array = nothing(array) ? NULL : array;
	set->n = set->array ? array->n : 0;
	set->sorted = allocator->alloc(allocator->ctx,
								   (set->n + 1) * sizeof(Element));
	for (int i = 0; i < set->n; i++)
	{
		set->sorted[i].value = array->items[i];
		set->sorted[i].position = i;
	}
	qsort(set->sorted, set->n, sizeof(Element), compare_elements);
}

static int
compare_elements(const void *a, const void *b)
{
	const Element *ea = a;
	const Element *eb = b;
	int			result = js_json_compare(ea->value, eb->value);

	return result != 0 ? result : ea->position - eb->position;
}

/* Is a value in a set?  By binary search. */
static bool
contains(const Set *set, const JsJson *value)
{
	int			low = 0;
	int			high = set->n - 1;

	while (low <= high)
	{
		int			middle = low + (high - low) / 2;
		int			result = js_json_compare(set->sorted[middle].value, value);

		if (result == 0)
			return true;
		if (result < 0)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return false;
}

static void
append(JsJson *array, const JsJson *value)
{
	array->items[array->n++] = (JsJson *) value;
}

/* Keep the first of equal elements. */
static void
drop_duplicates(const JsAllocator *allocator, JsJson *array)
{
	Set			set;
	bool	   *drop = allocator->alloc(allocator->ctx, array->n + 1);
	int			kept = 0;

	memset(drop, 0, array->n + 1);
	make_set(allocator, &set, array);
	for (int i = 1; i < set.n; i++)
		if (js_json_compare(set.sorted[i - 1].value, set.sorted[i].value) == 0)
			drop[set.sorted[i].position] = true;
	for (int i = 0; i < array->n; i++)
		if (!drop[i])
			array->items[kept++] = array->items[i];
	array->n = kept;
}

/* Objects, key by key: keys of the base, then those added here, then there. */
static JsJson *
merge_objects(const JsAllocator *allocator, const JsJson *base,
			  const JsJson *local, const JsJson *pms, JsMergeSide newer)
{
	const JsJson *sides[3] = {base, local, pms};
	JsJson	   *result = js_json_make(allocator, JS_JSON_OBJECT);
	size_t		most = 1;

	for (int side = 0; side < 3; side++)
		if (!nothing(sides[side]))
			most += sides[side]->n;
	result->members = allocator->alloc(allocator->ctx,
									   most * sizeof(JsMember));
	for (int side = 0; side < 3; side++)
	{
		for (int i = 0; !nothing(sides[side]) && i < sides[side]->n; i++)
		{
			const JsMember *member = &sides[side]->members[i];
			const JsJson *values[3];
			JsJson	   *value;
			bool		seen = false;

			for (int j = 0; j < 3; j++)
			{
				values[j] = js_json_get(sides[j], member->key,
										member->keylen);
				if (j < side && values[j] != NULL)
					seen = true;
			}
			if (seen)
				continue;
			/* the PMS removed the key: it is gone, even if changed here */
			if (values[0] != NULL && values[2] == NULL)
				continue;
			value = merge_members(allocator, values[0], values[1], values[2],
								  newer);
			result->members[result->n] = *member;
			result->members[result->n++].value = value;
		}
	}
	return result;
}

/*
 * The values of one key; a NULL pointer: the side does not have it.  Nested
 * arrays are sets, nested objects are merged, all else is one value.
 */
static JsJson *
merge_members(const JsAllocator *allocator, const JsJson *base,
			  const JsJson *local, const JsJson *pms, JsMergeSide newer)
{
	if (local == NULL)
		return as_result(allocator, pms);	/* new there, or comes back */
	if (pms == NULL)
		return as_result(allocator, local);
	if (local->type == pms->type &&
		(local->type == JS_JSON_ARRAY || local->type == JS_JSON_OBJECT) &&
		(nothing(base) || base->type == local->type))
		return js_merge(allocator, base, local, pms, newer);
	if (base != NULL && js_json_equal(local, base))
		return as_result(allocator, pms);
	if (base != NULL && js_json_equal(pms, base))
		return as_result(allocator, local);
	return as_result(allocator, newer == JS_NEWER_PMS ? pms : local);
}

/*
 * Merge texts line by line.  The result ends with a line break if the side
 * that has one is not alone with it.  NULL is nothing.
 */
char	   *
js_merge_lines(const JsAllocator *allocator, const char *base,
			   const char *local, const char *pms)
{
	JsJson	   *merged;
	JsBuffer	result;
	bool		ends;

	if (local == NULL && pms == NULL)
		return NULL;
	merged = js_merge(allocator, lines_of(allocator, base),
					  lines_of(allocator, local), lines_of(allocator, pms),
					  JS_NEWER_UNKNOWN);
	js_buffer_init(&result, allocator);
	for (int i = 0; i < merged->n; i++)
	{
		if (i > 0)
			js_buffer_append(&result, "\n", 1);
		js_buffer_append(&result, merged->items[i]->text,
						 merged->items[i]->len);
	}
	ends = (local == NULL || local[0] == '\0' ||
			local[strlen(local) - 1] == '\n') &&
		(pms == NULL || pms[0] == '\0' || pms[strlen(pms) - 1] == '\n');
	if (ends && merged->n > 0)
		js_buffer_append(&result, "\n", 1);
	return result.data;
}

/* The lines of a text as an array; NULL for NULL. */
static JsJson *
lines_of(const JsAllocator *allocator, const char *text)
{
	JsJson	   *array;
	int			n = 1;

	if (text == NULL)
		return NULL;
	array = js_json_make(allocator, JS_JSON_ARRAY);
	for (const char *p = text; *p; p++)
		if (*p == '\n')
			n++;
	array->items = allocator->alloc(allocator->ctx, n * sizeof(JsJson *));
	while (*text != '\0')
	{
		size_t		len = strcspn(text, "\n");

		array->items[array->n++] = js_json_make_string(allocator, text, len);
		text += len;

		if (*text == '\n')
			text++;
	}
	return array;
}
