/*-------------------------------------------------------------------------
 *
 * deletes.c
 *	  Deletes of the PMS, gathered until a pull is complete.
 *
 * What a pull would delete here is noted while it runs, and carried out when
 * it is complete: a pull that fails or is cut short deletes nothing.  If it is
 * more than the entity's delete_guard allows, a person is asked first: a PMS
 * that was emptied by mistake must not empty our tables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "apply.h"
#include "applypage.h"
#include "compat.h"
#include "deletes.h"
#include "gone.h"
#include "jacksync.h"
#include "statement.h"

#define CHUNK 500				/* deletes in one transaction */

static void postpone(JsApply *apply, const char *external_id);

/* Has a stream deletes that are not carried out? */
bool
js_deletes_any(int32 stream_id)
{
	static JsStatement statement = {
		"SELECT EXISTS (SELECT FROM jacksync.pending_delete WHERE stream_id = $1)",
		{INT4OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(stream_id));
	js_run(&statement, &args);
	return js_get_bool(0, 1);
}

/* Note a delete; one that is held, or was rejected, stays what it is. */
void
js_deletes_gather(JsApply *apply, JsRecord *record)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.pending_delete (stream_id, external_id, payload, tick)"
		" VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
		{INT4OID, TEXTOID, JSONBOID, INT8OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	js_arg_text(&args, record->external_id);
	js_arg_jsonb(&args, js_record_raw(record));
	js_arg(&args, Int64GetDatum(apply->tick));
	js_run(&statement, &args);
	apply->pending_deletes = true;
}

/* A delete could not be carried out now: the next pull does it. */
static void
postpone(JsApply *apply, const char *external_id)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.pending_delete (stream_id, external_id, tick,"
		" state, absences) VALUES ($1, $2, 0, 'released', 1)"
		" ON CONFLICT DO NOTHING",
		{INT4OID, TEXTOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	js_arg_text(&args, external_id);
	js_run(&statement, &args);
}

/*
 * Was a record that is there deleted after all?  It is an older version that
 * comes late then.
 */
bool
js_deletes_newer(JsApply *apply, JsRecord *record)
{
	static JsStatement statement = {
		"SELECT payload FROM jacksync.pending_delete WHERE stream_id = $1"
		" AND external_id = $2 AND payload IS NOT NULL",
		{INT4OID, TEXTOID}
	};
	JsArgs		args = {0};
	TimestampTz time;

	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	js_arg_text(&args, record->external_id);
	return js_run(&statement, &args) > 0 && record->time_known &&
		js_record_time(apply->stream, js_get_jsonb(0, 1), &time) &&
		record->time < time;
}

/* The record is there again: a delete of it is over. */
void
js_deletes_forget(JsApply *apply, const char *external_id)
{
	static JsStatement statement = {
		"DELETE FROM jacksync.pending_delete WHERE stream_id = $1"
		" AND external_id = $2",
		{INT4OID, TEXTOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	js_arg_text(&args, external_id);
	js_run(&statement, &args);
}

/*
 * A pull is complete: are the deletes that it brought too many?  Then they are
 * held, and a person is told.
 */
void
js_deletes_weigh(JsStream *stream)
{
	static JsStatement statement = {
		"SELECT jacksync.weigh_deletes($1)",
		{INT4OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(stream->stream_id));
	js_run(&statement, &args);
}

/*
 * Carry out some of the deletes that may be.  Returns true if there were as
 * many as go into one transaction: call again in the next.
 */
bool
js_deletes_apply(JsApply *apply)
{
	static JsStatement statement = {
		"WITH d AS (DELETE FROM jacksync.pending_delete WHERE ctid = ANY (ARRAY("
		"  SELECT ctid FROM jacksync.pending_delete WHERE stream_id = $1"
		"  AND state IN ('gathered', 'released') LIMIT $2 FOR UPDATE))"
		" RETURNING external_id, payload) SELECT external_id, payload FROM d",
		{INT4OID, INT8OID}
	};
	JsArgs		args = {0};
	List	   *records = NIL;
	List	   *gone = NIL;		/* there is no record that says so */
	ListCell   *cell;
	uint64		rows;

	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	js_arg(&args, Int64GetDatum(CHUNK));
	rows = js_run(&statement, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		Jsonb	   *payload = js_get_jsonb(row, 2);

		if (payload != NULL)
			records = lappend(records, payload);
		else
			gone = lappend(gone, js_get_text(row, 1));
	}
	apply->defer_deletes = false;
	js_apply_page(apply, records);
	foreach(cell, gone)
		if (!js_apply_gone(apply, lfirst(cell)))
		postpone(apply, lfirst(cell));
	return rows == CHUNK;
}
