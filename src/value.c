/*-------------------------------------------------------------------------
 *
 * value.c
 *	  Typed values: JSON from the PMS against columns of a table.
 *
 * A value of the PMS is cast to the type of the column as the column's input
 * function does it, and compared by the type's own equality.  So 100.0 and
 * 100.00 are the same number, two spellings of an instant are the same
 * instant, and a char(n) does not care for trailing blanks; nothing of that
 * is ever a conflict.
 *
 * Input functions and equality operators of users' types run users' code: the
 * caller has switched to the owner of the table (secure.h).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "compat.h"
#include "jacksync.h"
#include "json.h"
#include "merge.h"
#include "value.h"

static void check_rights(JsColumn *column);
static void set_polymorphic(FmgrInfo *finfo, Oid function, Oid result,
							Oid argtype, MemoryContext mcxt);
static void make_container(JsColumn *column, MemoryContext mcxt);
static JsValue container_value(JsColumn *column, Jsonb *json);
static JsValue from_scalar(JsColumn *column, JsonbValue *scalar);
static bool text_is(Datum value, const char *s, int len);
static bool number_is(int64 number, JsonbValue *item);
static bool date_is(DateADT date, const char *s);
static bool array_is(ArrayType *array, JsonbContainer *container);
static char *whole_number(char *text);
static char *scalar_text(JsonbValue *value);
static bool text_blank(const char *s, int len);
static Datum timestamp_json(Datum timestamp);
static bool string_category(Oid type);
static JsonbValue pushable(Jsonb *json);
static const JsJson *as_tree(JsColumn *column, JsValue value,
							 const JsAllocator *allocator);
static JsValue merge_text(JsColumn *column, JsValue base, JsValue local,
						  JsValue pms, bool base_known);

/*
 * Look up what is needed to handle values of one column.  The result lives
 * in mcxt.
 */
void
js_column_init(JsColumn *column, Relation rel, AttrNumber attnum,
			   MemoryContext mcxt)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	TypeCacheEntry *typcache;
	Oid			inputfn;
	Oid			outputfn;
	bool		varlena;

	memset(column, 0, sizeof(JsColumn));
	column->attnum = attnum;
	column->name = MemoryContextStrdup(mcxt, NameStr(att->attname));
	column->typid = att->atttypid;
	column->typmod = att->atttypmod;
	column->collation = att->attcollation;
	column->basetype = getBaseType(att->atttypid);
	column->user_code = att->atttypid >= FirstNormalObjectId;
	column->is_array = OidIsValid(get_element_type(column->basetype));
	column->is_text = column->basetype == TEXTOID ||
		column->basetype == VARCHAROID ||
		string_category(column->basetype);
	column->byval = att->attbyval;
	column->len = att->attlen;

	getTypeInputInfo(column->typid, &inputfn, &column->ioparam);
	fmgr_info_cxt(inputfn, &column->input, mcxt);
	getTypeOutputInfo(column->typid, &outputfn, &varlena);
	fmgr_info_cxt(outputfn, &column->output, mcxt);

	typcache = lookup_type_cache(column->basetype, TYPECACHE_EQ_OPR_FINFO);
	if (OidIsValid(typcache->eq_opr_finfo.fn_oid))
		fmgr_info_cxt(typcache->eq_opr_finfo.fn_oid, &column->equal, mcxt);

	set_polymorphic(&column->tojson, F_TO_JSONB, JSONBOID, column->typid,
					mcxt);
	if (column->is_array || get_typtype(column->basetype) == TYPTYPE_COMPOSITE)
		make_container(column, mcxt);
}

/*
 * Code that belongs to a type of a user must run as the owner of the table.
 * If a caller forgot that, it does not run at all.
 */
static void
check_rights(JsColumn *column)
{
	if (column->user_code && !InSecurityRestrictedOperation())
		elog(ERROR, "value of column \"%s\" was handled with wrong rights",
			 column->name);
}

