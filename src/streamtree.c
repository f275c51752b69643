/*-------------------------------------------------------------------------
 *
 * streamtree.c
 *	  Records of a stream that are read from the tree of their page.
 *
 * The same as record.c makes of them, without jsonb for whole records: paths
 * are followed on the tree, and only values that are translated, and
 * containers, become jsonb.  Streams that say more than simple paths (filters,
 * joined fields, ids of several values, parents, details) are none for it.
 *
 * A record's hash is that of its tree: neither the order of members nor blanks
 * between them make it another one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "rowheap.h"
#include "streamtree.h"
#include "value.h"
#include "window.h"

/* How a field is found in records with the keys of the last one. */
typedef struct FieldPlace
{
	JsFieldWay	way;
	int			member;			/* of the record; -1: follow the path */
} FieldPlace;

/* What is known for a stream and an entity. */
struct JsStreamPlan
{
	uint64		seed;			/* of the entity for which this holds */
	int			nfields;
	FieldPlace *fields;
	JsPredicate *deleted;		/* NULL: no record is */
	JsPath	   *version;		/* NULL: records do not tell it */

	/* of the members of the last record; -1: follow the path */
	int			id;
	int			time;
	int			room;			/* for as many members */
	uint64	   *key_hashes;
};

static char *version_path(JsStream *stream);
static JsRecord *open_record(JsTreeReader *reader, JsEntity *entity,
							 const JsJson *item);
static void finish_record(JsTreeReader *reader, JsEntity *entity,
						  JsRecord *record);
static void prepare(JsTreeReader *reader, JsEntity *entity);
static struct JsStreamPlan *plan_for(JsTreeReader *reader, JsEntity *entity,
									 const JsJson *item);
static void find_members(JsTreeReader *reader, JsEntity *entity,
						 const JsJson *item);
static int	find_member(const JsPath *path, const char *name,
						const JsJson *item);
static const JsJson *find_field(FieldPlace *place, const JsJson *item);
static bool take_field(JsTreeReader *reader, JsEntity *entity, int field,
					   const JsJson *item, JsonbValue *result);
static char *member_text(int member, const JsPath *path, const JsJson *item);
static char *text_at(const JsPath *path, const JsJson *item);
static uint64 hash_of(const JsJson *json, uint64 seed);
static uint64 hash_of_object(const JsJson *json, uint64 seed,
							 const uint64 *key_hashes);
static char *number_text(const JsJson *number);

/* Can the records of a stream be read from trees? */
bool
js_streamtree_usable(JsStream *stream, JsEntity *entity)
{
	JsAllocator allocator = js_allocator();
	char	   *version = version_path(stream);
	JsFieldWay	way;

	if (GetDatabaseEncoding() != PG_UTF8 ||
		js_rowheap_obstacle(entity) != NULL ||
		stream->parent_path != NULL || stream->keyed ||
		stream->detail != NULL ||
		stream->record_path.head == NULL || stream->record_path.rest != NULL ||
		stream->primary_key.simple == NULL ||
		(stream->cursor_path != NULL && stream->cursor_path->simple == NULL) ||
		(stream->deleted_path != NULL &&
		 js_predicate_parse(stream->deleted_path->text, &allocator) == NULL) ||
		(version != NULL && js_path_make(version)->simple == NULL))
		return false;
	for (int i = 0; i < entity->nfields; i++)
		if (!js_field_way(stream, &entity->fields[i], &way))
			return false;
	return true;
}

/* Where records have their version; NULL: they do not. */
static char *
version_path(JsStream *stream)
{
	Jsonb	   *path = stream->push ?
	js_jsonb_member(stream->push, "if_match") : NULL;
	char	   *text = path ? js_scalar_text(path) : NULL;

	return text != NULL && text[0] == '$' ? text : NULL;
}

/*
 * A reader of records of a stream, as trees or yet unread; it lives in the
 * current context.
 */
JsTreeReader *
js_streamtree_reader(JsStream *stream, bool unread)
{
	JsTreeReader *reader = palloc0(sizeof(JsTreeReader));

	reader->unread = unread;
	reader->open = open_record;
	reader->finish = finish_record;
	reader->stream = stream;
	return reader;
}

/* Prepare for an entity as it is now. */
static void
prepare(JsTreeReader *reader, JsEntity *entity)
{
	JsStream   *stream = reader->stream;
	MemoryContext old =
	MemoryContextSwitchTo(GetMemoryChunkContext(reader));
	JsAllocator allocator = js_allocator();
	struct JsStreamPlan *plan = palloc0(sizeof(struct JsStreamPlan));
	char	   *version = version_path(stream);

	plan->seed = entity->seed;
	plan->nfields = entity->nfields;
	plan->fields = palloc0(sizeof(FieldPlace) * Max(entity->nfields, 1));
	for (int i = 0; i < entity->nfields; i++)
		if (!js_field_way(stream, &entity->fields[i], &plan->fields[i].way))
			elog(ERROR, "field \"%s\" cannot be read from a tree",
				 entity->fields[i].name);
	if (stream->deleted_path != NULL)
		plan->deleted = js_predicate_parse(stream->deleted_path->text,
										   &allocator);
	if (version != NULL)
		plan->version = js_path_make(version)->simple;
	reader->plan = plan;
	reader->last = NULL;
	MemoryContextSwitchTo(old);
}

