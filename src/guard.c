/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  A record by itself: what fails is stored, and stops nothing else.
 *
 * A record is applied, or local changes are decided, in a subtransaction.
 * What fails goes into sync_error for a later try, with the record as it
 * came; so does what only has to wait, because somebody holds the row or a
 * push of it is open.
 *
 * Where it is the mixture of both sides that breaks a constraint, neither of
 * them is at fault: it is done again with the fields of the constraint held
 * for a person.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "compat.h"
#include "guard.h"
#include "jacksync.h"
#include "openerrors.h"
#include "statement.h"
#include "txn.h"
#include "window.h"

/* What is tried: to apply a record, or, if raw is NULL, to settle one. */
typedef struct Attempt
{
	JsApply    *apply;
	Jsonb	   *raw;
	const char *version;
	int64		record_id;
	JsApplied  *applied;
	bool		result;			/* of js_apply_record(), or js_apply_local() */
} Attempt;

static ErrorData *try_until_blameless(Attempt *attempt);
static void try_once(void *arg);
static bool blame(JsApply *apply, ErrorData *error);
static void store_failure(JsApply *apply, Jsonb *raw, ErrorData *error);

/*
 * Apply one record in a subtransaction of its own; if it fails, store it.
 * Returns false if it was stored for a later try.  Errors: those that are not
 * the record's fault.
 */
bool
js_apply_guarded(JsApply *apply, Jsonb *raw, const char *version,
				 JsApplied *applied)
{
	Attempt		attempt = {apply, raw, version, 0, applied, false};
	ErrorData  *error = try_until_blameless(&attempt);

	if (error == NULL)
		return attempt.result;
	store_failure(apply, raw, error);
	return false;
}

/*
 * Decide a record whose row was changed here, with the PMS as it was last
 * seen: undo what is to be undone, find what is to be pushed.  Returns false
 * if the record or its row is held by somebody else, or if it failed, which
 * is stored.
 */
bool
js_apply_settle(JsApply *apply, int64 record_id, JsApplied *applied)
{
	Attempt		attempt = {apply, NULL, NULL, record_id, applied, false};
	ErrorData  *error = try_until_blameless(&attempt);

	if (error == NULL)
		return attempt.result;
	js_apply_postpone(apply, record_id, error->sqlerrcode, error->message);
	return false;
}

/*
 * Try it in a subtransaction.  Where the mixture of both sides breaks a
 * constraint it is done again with the fields of the constraint held.  Returns
 * NULL, or the record's own error.
 */
static ErrorData *
try_until_blameless(Attempt *attempt)
{
	JsApply    *apply = attempt->apply;
	JsCounts	before = apply->counts;
	int			previews = list_length(apply->previews);
	ErrorData  *error;

	while ((error = js_txn_try(try_once, attempt)) != NULL)
	{
		if (js_must_rethrow(error->sqlerrcode, apply->rethrow))
			ReThrowError(error);
		apply->counts = before;
		apply->previews = list_truncate(apply->previews, previews);
		if (!blame(apply, error))
			break;
	}
	apply->suspects = NULL;
	apply->constraint = NULL;
	return error;
}

/* One try of it. */
static void
try_once(void *arg)
{
	Attempt    *attempt = arg;

	memset(attempt->applied, 0, sizeof(JsApplied));
	js_watchdog(true);
	attempt->result = attempt->raw != NULL ?
		js_apply_record(attempt->apply, attempt->raw, attempt->version,
						attempt->applied) :
		js_apply_local(attempt->apply, attempt->record_id, attempt->applied);
}

/*
 * Did an error come from a CHECK or NOT NULL constraint of the table of the
 * entity that is not suspected yet?  Then its fields are, and the record is
 * to be decided again.
 */
