/*-------------------------------------------------------------------------
 *
 * outcome.c
 *	  What became of a push: the transactions after the answer (T4).
 *
 * What the PMS made of our values becomes the base, so that its capitals or
 * rounding are nobody's change.  Where it did not show that at once (a 204),
 * what is read later may be another's.  An intent whose outcome is not known stays
 * open until a look at the PMS has settled it (lookup.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#include "compat.h"
#include "equal.h"
#include "faultpoint.h"
#include "gone.h"
#include "guard.h"
#include "jacksync.h"
#include "jsonb.h"
#include "push.h"
#include "statement.h"
#include "txn.h"

/* The id of a new record that is to be written into its row. */
typedef struct NewId
{
	JsApply    *apply;
	JsLink	   *link;
	bool		written;		/* no trigger suppressed it */
} NewId;

static void close_intent(JsIntent *intent, const char *state, int status,
						 const char *message);
static JsLink *lock_for(JsIntent *intent);
static void read_it_first(int64 record_id);
static bool take_new(JsApply *apply, JsLink *link, JsIntent *intent);
static char *write_new_id(JsApply *apply, JsLink *link);
static void try_to_write_id(void *arg);
static Jsonb *rebase(JsApply *apply, JsLink *link, JsIntent *intent,
					 Jsonb *answer);
static bool is_ignored(JsColumn *column, Jsonb *base, Jsonb *seen,
					   Jsonb *sent);
static Jsonb *new_base(JsApply *apply, JsField *field, JsIntent *intent,
					   JsRecord *record, Jsonb *sent, Jsonb **local);
static bool same_in_form(Jsonb *a, Jsonb *b);
static char *bare(char *text);
static void audit_gone(JsApply *apply, JsLink *link, JsIntent *intent);
static void report(JsApply *apply, JsLink *link, Jsonb *payload,
				   const char *message);

/*
 * The PMS took it (T4).  answer is the record as the PMS has it now, or NULL
 * if it cannot be read: then what was sent is taken for it.
 */
void
js_push_accepted(JsApply *apply, JsIntent *intent, Jsonb *answer,
				 const char *version)
{
	JsLink	   *link = lock_for(intent);
	Jsonb	   *ignored;

	close_intent(intent, "done", intent->accepted ? intent->accepted : 200,
				 NULL);
	if (link == NULL)
		return;
	if (strcmp(intent->kind, "create") == 0 &&
		!take_new(apply, link, intent))
		return;
	ignored = rebase(apply, link, intent, answer);
	if (version != NULL)
		link->version = pstrdup(version);
	apply->counts.pushed++;

	if (JB_ROOT_COUNT(ignored) > 0)
		report(apply, link, ignored,
			   "the PMS took the request, and kept its own value");
	else
	{
		bool		alone;

		if (js_refused(link->record_id, &alone) == NULL)
			js_apply_settled(apply, link);
	}
	if (!intent->more && JB_ROOT_COUNT(ignored) == 0)
	{
		bool		alone;
		Jsonb	   *refused = js_refused(link->record_id, &alone);

		if (alone)
			js_refused_keep(link->record_id, refused, false);
	}
	js_link_update(link);
	if (answer != NULL)
	{
		JsApplied	applied = {0};
		JsCounts	before = apply->counts;

		/* other fields may have changed there as well */
		apply->tick = 0;
		if (!js_apply_guarded(apply, answer, version, &applied))
			read_it_first(link->record_id);
		apply->counts = before;
	}
}

/*
 * What the PMS answered could not be applied yet: its version is not one that
 * a change of ours may be based on.
 */
static void
read_it_first(int64 record_id)
{
	JsLink	   *link = js_link_lock(record_id, false);

	if (link != NULL)
	{
		link->must_pull = true;
		js_link_update(link);
	}
}

/*
 * A record was created at the PMS: its id is known from here on, and goes
 * into the row.  Returns false if it is the id of another row's record.
 */
static bool
take_new(JsApply *apply, JsLink *link, JsIntent *intent)
{
	JsLink	   *other = js_link_by_external(link->entity_id, link->stream_id,
											intent->external_id);
	char	   *problem;

	if (other != NULL && other->record_id != link->record_id)
	{
		report(apply, link, intent->changes,
			   psprintf("the PMS gave the new record the id \"%s\", which is that of row %s",
						intent->external_id,
						other->local_id ? other->local_id : "(deleted)"));
		link->dirty = false;
		js_link_update(link);
		return false;
	}
	link->external_id = intent->external_id;
	link->state = JS_LINKED;
	js_refused_keep(link->record_id, js_object_end(js_object_begin()), false);
	problem = write_new_id(apply, link);
	if (problem != NULL)
		report(apply, link, js_jsonb_string(intent->external_id), problem);
	return true;
}