/* What is known of records with the keys of this one. */
static struct JsStreamPlan *
plan_for(JsTreeReader *reader, JsEntity *entity, const JsJson *item)
{
	if (reader->plan == NULL || reader->plan->seed != entity->seed ||
		reader->plan->nfields != entity->nfields)
		prepare(reader, entity);
	if (reader->last == NULL ||
		(reader->last != item && !js_tree_same_keys(reader->last, item)))
		find_members(reader, entity, item);
	reader->last = item;
	return reader->plan;
}

/* Which members of a record are fields, and which are its id and time? */
static void
find_members(JsTreeReader *reader, JsEntity *entity, const JsJson *item)
{
	struct JsStreamPlan *plan = reader->plan;
	JsStream   *stream = reader->stream;
	int			n = item->type == JS_JSON_OBJECT ? item->n : 0;

	for (int i = 0; i < plan->nfields; i++)
		plan->fields[i].member = find_member(plan->fields[i].way.path,
											 entity->fields[i].name, item);
	plan->id = find_member(stream->primary_key.simple, NULL, item);
	plan->time = stream->cursor_path ?
		find_member(stream->cursor_path->simple, NULL, item) : -1;
	if (n > plan->room)
	{
		plan->room = n;
		plan->key_hashes = MemoryContextAlloc(GetMemoryChunkContext(reader),
											  sizeof(uint64) * n);
	}
	for (int i = 0; i < n; i++)
		plan->key_hashes[i] =
			hash_bytes_extended((const unsigned char *) item->members[i].key,
								item->members[i].keylen,
								entity->seed ^ stream->seed);
}

/* The member that a path of one key, or a name without a path, is; or -1. */
static int
find_member(const JsPath *path, const char *name, const JsJson *item)
{
	int			n = item->type == JS_JSON_OBJECT ? item->n : 0;
	const char *key = name;
	size_t		keylen = name ? strlen(name) : 0;

	if (path != NULL)
		key = js_path_key(path, &keylen);
	for (int i = 0; key != NULL && i < n; i++)
		if (item->members[i].keylen == keylen &&
			memcmp(item->members[i].key, key, keylen) == 0)
			return i;
	return -1;
}

/* The id of a record; NULL if it has none. */
char	   *
js_streamtree_id(JsStream *stream, const JsJson *item)
{
	char	   *text;

	if (item->type == JS_JSON_ARRAY)
		return NULL;
	text = text_at(stream->primary_key.simple, item);
	return text != NULL && text[0] != '\0' ? text : NULL;
}

/* When a record was changed, as the PMS writes it; NULL if it does not say. */
char	   *
js_streamtree_time(JsStream *stream, const JsJson *item)
{
	char	   *text = stream->cursor_path ?
	text_at(stream->cursor_path->simple, item) : NULL;

	return text != NULL && text[0] != '\0' ? text : NULL;
}

/* The same of a member that was found already, if it was. */
static char *
member_text(int member, const JsPath *path, const JsJson *item)
{
	char	   *text = member < 0 ? text_at(path, item) :
	js_tree_text(item->members[member].value);

	return text != NULL && text[0] != '\0' ? text : NULL;
}

/* The text of the scalar at a path, as jsonb would write it; NULL: none. */
static char *
text_at(const JsPath *path, const JsJson *item)
{
	JsAllocator allocator = js_allocator();
	const JsJson *value = js_path_one(path, item, &allocator);

	return value ? js_tree_text(value) : NULL;
}

/* js_record_open() for a record of the reader's stream. */
static JsRecord *
open_record(JsTreeReader *reader, JsEntity *entity, const JsJson *item)
{
	JsStream   *stream = reader->stream;
	JsRecord   *record = palloc0(sizeof(JsRecord));
	struct JsStreamPlan *plan;

	item = js_tree_read(reader, item);
	plan = plan_for(reader, entity, item);
	record->text = js_json_source(item);
	record->text_len = js_json_source_len(item);
	record->tree = item;
	if (item->type != JS_JSON_ARRAY)
		record->external_id = member_text(plan->id, stream->primary_key.simple,
										  item);
	if (record->external_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_BAD_RECORD),
				 errmsg("record has no id"),
				 errdetail("There is no value at %s.",
						   stream->primary_key.text)));
	record->hash = item->type == JS_JSON_OBJECT ?
		hash_of_object(item, entity->seed ^ stream->seed, plan->key_hashes) :
		hash_of(item, entity->seed ^ stream->seed);
	return record;
}

