/*-------------------------------------------------------------------------
 *
 * journal.c
 *	  What is written down about a record: audit, conflicts, errors, runs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "heap.h"
#include "jacksync.h"
#include "journal.h"
#include "jsonb.h"
#include "statement.h"
#include "value.h"

/* Columns of jacksync.audit_log, in their order. */
enum
{
	AUDIT_ID,
	AUDIT_LOGGED_AT,
	AUDIT_OPERATION,
	AUDIT_ENTITY,
	AUDIT_SERVER,
	AUDIT_LOCAL_ID,
	AUDIT_EXTERNAL_ID,
	AUDIT_FIELD,
	AUDIT_BEFORE,
	AUDIT_AFTER,
	AUDIT_DETAILS,
	AUDIT_RESOLVED_BY,
	AUDIT_RUN_ID,
	AUDIT_NATTS
};

/* Members of conflict_details, in the order of jsonb. */
typedef struct Details
{
	int			n;
	const char *keys[8];
	JsonbValue	values[8];
	JsonbValue *items[8];
} Details;

static int64 next_audit_id(JsHeap *heap);
static void put(TupleTableSlot *slot, int column, Datum value);
static void put_text(TupleTableSlot *slot, int column, const char *text);
static void put_jsonb(TupleTableSlot *slot, int column, Jsonb *json);
static void add_subject(JsArgs *args, const JsSubject *subject);
static Jsonb *details_of(const JsAudit *audit);
static void add_json(Details *details, const char *key, Jsonb *json);
static void add_string(Details *details, const char *key, const char *value);
static Jsonb *state_of(const char *field, Jsonb *value);
static void add_counts(JsArgs *args, const JsCounts *counts);
static void store_run(JsRun *run, const JsCounts *counts, bool ended,
					  const char *error);

/* Entity, server, local and external id. */
static void
add_subject(JsArgs *args, const JsSubject *subject)
{
	js_arg_text(args, subject->entity);
	js_arg_name(args, subject->server);
	js_arg_text(args, subject->local_id);
	js_arg_text(args, subject->external_id);
}

/*
 * Write one row of the audit log: directly, since there may be one for every
 * record (heap.c).
 */
void
js_audit(const JsSubject *subject, const JsAudit *audit)
{
	JsHeap	   *heap = js_heap_ours("audit_log");
	TupleTableSlot *slot = js_heap_later(heap);
	NameData	server;

	if (RelationGetDescr(heap->rel)->natts != AUDIT_NATTS)
		elog(ERROR, "table jacksync.audit_log has %d columns, not %d",
			 RelationGetDescr(heap->rel)->natts, AUDIT_NATTS);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * AUDIT_NATTS);
	put(slot, AUDIT_ID, Int64GetDatum(next_audit_id(heap)));
	put(slot, AUDIT_LOGGED_AT, TimestampTzGetDatum(GetCurrentTimestamp()));
	put_text(slot, AUDIT_OPERATION, audit->operation);
	put_text(slot, AUDIT_ENTITY, subject->entity);
	if (subject->server != NULL)
	{
		namestrcpy(&server, subject->server);
		put(slot, AUDIT_SERVER, NameGetDatum(&server));
	}
	put_text(slot, AUDIT_LOCAL_ID, subject->local_id);
	put_text(slot, AUDIT_EXTERNAL_ID, subject->external_id);
	put_text(slot, AUDIT_FIELD, audit->field);
	put_jsonb(slot, AUDIT_BEFORE, state_of(audit->field, audit->before));
	put_jsonb(slot, AUDIT_AFTER, state_of(audit->field, audit->after));
	put_jsonb(slot, AUDIT_DETAILS,
			  audit->resolution ? details_of(audit) : NULL);
	put_text(slot, AUDIT_RESOLVED_BY,
			 audit->resolved_by ? audit->resolved_by : "system");
	if (subject->run != NULL)
		put(slot, AUDIT_RUN_ID, Int64GetDatum(js_run_number(subject->run)));
	ExecStoreVirtualTuple(slot);
	js_heap_append_later(heap);
	js_heap_close(heap);
}

/* The number of an entry. */
static int64
next_audit_id(JsHeap *heap)
{
	if (heap->extra == NULL)
	{
		Oid		   *sequence = MemoryContextAlloc(heap->mcxt, sizeof(Oid));

		*sequence = get_relname_relid("audit_log_audit_id_seq",
									  RelationGetNamespace(heap->rel));
		heap->extra = sequence;
	}
	return nextval_internal(*(Oid *) heap->extra, false);
}

/* Set a column of a row that is to be written. */
static void
put(TupleTableSlot *slot, int column, Datum value)
{
	slot->tts_values[column] = value;
	slot->tts_isnull[column] = false;
}

