/*-------------------------------------------------------------------------
 *
 * texts.c
 *	  Values of text[]: from and to JSON.
 *
 * Most arrays of a PMS are lists of texts, and most sets that are merged.  They
 * go from one form to the other without JSON's text between, and without the
 * general functions for arrays of anything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "compat.h"
#include "texts.h"

static Datum make_array(Datum *elements, bool *nulls, int n);
static int	split_array(Datum value, Datum **elements, bool **nulls);

/* Has JSON such an array, too: with one dimension, or none? */
bool
js_texts_plain(Datum value)
{
	return ARR_NDIM(DatumGetArrayTypeP(value)) <= 1;
}

/* The array of a JSON array of strings; false if it has anything else. */
bool
js_texts_from_json(Jsonb *json, Datum *result)
{
	int			n = JB_ROOT_COUNT(json);
	Datum	   *elements;
	bool	   *nulls;

	if (!JB_ROOT_IS_ARRAY(json))
		return false;
	elements = palloc(sizeof(Datum) * Max(n, 1));
	nulls = palloc(sizeof(bool) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(&json->root, i);

		nulls[i] = value->type == jbvNull;
		if (value->type == jbvString)
			elements[i] =
				PointerGetDatum(cstring_to_text_with_len(value->val.string.val,
														 value->val.string.len));
		else if (!nulls[i])
			return false;
	}
	*result = make_array(elements, nulls, n);
	return true;
}

/* A plain array as a JSON array of strings. */
Jsonb	   *
js_texts_to_json(Datum value)
{
	JsonbParseState *state = NULL;
	Datum	   *elements;
	bool	   *nulls;
	int			n = split_array(value, &elements, &nulls);

	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
	{
		JsonbValue	element = {0};

		if (!nulls[i])
		{
			element.type = jbvString;
			element.val.string.val = VARDATA_ANY(DatumGetPointer(elements[i]));
			element.val.string.len =
				VARSIZE_ANY_EXHDR(DatumGetPointer(elements[i]));
		}
		(void) pushJsonbValue(&state, WJB_ELEM, &element);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* A plain array as a tree of the pure core; its strings are shared. */
JsJson	   *
js_texts_to_tree(Datum value, const JsAllocator *allocator)
{
	JsJson	   *tree = js_json_make(allocator, JS_JSON_ARRAY);
	Datum	   *elements;
	bool	   *nulls;

	tree->n = split_array(value, &elements, &nulls);
	tree->items = palloc(sizeof(JsJson *) * Max(tree->n, 1));
	for (int i = 0; i < tree->n; i++)
		tree->items[i] = nulls[i] ? js_json_make(allocator, JS_JSON_NULL) :
			js_json_make_string(allocator,
								VARDATA_ANY(DatumGetPointer(elements[i])),
								VARSIZE_ANY_EXHDR(DatumGetPointer(elements[i])));
	return tree;
}

/* The array of a tree of strings; false if it has anything else. */
bool
js_texts_from_tree(const JsJson *tree, Datum *result)
{
	Datum	   *elements;
	bool	   *nulls;

	if (tree->type != JS_JSON_ARRAY)
		return false;
	elements = palloc(sizeof(Datum) * Max(tree->n, 1));
	nulls = palloc(sizeof(bool) * Max(tree->n, 1));
	for (int i = 0; i < tree->n; i++)
	{
		const JsJson *item = tree->items[i];

		nulls[i] = item->type == JS_JSON_NULL;
		if (item->type == JS_JSON_STRING && item->problem == NULL)
			elements[i] =
				PointerGetDatum(cstring_to_text_with_len(item->text, item->len));
		else if (!nulls[i])
			return false;
	}
	*result = make_array(elements, nulls, tree->n);
	return true;
}

/* An array of one dimension; of none, if it is empty. */
static Datum
make_array(Datum *elements, bool *nulls, int n)
{
	int			lower = 1;

	return PointerGetDatum(construct_md_array(elements, nulls, 1, &n, &lower,
											  TEXTOID, -1, false,
											  TYPALIGN_INT));
}

/* The elements of an array; returns how many. */
static int
split_array(Datum value, Datum **elements, bool **nulls)
{
	int			n;

	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, elements, nulls, &n);
	return n;
}
