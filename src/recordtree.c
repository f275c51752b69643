/*-------------------------------------------------------------------------
 *
 * recordtree.c
 *	  Plain records that are read from text, without jsonb.
 *
 * A record that came as it did the last time costs a hash of its bytes and one
 * look-up; any other is parsed into a tree, of which only containers become
 * jsonb.  Records of a page usually have the
 * same keys in the same order, so which member is which field is found once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "recordtree.h"
#include "window.h"

#define TEXT_SEED 2				/* a hash of text is none of jsonb */

#define CACHE_LINE	64
#define PREFETCHED	512			/* bytes of an item that is to be parsed */
#define ARENA_BYTES 8000
#define SHORT_NUMBER 17			/* digits that always go into an int64 */

static void *bump(void *ctx, size_t size);
static uint64 text_hash(JsEntity *entity, JsRecord *record);
static Numeric number_of(const JsJson *number);
static JsonbValue *push_container(JsonbParseState **state,
								  const JsJson *json);
static void find_members(JsTreeReader *reader, JsEntity *entity,
						 const JsJson *item);

/* Memory that is handed out in a row. */
typedef struct Arena
{
	char	   *at;
	size_t		left;
} Arena;

/* Parse a page; what it consists of stays until the memory context goes. */
bool
js_tree_page(const char *s, size_t len, JsJson **root, JsJsonError *error)
{
	JsJsonLimits limits = js_json_default_limits;
	JsAllocator allocator = js_tree_memory();

	return js_json_parse(s, len, &limits, &allocator, root, error);
}

/* Memory for a tree, in the current context. */
JsAllocator
js_tree_memory(void)
{
	JsAllocator allocator = {bump, palloc0(sizeof(Arena))};

	return allocator;
}

/* The next piece of memory. */
static void *
bump(void *ctx, size_t size)
{
	Arena	   *arena = (Arena *) ctx;
	char	   *result;

	size = MAXALIGN(size);
	if (size > arena->left)
	{
		/* no more than the memory context cuts out of its own blocks */
		arena->left = Max(size, ARENA_BYTES);
		arena->at = palloc(arena->left);
	}
	result = arena->at;
	arena->at += size;
	arena->left -= size;
	return result;
}

/* Have two records the same keys in the same order? */
bool
js_tree_same_keys(const JsJson *a, const JsJson *b)
{
	if (a->type != JS_JSON_OBJECT || b->type != JS_JSON_OBJECT || a->n != b->n)
		return false;
	for (int i = 0; i < a->n; i++)
		if (a->members[i].keylen != b->members[i].keylen ||
			memcmp(a->members[i].key, b->members[i].key,
				   a->members[i].keylen) != 0)
			return false;
	return true;
}

/* The record as jsonb. */
Jsonb	   *
js_tree_json(const JsJson *item)
{
	return js_jsonb_in(pnstrdup(js_json_source(item),
								js_json_source_len(item)));
}

/* A record that a reader of unread ones will parse when it is opened. */
JsJson	   *
js_tree_unread(const char *text, size_t len)
{
	JsJson	   *item = palloc0(sizeof(JsJson));

	item->type = JS_JSON_OBJECT;
	item->source = text;
	item->source_len = len;
	return item;
}

/*
 * Some items that are to be parsed follow: those before, and what was known of
 * them, are gone, or will be before the next ones.
 */
void
js_tree_batch(JsTreeReader *reader, List *items, int from, int to)
{
	reader->last = NULL;
	reader->memory = js_tree_memory();
	for (int i = from; reader->unread && i < to; i++)
	{
		JsJson	   *item = list_nth(items, i);

		/* they are in nobody's cache */
		for (size_t at = 0; at < Min(item->source_len, PREFETCHED); at += CACHE_LINE)
			js_prefetch(item->source + at);
	}
}

/* Parse an unread item, which was part of a page before. */
const JsJson *
js_tree_read(JsTreeReader *reader, const JsJson *item)
{
	JsJsonLimits limits = js_json_default_limits;
	JsJsonError error;
	JsJson	   *tree;

	if (!reader->unread)
		return item;
	if (!js_json_parse(item->source, item->source_len, &limits,
					   &reader->memory, &tree, &error))
		elog(ERROR, "record of a page cannot be read again: %s",
			 error.message);
	return tree;
}