/* Set a text; NULL is null. */
static void
put_text(TupleTableSlot *slot, int column, const char *text)
{
	if (text != NULL)
		put(slot, column, CStringGetTextDatum(text));
}

/* Set a jsonb; NULL is null. */
static void
put_jsonb(TupleTableSlot *slot, int column, Jsonb *json)
{
	if (json != NULL)
		put(slot, column, JsonbPGetDatum(json));
}

/* {field: value}, or the value itself where it is a whole record. */
static Jsonb *
state_of(const char *field, Jsonb *value)
{
	JsonbValue	item;
	JsonbValue *items = &item;

	if (value == NULL || field == NULL)
		return value;
	item = js_jsonb_item(value);
	return js_jsonb_object(&field, &items, 1);
}

/* The three values of a decision, and how it came about. */
static Jsonb *
details_of(const JsAudit *audit)
{
	Details		details = {0};

	/* in the order of jsonb: by the length of the keys */
	if (audit->reason != NULL)
		add_string(&details, "reason", audit->reason);
	add_json(&details, "pmsValue", audit->pms);
	if (audit->strategy != NULL)
		add_string(&details, "strategy", audit->strategy);
	add_json(&details, "baseValue", audit->base);
	add_json(&details, "localValue", audit->local);
	add_string(&details, "resolution", audit->resolution);
	if (audit->pms_time_known)
		add_json(&details, "pmsUpdatedAt", js_jsonb_time(audit->pms_time));
	if (audit->local_time_known)
		add_json(&details, "localUpdatedAt", js_jsonb_time(audit->local_time));
	return js_jsonb_object(details.keys, details.items, details.n);
}

/* Add a member; a NULL pointer is JSON null. */
static void
add_json(Details *details, const char *key, Jsonb *json)
{
	details->values[details->n] = js_jsonb_item(json);
	details->items[details->n] = &details->values[details->n];
	details->keys[details->n++] = key;
}

/* Add a string. */
static void
add_string(Details *details, const char *key, const char *value)
{
	JsonbValue *item = &details->values[details->n];

	item->type = jbvString;
	item->val.string.val = unconstify(char *, value);
	item->val.string.len = strlen(value);
	details->items[details->n] = item;
	details->keys[details->n++] = key;
}

/*
 * Hold a field for a person: a new row, which raises an alert, or new values
 * in the row that is open.
 */
void
js_conflict_hold(const JsSubject *subject, const JsHold *hold)
{
	static JsStatement update = {
		"UPDATE jacksync.manual_conflict SET local_value = $3,"
		" pms_value = coalesce($4, pms_value), urgency = $5,"
		" updated_at = pg_catalog.clock_timestamp()"
		" WHERE record_id = $1 AND field = $2 AND status = 'pending'"
		" AND (local_value IS DISTINCT FROM $3 OR urgency IS DISTINCT FROM $5"
		"      OR pms_value IS DISTINCT FROM coalesce($4, pms_value))"
		" RETURNING 1",
		{INT8OID, TEXTOID, JSONBOID, JSONBOID, JSONBOID}
	};
	static JsStatement insert = {
		"WITH c AS (INSERT INTO jacksync.manual_conflict (entity, server,"
		" local_id, external_id, record_id, field, field_group, reason,"
		" base_value, local_value, pms_value, urgency)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
		" ON CONFLICT DO NOTHING RETURNING conflict_id)"
		" SELECT jacksync.alert_conflict(conflict_id) FROM c",
		{TEXTOID, NAMEOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID,
		TEXTOID, JSONBOID, JSONBOID, JSONBOID, JSONBOID}
	};
	JsArgs		args = {0};
	JsArgs		new_args = {0};

	js_arg(&args, Int64GetDatum(subject->record_id));
	js_arg_text(&args, hold->field);
	js_arg_jsonb(&args, hold->local);
	js_arg_jsonb(&args, hold->pms);
	js_arg_jsonb(&args, hold->urgency);
	if (js_run(&update, &args) > 0)
		return;

	add_subject(&new_args, subject);
	js_arg(&new_args, Int64GetDatum(subject->record_id));
	js_arg_text(&new_args, hold->field);
	js_arg_text(&new_args, hold->group);
	js_arg_text(&new_args, hold->reason);
	js_arg_jsonb(&new_args, hold->base);
	js_arg_jsonb(&new_args, hold->local);
	js_arg_jsonb(&new_args, hold->pms ? hold->pms : hold->base);
	js_arg_jsonb(&new_args, hold->urgency);
	js_run(&insert, &new_args);
}

/*
 * Both sides have become equal: the conflict of a field closes itself; or the
 * row is gone, and with it all its conflicts (field is NULL).
 */
