/*-------------------------------------------------------------------------
 *
 * value.c
 *	  Typed values: JSON from the PMS against columns of a table.
 *
 * A value of the PMS is cast to the type of the column as the column's input
 * function does it; equal.c compares the results.
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
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "compat.h"
#include "jsonb.h"
#include "merge.h"
#include "texts.h"
#include "value.h"

static bool string_category(Oid type);
static void set_polymorphic(FmgrInfo *finfo, Oid function, Oid result,
							Oid argtype, MemoryContext mcxt);
static JsValue from_scalar(JsColumn *column, JsonbValue *scalar);
static bool plain_date(const char *text, int len, Datum *date);
static void make_container(JsColumn *column, MemoryContext mcxt);
static JsValue container_value(JsColumn *column, Jsonb *json);
static char *whole_number(char *text);
static char *scalar_text(JsonbValue *value);
static bool plain_json(JsColumn *column, Datum value, Jsonb **json);
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
void
js_value_check_rights(JsColumn *column)
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

	js_value_check_rights(column);
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
	if (scalar->type == jbvString && column->typid == TEXTOID)
	{
		result.value =
			PointerGetDatum(cstring_to_text_with_len(scalar->val.string.val,
													 scalar->val.string.len));
		return result;
	}
	if (scalar->type == jbvString && column->typid == DATEOID &&
		plain_date(scalar->val.string.val, scalar->val.string.len,
				   &result.value))
		return result;
	text = scalar_text(scalar);

	if (column->basetype == INT2OID || column->basetype == INT4OID ||
		column->basetype == INT8OID)
		text = whole_number(text);

	return js_value_from_text(column, text);
}

/* A day as most write it: 2026-11-25.  False for what is written otherwise. */
static bool
plain_date(const char *text, int len, Datum *date)
{
	int			part[3] = {0};
	int			n = 0;

	if (len != 10 || text[4] != '-' || text[7] != '-')
		return false;
	for (int i = 0; i < len; i++)
	{
		if (i == 4 || i == 7)
			n++;
		else if (text[i] < '0' || text[i] > '9')
			return false;
		else
			part[n] = part[n] * 10 + (text[i] - '0');
	}
	if (part[0] < 1 || part[1] < 1 || part[1] > MONTHS_PER_YEAR ||
		part[2] < 1 || part[2] > day_tab[isleap(part[0])][part[1] - 1])
		return false;
	*date = DateADTGetDatum(date2j(part[0], part[1], part[2]) -
							POSTGRES_EPOCH_JDATE);
	return true;
}

/* js_value_from_json() for a member of an object. */
JsValue
js_value_from_item(JsColumn *column, JsonbValue *item)
{
	if (item->type == jbvNull || item->type == jbvBinary ||
		column->basetype == JSONBOID || column->basetype == JSONOID)
		return js_value_from_json(column, js_jsonb_from_value(item));
	js_value_check_rights(column);
	return from_scalar(column, item);
}

/* Call the input function of a column's type. */
JsValue
js_value_from_text(JsColumn *column, char *text)
{
	JsValue		result;

	js_value_check_rights(column);
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

	if (column->typid == TEXTARRAYOID &&
		js_texts_from_json(json, &result.value))
	{
		result.isnull = false;
		return result;
	}
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

/* The JSON of a column's value, as to_jsonb() says; NULL is JSON null. */
Jsonb	   *
js_value_to_json(JsColumn *column, JsValue value)
{
	Jsonb	   *json;

	if (value.isnull)
		return js_jsonb_null();
	js_value_check_rights(column);
	if (plain_json(column, value.value, &json))
		return json;
	return DatumGetJsonbP(FunctionCall1(&column->tojson, value.value));
}

/* What to_jsonb() makes of the types that most columns have, at once. */
static bool
plain_json(JsColumn *column, Datum value, Jsonb **json)
{
	JsonbValue	scalar = {0};

	switch (column->typid)
	{
		case JSONBOID:
			*json = DatumGetJsonbP(value);
			return true;
		case TEXTOID:
		case VARCHAROID:
			{
				text	   *string = DatumGetTextPP(value);

				scalar.type = jbvString;
				scalar.val.string.val = VARDATA_ANY(string);
				scalar.val.string.len = VARSIZE_ANY_EXHDR(string);
				break;
			}
		case NUMERICOID:
			scalar.type = jbvNumeric;
			scalar.val.numeric = DatumGetNumeric(value);
			if (numeric_is_nan(scalar.val.numeric) ||
				numeric_is_inf(scalar.val.numeric))
				return false;
			break;
		case INT4OID:
			scalar.type = jbvNumeric;
			scalar.val.numeric = int64_to_numeric(DatumGetInt32(value));
			break;
		case INT8OID:
			scalar.type = jbvNumeric;
			scalar.val.numeric = int64_to_numeric(DatumGetInt64(value));
			break;
		case BOOLOID:
			scalar.type = jbvBool;
			scalar.val.boolean = DatumGetBool(value);
			break;
		case TEXTARRAYOID:
			if (!js_texts_plain(value))
				return false;
			*json = js_texts_to_json(value);
			return true;
		default:
			return false;
	}
	*json = js_jsonb_from_value(&scalar);
	return true;
}

/* The text of a column's value, by its output function; NULL for NULL. */
char	   *
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
char	   *
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

/* A time as a JSON string: in UTC, and so marked. */
Jsonb	   *
js_jsonb_time(TimestampTz time)
{
	char		text[MAXDATELEN + 2];

	/* on a clock in UTC it is the same number of microseconds */
	JsonEncodeDateTime(text, TimestampGetDatum(time), TIMESTAMPOID, NULL);
	strlcat(text, "Z", sizeof(text));
	return js_jsonb_string(text);
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
	JsValue		result;
	Jsonb	   *json;

	if (column->is_text && !column->is_array)
		return merge_text(column, base, local, pms, base_known);

	merged = js_merge(&allocator,
					  base_known ? as_tree(column, base, &allocator) : NULL,
					  as_tree(column, local, &allocator),
					  as_tree(column, pms, &allocator),
					  (JsMergeSide) newer);
	if (column->typid == TEXTARRAYOID &&
		js_texts_from_tree(merged, &result.value))
	{
		result.isnull = false;
		return result;
	}
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
	if (column->typid == TEXTARRAYOID && js_texts_plain(value.value))
		return js_texts_to_tree(value.value, allocator);
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