/* js_record_open() for a plain record. */
JsRecord   *
js_tree_open(JsTreeReader *reader, JsEntity *entity, const JsJson *item)
{
	JsRecord   *record;

	if (reader->open != NULL)
		return reader->open(reader, entity, item);
	record = palloc0(sizeof(JsRecord));
	find_members(reader, entity, item);
	record->text = js_json_source(item);
	record->text_len = js_json_source_len(item);
	record->tree = item;
	if (reader->id >= 0)
		record->external_id = js_tree_text(item->members[reader->id].value);
	if (record->external_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_BAD_RECORD),
				 errmsg("record has no id"),
				 errdetail("There is no value at %s.", "\"id\"")));
	record->hash = text_hash(entity, record);
	return record;
}

/* The same of a record that is not parsed; without an id if it is not plain. */
JsRecord   *
js_tree_open_span(JsEntity *entity, const JsJsonSpan *span)
{
	JsRecord   *record = palloc0(sizeof(JsRecord));

	record->text = span->start;
	record->text_len = span->len;
	if (span->id != NULL)
		record->external_id = pnstrdup(span->id, span->id_len);
	record->hash = text_hash(entity, record);
	return record;
}

/*
 * Parse such a record.  False if that does not do: its text is not valid, or
 * has a value that jsonb might not take, or a member that is to become a field.
 */
bool
js_tree_parse(JsTreeReader *reader, JsEntity *entity, JsRecord *record)
{
	JsJsonLimits limits = js_json_default_limits;
	JsJsonError error;
	JsJson	   *tree;

	if (!js_json_parse(record->text, record->text_len, &limits,
					   &reader->memory, &tree, &error) ||
		js_json_is_bad(tree))
		return false;
	record->tree = tree;
	find_members(reader, entity, tree);
	return !reader->learns;
}

/* The hash of a record's text, and of the rules. */
static uint64
text_hash(JsEntity *entity, JsRecord *record)
{
	return hash_bytes_extended((const unsigned char *) record->text,
							   record->text_len, entity->seed ^ TEXT_SEED);
}

/* Which member is which field? */
static void
find_members(JsTreeReader *reader, JsEntity *entity, const JsJson *item)
{
	int			n = item->type == JS_JSON_OBJECT ? item->n : 0;

	if (reader->last != NULL && reader->seed == entity->seed &&
		(reader->last == item || js_tree_same_keys(reader->last, item)))
		return;
	reader->last = item;
	reader->seed = entity->seed;
	reader->id = reader->time = -1;
	reader->learns = false;
	if (n > reader->room)
	{
		reader->room = n;
		reader->fields = MemoryContextAlloc(GetMemoryChunkContext(reader),
											sizeof(int) * n);
	}
	for (int i = 0; i < n; i++)
	{
		char	   *key = pnstrdup(item->members[i].key,
								   item->members[i].keylen);
		JsField    *field = js_entity_field(entity, key);

		reader->fields[i] = field ? field - entity->fields : -1;
		if (strcmp(key, "id") == 0)
			reader->id = i;
		else if (strcmp(key, "updatedAt") == 0)
			reader->time = i;
		else if (field == NULL && js_entity_column_for(entity, key) > 0)
			reader->learns = true;
	}
}

/* A scalar as jsonb would write it; NULL for null and containers, and "". */
char	   *
js_tree_text(const JsJson *id)
{
	switch (id->type)
	{
		case JS_JSON_STRING:
			return id->len > 0 ? pnstrdup(id->text, id->len) : NULL;
		case JS_JSON_NUMBER:
			if (strspn(id->text, "0123456789") >= id->len)
				return pnstrdup(id->text, id->len);
			return js_jsonb_out(js_tree_json(id));
		case JS_JSON_BOOL:
			return pstrdup(id->boolean ? "true" : "false");
		default:
			return NULL;
	}
}

