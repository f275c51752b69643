/*-------------------------------------------------------------------------
 *
 * gone.c
 *	  Rows and records that go, and those that come back.
 *
 * A row that was deleted here, and a record that the PMS has deleted: the
 * policies of the entity say what becomes of the other side, and nothing that
 * the other side has changed meanwhile is lost.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "deletes.h"
#include "equal.h"
#include "facts.h"
#include "gone.h"
#include "guard.h"
#include "jsonb.h"
#include "secure.h"

static bool pms_edited(JsApply *apply, JsRecord *record, JsLink *link);
static void audit_record(JsApply *apply, JsLink *link, const char *operation,
						 const char *resolution, Jsonb *before, Jsonb *after);

/*
 * The row of a record is gone: somebody deleted it here.  By policy it comes
 * back, or stays away (with the delete still to be told to the PMS, or not).
 * A record that the PMS has changed meanwhile is not deleted there: the edit
 * wins, and the row comes back.
 */
bool
js_apply_missing_row(JsApply *apply, JsRecord *record, JsApplied *applied)
{
	JsEntity   *entity = apply->entity;
	JsLink	   *link = applied->link;
	bool		edited = link->state != JS_TOMBSTONE &&
	entity->on_local_delete == JS_DELETE_PUSH &&
	pms_edited(apply, record, link);

	if (link->state == JS_TOMBSTONE || edited ||
		entity->on_local_delete == JS_DELETE_RESTORE)
	{
		Jsonb	   *before = link->snapshot;

		if (!js_apply_lock_row(apply, record, applied))
			return false;
		link->state = JS_LINKED;
		link->local_times = NULL;
		link->dirty = link->waiting = false;
		if (applied->row_found &&
			js_link_by_local(entity->entity_id, applied->row.local_id) == NULL)
		{
			/* somebody has made a row for it: nothing is agreed on yet */
			link->local_id = applied->row.local_id;
			link->snapshot = link->local_base = NULL;
			js_facts_apply(apply, record, applied);
			return true;
		}
		js_apply_insert(apply, record, link, applied);
		if (edited)
			apply->counts.conflicts++;
		audit_record(apply, link, edited ? "conflict_resolution" : "sync",
					 "pms", edited ? before : NULL, link->snapshot);
		return true;
	}
	link->state = JS_DELETED_HERE;
	link->waiting = entity->on_local_delete == JS_DELETE_PUSH;
	link->dirty = link->waiting;
	link->version = record->version;
	link->hash = (int64) record->hash;
	link->hash_known = true;
	js_link_update(link);
	apply->counts.unchanged++;
	return true;
}

/* Does the PMS say something else than at the last sync? */
static bool
pms_edited(JsApply *apply, JsRecord *record, JsLink *link)
{
	JsEntity   *entity = apply->entity;
	JsSecurity	security;
	bool		edited = false;

	js_owner_begin(&security, entity->owner);
	for (int i = 0; i < entity->nfields && !edited; i++)
	{
		JsColumn   *column = &entity->fields[i].column;
		Jsonb	   *base = js_jsonb_member(link->snapshot,
										   entity->fields[i].name);

		Jsonb	   *json = js_record_field(record, i);

		edited = json != NULL &&
			(base == NULL ||
			 !js_value_equal(column, js_value_from_json(column, base),
							 js_value_from_json(column, json)));
	}
	js_owner_end(&security);
	return edited;
}

/*
 * A row was deleted here, and the policy takes that back: it is made again
 * from what the PMS last said.
 */
bool
js_apply_restore(JsApply *apply, JsApplied *applied)
{
	JsEntity   *entity = apply->entity;
	JsLink	   *link = applied->link;
	JsRecord	record = {0};

	record.external_id = link->external_id;
	record.remembered = true;
	record.time_known = link->pms_time_known;
	record.time = link->pms_updated_at;
	record.version = link->version;
	record.hash = (uint64) link->hash;
	record.fields = palloc0(sizeof(Jsonb *) * Max(entity->nfields, 1));
	for (int i = 0; i < entity->nfields; i++)
		record.fields[i] = js_jsonb_member(link->snapshot,
										   entity->fields[i].name);
	link->state = JS_LINKED;
	link->local_times = NULL;
	link->waiting = false;
	link->dirty = link->must_pull;
	js_apply_insert(apply, &record, link, applied);
	audit_record(apply, link, "sync", "pms", NULL, link->snapshot);
	return true;
}

