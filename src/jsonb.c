/*-------------------------------------------------------------------------
 *
 * jsonb.c
 *	  Small values of jsonb: what they hold, and how they are built.
 *
 * What is needed of PostgreSQL's jsonb, in forms that are short to call.  JSON
 * of the network is handled by the pure code (json.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "compat.h"
#include "jsonb.h"

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

/* Add a member to it; a NULL pointer is JSON null. */
void
js_object_put(JsonbParseState **state, const char *key, Jsonb *value)
{
	JsonbValue	k = {0};
	JsonbValue	v = js_jsonb_item(value);

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
	JsonbValue	v = js_jsonb_item(element);

	pushJsonbValue(state, WJB_ELEM, &v);
}

/* The finished object. */
Jsonb *
js_object_end(JsonbParseState *state)
{
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Any value as one that can be pushed. */
JsonbValue
js_jsonb_item(Jsonb *json)
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
