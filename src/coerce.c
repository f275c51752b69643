/*-------------------------------------------------------------------------
 *
 * coerce.c
 *	  stream.fields: where a field is in a record, and what is made of it.
 *
 * The entries are prepared once per run and kept with the stream.  A value is
 * found by a path, then: values that mean "none" become null, codes are
 * translated, blanks become null, times without a zone get one.  On its way
 * out a value goes the same way back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "coerce.h"
#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "window.h"

#define MAX_KEYS		8		/* of a path that is followed here */
#define PLAIN			"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.$"
#define MAX_WARNED		1000	/* unknown codes that are remembered */
#define NAIVE_FORMAT	"YYYY-MM-DD\"T\"HH24:MI:SS"

/* A path; one of members only is followed without the jsonpath engine. */
typedef struct Path
{
	JsJsonPath *path;
	int			nkeys;			/* 0: by the engine */
	char	   *keys[MAX_KEYS];
} Path;

/* An entry of stream.fields, prepared. */
struct JsFieldSpec
{
	char	   *field;
	int			npaths;
	Path	   *paths;
	bool		joined;			/* "paths": their values as one text */
	char	   *separator;
	Jsonb	   *map;			/* NULL: none, as all of these */
	Jsonb	   *map_default;
	Jsonb	   *absent;			/* "default" */
	Jsonb	   *null_values;
	bool		blank_is_null;
	char	   *zone;
	char	   *format;
	struct JsFieldSpec *next;
};

static JsFieldSpec *spec_of(JsStream *stream, const char *field);
static void prepare(JsStream *stream);
static JsFieldSpec *prepare_one(const char *field, Jsonb *entry);
static void prepare_path(Path *path, const char *text);
static Jsonb *follow(Path *path, Jsonb *raw);
static Jsonb *joined_value(JsFieldSpec *spec, Jsonb *raw);
static bool is_listed(Jsonb *list, Jsonb *value);
static Jsonb *translated(JsStream *stream, JsFieldSpec *spec, Jsonb *value);
static void unknown_code(JsStream *stream, JsFieldSpec *spec,
						 const char *code);
static Jsonb *zoned(JsColumn *column, const char *zone, Jsonb *value);
static bool is_time(JsColumn *column);
static Jsonb *from_epoch(Jsonb *value);
static Jsonb *local_text(TimestampTz time, const char *zone,
						 const char *format);
static bool parse_time(const char *text, const char *zone,
					   TimestampTz *time);
static bool says_zone(const char *text);
static char *text_member(Jsonb *entry, const char *name);

/*
 * The value of a field in a record; NULL: it is not there.  A field without
 * an entry is the member of its name.
 */
Jsonb	   *
js_field_read(JsStream *stream, JsField *field, Jsonb *raw)
{
	JsFieldSpec *spec = spec_of(stream, field->name);

	return js_field_make(stream, field,
						 spec == NULL ? js_jsonb_member(raw, field->name) :
						 spec->joined ? joined_value(spec, raw) :
						 spec->npaths > 0 ? follow(&spec->paths[0], raw) :
						 NULL);
}

/* The value of a field out of what was found at its path, or NULL. */
Jsonb	   *
js_field_make(JsStream *stream, JsField *field, Jsonb *value)
{
	JsFieldSpec *spec = spec_of(stream, field->name);

	if (spec == NULL)
		return value ? zoned(&field->column, NULL, value) : NULL;
	if (value == NULL)
		return spec->absent;
	if (spec->null_values != NULL && is_listed(spec->null_values, value))
		return js_jsonb_null();
	if (spec->map != NULL || spec->blank_is_null)
		value = translated(stream, spec, value);
	return zoned(&field->column, spec->zone, value);
}

/* Where a field is on a tree; false: only jsonb tells. */
bool
js_field_way(JsStream *stream, JsField *field, JsFieldWay *way)
{
	JsFieldSpec *spec = spec_of(stream, field->name);

	way->path = NULL;
	way->as_is = true;
	way->is_time = is_time(&field->column);
	if (spec == NULL)
		return true;
	if (spec->joined || spec->npaths != 1)
		return false;
	way->path = spec->paths[0].path->simple;
	way->as_is = spec->map == NULL && spec->absent == NULL &&
		spec->null_values == NULL && !spec->blank_is_null &&
		(spec->zone == NULL || !way->is_time);
	return way->path != NULL;
}

/*
 * A field's value as the PMS writes it: codes are translated back, and times
 * written in the zone of the field.  A value that no code stands for goes as
 * it is.
 */
