/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  A row of jacksync.stream with its state, as a struct.
 *
 * Read anew for every run: a run sees one configuration from start to end,
 * and the next run sees what was changed meanwhile.  SPI is connected and the
 * caller is inside js_internal_begin() or js_internal_user(); what is
 * returned lives in the current memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonpath.h"

#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "operation.h"
#include "statement.h"
#include "stream.h"
#include "value.h"

#define STREAM_COLUMNS \
	"s.stream_id, s.entity, s.server, coalesce(f.oid, 0::pg_catalog.oid)," \
	" s.enabled, s.sync_mode, s.request, s.full_request, s.initial_value," \
	" s.record_path::text, s.success_path::text, s.primary_key::text," \
	" s.cursor_path::text, s.deleted_path::text, s.row_order, s.fields," \
	" s.paginator, s.datetime_format, s.datetime_zone," \
	" (1000000 * extract(epoch FROM s.granularity))::bigint," \
	" (1000000 * extract(epoch FROM s.lookback_window))::bigint," \
	" (1000000 * extract(epoch FROM s.step))::bigint," \
	" s.detail, s.push, s.response_rules, s.property_value," \
	" (1000000 * extract(epoch FROM s.poll_interval))::bigint," \
	" (1000000 * extract(epoch FROM s.reconcile_interval))::bigint," \
	" (s.record_path, s.primary_key, s.cursor_path, s.deleted_path, s.fields," \
	"  s.datetime_zone, s.property_value, s.parent_path, s.key_template)::text," \
	" t.paused, t.initial_done, t.watermark, t.progress, t.failure_count," \
	" t.full_wanted," \
	" coalesce((1000000 * extract(epoch FROM t.skew))::bigint, 0)," \
	" coalesce((1000000 * extract(epoch FROM t.skew_error))::bigint, 0)," \
	" t.next_due_at, s.parent_path::text, s.key_template, t.last_sync_at" \
	" FROM jacksync.stream s" \
	" JOIN jacksync.stream_state t USING (stream_id)" \
	" LEFT JOIN pg_catalog.pg_foreign_server f ON f.srvname = s.server"

static JsStream *read_stream(void);
static void set_path(JsJsonPath *path, const char *text);
static void split_path(JsJsonPath *path);
static JsJsonPath *optional_path(const char *text);
static bool get_time(int column, TimestampTz *time);

