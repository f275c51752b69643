/*-------------------------------------------------------------------------
 *
 * record.c
 *	  One record as the PMS sent it, in terms of the entity's fields.
 *
 * With a stream, its paths say where the id, the time and every field are;
 * a field without a path is the member of its name.  Plain records, which
 * apply() takes without a server, have their id in "id", their time in
 * "updatedAt" and every field under its own name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "coerce.h"
#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "record.h"
#include "window.h"

static uint64 hash_item(JsonbValue *item, uint64 seed);
static uint64 hash_container(JsonbContainer *container, uint64 seed);
static char *version_of(JsStream *stream, Jsonb *raw);
static char *member_text(Jsonb *raw, const char *key);

/*
 * Make fields of those members of a record that no field claims and that a
 * column is there for.  Returns true if there were any: the entity must then
 * be looked up again.
 */
bool
js_record_learn(JsEntity *entity, JsStream *stream, Jsonb *raw)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		learned = false;

	if (!JB_ROOT_IS_OBJECT(raw))
		return false;
	iterator = JsonbIteratorInit(&raw->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char	   *key;

		if (token != WJB_KEY)
			continue;
		key = pnstrdup(value.val.string.val, value.val.string.len);
		if (strcmp(key, "id") == 0 || strcmp(key, "updatedAt") == 0 ||
			js_entity_field(entity, key) != NULL ||
			js_entity_column_for(entity, key) == 0)
			continue;
		js_entity_learn_field(entity, key);
		learned = true;
	}
	return learned;
}

/* Take a record apart.  Error: JS007 for a record without an id. */
JsRecord   *
js_record_read(JsEntity *entity, JsStream *stream, bool plain, Jsonb *raw)
{
	JsRecord   *record = js_record_open(entity, stream, plain, raw);

	js_record_finish(entity, stream, plain, record);
	if (record->fields == NULL)
	{
		record->fields = palloc0(sizeof(Jsonb *) * Max(entity->nfields, 1));
		for (int i = 0; i < entity->nfields; i++)
			record->fields[i] = js_record_field(record, i);
		record->items = NULL;
	}
	return record;
}

/* Of a record, only what the hash gate wants: its id and its hash. */
JsRecord   *
js_record_open(JsEntity *entity, JsStream *stream, bool plain, Jsonb *raw)
{
	JsRecord   *record = palloc0(sizeof(JsRecord));

	record->raw = raw;
	record->external_id = js_record_id(stream, plain, raw);
	if (record->external_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_BAD_RECORD),
				 errmsg("record has no id"),
				 errdetail("There is no value at %s.",
						   plain ? "\"id\"" : stream->primary_key.text)));
	if (plain)
		record->hash = hash_bytes_extended((unsigned char *) VARDATA_ANY(raw),
										   VARSIZE_ANY_EXHDR(raw),
										   entity->seed ^ 1);
	else
	{
		JsonbValue	item = js_jsonb_item(raw);

		record->hash = hash_item(&item, entity->seed ^ stream->seed);
	}
	return record;
}

/*
 * A hash of JSON, the same as streamtree.c makes of a tree: a record may come
 * as the one today and as the other tomorrow.
 */
static uint64
hash_item(JsonbValue *item, uint64 seed)
{
	char	   *text;

	switch (item->type)
	{
		case jbvNull:
			return hash_combine64(seed, JS_JSON_NULL);
		case jbvBool:
			return hash_combine64(seed, JS_JSON_BOOL + item->val.boolean);
		case jbvNumeric:
			text = DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(item->val.numeric)));

			return hash_bytes_extended((unsigned char *) text, strlen(text),
									   seed + JS_JSON_NUMBER);
		case jbvString:
			return hash_bytes_extended((unsigned char *) item->val.string.val,
									   item->val.string.len,
									   seed + JS_JSON_STRING);
		default:
			return hash_container(item->val.binary.data, seed);
	}
}

/* The same for an array or an object, whose members have no order. */
static uint64
hash_container(JsonbContainer *container, uint64 seed)
{
	bool		object = JsonContainerIsObject(container);
	JsonbIterator *iterator = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	value;
	uint64		hash = object ? 0 : hash_combine64(seed, JS_JSON_ARRAY);
	uint64		key = 0;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = hash_bytes_extended((unsigned char *) value.val.string.val,
									  value.val.string.len, seed);
		else if (token == WJB_VALUE)
			hash += hash_item(&value, key);
		else if (token == WJB_ELEM)
			hash = hash_combine64(hash, hash_item(&value, seed));
	}
	return object ? hash_combine64(hash, seed + JS_JSON_OBJECT) : hash;
}

/*
 * The rest of it.  The fields of a plain record are items in the record, those
 * of any other are values of their own.
 */