/* js_record_finish() for a record that js_tree_open() opened. */
void
js_tree_finish(JsTreeReader *reader, JsEntity *entity, JsRecord *record)
{
	const JsJson *item = record->tree;

	if (reader->finish != NULL)
	{
		reader->finish(reader, entity, record);
		return;
	}
	find_members(reader, entity, item);
	record->items = palloc(sizeof(JsonbValue) * Max(entity->nfields, 1));
	record->known = palloc0(sizeof(bool) * Max(entity->nfields, 1));
	for (int i = 0; i < item->n; i++)
	{
		int			field = reader->fields[i];

		if (field < 0)
			continue;
		js_tree_item(item->members[i].value, &record->items[field]);
		record->known[field] = true;
	}
	if (reader->time >= 0)
	{
		char	   *text = js_tree_text(item->members[reader->time].value);

		record->time_known = text != NULL;

		if (text != NULL && !js_time_parse(text, &record->time))
			record->time =
				DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
														CStringGetDatum(text),
														ObjectIdGetDatum(InvalidOid),
														Int32GetDatum(-1)));
	}
}

/*
 * A number as jsonb has it.  A short one without an exponent is read here: a
 * whole number, and where its point is.
 */
static Numeric
number_of(const JsJson *number)
{
	const char *p = number->text;
	const char *end = p + number->len;
	const char *point = NULL;
	int64		value = 0;

	if (p < end && *p == '-')
		p++;
	for (; p < end && number->len <= SHORT_NUMBER; p++)
	{
		if (*p >= '0' && *p <= '9')
			value = value * 10 + (*p - '0');
		else if (*p == '.' && point == NULL)
			point = p;
		else
			break;
	}
	if (p < end)
		return DatumGetNumeric(DirectFunctionCall3(numeric_in,
												   CStringGetDatum(pnstrdup(number->text, number->len)),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
	if (number->text[0] == '-')
		value = -value;
	return point == NULL ? int64_to_numeric(value) :
		int64_div_fast_to_numeric(value, end - point - 1);
}

/* A value as jsonb has it. */
void
js_tree_item(const JsJson *json, JsonbValue *item)
{
	JsonbParseState *state = NULL;
	Jsonb	   *container;

	switch (json->type)
	{
		case JS_JSON_NULL:
			item->type = jbvNull;
			break;
		case JS_JSON_BOOL:
			item->type = jbvBool;
			item->val.boolean = json->boolean;
			break;
		case JS_JSON_NUMBER:
			item->type = jbvNumeric;
			item->val.numeric = number_of(json);
			break;
		case JS_JSON_STRING:
			item->type = jbvString;
			item->val.string.val = unconstify(char *, json->text);
			item->val.string.len = json->len;
			break;
		default:
			container = JsonbValueToJsonb(push_container(&state, json));
			item->type = jbvBinary;
			item->val.binary.data = &container->root;
			item->val.binary.len = VARSIZE_ANY_EXHDR(container);
			break;
	}
}

/* An array or object, built of its tree: its text need not be parsed again. */
static JsonbValue *
push_container(JsonbParseState **state, const JsJson *json)
{
	bool		object = json->type == JS_JSON_OBJECT;

	pushJsonbValue(state, object ? WJB_BEGIN_OBJECT : WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < json->n; i++)
	{
		const JsJson *value = object ? json->members[i].value : json->items[i];
		JsonbValue	item;

		if (object)
		{
			item.type = jbvString;
			item.val.string.val = unconstify(char *, json->members[i].key);
			item.val.string.len = json->members[i].keylen;
			pushJsonbValue(state, WJB_KEY, &item);
		}
		if (value->type == JS_JSON_OBJECT || value->type == JS_JSON_ARRAY)
		{
			push_container(state, value);
			continue;
		}
		js_tree_item(value, &item);
		pushJsonbValue(state, object ? WJB_VALUE : WJB_ELEM, &item);
	}
	return pushJsonbValue(state, object ? WJB_END_OBJECT : WJB_END_ARRAY, NULL);
}