static bool
blame(JsApply *apply, ErrorData *error)
{
	static JsStatement columns = {
		"SELECT a.attname, coalesce(n.conname, $3) FROM pg_catalog.pg_class c"
		" JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace"
		" LEFT JOIN pg_catalog.pg_constraint n ON n.conrelid = c.oid AND n.conname = $3"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid"
		" AND CASE WHEN $4 IS NULL THEN a.attnum = ANY (n.conkey) ELSE a.attname = $4 END"
		" WHERE s.nspname = $1 AND c.relname = $2"
		" AND EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) p WHERE p.relid = $5"
		"  UNION ALL SELECT WHERE c.oid = $5)",
		{NAMEOID, NAMEOID, NAMEOID, NAMEOID, OIDOID}
	};
	JsArgs		args = {0};
	Bitmapset  *suspects = NULL;
	uint64		rows;

	if ((error->sqlerrcode != ERRCODE_CHECK_VIOLATION &&
		 error->sqlerrcode != ERRCODE_NOT_NULL_VIOLATION) ||
		error->schema_name == NULL || error->table_name == NULL)
		return false;
	js_arg_name(&args, error->schema_name);
	js_arg_name(&args, error->table_name);
	js_arg_name(&args, error->constraint_name);
	js_arg_name(&args, error->column_name);
	js_arg(&args, ObjectIdGetDatum(apply->entity->relid));
	rows = js_run(&columns, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		char	   *column = js_get_text(row, 1);

		for (int i = 0; i < apply->entity->nfields; i++)
			if (strcmp(apply->entity->fields[i].column.name, column) == 0)
				suspects = bms_add_member(suspects, i);
	}
	if (bms_is_subset(suspects, apply->suspects))
		return false;
	apply->suspects = bms_union(apply->suspects, suspects);
	apply->constraint = pstrdup(error->constraint_name ? error->constraint_name :
								error->column_name);
	return true;
}

/* Errors that are not the record's fault, but the end of the work. */
bool
js_must_rethrow(int sqlstate, bool serialization)
{
	/* in the worker it is the watchdog's word about a hanging trigger */
	if ((sqlstate == ERRCODE_QUERY_CANCELED && !AmBackgroundWorkerProcess()) ||
		(ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_OPERATOR_INTERVENTION &&
		 sqlstate != ERRCODE_QUERY_CANCELED) ||
		sqlstate == ERRCODE_JS_CONFIG)
		return true;
	return serialization &&
		ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_TRANSACTION_ROLLBACK;
}

/* Store a record that failed, with its error. */
static void
store_failure(JsApply *apply, Jsonb *raw, ErrorData *error)
{
	static JsStatement mark = {
		"UPDATE jacksync.link SET failed = true, hash = NULL,"
		" next_push_at = pg_catalog.now() + '30 s'"
		" WHERE entity_id = $1 AND external_id = $2 AND stream_id = $3",
		{INT4OID, TEXTOID, INT4OID}
	};
	JsLink		link = {0};
	JsSubject	subject;
	JsFailure	failure = {0};
	JsArgs		args = {0};
	char	   *text;

	link.external_id = js_record_id(apply->stream, apply->plain, raw);
	subject = js_apply_subject(apply, &link);
	failure.direction = "pull";
	failure.sqlstate = unpack_sql_state(error->sqlerrcode);
	failure.error = error->message;
	failure.payload = raw;
	failure.tick = apply->tick;
	/* the time may be what is wrong with it */
	text = js_record_time_text(apply->plain ? NULL : apply->stream, raw);
	failure.time_known = text != NULL && js_time_parse(text, &failure.time);
	failure.latest = js_apply_latest(apply);
	failure.dead = link.external_id == NULL;
	js_failure_record(&subject, &failure);
	js_open_error_add(apply, link.external_id, NULL);
	apply->counts.processed++;
	apply->counts.errors++;

	if (link.external_id == NULL)
		return;
	js_arg(&args, Int32GetDatum(apply->entity->entity_id));
	js_arg_text(&args, link.external_id);
	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	js_run(&mark, &args);
}

/*
 * A record's local changes cannot be decided or pushed now, for a reason of
 * its own: they are tried later, at growing intervals, and the others go on.
 * When its error is dead, nothing more is tried until it changes again.
 */
