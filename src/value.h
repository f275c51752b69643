/*-------------------------------------------------------------------------
 *
 * value.h
 *	  Typed values: JSON from the PMS against columns of a table.
 *
 * All comparisons of jacksync are made here, on values of the column's type;
 * text is never compared (doc/design.md, "Equality").
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_VALUE_H
#define JS_VALUE_H

#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "json.h"
#include "plan.h"

/* A value of a column; value is meaningless where isnull is set. */
typedef struct JsValue
{
	Datum		value;
	bool		isnull;
} JsValue;

/* A column, with what is needed to read, write and compare its values. */
typedef struct JsColumn
{
	AttrNumber	attnum;
	char	   *name;
	Oid			typid;
	int32		typmod;
	Oid			collation;
	Oid			basetype;		/* below domains */
	bool		is_array;
	bool		is_text;
	bool		user_code;		/* its type is not of the system */
	bool		byval;
	int16		len;
	Oid			ioparam;
	FmgrInfo	input;
	FmgrInfo	output;
	FmgrInfo	equal;			/* fn_oid is 0: compare as text */
	FmgrInfo	tojson;
	FmgrInfo	populate;		/* for arrays and composites */
	Datum		container;		/* its record argument */
} JsColumn;

extern void js_column_init(JsColumn *column, Relation rel, AttrNumber attnum,
						   MemoryContext mcxt);

extern JsValue js_value_from_json(JsColumn *column, Jsonb *json);
extern JsValue js_value_from_item(JsColumn *column, JsonbValue *item);
extern bool js_value_is_item(JsColumn *column, JsValue value,
							 JsonbValue *item);
extern bool js_item_same(JsonbValue *a, JsonbValue *b);
extern JsValue js_value_from_text(JsColumn *column, char *text);
extern Jsonb *js_value_to_json(JsColumn *column, JsValue value);
extern char *js_value_to_text(JsColumn *column, JsValue value);
extern char *js_value_to_key(JsColumn *column, JsValue value);
extern bool js_value_equal(JsColumn *column, JsValue a, JsValue b);
extern bool js_value_blank(JsColumn *column, JsValue value);
extern JsValue js_value_merge(JsColumn *column, JsValue base, JsValue local,
							  JsValue pms, bool base_known, int newer);

/* Memory of the backend for the pure code. */
extern JsAllocator js_allocator(void);

/* Helpers for objects of field values. */
extern Jsonb *js_jsonb_null(void);
extern bool js_jsonb_is_null(Jsonb *json);
extern Jsonb *js_jsonb_member(Jsonb *object, const char *key);
extern Jsonb *js_jsonb_from_value(JsonbValue *value);
extern Jsonb *js_jsonb_in(const char *text);
extern char *js_jsonb_out(Jsonb *json);
extern Jsonb *js_jsonb_string(const char *text);
extern Jsonb *js_jsonb_time(TimestampTz time);
extern Jsonb *js_jsonb_int8(int64 number);
extern bool js_jsonb_same(Jsonb *a, Jsonb *b);
extern JsonbParseState *js_object_begin(void);
extern void js_object_put(JsonbParseState **state, const char *key,
						  Jsonb *value);
extern void js_array_push(JsonbParseState **state, Jsonb *element);
extern Jsonb *js_object_end(JsonbParseState *state);

#endif							/* JS_VALUE_H */
