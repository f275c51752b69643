/*-------------------------------------------------------------------------
 *
 * equal.c
 *	  Equality of values, and of what they came from.
 *
 * Values of a column are compared by the type's own equality.  So 100.0 and
 * 100.00 are the same number, two spellings of an instant are the same
 * instant, and a char(n) does not care for trailing blanks; nothing of that
 * is ever a conflict.
 *
 * For the usual types there is a short way: whether a value is the cast of a
 * JSON value is seen without the cast.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"

#include "compat.h"
#include "equal.h"
#include "jsonb.h"

static bool bytes_are(Datum value, const char *s, int len);
static bool number_is(int64 number, JsonbValue *item);
static bool date_is(DateADT date, const char *s);
static bool array_is(ArrayType *array, JsonbContainer *container);
static bool text_blank(const char *s, int len);

/*
 * Are two values of a column the same?  By the type's equality, under the
 * "C" collation where it takes one: a case-insensitive collation must not
 * hide that somebody corrected a name.
 */
bool
js_value_equal(JsColumn *column, JsValue a, JsValue b)
{
	if (a.isnull || b.isnull)
		return a.isnull && b.isnull;
	if (datum_image_eq(a.value, b.value, column->byval, column->len))
		return true;
	js_value_check_rights(column);
	if (OidIsValid(column->equal.fn_oid))
		return DatumGetBool(FunctionCall2Coll(&column->equal,
											  OidIsValid(column->collation) ?
											  C_COLLATION_OID : InvalidOid,
											  a.value, b.value));
	if (column->basetype == JSONOID)
		return js_jsonb_same(js_value_to_json(column, a),
							 js_value_to_json(column, b));
	return strcmp(js_value_to_text(column, a),
				  js_value_to_text(column, b)) == 0;
}

/*
 * Is a value certainly the cast of a JSON value?  Answers without a cast, for
 * the usual types; false may mean that it is not known.
 */
bool
js_value_is_item(JsColumn *column, JsValue value, JsonbValue *item)
{
	if (item->type == jbvNull || value.isnull)
		return item->type == jbvNull && value.isnull;
	switch (column->typid)
	{
		case TEXTOID:
		case VARCHAROID:
			return item->type == jbvString &&
				bytes_are(value.value, item->val.string.val,
						  item->val.string.len);
		case BOOLOID:
			return item->type == jbvBool &&
				DatumGetBool(value.value) == item->val.boolean;
		case INT4OID:
			return item->type == jbvNumeric &&
				number_is(DatumGetInt32(value.value), item);
		case INT8OID:
			return item->type == jbvNumeric &&
				number_is(DatumGetInt64(value.value), item);
		case NUMERICOID:
			return item->type == jbvNumeric &&
				(bytes_are(value.value, VARDATA_ANY(item->val.numeric),
						   VARSIZE_ANY_EXHDR(item->val.numeric)) ||
				 DatumGetBool(DirectFunctionCall2(numeric_eq, value.value,
												  NumericGetDatum(item->val.numeric))));
		case DATEOID:
			return item->type == jbvString && item->val.string.len == 10 &&
				date_is(DatumGetDateADT(value.value), item->val.string.val);
		case JSONBOID:
			return item->type == jbvBinary &&
				compareJsonbContainers(&DatumGetJsonbP(value.value)->root,
									   item->val.binary.data) == 0;
		case TEXTARRAYOID:
			return item->type == jbvBinary && !VARATT_IS_EXTENDED(DatumGetPointer(value.value)) &&
				array_is(DatumGetArrayTypeP(value.value),
						 item->val.binary.data);
		default:
			return false;
	}
}

/* Is a text, or another value of variable length, these bytes? */
static bool
bytes_are(Datum value, const char *s, int len)
{
	struct varlena *text = (struct varlena *) DatumGetPointer(value);

	return !VARATT_IS_EXTERNAL(text) && !VARATT_IS_COMPRESSED(text) &&
		VARSIZE_ANY_EXHDR(text) == len &&
		memcmp(VARDATA_ANY(text), s, len) == 0;
}