/* Is a type one of strings (text, varchar, char, citext, ...)? */
static bool
string_category(Oid type)
{
	char		category;
	bool		preferred;

	get_type_category_preferred(type, &category, &preferred);
	return category == TYPCATEGORY_STRING;
}

/* Prepare a polymorphic function for an argument of a given type. */
static void
set_polymorphic(FmgrInfo *finfo, Oid function, Oid result, Oid argtype,
				MemoryContext mcxt)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	Const	   *arg = makeConst(argtype, -1, InvalidOid, -1, (Datum) 0, true,
								false);

	fmgr_info_cxt(function, finfo, mcxt);
	fmgr_info_set_expr((Node *) makeFuncExpr(function, result,
											 list_make1(arg),
											 InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL),
					   finfo);
	MemoryContextSwitchTo(old);
}

/*
 * Cast a JSON value to the type of a column.  JSON null is NULL.  An object
 * or array goes into jsonb as it is, into arrays and composite types by
 * member, and into other types as its text.  Errors are those of the type's
 * input function.
 */
JsValue
js_value_from_json(JsColumn *column, Jsonb *json)
{
	JsonbValue	scalar;
	JsValue		result = {(Datum) 0, true};

	check_rights(column);
	if (js_jsonb_is_null(json))
	{
		/* a domain may refuse NULL: its input function must see it */
		if (column->basetype != column->typid)
			(void) InputFunctionCall(&column->input, NULL, column->ioparam,
									 column->typmod);
		return result;
	}
	if (column->typid == JSONBOID)
	{
		result.value = JsonbPGetDatum(json);
		result.isnull = false;
		return result;
	}
	if (column->basetype != JSONBOID && column->basetype != JSONOID &&
		JB_ROOT_IS_SCALAR(json))
	{
		JsonbExtractScalar(&json->root, &scalar);
		return from_scalar(column, &scalar);
	}
	if (!column->is_array && get_typtype(column->basetype) != TYPTYPE_COMPOSITE)
		return js_value_from_text(column, js_jsonb_out(json));
	return container_value(column, json);
}

/* Cast a scalar, which is not null, to a column that is no JSON. */
static JsValue
from_scalar(JsColumn *column, JsonbValue *scalar)
{
	JsValue		result = {(Datum) 0, false};
	char	   *text;

	if (scalar->type == jbvNumeric && column->typid == NUMERICOID)
	{
		result.value = DirectFunctionCall2(numeric,
										   NumericGetDatum(scalar->val.numeric),
										   Int32GetDatum(column->typmod));
		return result;
	}
	text = scalar_text(scalar);
	if (column->basetype == INT2OID || column->basetype == INT4OID ||
		column->basetype == INT8OID)
		text = whole_number(text);
	return js_value_from_text(column, text);
}