/*
 * Write the id of a new record into its row.  A row that somebody holds gets
 * it at the next push.  Returns what went wrong, or NULL.
 */
static char *
write_new_id(JsApply *apply, JsLink *link)
{
	NewId		new_id = {apply, link, true};
	ErrorData  *error = js_txn_try(try_to_write_id, &new_id);

	if (error != NULL && js_must_rethrow(error->sqlerrcode, apply->rethrow))
		ReThrowError(error);
	if (error != NULL)
		return psprintf("could not write the external id: %s", error->message);
	return new_id.written ? NULL :
		"a trigger of the table suppressed the update that writes the external id";
}

/* The row is locked, and the id written. */
static void
try_to_write_id(void *arg)
{
	NewId	   *new_id = arg;
	JsApply    *apply = new_id->apply;
	JsLink	   *link = new_id->link;
	JsEntity   *entity = apply->entity;
	bool	   *none = palloc0(sizeof(bool) * Max(entity->nfields, 1));
	JsRow		row;
	JsRowState	state;
	JsSecurity	security;

	js_owner_begin(&security, entity->owner);
	state = js_row_lock(entity, link->local_id, apply->skip_locked, &row);
	if (state == JS_ROW_FOUND && row.external.isnull)
		new_id->written = js_row_update(entity, &row, none, NULL,
										link->external_id);
	js_owner_end(&security);
	if (state == JS_ROW_MISSING)
		link->state = JS_DELETED_HERE;	/* while the PMS was asked */
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

	if (intent->accepted != 0 || strcmp(intent->kind, "create") == 0 ||
		(strcmp(intent->kind, "update") == 0 &&
		 js_push_holds(apply, intent, record)))
	{
		intent->read_later = intent->taken_version == NULL || version == NULL ||
			strcmp(intent->taken_version, version) != 0;
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
bool
js_push_holds(JsApply *apply, JsIntent *intent, Jsonb *raw)
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

/*
 * The PMS deleted a record as we asked, or did not have it any more: a
 * tombstone stays, so that a page that comes late does not revive it.
 */
void
js_push_deleted(JsApply *apply, JsIntent *intent, int status, Jsonb *answer)
{
	JsLink	   *link = lock_for(intent);
	JsSubject	subject;
	TimestampTz time;

	close_intent(intent, "done", status, NULL);
	if (link == NULL)
		return;
	apply->counts.pushed++;
	subject = js_apply_subject(apply, link);
	if (link->state != JS_DELETED_HERE)
		report(apply, link, NULL,
			   "the record was deleted at the PMS while its row was inserted here again");
	else
	{
		js_apply_settled(apply, link);
		js_failure_resolved(&subject, "pull");
		link->local_id = NULL;
	}
	link->state = JS_TOMBSTONE;
	link->dirty = link->waiting = link->must_pull = false;
	link->hash_known = false;	/* the PMS has not listed it as deleted */
	if (answer != NULL && js_record_time(apply->stream, answer, &time))
	{
		/* cancelled rather than deleted: this is how it is listed now */
		link->pms_time_known = true;
		link->pms_updated_at = time;
	}
	js_link_update(link);
}

/*
 * The PMS does not know the record that we wanted to change, and has said so
 * twice: it was deleted there.
 */
void
js_push_gone(JsApply *apply, JsIntent *intent, int status)
{
	JsLink	   *link = lock_for(intent);

	close_intent(intent, "superseded", status,
				 "the PMS does not have the record any more");
	if (link == NULL)
		return;
	link->dirty = link->waiting = true;
	js_link_update(link);
	if (js_apply_gone(apply, intent->external_id) &&
		JB_ROOT_COUNT(intent->changes) > 0)
		audit_gone(apply, link, intent);
}

/* What was changed here, and could not be told to the PMS any more. */
static void
audit_gone(JsApply *apply, JsLink *link, JsIntent *intent)
{
	JsSubject	subject = js_apply_subject(apply, link);
	JsAudit		audit = {0};

	audit.operation = "conflict_resolution";
	audit.before = intent->changes;
	audit.base = link->snapshot;
	audit.local = intent->changes;
	audit.resolution = "pms";
	audit.reason = "deleted_at_pms";
	js_audit(&subject, &audit);
	apply->counts.conflicts++;
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

/*
 * The PMS refused it for good: into sync_error, for a person.  If there were
 * several fields in it, they are sent one by one first: only those that the
 * PMS does not want are left.
 */
void
js_push_rejected(JsApply *apply, JsIntent *intent, int status,
				 const char *message)
{
	JsLink	   *link = lock_for(intent);

	close_intent(intent, "rejected", status, message);
	if (link == NULL)
		return;
	if (intent->divisible)
	{
		js_refuse_alone(link->record_id);
		link->dirty = link->waiting = true;
		js_link_update(link);
		return;
	}
	/* what else waits is looked at again, without what was refused */
	link->dirty = intent->more;
	report(apply, link, intent->changes, message);
	js_link_update(link);
}

/* A dead letter: values that the PMS does not take.  The link is changed. */
static void
report(JsApply *apply, JsLink *link, Jsonb *payload, const char *message)
{
	JsSubject	subject = js_apply_subject(apply, link);
	JsFailure	failure = {0};

	if (payload != NULL && JB_ROOT_IS_OBJECT(payload))
	{
		bool		alone;

		/* one dead letter for all that the PMS does not take */
		js_refuse(link->record_id, payload);
		payload = js_refused(link->record_id, &alone);
	}
	failure.direction = "push";
	failure.sqlstate = unpack_sql_state(ERRCODE_JS_REMOTE);
	failure.error = message;
	failure.payload = payload;
	failure.dead = true;
	js_failure_record(&subject, &failure);
	apply->counts.errors++;
	link->failed = true;
	link->push_failures++;
}

/* Whether the PMS took it is not known: somebody must look.  count: again. */
void
js_push_mark_unknown(JsIntent *intent, const char *message, bool count)
{
	static JsStatement statement = {
		"UPDATE jacksync.intent SET state = 'unknown', error = $2,"
		" attempts = attempts + $3 WHERE intent_id = $1",
		{INT8OID, TEXTOID, INT4OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int64GetDatum(intent->intent_id));
	js_arg_text(&args, message);
	js_arg(&args, Int32GetDatum(count ? 1 : 0));
	js_run(&statement, &args);
}

/*
 * The PMS took it, but has not shown the record: that is to be read, and its
 * values are the PMS's whatever they are.
 */
void
js_push_mark_accepted(JsIntent *intent, int status, const char *external_id)
{
	static JsStatement statement = {
		"UPDATE jacksync.intent SET state = 'unknown', http_status = $2,"
		" external_id = $3, error = 'accepted; the record is still to be read'"
		" WHERE intent_id = $1",
		{INT8OID, INT4OID, TEXTOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int64GetDatum(intent->intent_id));
	js_arg(&args, Int32GetDatum(status));
	js_arg_text(&args, external_id);
	js_run(&statement, &args);
	intent->accepted = status;
}

/* The same intent is sent once more: nothing came of the first time. */
void
js_push_again(JsIntent *intent)
{
	static JsStatement statement = {
		"UPDATE jacksync.intent SET state = 'claimed', attempts = attempts + 1"
		" WHERE intent_id = $1",
		{INT8OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int64GetDatum(intent->intent_id));
	js_run(&statement, &args);
	intent->attempts++;
}

/* End an intent. */
static void
close_intent(JsIntent *intent, const char *state, int status,
			 const char *message)
{
	static JsStatement statement = {
		"UPDATE jacksync.intent SET state = $2, http_status = $3, error = $4,"
		" external_id = coalesce(external_id, $5),"
		" finished_at = pg_catalog.clock_timestamp() WHERE intent_id = $1"
		" AND state IN ('claimed', 'unknown')",
		{INT8OID, TEXTOID, INT4OID, TEXTOID, TEXTOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int64GetDatum(intent->intent_id));
	js_arg_text(&args, state);
	if (status != 0)
		js_arg(&args, Int32GetDatum(status));
	else
		js_arg_null(&args);
	js_arg_text(&args, message);
	js_arg_text(&args, intent->external_id);
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
 * differs from that, and waits to be pushed again.  Returns the fields that
 * the PMS left as they were, with what was sent.
 */
static Jsonb *
rebase(JsApply *apply, JsLink *link, JsIntent *intent, Jsonb *answer)
{
	JsEntity   *entity = apply->entity;
	JsRecord   *record = answer ? js_record_read(entity, apply->stream,
												 apply->plain, answer) : NULL;
	JsonbParseState *snapshot = js_object_begin();
	JsonbParseState *local_base = js_object_begin();
	JsonbParseState *decided = js_object_begin();
	JsonbParseState *ignored = js_object_begin();
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
			if (!is_ignored(&field->column, base,
							record ? record->fields[i] : NULL, sent))
				base = new_base(apply, field, intent, record, sent, &local);
			else if (intent->accepted == 202)
				base = sent;	/* it is still to be carried out */
			else
				js_object_put(&ignored, field->name, sent);
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
	return js_object_end(ignored);
}

/* Does the PMS have the value from before, though it took another one? */
static bool
is_ignored(JsColumn *column, Jsonb *base, Jsonb *seen, Jsonb *sent)
{
	JsValue		value;

	if (base == NULL || seen == NULL)
		return false;
	value = js_value_from_json(column, seen);
	return js_value_equal(column, value, js_value_from_json(column, base)) &&
		!js_value_equal(column, value, js_value_from_json(column, sent));
}

/*
 * The bases of one field that was sent.  A value that is not ours is what the
 * PMS made of it, if its answer shows it.  Where the record was read later it
 * may be what somebody wrote there since: that is a change of the PMS's then,
 * unless it is our value in another form.
 */
static Jsonb *
new_base(JsApply *apply, JsField *field, JsIntent *intent, JsRecord *record,
		 Jsonb *sent, Jsonb **local)
{
	int			i = field - apply->entity->fields;
	JsColumn   *column = &field->column;
	Jsonb	   *base = record && record->fields[i] ? record->fields[i] : sent;

	/* what the PMS made of a value that it owns comes into the row */
	if ((strcmp(intent->kind, "create") == 0 &&
		 field->strategy == JS_PMS_WINS) ||
		(intent->read_later && !same_in_form(base, sent)))
		base = sent;
	*local = js_value_equal(column, js_value_from_json(column, base),
							js_value_from_json(column, sent)) ? NULL : sent;
	return base;
}

/*
 * Are two texts the same but for capitals, spaces and punctuation?  That is
 * how a PMS writes names, addresses and phone numbers anew.
 */
static bool
same_in_form(Jsonb *a, Jsonb *b)
{
	char	   *left = js_scalar_text(a);
	char	   *right = js_scalar_text(b);

	return JB_ROOT_IS_SCALAR(a) && JB_ROOT_IS_SCALAR(b) &&
		left != NULL && right != NULL &&
		strcmp(bare(left), bare(right)) == 0;
}

/* A text in lower case, without what is neither letter nor digit. */
static char *
bare(char *text)
{
	char	   *lower = str_tolower(text, strlen(text), DEFAULT_COLLATION_OID);
	char	   *to = lower;

	for (char *from = lower; *from != '\0'; from++)
		if (IS_HIGHBIT_SET(*from) || isalnum((unsigned char) *from))
			*to++ = *from;
	*to = '\0';
	return lower;
}

/*
 * A record that is not known here carries our reference: it is the one that
 * we are creating, and came before the answer did.  Returns whether it was.
 */
bool
js_push_adopt(JsApply *apply, JsRecord *record)
{
	static JsStatement statement = {
		"SELECT i.intent_id, i.record_id, i.changes, i.idempotency_key::text"
		" FROM jacksync.intent i JOIN jacksync.link l USING (record_id)"
		" WHERE i.idempotency_key = $1 AND i.operation = 'create'"
		" AND l.state = 'n' AND l.entity_id = $2 AND l.intent_id = i.intent_id",
		{UUIDOID, INT4OID}
	};
	Jsonb	   *push = apply->stream ? apply->stream->push : NULL;
	char	   *path = push ? js_option_text(push, "reference_path") : NULL;
	Jsonb	   *found = path ? js_path_first(js_path_make(path),
											 js_record_raw(record)) : NULL;
	char	   *text = found ? js_option_text(found, NULL) : NULL;
	JsIntent	intent = {0};
	JsArgs		args = {0};

	if (text == NULL || strlen(text) != 36 ||
		strspn(text, "0123456789abcdefABCDEF-") != 36 ||
		text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-')
		return false;
	js_arg(&args, DirectFunctionCall1(uuid_in, CStringGetDatum(text)));
	js_arg(&args, Int32GetDatum(apply->entity->entity_id));
	if (js_run(&statement, &args) == 0)
		return false;
	intent.intent_id = js_get_int8(0, 1);
	intent.record_id = js_get_int8(0, 2);
	intent.kind = "create";
	intent.external_id = record->external_id;
	intent.changes = js_get_jsonb(0, 3);
	intent.idempotency_key = js_get_text(0, 4);
	intent.read_later = true;
	js_push_accepted(apply, &intent, js_record_raw(record), record->version);
	return true;
}