void
js_apply_postpone(JsApply *apply, int64 record_id, int sqlstate,
				  const char *message)
{
	/* failures of a delete are refusals: they end it */
	static JsStatement postpone = {
		"UPDATE jacksync.link l SET failed = true,"
		" push_failures = push_failures + CASE l.state WHEN 'd' THEN 0 ELSE 1 END,"
		" dirty = e.error_state <> 'dead', next_push_at = e.next_attempt_at"
		" FROM (SELECT state AS error_state, next_attempt_at, local_id, external_id"
		" FROM jacksync.sync_error WHERE entity = $2"
		" AND server IS NOT DISTINCT FROM $3 AND direction = 'push'"
		" AND state IN ('retry', 'dead')) e WHERE l.record_id = $1"
		" AND e.local_id IS NOT DISTINCT FROM l.local_id"
		" AND e.external_id IS NOT DISTINCT FROM l.external_id",
		{INT8OID, TEXTOID, NAMEOID}
	};
	JsLink	   *link = js_link_lock(record_id, false);
	JsSubject	subject;
	JsFailure	failure = {0};
	JsArgs		args = {0};

	if (link == NULL)
		return;
	subject = js_apply_subject(apply, link);
	failure.direction = "push";
	failure.sqlstate = unpack_sql_state(sqlstate);
	failure.error = message;
	js_failure_record(&subject, &failure);
	js_open_error_add(apply, link->external_id, link->local_id);
	apply->counts.errors++;
	js_arg(&args, Int64GetDatum(record_id));
	js_arg_text(&args, subject.entity);
	js_arg_name(&args, subject.server);
	js_run(&postpone, &args);
}

/*
 * Nothing of a record's local changes waits any more: what failed of them is
 * over.  The link is changed, not written.
 */
void
js_apply_settled(JsApply *apply, JsLink *link)
{
	JsSubject	subject;

	if (!link->failed && link->push_failures == 0 &&
		!js_open_error(apply, link->external_id, link->local_id))
		return;
	link->failed = false;
	link->push_failures = 0;
	subject = js_apply_subject(apply, link);
	js_failure_resolved(&subject, "push");
}

/*
 * Does a version of a record wait for another try already, and of which time?
 */
bool
js_apply_one_waits(JsApply *apply, JsRecord *record, TimestampTz *time)
{
	static JsStatement statement = {
		"SELECT pms_updated_at FROM jacksync.sync_error"
		" WHERE entity = $1 AND server IS NOT DISTINCT FROM $2"
		" AND external_id = $3 AND direction = 'pull'"
		" AND state IN ('waiting', 'retry', 'dead')"
		" AND pms_updated_at IS NOT NULL",
		{TEXTOID, NAMEOID, TEXTOID}
	};
	JsLink		link = {0};
	JsSubject	subject;
	JsArgs		args = {0};
	bool		isnull;

	link.external_id = record->external_id;
	subject = js_apply_subject(apply, &link);
	js_arg_text(&args, subject.entity);
	js_arg_name(&args, subject.server);
	js_arg_text(&args, subject.external_id);
	if (js_run(&statement, &args) == 0)
		return false;
	*time = DatumGetTimestampTz(js_get(0, 1, &isnull));
	return true;
}

/* Store a record that cannot be applied now, though nothing is wrong. */
void
js_apply_waiting(JsApply *apply, JsRecord *record, const char *reason)
{
	JsLink		link = {0};
	JsSubject	subject;
	JsFailure	failure = {0};

	link.external_id = record->external_id;
	subject = js_apply_subject(apply, &link);
	failure.direction = "pull";
	failure.sqlstate = unpack_sql_state(ERRCODE_LOCK_NOT_AVAILABLE);
	failure.error = reason;
	failure.payload = js_record_raw(record);
	failure.waiting = true;
	/* what was not asked for is not newer than this moment, either */
	failure.tick = apply->tick == 0 && js_stream_reads_one(apply->stream) ?
		js_tick_now() : apply->tick;
	failure.time_known = record->time_known;
	failure.time = record->time;
	failure.latest = js_apply_latest(apply);
	js_failure_record(&subject, &failure);
	js_open_error_add(apply, record->external_id, NULL);
}