/* js_value_from_json() for a member of an object. */
JsValue
js_value_from_item(JsColumn *column, JsonbValue *item)
{
	if (item->type == jbvNull || item->type == jbvBinary ||
		column->basetype == JSONBOID || column->basetype == JSONOID)
		return js_value_from_json(column, js_jsonb_from_value(item));
	check_rights(column);
	return from_scalar(column, item);
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
				text_is(value.value, item->val.string.val,
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
				DatumGetBool(DirectFunctionCall2(numeric_eq, value.value,
												 NumericGetDatum(item->val.numeric)));
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

/* Is a text these bytes? */
static bool
text_is(Datum value, const char *s, int len)
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
			!text_is(elements[i], value->val.string.val,
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
			return DatumGetBool(DirectFunctionCall2(numeric_eq,
													NumericGetDatum(a->val.numeric),
													NumericGetDatum(b->val.numeric)));
		case jbvBool:
			return a->val.boolean == b->val.boolean;
		case jbvBinary:
			return compareJsonbContainers(a->val.binary.data,
										  b->val.binary.data) == 0;
		default:
			return js_jsonb_same(js_jsonb_from_value(a),
								 js_jsonb_from_value(b));
	}
}

/* Call the input function of a column's type. */
JsValue
js_value_from_text(JsColumn *column, char *text)
{
	JsValue		result;

	check_rights(column);
	result.value = InputFunctionCall(&column->input, text, column->ioparam,
									 column->typmod);
	result.isnull = false;
	return result;
}

/*
 * Prepare what turns JSON into arrays and composite values:
 * jsonb_populate_record() on a record that has one member, of this type.
 */
static void
make_container(JsColumn *column, MemoryContext mcxt)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	TupleDesc	tupdesc = CreateTemplateTupleDesc(1);
	Datum		value = (Datum) 0;
	bool		isnull = true;

	TupleDescInitEntry(tupdesc, 1, "v", column->typid, column->typmod, 0);
	tupdesc = BlessTupleDesc(tupdesc);
	column->container =
		HeapTupleGetDatum(heap_form_tuple(tupdesc, &value, &isnull));
	set_polymorphic(&column->populate, F_JSONB_POPULATE_RECORD, RECORDOID,
					RECORDOID, mcxt);
	MemoryContextSwitchTo(old);
}

/* Cast a JSON array or object to an array or composite column. */
static JsValue
container_value(JsColumn *column, Jsonb *json)
{
	LOCAL_FCINFO(fcinfo, 2);
	JsonbParseState *state;
	Datum		row;
	JsValue		result;

	state = js_object_begin();
	js_object_put(&state, "v", json);

	InitFunctionCallInfoData(*fcinfo, &column->populate, 2, InvalidOid, NULL,
							 NULL);
	fcinfo->args[0].value = column->container;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = JsonbPGetDatum(js_object_end(state));
	fcinfo->args[1].isnull = false;
	row = FunctionCallInvoke(fcinfo);

	result.value = GetAttributeByNum(DatumGetHeapTupleHeader(row), 1,
									 &result.isnull);
	return result;
}

/*
 * 2.0 and 2e0 are whole numbers, though the input functions of integers do not
 * take them.  What is no number is left for those to refuse.
 */
static char *
whole_number(char *text)
{
	Datum		number;

	if (text[strspn(text, "+-0123456789.eE")] != '\0' ||
		strpbrk(text, ".eE") == NULL || strlen(text) > 100 ||
		strtod(text, NULL) == 0 || fabs(strtod(text, NULL)) > 1e19)
		return text;
	number = DirectFunctionCall3(numeric_in, CStringGetDatum(text),
								 ObjectIdGetDatum(InvalidOid),
								 Int32GetDatum(-1));
	number = DirectFunctionCall1(numeric_trim_scale, number);
	return DatumGetCString(DirectFunctionCall1(numeric_out, number));
}

/* The text of a scalar, as an input function wants it. */
static char *
scalar_text(JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			elog(ERROR, "unexpected scalar of type %d", (int) value->type);
	}
	return NULL;				/* keep the compiler quiet */
}

/* The JSON of a column's value; NULL is JSON null. */
Jsonb *
js_value_to_json(JsColumn *column, JsValue value)
{
	if (value.isnull)
		return js_jsonb_null();
	check_rights(column);
	if (column->typid == JSONBOID)
		return DatumGetJsonbP(value.value);
	return DatumGetJsonbP(FunctionCall1(&column->tojson, value.value));
}

/* The text of a column's value, by its output function; NULL for NULL. */
char *
js_value_to_text(JsColumn *column, JsValue value)
{
	if (value.isnull)
		return NULL;
	return OutputFunctionCall(&column->output, value.value);
}

/*
 * The text of a column's value as part of a key: the same in every session,
 * whatever its DateStyle and TimeZone.
 */