/* The stream of that number; NULL if there is none. */
JsStream   *
js_stream_load(int32 stream_id)
{
	static JsStatement statement = {
		"SELECT " STREAM_COLUMNS " WHERE s.stream_id = $1",
		{INT4OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(stream_id));
	return js_run(&statement, &args) > 0 ? read_stream() : NULL;
}

/* The stream of an entity and a server; NULL if there is none. */
JsStream   *
js_stream_find(const char *entity, const char *server)
{
	static JsStatement statement = {
		"SELECT " STREAM_COLUMNS " WHERE s.entity = $1"
		" AND ($2 IS NULL OR s.server = $2)",
		{TEXTOID, NAMEOID}
	};
	JsArgs		args = {0};

	js_arg_text(&args, entity);
	js_arg_name(&args, server);
	return js_run(&statement, &args) > 0 ? read_stream() : NULL;
}

/* How many streams an entity has. */
int
js_stream_count(const char *entity)
{
	static JsStatement statement = {
		"SELECT count(*) FROM jacksync.stream WHERE entity = $1",
		{TEXTOID}
	};
	JsArgs		args = {0};

	js_arg_text(&args, entity);
	js_run(&statement, &args);
	return (int) js_get_int8(0, 1);
}

/* The stream in the first row of the present result. */
static JsStream *
read_stream(void)
{
	JsStream   *stream = palloc0(sizeof(JsStream));
	Jsonb	   *read;
	char	   *text;
	bool		isnull;

	stream->stream_id = js_get_int4(0, 1);
	stream->entity = js_get_text(0, 2);
	stream->server = js_get_text(0, 3);
	stream->serverid = DatumGetObjectId(js_get(0, 4, &isnull));
	stream->enabled = js_get_bool(0, 5);
	stream->sync_mode = js_get_text(0, 6);
	stream->request = js_get_jsonb(0, 7);
	stream->full_request = js_get_jsonb(0, 8);
	stream->initial_known = get_time(9, &stream->initial_value);
	set_path(&stream->record_path, js_get_text(0, 10));
	stream->success_path = optional_path(js_get_text(0, 11));
	set_path(&stream->primary_key, js_get_text(0, 12));
	stream->cursor_path = optional_path(js_get_text(0, 13));
	stream->deleted_path = optional_path(js_get_text(0, 14));
	text = js_get_text(0, 15);
	stream->newest_first = text != NULL && strcmp(text, "desc") == 0;

	stream->fields = js_get_jsonb(0, 16);
	stream->paginator = js_get_jsonb(0, 17);
	stream->datetime_format = js_get_text(0, 18);
	stream->datetime_zone = js_get_text(0, 19);
	stream->granularity = js_get_int8(0, 20);
	stream->lookback = js_get_int8(0, 21);
	stream->step = js_get_int8(0, 22);
	stream->detail = js_get_jsonb(0, 23);
	stream->push = js_get_jsonb(0, 24);
	stream->response_rules = js_get_jsonb(0, 25);
	stream->property_value = js_get_text(0, 26);
	stream->poll_interval = js_get_int8(0, 27);
	stream->reconcile_interval = js_get_int8(0, 28);
	text = js_get_text(0, 29);

	stream->seed = hash_bytes_extended((unsigned char *) text, strlen(text),
									   stream->stream_id);
	stream->paused = js_get_bool(0, 30);
	stream->initial_done = js_get_bool(0, 31);
	stream->stored.watermark_known = get_time(32, &stream->stored.watermark);
	stream->watermark_known = stream->stored.watermark_known;
	stream->watermark = stream->stored.watermark;
	js_live_watermark(stream->stream_id, &stream->watermark_known,
					  &stream->watermark);
	stream->progress = js_get_jsonb(0, 33);
	stream->failure_count = js_get_int4(0, 34);
	stream->full_wanted = js_get_bool(0, 35);
	stream->skew = js_get_int8(0, 36);
	stream->skew_error = js_get_int8(0, 37);
	(void) get_time(38, &stream->stored.next_due);
	stream->parent_path = optional_path(js_get_text(0, 39));
	stream->key_template = js_get_text(0, 40);
	stream->synced = get_time(41, &stream->stored.last_sync);
	stream->last_sync = js_live_last_sync(stream->stream_id,
										  stream->stored.last_sync);
	read = stream->push ? js_jsonb_member(stream->push, "read") : NULL;
	stream->keyed = stream->key_template != NULL || stream->detail != NULL ||
		(read != NULL && js_jsonb_member(read, "primary_key") != NULL);
	return stream;
}

/* Can one record of the stream be read by itself? */
bool
js_stream_reads_one(JsStream *stream)
{
	return stream != NULL && js_jsonb_member(stream->push, "read") != NULL;
}

/*
 * Can the PMS be told of a field through this stream (NULL: none)?  A value
 * that was joined from several cannot be taken apart again.
 */
bool
js_stream_pushes(JsStream *stream, const char *field)
{
	Jsonb	   *spec;
	List	   *operations;
	ListCell   *cell;

	if (stream == NULL || stream->push == NULL)
		return false;
	spec = js_jsonb_member(stream->fields, field);
	if (js_jsonb_member(spec, "paths") != NULL)
		return false;
	operations = js_operations(stream->push, "update");
	foreach(cell, operations)
		if (js_operation_covers(lfirst(cell), operations, field))
		return true;
	return false;
}

/* Read a time of the first row; false if it is null. */
static bool
get_time(int column, TimestampTz *time)
{
	bool		isnull;
	Datum		value = js_get(0, column, &isnull);

	*time = isnull ? 0 : DatumGetTimestampTz(value);
	return !isnull;
}

/* Prepare a path for evaluation. */
static void
set_path(JsJsonPath *path, const char *text)
{
	JsAllocator allocator = js_allocator();

	path->text = pstrdup(text);
	path->jsonpath = DirectFunctionCall1(jsonpath_in, CStringGetDatum(text));
	path->simple = js_path_parse(path->text, &allocator);
	path->head = path->simple;
	path->rest = NULL;
	if (path->simple == NULL)
		split_path(path);
}

/*
 * Split a path at its first filter: what is before it is evaluated on the
 * tree, where a bad record does not spoil its page and a list that is not
 * there is noticed.  A filter that looks at the whole document cannot be.
 */
static void
split_path(JsJsonPath *path)
{
	JsAllocator allocator = js_allocator();
	char	   *head = pstrdup(path->text);
	bool		quoted = false;
	char	   *p;

	for (p = head; *p != '\0' && (quoted || *p != '?'); p++)
	{
		if (*p == '\\' && p[1] != '\0')
			p++;
		else if (*p == '"')
			quoted = !quoted;
	}
	if (*p == '\0' || strchr(p, '$') != NULL)
		return;
	while (p > head && p[-1] == ' ')
		p--;
	if (p - head <= 1)
		return;					/* nothing is before the filter */
	path->rest = js_path_make(psprintf("$%s", path->text + (p - head)));
	*p = '\0';
	path->head = js_path_parse(head, &allocator);
}

/* A path made from its text; errors are those of jsonpath. */
JsJsonPath *
js_path_make(const char *text)
{
	JsJsonPath *path = palloc0(sizeof(JsJsonPath));

	set_path(path, text);
	return path;
}

/* The same for a path that may be missing. */
static JsJsonPath *
optional_path(const char *text)
{
	return text == NULL ? NULL : js_path_make(text);
}

/* Call one of the server's jsonpath functions; NULL for null. */
static Jsonb *
call_path(PGFunction function, JsJsonPath *path, Jsonb *document)
{
	LOCAL_FCINFO(fcinfo, 4);
	Datum		result;

	InitFunctionCallInfoData(*fcinfo, NULL, 4, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(document);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = path->jsonpath;
	fcinfo->args[1].isnull = false;
	fcinfo->args[2].value = JsonbPGetDatum(js_jsonb_in("{}"));
	fcinfo->args[2].isnull = false;
	fcinfo->args[3].value = BoolGetDatum(true); /* silent */
	fcinfo->args[3].isnull = false;
	result = function(fcinfo);
	return fcinfo->isnull ? NULL : DatumGetJsonbP(result);
}

/* The first value that a path finds, or NULL. */
Jsonb	   *
js_path_first(JsJsonPath *path, Jsonb *document)
{
	return call_path(jsonb_path_query_first, path, document);
}

/* All values that a path finds, as an array. */
Jsonb	   *
js_path_all(JsJsonPath *path, Jsonb *document)
{
	return call_path(jsonb_path_query_array, path, document);
}

/* Is a predicate true? */
bool
js_path_match(JsJsonPath *path, Jsonb *document)
{
	Jsonb	   *result = js_path_first(path, document);
	JsonbValue	scalar;

	return result != NULL && JB_ROOT_IS_SCALAR(result) &&
		JsonbExtractScalar(&result->root, &scalar) &&
		scalar.type == jbvBool && scalar.val.boolean;
}
