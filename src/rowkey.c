/*-------------------------------------------------------------------------
 *
 * rowkey.c
 *	  The primary key of a row as text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "rowkey.h"

/* The primary key as text: a JSON array where it has several columns. */
char	   *
js_row_id_from_values(JsEntity *entity, const JsValue *keys)
{
	StringInfoData buf;

	if (entity->nkeys == 1)
		return js_value_to_key(&entity->keys[0], keys[0]);
	initStringInfo(&buf);
	appendStringInfoChar(&buf, '[');
	for (int i = 0; i < entity->nkeys; i++)
	{
		Jsonb	   *string;

		string = js_jsonb_string(js_value_to_key(&entity->keys[i], keys[i]));
		appendStringInfo(&buf, "%s%s", i > 0 ? ", " : "",
						 js_jsonb_out(string));
	}
	appendStringInfoChar(&buf, ']');
	return buf.data;
}

/* The values of a primary key that js_row_id_from_values() wrote. */
JsValue    *
js_row_parse_id(JsEntity *entity, const char *local_id)
{
	JsValue    *keys = palloc(sizeof(JsValue) * entity->nkeys);
	Jsonb	   *array;

	if (entity->nkeys == 1)
	{
		keys[0] = js_value_from_text(&entity->keys[0], pstrdup(local_id));
		return keys;
	}
	array = js_jsonb_in(local_id);
	for (int i = 0; i < entity->nkeys; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(&array->root, i);

		if (value == NULL || value->type != jbvString)
			ereport(ERROR,
					(errcode(ERRCODE_JS_CONFIG),
					 errmsg("primary key \"%s\" does not fit the table of entity \"%s\"",
							local_id, entity->name)));
		keys[i] = js_value_from_text(&entity->keys[i],
									 pnstrdup(value->val.string.val,
											  value->val.string.len));
	}
	return keys;
}
