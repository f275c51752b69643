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

static uint32 item_size(JsonbValue *value);
static void set_entry(Jsonb *object, int number, JEntry type, uint32 size,
					  uint32 *len);
static void set_value(JsonbValue *value, JEntry entry, char *data,
					  uint32 begin, uint32 end);

/* JSON null. */
Jsonb	   *
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
	return JB_ROOT_IS_SCALAR(json) && JBE_ISNULL(json->root.children[0]);
}

/* The member of an object, or NULL if there is none. */
Jsonb	   *
js_jsonb_member(Jsonb *object, const char *key)
{
	JsonbValue	value;

	return js_jsonb_find(object, key, &value) ? JsonbValueToJsonb(&value) :
		NULL;
}

/* The same without a copy; false if there is none. */
bool
js_jsonb_find(Jsonb *object, const char *key, JsonbValue *value)
{
	return object != NULL && JB_ROOT_IS_OBJECT(object) &&
		getKeyJsonValueFromContainer(&object->root, key, strlen(key),
									 value) != NULL;
}

/* A JsonbValue as a Jsonb of its own. */
Jsonb	   *
js_jsonb_from_value(JsonbValue *value)
{
	return JsonbValueToJsonb(value);
}

/* Parse JSON text; errors are those of jsonb. */
Jsonb	   *
js_jsonb_in(const char *text)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
											  CStringGetDatum(text)));
}

/* The text of a Jsonb. */
char	   *
js_jsonb_out(Jsonb *json)
{
	return JsonbToCString(NULL, &json->root, VARSIZE_ANY_EXHDR(json));
}

/* A JSON string. */
Jsonb	   *
js_jsonb_string(const char *text)
{
	JsonbValue	value = {0};

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	return JsonbValueToJsonb(&value);
}

/* A JSON number. */
Jsonb	   *
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

/*
 * An object of members that come in the order of jsonb: by the length of their
 * keys, then by bytes.  What pushJsonbValue() and convertToJsonb() make of
 * them, at once; jsonb does not change its form, since it is on disk.
 */
Jsonb	   *
js_jsonb_object(const char *const *keys, JsonbValue *const *values, int n)
{
	Size		room = VARHDRSZ + sizeof(uint32) + 2 * n * sizeof(JEntry);
	Jsonb	   *result;
	uint32	   *keylens = palloc(sizeof(uint32) * Max(n, 1));
	char	   *data;
	uint32		len = 0;

	for (int i = 0; i < n; i++)
	{
		keylens[i] = strlen(keys[i]);
		room += keylens[i] + sizeof(int32) + item_size(values[i]);
	}
	if (room > JENTRY_OFFLENMASK)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("total size of jsonb object elements exceeds the maximum of %u bytes",
						JENTRY_OFFLENMASK)));
	result = palloc0(room);
	result->root.header = n | JB_FOBJECT;
	data = (char *) &result->root.children[2 * n];
	for (int i = 0; i < n; i++)
	{
		memcpy(data + len, keys[i], keylens[i]);
		set_entry(result, i, JENTRY_ISSTRING, keylens[i], &len);
	}
	for (int i = 0; i < n; i++)
	{
		JsonbValue *value = values[i];
		uint32		padding = INTALIGN(len) - len;
		uint32		size = item_size(value);

		switch (value->type)
		{
			case jbvNull:
				set_entry(result, n + i, JENTRY_ISNULL, 0, &len);
				break;
			case jbvBool:
				set_entry(result, n + i, value->val.boolean ?
						  JENTRY_ISBOOL_TRUE : JENTRY_ISBOOL_FALSE, 0, &len);
				break;
			case jbvString:
				memcpy(data + len, value->val.string.val, size);
				set_entry(result, n + i, JENTRY_ISSTRING, size, &len);
				break;
			case jbvNumeric:
				memcpy(data + len + padding, value->val.numeric, size);
				set_entry(result, n + i, JENTRY_ISNUMERIC, padding + size,
						  &len);
				break;
			case jbvBinary:
				memcpy(data + len + padding, value->val.binary.data, size);
				set_entry(result, n + i, JENTRY_ISCONTAINER, padding + size,
						  &len);
				break;
			default:
				elog(ERROR, "unexpected jsonb value of type %d",
					 (int) value->type);
		}
	}
	SET_VARSIZE(result, data + len - (char *) result);
	return result;
}

/* The bytes of a value in an object, without what aligns it. */
static uint32
item_size(JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return value->val.string.len;
		case jbvNumeric:
			return VARSIZE_ANY(value->val.numeric);
		case jbvBinary:
			return value->val.binary.len;
		default:
			return 0;
	}
}

/* Note an entry of an object, whose data follows what is there already. */
static void
set_entry(Jsonb *object, int number, JEntry type, uint32 size, uint32 *len)
{
	*len += size;
	/* every so often an entry has its end instead of its length */
	object->root.children[number] = number % JB_OFFSET_STRIDE == 0 ?
		type | *len | JENTRY_HAS_OFF : type | size;
}

/* Begin to go through the members of an object, in the order of jsonb. */
void
js_object_walk(JsObjectWalk *walk, Jsonb *object)
{
	uint32		n = JsonContainerSize(&object->root);

	walk->container = &object->root;
	walk->data = (char *) &object->root.children[2 * n];
	walk->n = n;
	walk->at = 0;
	walk->key_at = 0;
	walk->value_at = getJsonbOffset(&object->root, n);
}

/*
 * The next member: what JsonbIteratorNext() would tell of it with two calls,
 * without a state for each level.  The value points into the object.  False:
 * there is none.
 */
bool
js_object_next(JsObjectWalk *walk, const char **key, uint32 *keylen,
			   JsonbValue *value)
{
	JsonbContainer *container = walk->container;
	uint32		at = walk->at;
	uint32		begin = walk->key_at;
	JEntry		entry;

	if (at == walk->n)
		return false;
	JBE_ADVANCE_OFFSET(walk->key_at, container->children[at]);
	*key = walk->data + begin;
	*keylen = walk->key_at - begin;

	begin = walk->value_at;
	entry = container->children[walk->n + at];
	JBE_ADVANCE_OFFSET(walk->value_at, entry);
	set_value(value, entry, walk->data, begin, walk->value_at);
	walk->at++;
	return true;
}

/* The value of an entry that is from begin to end of the data. */
static void
set_value(JsonbValue *value, JEntry entry, char *data, uint32 begin,
		  uint32 end)
{
	uint32		aligned = INTALIGN(begin);

	if (JBE_ISSTRING(entry))
	{
		value->type = jbvString;
		value->val.string.val = data + begin;
		value->val.string.len = end - begin;
	}
	else if (JBE_ISNUMERIC(entry))
	{
		value->type = jbvNumeric;
		value->val.numeric = (Numeric) (data + aligned);
	}
	else if (JBE_ISCONTAINER(entry))
	{
		value->type = jbvBinary;
		value->val.binary.data = (JsonbContainer *) (data + aligned);
		value->val.binary.len = end - aligned;
	}
	else if (JBE_ISNULL(entry))
		value->type = jbvNull;
	else
	{
		value->type = jbvBool;
		value->val.boolean = JBE_ISBOOL_TRUE(entry);
	}
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
Jsonb	   *
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