/* js_record_finish() for a record that open_record() opened. */
static void
finish_record(JsTreeReader *reader, JsEntity *entity, JsRecord *record)
{
	JsStream   *stream = reader->stream;
	const JsJson *item = record->tree;
	JsAllocator allocator = js_allocator();
	struct JsStreamPlan *plan = plan_for(reader, entity, item);
	char	   *time = stream->cursor_path ?
	member_text(plan->time, stream->cursor_path->simple, item) : NULL;

	if (time != NULL)
	{
		record->time_known = true;
		if (!js_time_parse(time, &record->time))
			record->time =
				DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
														CStringGetDatum(time),
														ObjectIdGetDatum(InvalidOid),
														Int32GetDatum(-1)));
	}
	if (plan->deleted != NULL)
		record->deleted = js_predicate_holds(plan->deleted, item, &allocator);
	if (plan->version != NULL)
		record->version = text_at(plan->version, item);
	record->items = palloc(sizeof(JsonbValue) * Max(entity->nfields, 1));
	record->known = palloc(sizeof(bool) * Max(entity->nfields, 1));
	for (int i = 0; i < entity->nfields; i++)
		record->known[i] = take_field(reader, entity, i, item,
									  &record->items[i]);
}

/* Where a record has a field; NULL: nowhere. */
static const JsJson *
find_field(FieldPlace *place, const JsJson *item)
{
	JsAllocator allocator = js_allocator();

	if (place->member >= 0)
		return item->members[place->member].value;
	return place->way.path ?
		js_path_one(place->way.path, item, &allocator) : NULL;
}

/* The value of a field as an item; false: the record says nothing of it. */
static bool
take_field(JsTreeReader *reader, JsEntity *entity, int field,
		   const JsJson *item, JsonbValue *result)
{
	FieldPlace *place = &reader->plan->fields[field];
	const JsJson *value = find_field(place, item);
	Jsonb	   *made;

	if (place->way.as_is &&
		!(place->way.is_time && value != NULL && value->type == JS_JSON_NUMBER))
	{
		if (value != NULL)
			js_tree_item(value, result);
		return value != NULL;
	}
	made = js_field_make(reader->stream, &entity->fields[field],
						 value ? js_tree_json(value) : NULL);
	if (made != NULL)
		*result = js_jsonb_item(made);
	return made != NULL;
}

/*
 * A hash of a tree, the same as record.c makes of jsonb: of objects, whatever
 * the order of their members.
 */
static uint64
hash_of(const JsJson *json, uint64 seed)
{
	uint64		hash;
	char	   *text;

	switch (json->type)
	{
		case JS_JSON_NULL:
		case JS_JSON_BOOL:
			return hash_combine64(seed, json->type + json->boolean);
		case JS_JSON_NUMBER:
			text = number_text(json);

			return hash_bytes_extended((const unsigned char *) text,
									   strlen(text), seed + json->type);
		case JS_JSON_STRING:
			return hash_bytes_extended((const unsigned char *) json->text,
									   json->len, seed + json->type);
		case JS_JSON_ARRAY:
			hash = hash_combine64(seed, json->type);
			for (int i = 0; i < json->n; i++)
				hash = hash_combine64(hash, hash_of(json->items[i], seed));
			return hash;
		case JS_JSON_OBJECT:
			return hash_of_object(json, seed, NULL);
	}
	return seed;				/* keep the compiler quiet */
}

/* The same for an object, the hashes of whose keys may be known. */
static uint64
hash_of_object(const JsJson *json, uint64 seed, const uint64 *key_hashes)
{
	uint64		hash = 0;

	for (int i = 0; i < json->n; i++)
	{
		const JsMember *member = &json->members[i];
		uint64		key = key_hashes ? key_hashes[i] :
		hash_bytes_extended((const unsigned char *) member->key,
							member->keylen, seed);

		hash += hash_of(member->value, key);
	}
	return hash_combine64(hash, seed + json->type);
}

/* A number as jsonb writes it. */
static char *
number_text(const JsJson *number)
{
	char	   *text = pnstrdup(number->text, number->len);

	/* without an exponent, and not minus zero, it is written so already */
	if (strspn(text, "-0123456789.") == number->len &&
		(text[0] != '-' || strspn(text, "-0.") < number->len))
		return text;

	return DatumGetCString(DirectFunctionCall1(numeric_out,
											   DirectFunctionCall3(numeric_in,
																   CStringGetDatum(text),
																   ObjectIdGetDatum(InvalidOid),
																   Int32GetDatum(-1))));
}
