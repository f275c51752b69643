/*-------------------------------------------------------------------------
 *
 * refusal.c
 *	  Values that the PMS refused: jacksync.push_state.
 *
 * A value that was refused is not sent again before it changes, or a person
 * asks for it (requeue).  The other fields of the record go on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "compat.h"
#include "push.h"
#include "statement.h"

/*
 * The values of a record that were refused, by field; NULL: none.  alone:
 * its fields go one by one, to find out which of them is refused.
 */
Jsonb	   *
js_refused(int64 record_id, bool *alone)
{
	static JsStatement statement = {
		"SELECT refused, alone FROM jacksync.push_state WHERE record_id = $1",
		{INT8OID}
	};
	JsArgs		args = {0};

	*alone = false;
	js_arg(&args, Int64GetDatum(record_id));
	if (js_run(&statement, &args) == 0)
		return NULL;
	*alone = js_get_bool(0, 2);
	return js_get_jsonb(0, 1);
}

/* Note values that are refused. */
void
js_refuse(int64 record_id, Jsonb *changes)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.push_state AS p (record_id, refused)"
		" VALUES ($1, $2) ON CONFLICT (record_id)"
		" DO UPDATE SET refused = p.refused || excluded.refused",
		{INT8OID, JSONBOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int64GetDatum(record_id));
	js_arg_jsonb(&args, changes);
	js_run(&statement, &args);
}

/* These are still refused, and no others. */
void
js_refused_keep(int64 record_id, Jsonb *refused, bool alone)
{
	static JsStatement keep = {
		"UPDATE jacksync.push_state SET refused = $2, alone = $3"
		" WHERE record_id = $1 AND (refused <> $2 OR alone <> $3)",
		{INT8OID, JSONBOID, BOOLOID}
	};
	static JsStatement forget = {
		"DELETE FROM jacksync.push_state WHERE record_id = $1",
		{INT8OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int64GetDatum(record_id));
	if (JB_ROOT_COUNT(refused) == 0 && !alone)
	{
		js_run(&forget, &args);
		return;
	}
	js_arg_jsonb(&args, refused);
	js_arg(&args, BoolGetDatum(alone));
	js_run(&keep, &args);
}

/* The fields of a record go one by one from now on. */
void
js_refuse_alone(int64 record_id)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.push_state (record_id, alone) VALUES ($1, true)"
		" ON CONFLICT (record_id) DO UPDATE SET alone = true",
		{INT8OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int64GetDatum(record_id));
	js_run(&statement, &args);
}