Jsonb	   *
js_record_push_value(JsStream *stream, JsField *field, Jsonb *value)
{
	JsFieldSpec *spec = spec_of(stream, field->name);
	TimestampTz time;
	char	   *text;

	if (spec == NULL)
		return value;
	if (spec->map != NULL)
	{
		JsonbIterator *iterator = JsonbIteratorInit(&spec->map->root);
		JsonbIteratorToken token;
		JsonbValue	entry;
		char	   *code = NULL;

		while ((token = JsonbIteratorNext(&iterator, &entry, true)) != WJB_DONE)
		{
			if (token == WJB_KEY)
				code = pnstrdup(entry.val.string.val, entry.val.string.len);
			else if (token == WJB_VALUE &&
					 js_jsonb_same(js_jsonb_from_value(&entry), value))
				return js_jsonb_string(code);
		}
	}
	text = js_scalar_text(value);

	if (spec->zone != NULL && text != NULL &&
		(field->column.basetype == TIMESTAMPTZOID ||
		 field->column.basetype == TIMESTAMPOID) &&
		parse_time(text, spec->zone, &time))
		return local_text(time, spec->zone,
						  spec->format ? spec->format : NAIVE_FORMAT);
	return value;
}

/* The prepared entry of a field; NULL: it has none. */
static JsFieldSpec *
spec_of(JsStream *stream, const char *field)
{
	if (!stream->specs_ready)
		prepare(stream);
	for (JsFieldSpec *spec = stream->specs; spec != NULL; spec = spec->next)
		if (strcmp(spec->field, field) == 0)
			return spec;
	return NULL;
}

/* Prepare all entries; they live as long as the stream. */
static void
prepare(JsStream *stream)
{
	MemoryContext old =
	MemoryContextSwitchTo(GetMemoryChunkContext(stream->fields));
	JsonbIterator *iterator = JsonbIteratorInit(&stream->fields->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	stream->specs = NULL;
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		JsFieldSpec *spec;
		char	   *field;

		if (token != WJB_KEY)
			continue;
		field = pnstrdup(value.val.string.val, value.val.string.len);
		spec = prepare_one(field, js_jsonb_member(stream->fields, field));
		spec->next = stream->specs;
		stream->specs = spec;
	}
	stream->specs_ready = true;
	MemoryContextSwitchTo(old);
}

/* Prepare an entry: a path, or an object. */
static JsFieldSpec *
prepare_one(const char *field, Jsonb *entry)
{
	JsFieldSpec *spec = palloc0(sizeof(JsFieldSpec));
	Jsonb	   *paths;
	Jsonb	   *blank;
	char	   *path;

	spec->field = unconstify(char *, field);
	if (JB_ROOT_IS_SCALAR(entry))
	{
		spec->npaths = 1;
		spec->paths = palloc0(sizeof(Path));
		prepare_path(&spec->paths[0], js_scalar_text(entry));
		return spec;
	}
	path = text_member(entry, "path");
	paths = js_jsonb_member(entry, "paths");
	spec->joined = paths != NULL;
	spec->npaths = paths ? JB_ROOT_COUNT(paths) : path ? 1 : 0;
	spec->paths = palloc0(sizeof(Path) * Max(spec->npaths, 1));
	for (int i = 0; i < spec->npaths; i++)
		prepare_path(&spec->paths[i], paths == NULL ? path :
					 js_scalar_text(js_jsonb_from_value(getIthJsonbValueFromContainer(&paths->root, i))));
	spec->separator = text_member(entry, "separator");
	if (spec->separator == NULL)
		spec->separator = " ";
	spec->map = js_jsonb_member(entry, "map");
	spec->map_default = js_jsonb_member(entry, "map_default");
	spec->absent = js_jsonb_member(entry, "default");
	spec->null_values = js_jsonb_member(entry, "null_values");
	blank = js_jsonb_member(entry, "blank_is_null");
	spec->blank_is_null = blank != NULL &&
		strcmp(js_jsonb_out(blank), "true") == 0;
	spec->zone = text_member(entry, "zone");
	spec->format = text_member(entry, "format");
	return spec;
}

/* Prepare a path, and see whether it consists of plain members. */
static void
prepare_path(Path *path, const char *text)
{
	char	   *rest = pstrdup(text);

	path->path = js_path_make(text);
	if (rest[0] != '$' || rest[1] != '.' || strstr(rest, "..") != NULL ||
		rest[strspn(rest, PLAIN)] != '\0' || rest[strlen(rest) - 1] == '.')
		return;
	for (char *key = strtok(rest + 2, "."); key != NULL; key = strtok(NULL, "."))
	{
		if (path->nkeys == MAX_KEYS)
		{
			path->nkeys = 0;
			return;
		}
		path->keys[path->nkeys++] = key;
	}
}

