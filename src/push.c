/*-------------------------------------------------------------------------
 *
 * push.c
 *	  Local changes on their way out: claim, and what became of it.
 *
 * A change is claimed by an intent that is committed before the first byte
 * is sent (T3), and its outcome is recorded in another transaction (T4).
 * While an intent is open its record is neither applied nor pushed again, so
 * that our own change never comes back as somebody else's.  An intent whose
 * outcome is not known stays open until a look at the PMS has settled it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "compat.h"
#include "facts.h"
#include "faultpoint.h"
#include "jacksync.h"
#include "push.h"
#include "statement.h"

static JsIntent *read_intent(uint64 row);
static void close_intent(JsIntent *intent, const char *state, int status,
						 const char *message);
static JsLink *lock_for(JsIntent *intent);
static void rebase(JsApply *apply, JsLink *link, JsIntent *intent,
				   Jsonb *answer);
static bool holds_what_was_sent(JsApply *apply, JsIntent *intent,
								Jsonb *record);

/*
 * Records of the stream with local changes that may wait to go out: numbers
 * (int64 pointers) in order, behind after_record_id.
 */
List *
js_push_candidates(JsApply *apply, int limit, int64 after_record_id)
{
	static JsStatement statement = {
		"SELECT record_id FROM jacksync.link"
		" WHERE entity_id = $1 AND stream_id = $2 AND dirty"
		" AND intent_id IS NULL AND record_id > $3 AND state = 'l'"
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

/*
 * Decide what of a record is to go out, and claim it (T3).  NULL if there is
 * nothing to push, if somebody holds the record, or if the stream cannot be
 * written to.
 */
JsIntent *
js_push_claim(JsApply *apply, int64 record_id)
{
	static JsStatement insert = {
		"INSERT INTO jacksync.intent (record_id, stream_id, operation,"
		" changes, if_match, attempts) VALUES ($1, $2, 'update', $3, $4, 1)"
		" RETURNING intent_id, record_id, $5::text, changes, if_match,"
		" idempotency_key::text, attempts",
		{INT8OID, INT4OID, JSONBOID, TEXTOID, TEXTOID}
	};
	JsApplied	applied = {0};
	JsArgs		args = {0};
	JsIntent   *intent;
	JsLink	   *link;

	if (!js_apply_settle(apply, record_id, &applied))
		return NULL;
	link = applied.link;
	if (applied.pending == NULL || link->external_id == NULL ||
		apply->stream == NULL || apply->stream->push == NULL ||
		js_jsonb_member(apply->stream->push, "update") == NULL)
	{
		/* nothing more to do about it until it changes again */
		link->dirty = false;
		if (link->push_failures > 0 && applied.pending == NULL)
		{
			JsSubject	subject = js_apply_subject(apply, link);

			link->failed = false;
			link->push_failures = 0;
			js_failure_resolved(&subject, "push");
		}
		js_link_update(link);
		return NULL;
	}

	js_arg(&args, Int64GetDatum(record_id));
	js_arg(&args, Int32GetDatum(link->stream_id));
	js_arg_jsonb(&args, applied.pending);
	js_arg_text(&args, link->version);
	js_arg_text(&args, link->external_id);
	js_run(&insert, &args);
	intent = read_intent(0);
	link->intent_id = intent->intent_id;
	js_link_update(link);
	JS_FAULT("cp07");
	return intent;
}

/* A copy that lives in another memory context. */
JsIntent *
js_push_copy(MemoryContext mcxt, JsIntent *intent)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	JsIntent   *copy = palloc(sizeof(JsIntent));

	*copy = *intent;
	copy->external_id = pstrdup(intent->external_id);
	copy->changes = DatumGetJsonbPCopy(JsonbPGetDatum(intent->changes));
	copy->if_match = intent->if_match ? pstrdup(intent->if_match) : NULL;
	copy->idempotency_key = pstrdup(intent->idempotency_key);
	MemoryContextSwitchTo(old);
	return copy;
}

/* The intents of a stream whose outcome is open: after a crash, or unknown. */
List *
js_push_unknown(JsStream *stream)
{
	static JsStatement statement = {
		"SELECT i.intent_id, i.record_id, l.external_id, i.changes,"
		" i.if_match, i.idempotency_key::text, i.attempts"
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
	intent->external_id = js_get_text(row, 3);
	intent->changes = js_get_jsonb(row, 4);
	intent->if_match = js_get_text(row, 5);
	intent->idempotency_key = js_get_text(row, 6);
	intent->attempts = js_get_int4(row, 7);
	return intent;
}

/*
 * The PMS took it (T4).  answer is the record as the PMS has it now, or NULL
 * if the answer did not say: then what was sent is taken for it.  What the
 * PMS made of our values becomes the base, so that its capitals or rounding
 * are nobody's change.
 */
void
js_push_accepted(JsApply *apply, JsIntent *intent, Jsonb *answer,
				 const char *version)
{
	JsLink	   *link = lock_for(intent);
	JsSubject	subject;

	close_intent(intent, "done", 200, NULL);
	if (link == NULL)
		return;
	rebase(apply, link, intent, answer);
	if (version != NULL)
		link->version = pstrdup(version);
	link->push_failures = 0;
	link->failed = false;
	js_link_update(link);
	apply->counts.pushed++;

	subject = js_apply_subject(apply, link);
	js_failure_resolved(&subject, "push");
	if (answer != NULL)
	{
		JsApplied	applied = {0};
		JsCounts	before = apply->counts;

		/* other fields may have changed there as well */
		apply->tick = 0;
		(void) js_apply_guarded(apply, answer, version, &applied);
		apply->counts = before;
	}
}

/*
 * An intent with an unknown outcome was looked up.  Returns true if the PMS
 * holds what was sent; else the intent is over, and the record is decided
 * anew with what the PMS has.
 */
bool
js_push_looked_up(JsApply *apply, JsIntent *intent, Jsonb *record,
				  const char *version)
{
	JsApplied	applied = {0};
	JsLink	   *link;

	if (holds_what_was_sent(apply, intent, record))
	{
		js_push_accepted(apply, intent, record, version);
		return true;
	}
	link = lock_for(intent);
	close_intent(intent, "superseded", 0, "not found at the PMS");
	if (link != NULL)
	{
		link->dirty = link->waiting = true;
		js_link_update(link);
		apply->tick = 0;
		(void) js_apply_guarded(apply, record, version, &applied);
	}
	return false;
}

/* Does the PMS hold, in every field that was sent, what was sent? */
static bool
holds_what_was_sent(JsApply *apply, JsIntent *intent, Jsonb *raw)
{
	JsEntity   *entity = apply->entity;
	JsRecord   *record = js_record_read(entity, apply->stream, apply->plain,
										raw);
	JsSecurity	security;
	bool		same = true;

	js_owner_begin(&security, entity->owner);
	for (int i = 0; i < entity->nfields && same; i++)
	{
		JsColumn   *column = &entity->fields[i].column;
		Jsonb	   *sent = js_jsonb_member(intent->changes,
										   entity->fields[i].name);

		if (sent != NULL)
			same = record->fields[i] != NULL &&
				js_value_equal(column, js_value_from_json(column, sent),
							   js_value_from_json(column, record->fields[i]));
	}
	js_owner_end(&security);
	return same;
}

/* Nothing was sent: the change waits for the next try. */
void
js_push_not_sent(JsApply *apply, JsIntent *intent)
{
	JsLink	   *link = lock_for(intent);

	close_intent(intent, "superseded", 0, "not sent");
	if (link != NULL)
	{
		link->dirty = link->waiting = true;
		js_link_update(link);
	}
}

/*
 * The PMS has a newer version (409, 412): read before the next try (R5), or
 * the same would be claimed and refused for ever.
 */
void
js_push_outdated(JsApply *apply, JsIntent *intent, int status)
{
	JsLink	   *link = lock_for(intent);

	close_intent(intent, "superseded", status, "the PMS has a newer version");
	if (link != NULL)
	{
		link->dirty = link->waiting = true;
		link->must_pull = true;
		link->hash_known = false;
		js_link_update(link);
	}
}

/* The PMS refused it for good: into sync_error, for a person. */
void
js_push_rejected(JsApply *apply, JsIntent *intent, int status,
				 const char *message)
{
	JsLink	   *link = lock_for(intent);
	JsSubject	subject;
	JsFailure	failure = {0};

	close_intent(intent, "rejected", status, message);
	apply->counts.errors++;
	if (link == NULL)
		return;
	link->dirty = false;
	link->failed = true;
	link->push_failures++;
	js_link_update(link);

	subject = js_apply_subject(apply, link);
	failure.direction = "push";
	failure.sqlstate = unpack_sql_state(ERRCODE_JS_REMOTE);
	failure.error = message;
	failure.payload = intent->changes;
	failure.dead = true;
	js_failure_record(&subject, &failure);
}

/* Whether the PMS took it is not known: somebody must look. */
void
js_push_mark_unknown(JsIntent *intent, const char *message)
{
	static JsStatement statement = {
		"UPDATE jacksync.intent SET state = 'unknown', error = $2"
		" WHERE intent_id = $1",
		{INT8OID, TEXTOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int64GetDatum(intent->intent_id));
	js_arg_text(&args, message);
	js_run(&statement, &args);
}

/* End an intent. */
static void
close_intent(JsIntent *intent, const char *state, int status,
			 const char *message)
{
	static JsStatement statement = {
		"UPDATE jacksync.intent SET state = $2, http_status = $3, error = $4,"
		" finished_at = pg_catalog.clock_timestamp() WHERE intent_id = $1",
		{INT8OID, TEXTOID, INT4OID, TEXTOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int64GetDatum(intent->intent_id));
	js_arg_text(&args, state);
	if (status != 0)
		js_arg(&args, Int32GetDatum(status));
	else
		js_arg_null(&args);
	js_arg_text(&args, message);
	js_run(&statement, &args);
	JS_FAULT("cp11");
}

/* Lock the link of an intent, and free it of it. */
static JsLink *
lock_for(JsIntent *intent)
{
	JsLink	   *link = js_link_lock(intent->record_id, false);

	if (link == NULL || link->intent_id != intent->intent_id)
		return NULL;
	link->intent_id = 0;
	link->finalized_tick = js_tick();
	return link;
}

/*
 * The fields that were sent: the PMS's answer is their base, and what was
 * sent is what the row held then.  If the row was changed again meanwhile it
 * differs from that, and waits to be pushed again.
 */
static void
rebase(JsApply *apply, JsLink *link, JsIntent *intent, Jsonb *answer)
{
	JsEntity   *entity = apply->entity;
	JsRecord   *record = answer ? js_record_read(entity, apply->stream,
												 apply->plain, answer) : NULL;
	JsonbParseState *snapshot = js_object_begin();
	JsonbParseState *local_base = js_object_begin();
	JsonbParseState *decided = js_object_begin();
	JsSecurity	security;

	js_owner_begin(&security, entity->owner);
	for (int i = 0; i < entity->nfields; i++)
	{
		JsField    *field = &entity->fields[i];
		Jsonb	   *sent = js_jsonb_member(intent->changes, field->name);
		Jsonb	   *base = js_jsonb_member(link->snapshot, field->name);
		Jsonb	   *local = js_jsonb_member(link->local_base, field->name);

		if (sent != NULL)
		{
			base = record && record->fields[i] ? record->fields[i] : sent;
			local = js_value_equal(&field->column,
								   js_value_from_json(&field->column, base),
								   js_value_from_json(&field->column, sent)) ?
				NULL : sent;
		}
		else if (js_jsonb_member(link->decided, field->name) != NULL)
			js_object_put(&decided, field->name, js_jsonb_null());
		if (base != NULL)
			js_object_put(&snapshot, field->name, base);
		if (local != NULL)
			js_object_put(&local_base, field->name, local);
	}
	js_owner_end(&security);
	link->snapshot = js_object_end(snapshot);
	link->local_base = js_object_end(local_base);
	link->decided = js_object_end(decided);
	link->dirty = true;			/* until the row was looked at again */
	link->hash_known = false;
}