/* Mark a row as deleted at the PMS, or as there again. */
void
js_apply_mark(JsEntity *entity, JsRow *row, bool deleted)
{
	JsSecurity	security;

	js_owner_begin(&security, entity->owner);
	js_row_mark(entity, row, deleted);
	js_owner_end(&security);
}

/* The PMS says that a record is deleted. */
bool
js_apply_delete(JsApply *apply, JsRecord *record, JsLink *link)
{
	JsEntity   *entity = apply->entity;
	JsSecurity	security;
	JsRow		row;
	JsRowState	state = JS_ROW_MISSING;
	Jsonb	   *before = link->snapshot;
	bool		marks = entity->on_pms_delete == JS_DELETE_MARK &&
	entity->deleted != NULL;
	bool		deleted = false;

	if (link->state == JS_TOMBSTONE)
	{
		/* listed as deleted: the next time it is known */
		if (!link->hash_known && record->hash != 0)
		{
			link->hash = (int64) record->hash;
			link->hash_known = true;
			link->must_pull = false;
			js_link_update(link);
		}
		apply->counts.unchanged++;
		return true;
	}
	if (link->local_id != NULL &&
		(marks || entity->on_pms_delete == JS_DELETE_DELETE))
	{
		if (!marks && apply->defer_deletes)
		{
			js_deletes_gather(apply, record);
			apply->counts.unchanged++;
			return true;
		}
		js_owner_begin(&security, entity->owner);
		state = js_row_lock(entity, link->local_id, apply->skip_locked, &row);
		js_owner_end(&security);
		if (state == JS_ROW_FOUND)
		{
			/* with edits that the PMS never heard of */
			before = js_row_values(entity, &row);
			if (marks)
				js_apply_mark(entity, &row, true);
			else
			{
				js_owner_begin(&security, entity->owner);
				deleted = js_row_delete(entity, &row);
				js_owner_end(&security);
			}
		}
		if (state == JS_ROW_LOCKED)
		{
			if (js_record_raw(record) != NULL)
				js_apply_waiting(apply, record, "another session holds the row");
			return false;
		}
	}
	if (link->conflict)
	{
		JsSubject	subject = js_apply_subject(apply, link);

		js_conflict_release(&subject, NULL);
	}
	js_apply_settled(apply, link);
	/* without a row, its key is free for another one */
	if (deleted || link->state == JS_DELETED_HERE)
		link->local_id = NULL;
	link->state = JS_TOMBSTONE;
	link->dirty = link->waiting = link->conflict = false;
	link->pms_time_known = record->time_known;
	link->pms_updated_at = record->time;
	link->hash = (int64) record->hash;
	link->hash_known = true;
	js_link_update(link);
	audit_record(apply, link, "sync", deleted ? "deleted" :
				 marks ? "marked" : "kept", before, NULL);
	apply->counts.updated++;
	return true;
}

/*
 * A record is not at the PMS any more, though no tombstone came.  Returns
 * false if it, or its row, is held by somebody else: then it is to be done
 * later.
 */
bool
js_apply_gone(JsApply *apply, const char *external_id)
{
	JsRecord	record = {0};
	JsLink	   *link = js_link_by_external(apply->entity->entity_id,
										   js_apply_stream_id(apply),
										   external_id);

	if (link == NULL)
		return true;
	link = js_link_lock(link->record_id, true);
	if (link == NULL || link->intent_id != 0)
		return false;
	if (link->state != JS_LINKED)
		return true;
	record.external_id = pstrdup(external_id);
	record.deleted = true;
	return js_apply_delete(apply, &record, link);
}

/* Audit a decision about a record as a whole. */
static void
audit_record(JsApply *apply, JsLink *link, const char *operation,
			 const char *resolution, Jsonb *before, Jsonb *after)
{
	JsSubject	subject = js_apply_subject(apply, link);
	JsAudit		audit = {0};

	audit.operation = operation;
	audit.before = before;
	audit.after = after;
	audit.resolution = resolution;
	js_audit(&subject, &audit);
}