void
js_record_finish(JsEntity *entity, JsStream *stream, bool plain,
				 JsRecord *record)
{
	Jsonb	   *raw = js_record_raw(record);

	record->time_known = js_record_time(plain ? NULL : stream, raw,
										&record->time);
	if (plain)
	{
		record->items = palloc(sizeof(JsonbValue) * Max(entity->nfields, 1));
		record->known = palloc(sizeof(bool) * Max(entity->nfields, 1));
		js_entity_split(entity, raw, record->items, record->known);
		return;
	}

	if (stream->deleted_path != NULL)
		record->deleted = js_path_match(stream->deleted_path, raw);
	if (stream->detail != NULL && js_jsonb_member(raw, JS_GONE))
		record->deleted = true;
	record->version = version_of(stream, raw);
	record->fields = palloc0(sizeof(Jsonb *) * Max(entity->nfields, 1));
	for (int i = 0; i < entity->nfields; i++)
		record->fields[i] = js_field_read(stream, &entity->fields[i], raw);
}

/* The record as it came. */
Jsonb	   *
js_record_raw(JsRecord *record)
{
	if (record->raw == NULL && record->text != NULL)
		record->raw = js_jsonb_in(pnstrdup(record->text, record->text_len));
	return record->raw;
}

/* What a record says of a field; NULL: nothing. */
Jsonb	   *
js_record_field(JsRecord *record, int field)
{
	if (record->items == NULL)
		return record->fields[field];
	return record->known[field] ?
		js_jsonb_from_value(&record->items[field]) : NULL;
}

/*
 * Have two records the same keys?  Then nothing is to be learned of the second
 * one.  jsonb has the entries of all keys first, then their bytes.
 */
bool
js_record_same_keys(Jsonb *a, Jsonb *b)
{
	int			n = JB_ROOT_COUNT(a);
	int			len = 0;

	if (!JB_ROOT_IS_OBJECT(a) || !JB_ROOT_IS_OBJECT(b) ||
		JB_ROOT_COUNT(b) != n || n >= JB_OFFSET_STRIDE ||
		memcmp(a->root.children, b->root.children, n * sizeof(JEntry)) != 0)
		return false;
	for (int i = 0; i < n; i++)
		len += JBE_OFFLENFLD(a->root.children[i]);
	return memcmp(&a->root.children[2 * n], &b->root.children[2 * n],
				  len) == 0;
}

/*
 * When the PMS changed a record, by its clock; false if it does not say, or
 * not intelligibly.
 * Plain records (no stream) have it in "updatedAt".
 */
bool
js_record_time(JsStream *stream, Jsonb *raw, TimestampTz *time)
{
	char	   *text = js_record_time_text(stream, raw);

	if (text == NULL)
		return false;
	if (!js_time_parse(text, time))
		*time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
														CStringGetDatum(text),
														ObjectIdGetDatum(InvalidOid),
														Int32GetDatum(-1)));
	return true;
}

/*
 * The same as the PMS writes it; NULL if it does not say.  A detail without a
 * time has that of the list.
 */
char	   *
js_record_time_text(JsStream *stream, Jsonb *raw)
{
	Jsonb	   *value;
	char	   *text;

	if (stream == NULL)
		return member_text(raw, "updatedAt");
	if (stream->cursor_path == NULL)
		return NULL;
	value = js_path_first(stream->cursor_path, raw);
	if (value == NULL && stream->detail != NULL &&
		js_jsonb_member(raw, JS_LISTED) != NULL)
		value = js_path_first(stream->cursor_path,
							  js_jsonb_member(raw, JS_LISTED));
	text = value ? js_scalar_text(value) : NULL;
	return text != NULL && text[0] != '\0' ? text : NULL;
}

/* The version in a record, where push.if_match is a path to it. */
static char *
version_of(JsStream *stream, Jsonb *raw)
{
	Jsonb	   *path;
	char	   *text;
	Jsonb	   *version;

	if (stream == NULL || stream->push == NULL)
		return NULL;
	path = js_jsonb_member(stream->push, "if_match");
	text = path ? js_scalar_text(path) : NULL;

	if (text == NULL || text[0] != '$')
		return NULL;
	version = js_path_first(js_path_make(text), raw);
	return version ? js_scalar_text(version) : NULL;
}

/* The id of a record; NULL if it has none. */
char	   *
js_record_id(JsStream *stream, bool plain, Jsonb *raw)
{
	Jsonb	   *id = NULL;
	char	   *text;

	if (!plain && !JB_ROOT_IS_OBJECT(raw) && !JB_ROOT_IS_SCALAR(raw))
		return NULL;
	if (plain)
		return member_text(raw, "id");
	if (stream->keyed)
		id = js_jsonb_member(raw, JS_KEY);
	if (id == NULL && stream->key_template == NULL)
		id = js_path_first(&stream->primary_key, raw);
	if (id == NULL || js_jsonb_is_null(id))
		return NULL;
	text = js_scalar_text(id);
	return text != NULL && text[0] != '\0' ? text : NULL;
}

/* A scalar among the members of a record; NULL: there is none, or a blank. */
static char *
member_text(Jsonb *raw, const char *key)
{
	JsonbValue	value;
	char	   *text = js_jsonb_find(raw, key, &value) ? js_item_text(&value) :
	NULL;

	return text != NULL && text[0] != '\0' ? text : NULL;
}