void
js_conflict_release(const JsSubject *subject, const char *field)
{
	static JsStatement statement = {
		"WITH c AS (UPDATE jacksync.manual_conflict SET status = 'resolved',"
		" resolved_by = 'system', resolved_at = pg_catalog.clock_timestamp()"
		" WHERE record_id = $1 AND ($2 IS NULL OR field = $2)"
		" AND status = 'pending' RETURNING conflict_id)"
		" SELECT jacksync.alert_conflict_closed(conflict_id) FROM c",
		{INT8OID, TEXTOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int64GetDatum(subject->record_id));
	js_arg_text(&args, field);
	js_run(&statement, &args);
}

/* The fields of a record that are held. */
char	  **
js_conflict_fields(int64 record_id, int *n)
{
	static JsStatement statement = {
		"SELECT field FROM jacksync.manual_conflict"
		" WHERE record_id = $1 AND status = 'pending'",
		{INT8OID}
	};
	JsArgs		args = {0};
	char	  **fields;

	js_arg(&args, Int64GetDatum(record_id));
	*n = (int) js_run(&statement, &args);
	fields = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		fields[i] = js_get_text(i, 1);
	return fields;
}

/*
 * Keep what could not be applied or pushed, for a later try: one open row per
 * record and direction, with the newest payload: one that is older than what is
 * kept already, by the PMS's clock, came late.  Tries are 30 s, 1, 2, 4 ...
 * minutes apart, at most an hour; after ten the row is dead.  What only waits
 * is tried at the next run.
 */
void
js_failure_record(const JsSubject *subject, const JsFailure *failure)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.sync_error AS e (entity, server, local_id,"
		" external_id, run_id, direction, sqlstate, error, payload, tick,"
		" state, pms_updated_at, next_attempt_at)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
		" CASE $11 WHEN 'dead' THEN NULL WHEN 'waiting' THEN pg_catalog.now()"
		" ELSE pg_catalog.now() + '30 s' END)"
		" ON CONFLICT (entity, server, external_id, local_id, direction)"
		" WHERE state IN ('waiting', 'retry', 'dead')"
		" AND (external_id IS NOT NULL OR local_id IS NOT NULL)"
		" DO UPDATE SET run_id = excluded.run_id,"
		" sqlstate = excluded.sqlstate, error = excluded.error,"
		" payload = excluded.payload, tick = excluded.tick,"
		" pms_updated_at = excluded.pms_updated_at,"
		" attempts = e.attempts + CASE excluded.state WHEN 'waiting' THEN 0 ELSE 1 END,"
		" state = CASE WHEN excluded.state = 'retry' AND e.attempts >= 9"
		" THEN 'dead' ELSE excluded.state END,"
		" next_attempt_at = CASE excluded.state WHEN 'dead' THEN NULL"
		" WHEN 'waiting' THEN pg_catalog.now()"
		" ELSE pg_catalog.now() + least('1 hour'::interval,"
		" '30 s'::interval * pg_catalog.power(2, least(e.attempts, 8))) END"
		" WHERE (e.pms_updated_at > excluded.pms_updated_at"
		" AND e.pms_updated_at <= $13) IS NOT TRUE",
		{TEXTOID, NAMEOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID,
		TEXTOID, JSONBOID, INT8OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	JsArgs		args = {0};

	add_subject(&args, subject);
	if (subject->run != NULL)
		js_arg(&args, Int64GetDatum(js_run_number(subject->run)));
	else
		js_arg_null(&args);
	js_arg_text(&args, failure->direction);
	js_arg_text(&args, failure->sqlstate);
	js_arg_text(&args, failure->error);
	js_arg_jsonb(&args, failure->payload);
	js_arg(&args, Int64GetDatum(failure->tick));
	js_arg_text(&args, failure->dead ? "dead" :
				failure->waiting ? "waiting" : "retry");
	js_arg_time(&args, failure->time, failure->time_known);
	js_arg_time(&args, failure->latest, failure->time_known);
	js_run(&statement, &args);
}

/* A record went through: what was open about it is over. */
void
js_failure_resolved(const JsSubject *subject, const char *direction)
{
	static JsStatement statement = {
		"UPDATE jacksync.sync_error SET state = 'resolved',"
		" next_attempt_at = NULL"
		" WHERE entity = $1 AND server IS NOT DISTINCT FROM $2"
		" AND (external_id = $3 OR (external_id IS NULL AND local_id = $5))"
		" AND direction = $4 AND state IN ('waiting', 'retry', 'dead')",
		{TEXTOID, NAMEOID, TEXTOID, TEXTOID, TEXTOID}
	};
	JsArgs		args = {0};

	js_arg_text(&args, subject->entity);
	js_arg_name(&args, subject->server);
	js_arg_text(&args, subject->external_id);
	js_arg_text(&args, direction);
	js_arg_text(&args, subject->local_id);
	js_run(&statement, &args);
}

/* Begin a run.  Nothing is written. */
void
js_run_begin(JsRun *run, const char *entity, const char *server,
			 const char *kind)
{
	memset(run, 0, sizeof(JsRun));
	run->entity = entity;
	run->server = server;
	run->kind = kind;
	run->started = GetCurrentTimestamp();
}

/* The number of a run, for what tells of it; 0 if there is none. */
int64
js_run_number(JsRun *run)
{
	Oid			schema = get_namespace_oid(JS_SCHEMA, false);

	if (run == NULL)
		return 0;
	if (run->id == 0)
		run->id = nextval_internal(get_relname_relid("sync_run_run_id_seq",
													 schema), false);
	return run->id;
}

/* The counters in the order of the columns. */
static void
add_counts(JsArgs *args, const JsCounts *counts)
{
	js_arg(args, Int64GetDatum(counts->processed));
	js_arg(args, Int64GetDatum(counts->created));
	js_arg(args, Int64GetDatum(counts->updated));
	js_arg(args, Int64GetDatum(counts->unchanged));
	js_arg(args, Int64GetDatum(counts->pushed));
	js_arg(args, Int64GetDatum(counts->conflicts));
	js_arg(args, Int64GetDatum(counts->errors));
}

/* Give a run its row, with what was done so far. */
void
js_run_store(JsRun *run, const JsCounts *counts)
{
	store_run(run, counts, false, NULL);
}

/* The same; ended: and that it has ended, with an error, or NULL. */
static void
store_run(JsRun *run, const JsCounts *counts, bool ended, const char *error)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.sync_run (records_processed, created, updated,"
		" unchanged, pushed, conflicts, errors, run_id, entity, server, kind,"
		" started, idle, completed, success, error) OVERRIDING SYSTEM VALUE"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,"
		" CASE WHEN $14 THEN pg_catalog.clock_timestamp() END,"
		" CASE WHEN $14 THEN $15 IS NULL END, $15)",
		{INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID,
			INT8OID, TEXTOID, NAMEOID, TEXTOID, TIMESTAMPTZOID, INT8OID,
		BOOLOID, TEXTOID}
	};
	int64		id = js_run_number(run);
	JsArgs		args = {0};

	add_counts(&args, counts);
	js_arg(&args, Int64GetDatum(id));
	js_arg_text(&args, run->entity);
	js_arg_name(&args, run->server);
	js_arg_text(&args, run->kind);
	js_arg_time(&args, run->started, true);
	js_arg(&args, Int64GetDatum(run->idle));
	js_arg(&args, BoolGetDatum(ended));
	js_arg_text(&args, error);
	js_run(&statement, &args);
	run->stored = true;
}

#define SET_COUNTS \
	"UPDATE jacksync.sync_run SET records_processed = $1, created = $2," \
	" updated = $3, unchanged = $4, pushed = $5, conflicts = $6, errors = $7"

/* Write down how far a run is, if it has a row. */
void
js_run_progress(JsRun *run, const JsCounts *counts)
{
	static JsStatement statement = {
		SET_COUNTS " WHERE run_id = $8",
		{INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID,
		INT8OID}
	};
	JsArgs		args = {0};

	if (!run->stored)
		return;
	add_counts(&args, counts);
	js_arg(&args, Int64GetDatum(run->id));
	js_run(&statement, &args);
}

/*
 * End a run: with an error, or NULL.  Its row may be missing still, or again
 * if the transaction that wrote it was rolled back.
 */
void
js_run_finish(JsRun *run, const JsCounts *counts, const char *error)
{
	static JsStatement statement = {
		SET_COUNTS ", completed = pg_catalog.clock_timestamp(),"
		" success = $9 IS NULL, error = $9 WHERE run_id = $8 RETURNING true",
		{INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID,
		INT8OID, TEXTOID}
	};
	JsArgs		args = {0};

	add_counts(&args, counts);
	js_arg(&args, Int64GetDatum(run->id));
	js_arg_text(&args, error);
	if (!run->stored || js_run(&statement, &args) == 0)
		store_run(run, counts, true, error);
}

/* The next tick: that of a recorded push. */
int64
js_tick(void)
{
	static JsStatement statement = {
		"SELECT pg_catalog.nextval('jacksync.tick')",
		{InvalidOid}
	};

	js_run(&statement, NULL);
	return js_get_int8(0, 1);
}

/*
 * The tick of a request: the last one.  Ticks order requests and recorded
 * pushes without a clock; what is recorded from now on has a later one.
 */
int64
js_tick_now(void)
{
	static JsStatement statement = {
		"SELECT CASE WHEN is_called THEN last_value"
		" ELSE pg_catalog.nextval('jacksync.tick') END FROM jacksync.tick",
		{InvalidOid}
	};

	js_run(&statement, NULL);
	return js_get_int8(0, 1);
}
