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
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "jacksync.h"
#include "record.h"
#include "window.h"

static Jsonb *field_value(JsStream *stream, bool plain, JsField *field,
						  Jsonb *raw);
static Jsonb *value_by_spec(Jsonb *spec, Jsonb *raw);
static Jsonb *joined_value(Jsonb *paths, Jsonb *spec, Jsonb *raw);
static Jsonb *mapped_value(Jsonb *map, Jsonb *spec, Jsonb *value);
static char *version_of(JsStream *stream, Jsonb *raw);
static char *scalar_string(Jsonb *json);
static Jsonb *path_value(Jsonb *path, Jsonb *raw);

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

/*
 * Take a record apart.  Errors: JS007 for a record without an id; those of
 * the time's type for a bad time.
 */
JsRecord *
js_record_read(JsEntity *entity, JsStream *stream, bool plain, Jsonb *raw)
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

	record->time_known = js_record_time(plain ? NULL : stream, raw,
										&record->time);
	if (!plain && stream->deleted_path != NULL)
		record->deleted = js_path_match(stream->deleted_path, raw);
	if (!plain && stream->detail != NULL && js_jsonb_member(raw, JS_GONE))
		record->deleted = true;

	record->version = version_of(plain ? NULL : stream, raw);
	record->fields = palloc0(sizeof(Jsonb *) * Max(entity->nfields, 1));
	for (int i = 0; i < entity->nfields; i++)
		record->fields[i] = field_value(stream, plain, &entity->fields[i],
										raw);

	record->hash = hash_bytes_extended((unsigned char *) VARDATA_ANY(raw),
									   VARSIZE_ANY_EXHDR(raw),
									   entity->seed ^
									   (plain ? 1 : stream->seed));
	return record;
}

/*
 * When the PMS changed a record, by its clock; false if it does not say.
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
char *
js_record_time_text(JsStream *stream, Jsonb *raw)
{
	Jsonb	   *value;
	char	   *text;

	if (stream == NULL)
		value = js_jsonb_member(raw, "updatedAt");
	else if (stream->cursor_path == NULL)
		return NULL;
	else
	{
		value = js_path_first(stream->cursor_path, raw);
		if (value == NULL && stream->detail != NULL &&
			js_jsonb_member(raw, JS_LISTED) != NULL)
			value = js_path_first(stream->cursor_path,
								  js_jsonb_member(raw, JS_LISTED));
	}
	text = value ? scalar_string(value) : NULL;
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
	text = path ? scalar_string(path) : NULL;
	if (text == NULL || text[0] != '$')
		return NULL;
	version = path_value(path, raw);
	return version ? scalar_string(version) : NULL;
}

/* The id of a record; NULL if it has none. */
char *
js_record_id(JsStream *stream, bool plain, Jsonb *raw)
{
	Jsonb	   *id = NULL;
	char	   *text;

	if (!plain && !JB_ROOT_IS_OBJECT(raw) && !JB_ROOT_IS_SCALAR(raw))
		return NULL;
	if (plain)
		id = js_jsonb_member(raw, "id");
	else if (stream->keyed)
		id = js_jsonb_member(raw, JS_KEY);
	if (id == NULL && !plain && stream->key_template == NULL)
		id = js_path_first(&stream->primary_key, raw);
	if (id == NULL || js_jsonb_is_null(id))
		return NULL;
	text = scalar_string(id);
	return text != NULL && text[0] != '\0' ? text : NULL;
}

/* The value of a field in a record; NULL: not there. */
static Jsonb *
field_value(JsStream *stream, bool plain, JsField *field, Jsonb *raw)
{
	Jsonb	   *spec;

	if (plain)
		return js_jsonb_member(raw, field->name);
	spec = js_jsonb_member(stream->fields, field->name);
	if (spec == NULL)
		return js_jsonb_member(raw, field->name);
	if (JB_ROOT_IS_SCALAR(spec))
		return path_value(spec, raw);
	return value_by_spec(spec, raw);
}