/* The first value at a path; NULL: nothing is there. */
static Jsonb *
follow(Path *path, Jsonb *raw)
{
	JsonbContainer *container = &raw->root;
	JsonbValue	value;

	for (int i = 0; i < path->nkeys; i++)
	{
		/* arrays are unwrapped by the engine */
		if (!JsonContainerIsObject(container))
			return JsonContainerIsArray(container) &&
				!JsonContainerIsScalar(container) ?
				js_path_first(path->path, raw) : NULL;
		if (getKeyJsonValueFromContainer(container, path->keys[i],
										 strlen(path->keys[i]),
										 &value) == NULL)
			return NULL;
		if (i == path->nkeys - 1)
			return js_jsonb_from_value(&value);
		if (value.type != jbvBinary)
			return NULL;
		container = value.val.binary.data;
	}
	return js_path_first(path->path, raw);
}

/* Several values as one text; those that are missing or blank are left out. */
static Jsonb *
joined_value(JsFieldSpec *spec, Jsonb *raw)
{
	StringInfoData buf;
	bool		found = false;

	initStringInfo(&buf);
	for (int i = 0; i < spec->npaths; i++)
	{
		Jsonb	   *value = follow(&spec->paths[i], raw);
		char	   *text = value ? js_scalar_text(value) : NULL;

		if (value != NULL)
			found = true;
		if (text == NULL || text[0] == '\0')
			continue;
		if (buf.len > 0)
			appendStringInfoString(&buf, spec->separator);
		appendStringInfoString(&buf, text);
	}
	return found ? js_jsonb_string(buf.data) : NULL;
}

/* Is a value one of a list?  Scalars are compared by their texts. */
static bool
is_listed(Jsonb *list, Jsonb *value)
{
	char	   *text = js_scalar_text(value);

	for (int i = 0; i < JB_ROOT_COUNT(list); i++)
	{
		Jsonb	   *element =
		js_jsonb_from_value(getIthJsonbValueFromContainer(&list->root, i));
		char	   *other = js_scalar_text(element);

		if (text != NULL ? other != NULL && strcmp(text, other) == 0 :
			js_jsonb_same(element, value))
			return true;
	}
	return false;
}

/*
 * Translate a code.  One without an entry is null if it is blank and blanks
 * mean that; else map_default, or itself, and people are told.
 */
static Jsonb *
translated(JsStream *stream, JsFieldSpec *spec, Jsonb *value)
{
	char	   *code = js_scalar_text(value);
	Jsonb	   *result;

	if (code == NULL)
		return value;
	if (spec->map != NULL &&
		(result = js_jsonb_member(spec->map, code)) != NULL)
		return result;
	if (spec->blank_is_null && code[strspn(code, " \t\r\n")] == '\0')
		return js_jsonb_null();
	if (spec->map == NULL)
		return value;
	unknown_code(stream, spec, code);
	return spec->map_default ? spec->map_default : value;
}

/*
 * A code that the map does not know: a WARNING, once per process, and a note
 * for who tells people at the end of the run.
 */
static void
unknown_code(JsStream *stream, JsFieldSpec *spec, const char *code)
{
	static uint64 warned[MAX_WARNED];
	static int	nwarned = 0;
	uint64		hash;
	MemoryContext old;
	char	   *shown = pnstrdup(code, strnlen(code, 60));

	hash = hash_bytes_extended((const unsigned char *) code, strlen(code),
							   stream->stream_id);
	hash = hash_bytes_extended((unsigned char *) spec->field,
							   strlen(spec->field), hash);
	for (int i = 0; i < nwarned; i++)
		if (warned[i] == hash)
			return;
	if (nwarned < MAX_WARNED)
		warned[nwarned++] = hash;
	for (char *p = shown; *p; p++)
		if ((unsigned char) *p < ' ' || (unsigned char) *p > '~')
			*p = '?';
	ereport(WARNING,
			(errcode(ERRCODE_JS_BAD_RECORD),
			 errmsg("unknown code \"%s\" in field \"%s\" of %s from %s",
					shown, spec->field, stream->entity, stream->server),
			 errhint("Add it to \"map\" of this field in jacksync.stream.fields.")));
	old = MemoryContextSwitchTo(GetMemoryChunkContext(stream->fields));
	if (list_length(stream->unknown_codes) < 20)
		stream->unknown_codes = lappend(stream->unknown_codes,
										psprintf("%s: %s", spec->field, shown));
	MemoryContextSwitchTo(old);
}

