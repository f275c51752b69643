/*-------------------------------------------------------------------------
 *
 * value.h
 *	  Typed values: JSON from the PMS against columns of a table.
 *
 * All comparisons of jacksync are made on such values (equal.h), which have
 * the column's type; text is never compared (doc/design.md, "Equality").
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
extern void js_value_check_rights(JsColumn *column);

extern JsValue js_value_from_json(JsColumn *column, Jsonb *json);
extern JsValue js_value_from_item(JsColumn *column, JsonbValue *item);
extern JsValue js_value_from_text(JsColumn *column, char *text);
extern Jsonb *js_value_to_json(JsColumn *column, JsValue value);
extern char *js_value_to_text(JsColumn *column, JsValue value);
extern char *js_value_to_key(JsColumn *column, JsValue value);
extern Jsonb *js_jsonb_time(TimestampTz time);
extern JsValue js_value_merge(JsColumn *column, JsValue base, JsValue local,
							  JsValue pms, bool base_known, int newer);

/* Memory of the backend for the pure code. */
extern JsAllocator js_allocator(void);

#endif							/* JS_VALUE_H */