char *
js_value_to_key(JsColumn *column, JsValue value)
{
	Jsonb	   *json;
	JsonbValue	scalar;

	switch (column->basetype)
	{
		case TIMESTAMPTZOID:
			/* in UTC, and said so: the input function takes it for that */
			json = js_jsonb_time(DatumGetTimestampTz(value.value));
			JsonbExtractScalar(&json->root, &scalar);
			return pnstrdup(scalar.val.string.val, scalar.val.string.len);
		case DATEOID:
		case TIMESTAMPOID:
			json = js_value_to_json(column, value);
			JsonbExtractScalar(&json->root, &scalar);
			return pnstrdup(scalar.val.string.val, scalar.val.string.len);
		default:
			return js_value_to_text(column, value);
	}
}

/* A timestamp as JSON: ISO 8601. */
static Datum
timestamp_json(Datum timestamp)
{
	static FmgrInfo tojson;

	if (!OidIsValid(tojson.fn_oid))
		set_polymorphic(&tojson, F_TO_JSONB, JSONBOID, TIMESTAMPOID,
						CacheMemoryContext);
	return FunctionCall1(&tojson, timestamp);
}

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
	check_rights(column);
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

/* Memory for the pure code comes from the current context. */
static void *
allocate(void *ctx, size_t size)
{
	return MemoryContextAlloc((MemoryContext) ctx, size);
}

/* An allocator for the pure code: what it makes lives as other things here. */
JsAllocator
js_allocator(void)
{
	JsAllocator allocator = {allocate, CurrentMemoryContext};

	return allocator;
}

/*
 * Merge the three values of a field (merge.h has the rule).  Text is merged
 * by lines, arrays and jsonb as JSON, after the cast to the column's type, so
 * that elements are the same as the type says.
 */
JsValue
js_value_merge(JsColumn *column, JsValue base, JsValue local, JsValue pms,
			   bool base_known, int newer)
{
	JsAllocator allocator = js_allocator();
	JsBuffer	buffer;
	JsJson	   *merged;
	Jsonb	   *json;

	if (column->is_text && !column->is_array)
		return merge_text(column, base, local, pms, base_known);

	merged = js_merge(&allocator,
					  base_known ? as_tree(column, base, &allocator) : NULL,
					  as_tree(column, local, &allocator),
					  as_tree(column, pms, &allocator),
					  (JsMergeSide) newer);
	js_buffer_init(&buffer, &allocator);
	js_json_write(merged, &buffer);
	json = js_jsonb_in(buffer.data);
	return js_value_from_json(column, json);
}

/* A value as a tree of the pure core. */
static const JsJson *
as_tree(JsColumn *column, JsValue value, const JsAllocator *allocator)
{
	JsJsonLimits limits = js_json_unlimited;
	JsJsonError error;
	JsJson	   *tree;
	char	   *text;

	if (value.isnull)
		return NULL;
	text = js_jsonb_out(js_value_to_json(column, value));
	if (!js_json_parse(text, strlen(text), &limits, allocator, &tree, &error))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value of column \"%s\" is too complex to be merged",
						column->name),
				 errdetail("At byte %zu: %s.", error.offset, error.message)));
	return tree;
}

/* Merge the lines of text values. */
static JsValue
merge_text(JsColumn *column, JsValue base, JsValue local, JsValue pms,
		   bool base_known)
{
	JsAllocator allocator = js_allocator();
	JsValue		result = {(Datum) 0, true};
	char	   *merged;

	merged = js_merge_lines(&allocator,
							base_known ? js_value_to_text(column, base) : NULL,
							js_value_to_text(column, local),
							js_value_to_text(column, pms));
	if (merged == NULL)
		return result;
	return js_value_from_text(column, merged);
}

/* JSON null. */
Jsonb *
js_jsonb_null(void)
{
	JsonbValue	value = {0};

	value.type = jbvNull;
	return JsonbValueToJsonb(&value);
}