/*
 * A time as its column is to have it: numbers are seconds or milliseconds
 * since 1970; one without a zone is in that of the field; one with a zone is
 * brought to the field's zone for a column that has none.  What is no time is
 * left for the type to refuse.
 */
static Jsonb *
zoned(JsColumn *column, const char *zone, Jsonb *value)
{
	TimestampTz time;
	JsonbValue	scalar;
	char	   *text;

	if (!is_time(column))
		return value;
	if (!JB_ROOT_IS_SCALAR(value) ||
		!JsonbExtractScalar(&value->root, &scalar))
		return value;
	if (scalar.type == jbvNumeric)
	{
		value = from_epoch(value);
		if (zone == NULL)
			return value;
	}
	else if (scalar.type != jbvString || zone == NULL)
		return value;
	text = js_scalar_text(value);

	if (!parse_time(text, zone, &time))
		return value;
	if (column->basetype == TIMESTAMPTZOID)
		return says_zone(text) ? value : js_jsonb_time(time);
	if (!says_zone(text))
		return value;
	return local_text(time, zone, column->basetype == DATEOID ?
					  "YYYY-MM-DD" : NAIVE_FORMAT ".US");
}

/* Is a column one of times, or days? */
static bool
is_time(JsColumn *column)
{
	return column->basetype == TIMESTAMPTZOID ||
		column->basetype == TIMESTAMPOID || column->basetype == DATEOID;
}

/* Seconds, or milliseconds, since 1970 as a time; others as they are. */
static Jsonb *
from_epoch(Jsonb *value)
{
	double		number = strtod(js_jsonb_out(value), NULL);

	if (number > 1e11)
		number /= 1000;
	if (number < 1e8 || number > 1e11)
		return value;
	return js_jsonb_time((TimestampTz) rint(number * USECS_PER_SEC) -
						 ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) *
						 USECS_PER_DAY);
}

/* A time on the clocks of a zone. */
static Jsonb *
local_text(TimestampTz time, const char *zone, const char *format)
{
	Datum		local = DirectFunctionCall2(timestamptz_zone,
											CStringGetTextDatum(zone),
											TimestampTzGetDatum(time));

	local = DirectFunctionCall2(timestamp_to_char, local,
								CStringGetTextDatum(format));
	return js_jsonb_string(TextDatumGetCString(local));
}

/*
 * Parse a time; one that does not say its zone is in that of the argument.
 * False if it is none.
 */
static bool
parse_time(const char *text, const char *zone, TimestampTz *time)
{
	if (says_zone(text) || zone == NULL || text[0] == '\0')
		return js_time_parse(text, time);
	if (!js_time_parse(psprintf("%s%sZ", text, strchr(text, ':') ? "" : " 00:00:00"),
					   time))
		return false;
	*time = DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone,
													CStringGetTextDatum(zone),
													TimestampGetDatum(*time)));
	return true;
}

/* Does a time say its zone?  Only behind the time of day it can. */
static bool
says_zone(const char *text)
{
	const char *colon = strchr(text, ':');

	if (colon == NULL)
		return false;
	for (const char *p = colon; *p; p++)
	{
		if (*p == '+' || *p == '-')
			return true;
		if (pg_strncasecmp(p, "am", 2) == 0 || pg_strncasecmp(p, "pm", 2) == 0)
			p++;
		else if (isalpha((unsigned char) *p))
			return true;
	}
	return false;
}

/* The text of a scalar; NULL for null, arrays and objects. */
char	   *
js_scalar_text(Jsonb *json)
{
	JsonbValue	value;

	if (!JB_ROOT_IS_SCALAR(json))
		return NULL;
	JsonbExtractScalar(&json->root, &value);
	return js_item_text(&value);
}

/* The same for a member of an object. */
char	   *
js_item_text(JsonbValue *item)
{
	if (item->type == jbvString)
		return pnstrdup(item->val.string.val, item->val.string.len);
	if (item->type == jbvNull || item->type == jbvBinary)
		return NULL;
	return js_jsonb_out(js_jsonb_from_value(item));
}

/* A member that is a string; NULL if it is not there. */
static char *
text_member(Jsonb *entry, const char *name)
{
	Jsonb	   *value = js_jsonb_member(entry, name);

	return value ? js_scalar_text(value) : NULL;
}
