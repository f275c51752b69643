/*-------------------------------------------------------------------------
 *
 * link.c
 *	  The state of one record: rows of jacksync.link.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "compat.h"
#include "jacksync.h"
#include "link.h"
#include "statement.h"

#define LINK_COLUMNS \
	"record_id, entity_id, stream_id, external_id, local_id, state::text," \
	" dirty, waiting, conflict, failed, must_pull, intent_id, finalized_tick," \
	" push_failures, local_updated_at, local_times, local_base, version," \
	" snapshot, pms_updated_at, hash, decided"

static JsLink *read_link(void);

/* The link of a record by its id at the PMS; NULL if there is none. */
JsLink *
js_link_by_external(int32 entity_id, int32 stream_id, const char *external_id)
{
	static JsStatement statement = {
		"SELECT " LINK_COLUMNS " FROM jacksync.link"
		" WHERE entity_id = $1 AND external_id = $2 AND stream_id = $3",
		{INT4OID, TEXTOID, INT4OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(entity_id));
	js_arg_text(&args, external_id);
	js_arg(&args, Int32GetDatum(stream_id));
	return js_run(&statement, &args) > 0 ? read_link() : NULL;
}

/* The link of a local row; NULL if there is none. */
JsLink *
js_link_by_local(int32 entity_id, const char *local_id)
{
	static JsStatement statement = {
		"SELECT " LINK_COLUMNS " FROM jacksync.link"
		" WHERE entity_id = $1 AND local_id = $2",
		{INT4OID, TEXTOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(entity_id));
	js_arg_text(&args, local_id);
	return js_run(&statement, &args) > 0 ? read_link() : NULL;
}

/*
 * Lock a link and read its newest version.  NULL if it is gone, or if
 * somebody else holds it and skip_locked is set.
 */
JsLink *
js_link_lock(int64 record_id, bool skip_locked)
{
	static JsStatement wait = {
		"SELECT " LINK_COLUMNS " FROM jacksync.link WHERE record_id = $1"
		" FOR NO KEY UPDATE",
		{INT8OID}
	};
	static JsStatement skip = {
		"SELECT " LINK_COLUMNS " FROM jacksync.link WHERE record_id = $1"
		" FOR NO KEY UPDATE SKIP LOCKED",
		{INT8OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int64GetDatum(record_id));
	return js_run(skip_locked ? &skip : &wait, &args) > 0 ? read_link() : NULL;
}

/* The link in the first row of the present result. */
static JsLink *
read_link(void)
{
	JsLink	   *link = palloc0(sizeof(JsLink));
	bool		isnull;

	link->record_id = js_get_int8(0, 1);
	link->entity_id = js_get_int4(0, 2);
	link->stream_id = js_get_int4(0, 3);
	link->external_id = js_get_text(0, 4);
	link->local_id = js_get_text(0, 5);
	link->state = js_get_text(0, 6)[0];
	link->dirty = js_get_bool(0, 7);
	link->waiting = js_get_bool(0, 8);
	link->conflict = js_get_bool(0, 9);
	link->failed = js_get_bool(0, 10);
	link->must_pull = js_get_bool(0, 11);
	link->intent_id = js_get_int8(0, 12);
	link->finalized_tick = js_get_int8(0, 13);
	link->push_failures = js_get_int4(0, 14);
	link->local_updated_at = js_get_int8(0, 15);
	(void) js_get(0, 15, &isnull);
	link->local_time_known = !isnull;
	link->local_times = js_get_jsonb(0, 16);
	link->local_base = js_get_jsonb(0, 17);
	link->version = js_get_text(0, 18);
	link->snapshot = js_get_jsonb(0, 19);
	link->pms_updated_at = js_get_int8(0, 20);
	(void) js_get(0, 20, &isnull);
	link->pms_time_known = !isnull;
	link->hash = js_get_int8(0, 21);
	(void) js_get(0, 21, &isnull);
	link->hash_known = !isnull;
	link->decided = js_get_jsonb(0, 22);
	return link;
}

/* The arguments that insert and update share, in the order of the columns. */
static void
add_state(JsArgs *args, JsLink *link)
{
	js_arg_text(args, link->external_id);
	js_arg_text(args, link->local_id);
	js_arg(args, CharGetDatum(link->state));
	js_arg(args, BoolGetDatum(link->dirty));
	js_arg(args, BoolGetDatum(link->waiting));
	js_arg(args, BoolGetDatum(link->conflict));
	js_arg(args, BoolGetDatum(link->failed));
	js_arg(args, BoolGetDatum(link->must_pull));
	if (link->intent_id != 0)
		js_arg(args, Int64GetDatum(link->intent_id));
	else
		js_arg_null(args);
	js_arg(args, Int64GetDatum(link->finalized_tick));
	js_arg(args, Int32GetDatum(link->push_failures));
	js_arg_time(args, link->local_updated_at, link->local_time_known);
	js_arg_jsonb(args, link->local_times);
	js_arg_jsonb(args, link->local_base);
	js_arg_text(args, link->version);
	js_arg_jsonb(args, link->snapshot);
	js_arg_time(args, link->pms_updated_at, link->pms_time_known);
	if (link->hash_known)
		js_arg(args, Int64GetDatum(link->hash));
	else
		js_arg_null(args);
	js_arg_jsonb(args, link->decided);
}

#define STATE_TYPES \
	TEXTOID, TEXTOID, CHAROID, BOOLOID, BOOLOID, BOOLOID, BOOLOID, BOOLOID, \
	INT8OID, INT8OID, INT4OID, TIMESTAMPTZOID, JSONBOID, JSONBOID, TEXTOID, \
	JSONBOID, TIMESTAMPTZOID, INT8OID, JSONBOID

/* Insert a link; its number is set. */
void
js_link_insert(JsLink *link)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.link (external_id, local_id, state, dirty,"
		" waiting, conflict, failed, must_pull, intent_id, finalized_tick,"
		" push_failures, local_updated_at, local_times, local_base, version,"
		" snapshot, pms_updated_at, hash, decided, entity_id, stream_id,"
		" last_sync_at)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,"
		" $15, $16, $17, $18, $19, $20, $21, pg_catalog.clock_timestamp())"
		" RETURNING record_id",
		{STATE_TYPES, INT4OID, INT4OID}
	};
	JsArgs		args = {0};

	add_state(&args, link);
	js_arg(&args, Int32GetDatum(link->entity_id));
	js_arg(&args, Int32GetDatum(link->stream_id));
	js_run(&statement, &args);
	link->record_id = js_get_int8(0, 1);
}

/* Write the state of a link that is locked. */
void
js_link_update(JsLink *link)
{
	static JsStatement statement = {
		"UPDATE jacksync.link SET external_id = $1, local_id = $2, state = $3,"
		" dirty = $4, waiting = $5, conflict = $6, failed = $7,"
		" must_pull = $8, intent_id = $9, finalized_tick = $10,"
		" push_failures = $11, local_updated_at = $12, local_times = $13,"
		" local_base = $14, version = $15, snapshot = $16,"
		" pms_updated_at = $17, hash = $18, decided = $19,"
		" last_sync_at = pg_catalog.clock_timestamp() WHERE record_id = $20",
		{STATE_TYPES, INT8OID}
	};
	JsArgs		args = {0};

	add_state(&args, link);
	js_arg(&args, Int64GetDatum(link->record_id));
	js_run(&statement, &args);
}
