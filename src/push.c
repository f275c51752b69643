/*-------------------------------------------------------------------------
 *
 * push.c
 *	  Local changes on their way out: which, by which operation, claimed.
 *
 * A change is claimed by an intent that is committed before the first byte
 * is sent (T3), and its outcome is recorded in another transaction (T4, in
 * outcome.c).  While an intent is open its record is neither applied nor
 * pushed again, so that our own change never comes back as somebody else's.
 *
 * A record's changes may need several operations of the PMS.  Each is an
 * intent of its own; the next is claimed when the last one is recorded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "compat.h"
#include "faultpoint.h"
#include "guard.h"
#include "jacksync.h"
#include "jsonb.h"
#include "openerrors.h"
#include "push.h"
#include "statement.h"

/* A field that goes to and fro this often without a person is frozen. */
#define MOST_ROUNDS 3
#define ROUNDS_WITHIN "10 min"

/* The PMS may have forgotten an idempotency key that is older. */
#define KEY_WINDOW "20 hours"

#define INTENT_COLUMNS \
	"i.intent_id, i.record_id, i.operation, i.place," \
	" coalesce(i.external_id, l.external_id), l.local_id, i.changes," \
	" i.row_values, i.if_match, i.idempotency_key::text, i.attempts," \
	" CASE WHEN i.http_status BETWEEN 200 AND 299 THEN i.http_status ELSE 0 END," \
	" i.lookup_only, i.claimed_at > pg_catalog.now() - '" KEY_WINDOW "'::interval," \
	" l.snapshot"

static JsIntent *read_intent(uint64 row);
static JsIntent *claim_update(JsApply *apply, JsApplied *applied);
static JsIntent *claim_create(JsApply *apply, JsApplied *applied);
static JsIntent *claim_delete(JsApply *apply, JsLink *link);
static Jsonb *without_refused(JsApply *apply, JsLink *link, Jsonb *pending,
							  bool *alone);
static Jsonb *taken_by(JsApply *apply, JsLink *link, JsOperation *operation,
					   List *operations, Jsonb *pending, bool alone);
static bool goes_around(JsApply *apply, JsLink *link, JsField *field,
						Jsonb *value);
static void cannot_be_cleared(JsApply *apply, JsLink *link, Jsonb *fields);
static bool goes_into_new(JsField *field, JsOperation *operation);
static JsIntent *insert_intent(JsLink *link, const char *kind, int place,
							   Jsonb *changes, Jsonb *row_values,
							   Jsonb *derived);
static void forget_link(JsApply *apply, JsLink *link);

/*
 * Records of the stream with local changes that may wait to go out: numbers
 * (int64 pointers) in order, behind after_record_id.
 */
List	   *
js_push_candidates(JsApply *apply, int limit, int64 after_record_id)
{
	static JsStatement statement = {
		"SELECT record_id FROM jacksync.link"
		" WHERE entity_id = $1 AND stream_id = $2 AND dirty"
		" AND intent_id IS NULL AND record_id > $3 AND state IN ('l', 'n', 'd')"
		" AND (next_push_at IS NULL OR next_push_at <= pg_catalog.now())"
		" ORDER BY record_id LIMIT $4",
		{INT4OID, INT4OID, INT8OID, INT8OID}
	};
	JsArgs		args = {0};
	List	   *result = NIL;
	uint64		rows;

	js_arg(&args, Int32GetDatum(apply->entity->entity_id));
	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	js_arg(&args, Int64GetDatum(after_record_id));
	js_arg(&args, Int64GetDatum(limit));
	rows = js_run(&statement, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		int64	   *record_id = palloc(sizeof(int64));

		*record_id = js_get_int8(row, 1);
		result = lappend(result, record_id);
	}
	return result;
}