/* Is it JSON null? */
bool
js_jsonb_is_null(Jsonb *json)
{
	JsonbValue	scalar;

	return JB_ROOT_IS_SCALAR(json) &&
		JsonbExtractScalar(&json->root, &scalar) && scalar.type == jbvNull;
}

/* The member of an object, or NULL if there is none. */
Jsonb *
js_jsonb_member(Jsonb *object, const char *key)
{
	JsonbValue	k = {0};
	JsonbValue *value;

	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return NULL;
	k.type = jbvString;
	k.val.string.val = unconstify(char *, key);
	k.val.string.len = strlen(key);
	value = findJsonbValueFromContainer(&object->root, JB_FOBJECT, &k);
	return value == NULL ? NULL : JsonbValueToJsonb(value);
}

/* A JsonbValue as a Jsonb of its own. */
Jsonb *
js_jsonb_from_value(JsonbValue *value)
{
	return JsonbValueToJsonb(value);
}

/* Parse JSON text; errors are those of jsonb. */
Jsonb *
js_jsonb_in(const char *text)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
											  CStringGetDatum(text)));
}

/* The text of a Jsonb. */
char *
js_jsonb_out(Jsonb *json)
{
	return JsonbToCString(NULL, &json->root, VARSIZE_ANY_EXHDR(json));
}

/* A JSON string. */
Jsonb *
js_jsonb_string(const char *text)
{
	JsonbValue	value = {0};

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	return JsonbValueToJsonb(&value);
}

/* A JSON number. */
Jsonb *
js_jsonb_int8(int64 number)
{
	JsonbValue	value = {0};

	value.type = jbvNumeric;
	value.val.numeric =
		DatumGetNumeric(DirectFunctionCall1(int8_numeric,
											Int64GetDatum(number)));
	return JsonbValueToJsonb(&value);
}

/* A time as a JSON string: in UTC, and so marked. */
Jsonb *
js_jsonb_time(TimestampTz time)
{
	Datum		utc = DirectFunctionCall2(timestamptz_zone,
										  CStringGetTextDatum("UTC"),
										  TimestampTzGetDatum(time));
	Jsonb	   *json = DatumGetJsonbP(timestamp_json(utc));
	JsonbValue	scalar;

	JsonbExtractScalar(&json->root, &scalar);
	return js_jsonb_string(psprintf("%.*sZ", scalar.val.string.len,
									scalar.val.string.val));
}

/* Are two JSON values equal?  Numbers by value, objects in any order. */
bool
js_jsonb_same(Jsonb *a, Jsonb *b)
{
	return compareJsonbContainers(&a->root, &b->root) == 0;
}

/* Begin to build an object. */
JsonbParseState *
js_object_begin(void)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	return state;
}

/* Any value as one that can be pushed. */
static JsonbValue
pushable(Jsonb *json)
{
	JsonbValue	value = {0};

	if (json == NULL)
		value.type = jbvNull;
	else if (JB_ROOT_IS_SCALAR(json))
		(void) JsonbExtractScalar(&json->root, &value);
	else
	{
		value.type = jbvBinary;
		value.val.binary.data = &json->root;
		value.val.binary.len = VARSIZE_ANY_EXHDR(json);
	}
	return value;
}

/* Add a member to it; a NULL pointer is JSON null. */
void
js_object_put(JsonbParseState **state, const char *key, Jsonb *value)
{
	JsonbValue	k = {0};
	JsonbValue	v = pushable(value);

	k.type = jbvString;
	k.val.string.val = unconstify(char *, key);
	k.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &k);
	pushJsonbValue(state, WJB_VALUE, &v);
}

/* Add an element to an array. */
void
js_array_push(JsonbParseState **state, Jsonb *element)
{
	JsonbValue	v = pushable(element);

	pushJsonbValue(state, WJB_ELEM, &v);
}

/* The finished object. */
Jsonb *
js_object_end(JsonbParseState *state)
{
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