/* Is a whole number this one? */
static bool
number_is(int64 number, JsonbValue *item)
{
	return DatumGetBool(DirectFunctionCall2(numeric_eq,
											NumericGetDatum(int64_to_numeric(number)),
											NumericGetDatum(item->val.numeric)));
}

/* Is a date the one that is written as YYYY-MM-DD? */
static bool
date_is(DateADT date, const char *s)
{
	char		text[16];
	int			year,
				month,
				day;

	if (DATE_NOT_FINITE(date))
		return false;
	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	if (year < 1000 || year > 9999)
		return false;
	text[0] = '0' + year / 1000;
	text[1] = '0' + year / 100 % 10;
	text[2] = '0' + year / 10 % 10;
	text[3] = '0' + year % 10;
	text[4] = text[7] = '-';
	text[5] = '0' + month / 10;
	text[6] = '0' + month % 10;
	text[8] = '0' + day / 10;
	text[9] = '0' + day % 10;

	return memcmp(text, s, 10) == 0;
}

/* Has an array of texts these elements? */
static bool
array_is(ArrayType *array, JsonbContainer *container)
{
	uint32		n = JsonContainerSize(container);
	Datum	   *elements;
	int			nelems;

	if (!JsonContainerIsArray(container) || ARR_NDIM(array) > 1 ||
		ARR_HASNULL(array) || (ARR_NDIM(array) == 1 && ARR_LBOUND(array)[0] != 1))
		return false;
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  NULL, &nelems);
	if (nelems != n)
		return false;
	for (uint32 i = 0; i < n; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(container, i);

		if (value->type != jbvString ||
			!bytes_are(elements[i], value->val.string.val,
					   value->val.string.len))
			return false;
	}
	return true;
}

/* Are two JSON values the same?  Numbers by value, objects in any order. */
bool
js_item_same(JsonbValue *a, JsonbValue *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type)
	{
		case jbvNull:
			return true;
		case jbvString:
			return a->val.string.len == b->val.string.len &&
				memcmp(a->val.string.val, b->val.string.val,
					   a->val.string.len) == 0;
		case jbvNumeric:
			return datum_image_eq(NumericGetDatum(a->val.numeric),
								  NumericGetDatum(b->val.numeric), false, -1) ||
				DatumGetBool(DirectFunctionCall2(numeric_eq,
												 NumericGetDatum(a->val.numeric),
												 NumericGetDatum(b->val.numeric)));
		case jbvBool:
			return a->val.boolean == b->val.boolean;
		case jbvBinary:
			return (a->val.binary.len == b->val.binary.len &&
					memcmp(a->val.binary.data, b->val.binary.data,
						   a->val.binary.len) == 0) ||
				compareJsonbContainers(a->val.binary.data,
									   b->val.binary.data) == 0;
		default:
			return js_jsonb_same(js_jsonb_from_value(a),
								 js_jsonb_from_value(b));
	}
}

/* NULL, only white space, or an array or object without elements? */
bool
js_value_blank(JsColumn *column, JsValue value)
{
	if (value.isnull)
		return true;
	if (column->is_array)
		return ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(value.value)),
							  ARR_DIMS(DatumGetArrayTypeP(value.value))) == 0;
	if (column->basetype == JSONBOID || column->basetype == JSONOID)
	{
		Jsonb	   *json = js_value_to_json(column, value);
		JsonbValue	scalar;

		if (!JB_ROOT_IS_SCALAR(json))
			return JB_ROOT_COUNT(json) == 0;
		JsonbExtractScalar(&json->root, &scalar);
		if (scalar.type == jbvString)
			return text_blank(scalar.val.string.val, scalar.val.string.len);
		return scalar.type == jbvNull;
	}
	if (column->is_text)
	{
		char	   *text = js_value_to_text(column, value);

		return text_blank(text, strlen(text));
	}
	return false;
}

/* Is there nothing but white space? */
static bool
text_blank(const char *s, int len)
{
	for (int i = 0; i < len; i++)
		if (strchr(" \t\n\r\f\v", s[i]) == NULL)
			return false;
	return true;
}