/* What is claimed must be on disk before anything is sent. */
void
js_push_durable(void)
{
	(void) set_config_option("synchronous_commit", "on", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * Decide what of a record is to go out, and claim it (T3).  NULL if there is
 * nothing to push, if somebody holds the record, or if the stream cannot
 * carry it.
 */
JsIntent   *
js_push_claim(JsApply *apply, int64 record_id)
{
	JsApplied	applied = {0};
	JsLink	   *link;
	JsIntent   *intent = NULL;

	if (!js_apply_settle(apply, record_id, &applied))
		return NULL;
	link = applied.link;
	if (link->intent_id != 0)
		return NULL;
	if (link->state == JS_LINKED)
		intent = claim_update(apply, &applied);
	else if (link->state == JS_NEW_HERE)
		intent = claim_create(apply, &applied);
	else if (link->state == JS_DELETED_HERE)
		intent = claim_delete(apply, link);
	if (intent != NULL)
		JS_FAULT("cp07");
	return intent;
}

/* Changes of a record that the PMS knows. */
static JsIntent *
claim_update(JsApply *apply, JsApplied *applied)
{
	JsLink	   *link = applied->link;
	List	   *operations = apply->stream ?
	js_operations(apply->stream->push, "update") : NIL;
	bool		alone;
	Jsonb	   *pending;
	JsIntent   *intent;
	ListCell   *cell;

	pending = without_refused(apply, link, applied->pending, &alone);
	foreach(cell, link->external_id ? operations : NIL)
	{
		JsOperation *operation = lfirst(cell);
		Jsonb	   *changes = taken_by(apply, link, operation, operations,
									   pending, alone);
		JsonbParseState *derived = js_object_begin();
		ListCell   *key;

		if (changes == NULL)
			continue;
		foreach(key, js_object_keys(changes))
			if (js_jsonb_member(link->local_times, lfirst(key)) == NULL)
			js_object_put(&derived, lfirst(key), js_jsonb_null());
		intent = insert_intent(link, "update", operation->place, changes,
							   js_row_values(apply->entity, &applied->row),
							   js_object_end(derived));
		intent->more = JB_ROOT_COUNT(pending) > JB_ROOT_COUNT(changes);
		intent->divisible = !alone && operation->when == NULL &&
			JB_ROOT_COUNT(changes) > 1;
		return intent;
	}

	/* nothing more to do about it until it changes again, but to read it */
	link->dirty = link->must_pull && js_stream_reads_one(apply->stream);
	js_link_update(link);
	return NULL;
}

/*
 * What waits, without the values that the PMS refused.  What is not refused
 * any more, because it was changed or undone, is forgotten.
 */
static Jsonb *
without_refused(JsApply *apply, JsLink *link, Jsonb *pending, bool *alone)
{
	JsonbParseState *rest = js_object_begin();
	JsonbParseState *kept = js_object_begin();
	Jsonb	   *refused = js_refused(link->record_id, alone);
	Jsonb	   *left;
	Jsonb	   *result;
	ListCell   *cell;

	foreach(cell, js_object_keys(pending))
	{
		char	   *field = lfirst(cell);
		Jsonb	   *value = js_jsonb_member(pending, field);
		Jsonb	   *old = js_jsonb_member(refused, field);

		if (old != NULL && js_jsonb_same(old, value))
			js_object_put(&kept, field, value);
		else
			js_object_put(&rest, field, value);
	}
	left = js_object_end(kept);
	result = js_object_end(rest);
	if (JB_ROOT_COUNT(result) == 0)
		*alone = false;
	if (refused != NULL)
		js_refused_keep(link->record_id, left, *alone);

	/* also after requeue(), which forgets how often it failed */
	if (JB_ROOT_COUNT(left) == 0 &&
		(link->push_failures > 0 ||
		 js_open_error(apply, link->external_id, link->local_id)) &&
		(JB_ROOT_COUNT(result) == 0 ||
		 (refused != NULL && JB_ROOT_COUNT(refused) > 0)))
		js_apply_settled(apply, link);
	return result;
}

/*
 * Which of the pending fields go by an operation now; NULL: none.  alone: at
 * most one of them, with those that are decided together with it.
 */
static Jsonb *
taken_by(JsApply *apply, JsLink *link, JsOperation *operation,
		 List *operations, Jsonb *pending, bool alone)
{
	JsEntity   *entity = apply->entity;
	JsonbParseState *state = js_object_begin();
	JsonbParseState *uncleared = js_object_begin();
	Jsonb	   *refused;
	JsField    *first = NULL;
	bool		any = false;

	for (int i = 0; i < entity->nfields; i++)
	{
		JsField    *field = &entity->fields[i];
		Jsonb	   *value = js_jsonb_member(pending, field->name);

		if (value == NULL || !js_stream_pushes(apply->stream, field->name) ||
			!js_operation_takes(operation, operations, field->name, pending))
			continue;
		if (js_jsonb_is_null(value) && operation->nulls != JS_NULLS_SEND &&
			js_jsonb_member(operation->when, field->name) == NULL)
		{
			if (operation->nulls == JS_NULLS_REFUSE)
				js_object_put(&uncleared, field->name, value);
			/* left out of a whole, it is cleared; else it cannot be said */
			if (operation->nulls == JS_NULLS_REFUSE ||
				operation->style != JS_BODY_REPLACE)
				continue;
		}
		if (alone && operation->when == NULL && first != NULL &&
			(first->group < 0 || field->group != first->group))
			continue;
		if (goes_around(apply, link, field, value))
			continue;
		first = first ? first : field;
		js_object_put(&state, field->name, value);
		any = true;
	}
	refused = js_object_end(uncleared);
	if (JB_ROOT_COUNT(refused) > 0)
		cannot_be_cleared(apply, link, refused);
	return any ? js_object_end(state) : NULL;
}

/*
 * Does a field go to and fro, because two programs write it in different
 * ways?  Nobody has edited it, and still it was pushed again and again.
 * Then it is frozen, for a person.
 */
static bool
goes_around(JsApply *apply, JsLink *link, JsField *field, Jsonb *value)
{
	static JsStatement statement = {
		"SELECT count(*) FROM jacksync.intent WHERE record_id = $1"
		" AND state = 'done' AND derived OPERATOR(pg_catalog.?) $2"
		" AND claimed_at > pg_catalog.now() - '" ROUNDS_WITHIN "'::interval"
		" AND ($3 IS NULL OR claimed_at > $3)",
		{INT8OID, TEXTOID, TIMESTAMPTZOID}
	};
	JsSubject	subject;
	JsHold		hold = {0};
	JsArgs		args = {0};

	if (js_jsonb_member(link->local_times, field->name) != NULL)
		return false;			/* somebody has edited it */
	js_arg(&args, Int64GetDatum(link->record_id));
	js_arg_text(&args, field->name);
	js_arg_time(&args, link->local_updated_at, link->local_time_known);
	js_run(&statement, &args);
	if (js_get_int8(0, 1) <= MOST_ROUNDS)
		return false;

	subject = js_apply_subject(apply, link);
	hold.field = field->name;
	hold.reason = "normalization loop";
	hold.base = js_jsonb_member(link->snapshot, field->name);
	hold.local = value;
	hold.pms = hold.base;
	js_conflict_hold(&subject, &hold);
	link->conflict = true;
	return true;
}

/* Fields are NULL here, and the PMS has no way to be told. */
static void
cannot_be_cleared(JsApply *apply, JsLink *link, Jsonb *fields)
{
	JsSubject	subject = js_apply_subject(apply, link);
	JsFailure	failure = {0};
	const char *names = NULL;
	bool		alone;
	ListCell   *cell;

	foreach(cell, js_object_keys(fields))
		names = names ? psprintf("%s, %s", names, (char *) lfirst(cell)) :
		lfirst(cell);
	js_refuse(link->record_id, fields);
	fields = js_refused(link->record_id, &alone);
	failure.direction = "push";
	failure.sqlstate = unpack_sql_state(ERRCODE_JS_REMOTE);
	failure.error = psprintf("the PMS cannot clear %s", names);
	failure.payload = fields;
	failure.dead = true;
	js_failure_record(&subject, &failure);
	apply->counts.errors++;
	js_open_error_add(apply, link->external_id, link->local_id);
	link->failed = true;
	link->push_failures++;
}

/* A row that the PMS does not know yet. */
static JsIntent *
claim_create(JsApply *apply, JsApplied *applied)
{
	JsLink	   *link = applied->link;
	JsEntity   *entity = apply->entity;
	List	   *operations = apply->stream ?
	js_operations(apply->stream->push, "create") : NIL;
	Jsonb	   *refused;
	Jsonb	   *values;
	ListCell   *cell;
	bool		alone;

	if (!applied->row_found)
	{
		/* it came and went before the PMS ever heard of it */
		forget_link(apply, link);
		return NULL;
	}
	values = js_row_values(apply->entity, &applied->row);
	refused = js_refused(link->record_id, &alone);
	foreach(cell, operations)
	{
		JsOperation *operation = lfirst(cell);
		JsonbParseState *state = js_object_begin();
		Jsonb	   *changes;
		bool		any = false;

		if (!js_operation_selected(operation, values))
			continue;
		for (int i = 0; i < entity->nfields; i++)
		{
			JsField    *field = &entity->fields[i];
			Jsonb	   *value = js_jsonb_member(values, field->name);

			if (!js_operation_covers(operation, operations, field->name) ||
				!goes_into_new(field, operation) ||
				(js_jsonb_is_null(value) && operation->nulls != JS_NULLS_SEND))
				continue;
			js_object_put(&state, field->name, value);
			any = true;
		}
		changes = js_object_end(state);
		/* what was refused is tried again when it was changed */
		if (any && (refused == NULL || !js_jsonb_same(refused, changes)))
			return insert_intent(link, "create", operation->place, changes,
								 values, NULL);
		break;
	}
	link->dirty = false;
	js_link_update(link);
	return NULL;
}

/*
 * Is a field told to the PMS with a new record?  Those that the rules push,
 * and those that the PMS owns from then on: it needs a value to begin with.
 * What is ours alone stays here, unless the operation names it.
 */
static bool
goes_into_new(JsField *field, JsOperation *operation)
{
	return field->push || field->strategy == JS_PMS_WINS ||
		js_jsonb_member(operation->fields, field->name) != NULL;
}

/* A record whose row was deleted here. */
static JsIntent *
claim_delete(JsApply *apply, JsLink *link)
{
	List	   *operations = apply->stream ?
	js_operations(apply->stream->push, "delete") : NIL;

	if (link->external_id == NULL)
	{
		forget_link(apply, link);
		return NULL;
	}
	if (apply->entity->on_local_delete == JS_DELETE_PUSH &&
		operations != NIL && link->push_failures == 0)
		return insert_intent(link, "delete", 0,
							 js_object_end(js_object_begin()),
							 link->snapshot, NULL);
	link->dirty = false;
	link->waiting = apply->entity->on_local_delete == JS_DELETE_PUSH;
	js_link_update(link);
	return NULL;
}

/* Claim: the intent is written, and its record points to it. */
static JsIntent *
insert_intent(JsLink *link, const char *kind, int place, Jsonb *changes,
			  Jsonb *row_values, Jsonb *derived)
{
	static JsStatement statement = {
		"WITH i AS (INSERT INTO jacksync.intent (record_id, stream_id,"
		" operation, place, changes, row_values, derived, if_match, attempts)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1) RETURNING *)"
		" SELECT " INTENT_COLUMNS " FROM i JOIN jacksync.link l USING (record_id)",
		{INT8OID, INT4OID, TEXTOID, INT4OID, JSONBOID, JSONBOID, JSONBOID,
		TEXTOID}
	};
	JsArgs		args = {0};
	JsIntent   *intent;

	js_arg(&args, Int64GetDatum(link->record_id));
	js_arg(&args, Int32GetDatum(link->stream_id));
	js_arg_text(&args, kind);
	js_arg(&args, Int32GetDatum(place));
	js_arg_jsonb(&args, changes);
	js_arg_jsonb(&args, row_values);
	js_arg_jsonb(&args, derived);
	js_arg_text(&args, link->version);
	js_run(&statement, &args);
	intent = read_intent(0);
	intent->base = link->snapshot;
	link->intent_id = intent->intent_id;
	js_link_update(link);
	return intent;
}

/* A copy that lives in another memory context. */
JsIntent   *
js_push_copy(MemoryContext mcxt, JsIntent *intent)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	JsIntent   *copy = palloc(sizeof(JsIntent));

	*copy = *intent;
	copy->kind = pstrdup(intent->kind);
	copy->external_id = intent->external_id ? pstrdup(intent->external_id) : NULL;
	copy->local_id = intent->local_id ? pstrdup(intent->local_id) : NULL;
	copy->changes = DatumGetJsonbPCopy(JsonbPGetDatum(intent->changes));
	copy->row_values = intent->row_values ?
		DatumGetJsonbPCopy(JsonbPGetDatum(intent->row_values)) : NULL;
	copy->base = intent->base ?
		DatumGetJsonbPCopy(JsonbPGetDatum(intent->base)) : NULL;
	copy->if_match = intent->if_match ? pstrdup(intent->if_match) : NULL;
	copy->idempotency_key = pstrdup(intent->idempotency_key);
	MemoryContextSwitchTo(old);
	return copy;
}

/* The intents of a stream whose outcome is open: after a crash, or unknown. */
List	   *
js_push_unknown(JsStream *stream)
{
	static JsStatement statement = {
		"SELECT " INTENT_COLUMNS
		" FROM jacksync.intent i JOIN jacksync.link l USING (record_id)"
		" WHERE i.stream_id = $1 AND i.state IN ('claimed', 'unknown')"
		" ORDER BY i.intent_id",
		{INT4OID}
	};
	JsArgs		args = {0};
	List	   *result = NIL;
	uint64		rows;

	js_arg(&args, Int32GetDatum(stream->stream_id));
	rows = js_run(&statement, &args);
	for (uint64 row = 0; row < rows; row++)
		result = lappend(result, read_intent(row));
	return result;
}

/* An intent from a row of the present result. */
static JsIntent *
read_intent(uint64 row)
{
	JsIntent   *intent = palloc0(sizeof(JsIntent));

	intent->intent_id = js_get_int8(row, 1);
	intent->record_id = js_get_int8(row, 2);
	intent->kind = js_get_text(row, 3);
	intent->place = js_get_int4(row, 4);
	intent->external_id = js_get_text(row, 5);
	intent->local_id = js_get_text(row, 6);
	intent->changes = js_get_jsonb(row, 7);
	intent->row_values = js_get_jsonb(row, 8);
	intent->if_match = js_get_text(row, 9);
	intent->idempotency_key = js_get_text(row, 10);
	intent->attempts = js_get_int4(row, 11);
	intent->accepted = js_get_int4(row, 12);
	intent->lookup_only = js_get_bool(row, 13);
	intent->key_valid = js_get_bool(row, 14);
	intent->base = js_get_jsonb(row, 15);	/* not moved while it is open */
	return intent;
}

/* Is the outcome of a create open? */
bool
js_push_creating(int32 stream_id)
{
	static JsStatement statement = {
		"SELECT EXISTS (SELECT FROM jacksync.intent WHERE stream_id = $1"
		" AND state IN ('claimed', 'unknown') AND operation = 'create')",
		{INT4OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(stream_id));
	js_run(&statement, &args);
	return js_get_bool(0, 1);
}

/* The PMS never heard of it, and the row is gone. */
static void
forget_link(JsApply *apply, JsLink *link)
{
	static JsStatement statement = {
		"DELETE FROM jacksync.link WHERE record_id = $1",
		{INT8OID}
	};
	JsArgs		args = {0};

	js_apply_settled(apply, link);
	js_arg(&args, Int64GetDatum(link->record_id));
	js_run(&statement, &args);
}