/* A value by an object of stream.fields: path(s), then coercions. */
static Jsonb *
value_by_spec(Jsonb *spec, Jsonb *raw)
{
	Jsonb	   *paths = js_jsonb_member(spec, "paths");
	Jsonb	   *path = js_jsonb_member(spec, "path");
	Jsonb	   *map = js_jsonb_member(spec, "map");
	Jsonb	   *value;
	char	   *text;

	if (paths != NULL)
		value = joined_value(paths, spec, raw);
	else
		value = path == NULL ? NULL : path_value(path, raw);
	if (value == NULL)
		return js_jsonb_member(spec, "default");
	if (map != NULL)
		value = mapped_value(map, spec, value);
	if (js_jsonb_member(spec, "blank_is_null") != NULL &&
		js_jsonb_same(js_jsonb_member(spec, "blank_is_null"),
					  js_jsonb_in("true")))
	{
		text = scalar_string(value);
		if (text != NULL && text[strspn(text, " \t\r\n")] == '\0')
			return js_jsonb_null();
	}
	return value;
}

/* Several values as one text; those that are missing or blank are left out. */
static Jsonb *
joined_value(Jsonb *paths, Jsonb *spec, Jsonb *raw)
{
	Jsonb	   *separator = js_jsonb_member(spec, "separator");
	char	   *between = separator ? scalar_string(separator) : " ";
	StringInfoData buf;
	bool		found = false;

	initStringInfo(&buf);
	for (int i = 0; i < JB_ROOT_COUNT(paths); i++)
	{
		JsonbValue *path = getIthJsonbValueFromContainer(&paths->root, i);
		Jsonb	   *value = path_value(js_jsonb_from_value(path), raw);
		char	   *text = value ? scalar_string(value) : NULL;

		if (value != NULL)
			found = true;
		if (text == NULL || text[0] == '\0')
			continue;
		if (buf.len > 0)
			appendStringInfoString(&buf, between);
		appendStringInfoString(&buf, text);
	}
	return found ? js_jsonb_string(buf.data) : NULL;
}

/* Translate a code; one without an entry is map_default, or itself. */
static Jsonb *
mapped_value(Jsonb *map, Jsonb *spec, Jsonb *value)
{
	char	   *code = scalar_string(value);
	Jsonb	   *result;

	if (code == NULL)
		return value;
	result = js_jsonb_member(map, code);
	if (result == NULL)
		result = js_jsonb_member(spec, "map_default");
	return result != NULL ? result : value;
}

/* The value at a path that is given as a JSON string. */
static Jsonb *
path_value(Jsonb *path, Jsonb *raw)
{
	return js_path_first(js_path_make(scalar_string(path)), raw);
}

/* The text of a scalar; NULL for null, arrays and objects. */
static char *
scalar_string(Jsonb *json)
{
	JsonbValue	value;

	if (!JB_ROOT_IS_SCALAR(json) || js_jsonb_is_null(json))
		return NULL;
	JsonbExtractScalar(&json->root, &value);
	if (value.type == jbvString)
		return pnstrdup(value.val.string.val, value.val.string.len);
	return js_jsonb_out(json);
}

/*
 * A field's value as the PMS writes it: codes are translated back.  A value
 * that no code stands for goes as it is.
 */
Jsonb *
js_record_push_value(JsStream *stream, JsField *field, Jsonb *value)
{
	Jsonb	   *spec = js_jsonb_member(stream->fields, field->name);
	Jsonb	   *map;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	entry;
	char	   *code = NULL;

	if (spec == NULL || !JB_ROOT_IS_OBJECT(spec))
		return value;
	map = js_jsonb_member(spec, "map");
	if (map == NULL)
		return value;
	iterator = JsonbIteratorInit(&map->root);
	while ((token = JsonbIteratorNext(&iterator, &entry, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			code = pnstrdup(entry.val.string.val, entry.val.string.len);
		else if (token == WJB_VALUE &&
				 js_jsonb_same(js_jsonb_from_value(&entry), value))
			return js_jsonb_string(code);
	}
	return value;
}
