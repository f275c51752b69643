/*-------------------------------------------------------------------------
 *
 * apply.c
 *	  Bringing one record in line with the PMS.
 *
 * For every record: find its link; stop if nothing can have changed (the
 * hash gate); lock link and row; establish the facts of every field
 * (facts.c); let the planner decide (plan.c); write the row; write down what
 * was decided.  All of a page (applypage.c) happens in one transaction, in
 * which also what could not be applied is stored for a later try (guard.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/rls.h"

#include "apply.h"
#include "compat.h"
#include "deletes.h"
#include "facts.h"
#include "faultpoint.h"
#include "fold.h"
#include "gone.h"
#include "guard.h"
#include "heap.h"
#include "jacksync.h"
#include "openerrors.h"
#include "push.h"
#include "rowheap.h"
#include "secure.h"
#include "statement.h"
#include "txn.h"

static void check_policy(JsApply *apply);
static bool apply_version(JsApply *apply, JsRecord *record,
						  const char *version, JsApplied *applied, bool *known);
static bool is_overtaken(JsApply *apply, JsRecord *record, JsApplied *applied);
static bool is_stale(JsApply *apply, JsLink *link, JsRecord *record);
static bool first_sight(JsApply *apply, JsRecord *record, JsApplied *applied);

/*
 * Begin to apply records of an entity, from a stream (NULL: none); plain
 * records use the names of the fields.  Takes up local changes first.  SPI is
 * connected.  Until js_apply_end() the settings are pinned and the user is
 * the owner of the extension.
 */
void
js_apply_begin(JsApply *apply, const char *entity, JsStream *stream,
			   bool plain)
{
	JsSecurity	security;

	apply->entity_name = pstrdup(entity);
	apply->stream = stream;
	apply->plain = plain;
	apply->mcxt = CurrentMemoryContext;
	apply->entity = js_entity_by_name(entity, false);
	js_entity_check(apply->entity);
	check_policy(apply);

	js_fire_deferred();
	apply->guc_level = js_pin_settings(stream ? stream->datetime_zone : NULL);
	js_internal_user(&security);
	apply->saved_user = security;

	js_open_errors_look(apply);
	if (stream != NULL)
		apply->pending_deletes = js_deletes_any(stream->stream_id);
	if (stream != NULL && stream->push != NULL)
		apply->open_creates = js_push_creating(stream->stream_id);
	if (apply->lazy)
		apply->log = js_fold_begin(apply->entity, js_apply_stream_id(apply));
	else if (js_fold(apply->entity, js_apply_stream_id(apply)) > 0)
		apply->entity = js_entity_by_name(entity, false);
	JS_FAULT("cp03");
}

/* The end of it. */
void
js_apply_end(JsApply *apply)
{
	js_internal_end(&apply->saved_user);
	js_unpin_settings(apply->guc_level);
}

/*
 * Row-level security that the owner of the table is subject to would hide
 * rows from us: refused, as logical replication does.
 */
static void
check_policy(JsApply *apply)
{
	if (check_enable_rls(apply->entity->relid, apply->entity->owner,
						 true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("user \"%s\" cannot synchronize relation with row-level security enabled: \"%s\"",
						GetUserNameFromId(apply->entity->owner, true),
						get_rel_name(apply->entity->relid)),
				 errhint("Use ALTER TABLE ... NO FORCE ROW LEVEL SECURITY.")));
}

/* The number of the stream; 0 for none. */
int32
js_apply_stream_id(JsApply *apply)
{
	return apply->stream ? apply->stream->stream_id : 0;
}

/* What journal entries about a link are about. */
JsSubject
js_apply_subject(JsApply *apply, JsLink *link)
{
	JsSubject	subject = {0};

	subject.entity = apply->entity->name;
	subject.server = apply->stream ? apply->stream->server : NULL;
	subject.run = apply->run;
	subject.record_id = link->record_id;
	subject.local_id = link->local_id;
	subject.external_id = link->external_id;
	return subject;
}

/*
 * Apply one record.  version is its ETag, if it came with one.  Returns false
 * if it was stored for a later try.  Errors are those of casts, constraints
 * and users' triggers.
 */
bool
js_apply_record(JsApply *apply, Jsonb *raw, const char *version,
				JsApplied *applied)
{
	return js_apply_opened(apply, js_record_open(apply->entity, apply->stream,
												 apply->plain, raw),
						   version, applied);
}

/*
 * The same for a record that is only opened.  What failed of it before is
 * over then, unless it is this one that is old.
 */
bool
js_apply_opened(JsApply *apply, JsRecord *record, const char *version,
				JsApplied *applied)
{
	bool		known = false;
	bool		done = apply_version(apply, record, version, applied, &known);

	if (done && !applied->overtaken && (!known || apply->retrying) &&
		js_open_error(apply, record->external_id, NULL))
	{
		JsLink		link = {0};
		JsSubject	subject;

		link.external_id = record->external_id;
		subject = js_apply_subject(apply, &link);
		js_failure_resolved(&subject, "pull");
	}
	return done;
}

/* Apply a record, unless what it says is known: the same as before, or old. */
static bool
apply_version(JsApply *apply, JsRecord *record, const char *version,
			  JsApplied *applied, bool *known)
{
	JsEntity   *entity = apply->entity;
	JsLink	   *link;
	char	   *local_id = NULL;

	apply->counts.processed++;
	if (record->looked)
		link = record->link;
	else if (apply->expect_new)
		link = NULL;
	else if (version != NULL || apply->look_closely || apply->previewing)
		link = js_link_by_external(entity->entity_id,
								   js_apply_stream_id(apply),
								   record->external_id);
	else if (js_link_gate(entity->entity_id, js_apply_stream_id(apply),
						  record->external_id, record->place,
						  (int64) record->hash, &link,
						  apply->log ? &local_id : NULL))
	{
		if (!js_fold_has(apply->log, local_id))
		{
			apply->counts.unchanged++;
			*known = true;
			return true;
		}
		link = js_link_by_external(entity->entity_id,
								   js_apply_stream_id(apply),
								   record->external_id);
	}
	if (record->tree != NULL)
		js_tree_finish(apply->reader, entity, record);
	else
		js_record_finish(entity, apply->stream, apply->plain, record);
	if (version != NULL)
		record->version = pstrdup(version);
	if (link == NULL)
		return first_sight(apply, record, applied);

	applied->link = link;
	if (link->state == JS_FORGOTTEN)
	{
		apply->counts.unchanged++;
		return true;
	}

	/* in a page that is done again if need be, nobody's lock will do too */
	if (!link->untouched || !js_heap_paged())
		link = applied->link = js_link_lock(link->record_id,
											apply->skip_locked);
	if (link == NULL)
	{
		js_apply_waiting(apply, record, "another session works on the record");
		return false;
	}
	js_fold_link(apply->log, entity, link);
	if (link->intent_id != 0)
	{
		/* R1: else our own push would come back as somebody's change */
		js_apply_waiting(apply, record, "a push of the record is open");
		return false;
	}
	if (is_stale(apply, link, record) ||
		is_overtaken(apply, record, applied))
	{
		apply->counts.unchanged++;
		*known = true;
		return true;
	}
	if (record->deleted)
		return js_apply_delete(apply, record, link);
	if (apply->pending_deletes)
		js_deletes_forget(apply, record->external_id);

	if (link->local_id != NULL)
	{
		JsSecurity	security;
		JsRowState	state;
		bool		quiet = js_rowheap_quiet(entity);

		if (!quiet)
			js_owner_begin(&security, entity->owner);
		state = link->state == JS_TOMBSTONE ?
			js_row_lock(entity, link->local_id, apply->skip_locked,
						&applied->row) :
			js_row_take(entity, link->local_id, &link->row_at,
						apply->skip_locked, &applied->row);
		if (!quiet)
			js_owner_end(&security);
		if (state == JS_ROW_LOCKED)
		{
			js_apply_waiting(apply, record, "another session holds the row");
			return false;
		}
		applied->row_found = state == JS_ROW_FOUND;
	}
	if (!applied->row_found)
		return js_apply_missing_row(apply, record, applied);

	if (link->state == JS_TOMBSTONE && entity->deleted != NULL)
		js_apply_mark(entity, &applied->row, false);
	link->state = JS_LINKED;
	js_facts_apply(apply, record, applied);
	JS_FAULT("cp05");
	return true;
}

/*
 * Is what we were given older than what we know?  A page that was requested
 * before our last push was recorded shows the value from before that push
 * (R2); a version older than the one applied is a late delivery.  A time in
 * the future is not trusted to make anything look old.
 */
static bool
is_stale(JsApply *apply, JsLink *link, JsRecord *record)
{
	if (apply->tick != 0 && link->finalized_tick > apply->tick)
	{
		link->must_pull = true;
		link->hash_known = false;
		/* even if nothing waits to be pushed: it is then that it is read */
		if (link->state == JS_LINKED && js_stream_reads_one(apply->stream))
			link->dirty = true;
		js_link_update(link);
		return true;
	}
	if (!record->time_known || !link->pms_time_known)
		return false;

	/*
	 * What we deleted ourselves may be listed for a while.  What the PMS
	 * deleted it may have made anew in the same second, if its times are
	 * whole seconds.
	 */
	if (link->state == JS_TOMBSTONE && !link->hash_known && !record->deleted &&
		record->time == link->pms_updated_at)
		return true;
	if (record->time > link->pms_updated_at)
		apply->advanced++;
	if (record->time >= link->pms_updated_at ||
		link->pms_updated_at > js_apply_latest(apply))
		return false;
	apply->regressed++;
	return true;
}

/*
 * Is it older than one that waits for another try, or than a delete that waits
 * for the end of the pull?  It must neither take its place nor settle it.
 * Where the time of the link was taken away (resync()), no time counts.
 */
static bool
is_overtaken(JsApply *apply, JsRecord *record, JsApplied *applied)
{
	JsLink	   *link = applied->link;
	TimestampTz time;

	if ((!apply->open_errors && !apply->pending_deletes) ||
		!record->time_known || (link != NULL && !link->pms_time_known))
		return false;
	applied->overtaken = js_open_error(apply, record->external_id, NULL) &&
		js_apply_one_waits(apply, record, &time) && record->time < time &&
		time <= js_apply_latest(apply);
	if (!applied->overtaken && apply->pending_deletes && !record->deleted)
		applied->overtaken = js_deletes_newer(apply, record);
	if (applied->overtaken)
		apply->regressed++;
	return applied->overtaken;
}

/* A time of the PMS that is later than this cannot be yet. */
TimestampTz
js_apply_latest(JsApply *apply)
{
	return GetCurrentTimestamp() + USECS_PER_MINUTE +
		(apply->stream ? apply->stream->skew : 0);
}

/* A record without a link: adopt the row that has its id, or insert one. */
static bool
first_sight(JsApply *apply, JsRecord *record, JsApplied *applied)
{
	JsEntity   *entity = apply->entity;
	JsLink	   *link;

	if (record->deleted || is_overtaken(apply, record, applied))
	{
		apply->counts.unchanged++;
		return true;
	}
	if (!apply->expect_new && !js_apply_lock_row(apply, record, applied))
		return false;
	if (!applied->row_found && apply->open_creates && !apply->previewing)
	{
		/* perhaps it is ours: a row for it would be a second one */
		if (js_push_adopt(apply, record))
			return true;
		js_apply_waiting(apply, record, "a new record is being created at the PMS");
		return false;
	}
	link = applied->row_found ?
		js_link_by_local(entity->entity_id, applied->row.local_id) : NULL;
	if (link != NULL)
	{
		/* a row of ours that got its id meanwhile; never another record's */
		if (link->external_id != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNIQUE_VIOLATION),
					 errmsg("row %s of \"%s\" is linked to record \"%s\" already",
							applied->row.local_id, entity->name,
							link->external_id)));
		link = js_link_lock(link->record_id, apply->skip_locked);
		if (link == NULL || link->intent_id != 0)
		{
			js_apply_waiting(apply, record, "a push of the record is open");
			return false;
		}
		js_fold_link(apply->log, entity, link);
	}
	else
	{
		link = palloc0(sizeof(JsLink));
		link->entity_id = entity->entity_id;
		link->stream_id = js_apply_stream_id(apply);
	}
	link->state = JS_LINKED;
	link->external_id = record->external_id;
	applied->link = link;

	if (!applied->row_found)
		return js_apply_insert(apply, record, link, applied);
	link->local_id = applied->row.local_id;
	js_facts_apply(apply, record, applied);
	return true;
}

/*
 * Lock the row that has the id of a record, if there is one.  Returns false if
 * somebody else holds it; the record is stored then.
 */
bool
js_apply_lock_row(JsApply *apply, JsRecord *record, JsApplied *applied)
{
	JsEntity   *entity = apply->entity;
	JsSecurity	security;
	JsRowState	state;

	js_owner_begin(&security, entity->owner);
	state = js_row_lock_external(entity, record->external_id,
								 apply->stream ? apply->stream->property_value : NULL,
								 apply->skip_locked, &applied->row);
	js_owner_end(&security);
	if (state == JS_ROW_LOCKED)
	{
		js_apply_waiting(apply, record, "another session holds the row");
		return false;
	}
	if (state == JS_ROW_AMBIGUOUS)
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("more than one row of \"%s\" has the external id \"%s\"",
						entity->name, record->external_id),
				 errhint("Give column \"%s\" a unique index.",
						 entity->external.name)));
	applied->row_found = state == JS_ROW_FOUND;
	return true;
}

/* Insert the row of a record, with all values that the PMS has. */
bool
js_apply_insert(JsApply *apply, JsRecord *record, JsLink *link,
				JsApplied *applied)
{
	JsEntity   *entity = apply->entity;
	bool	   *write = palloc0(sizeof(bool) * Max(entity->nfields, 1));
	JsValue    *values = palloc0(sizeof(JsValue) * Max(entity->nfields, 1));
	JsSecurity	security;
	bool		inserted;

	js_owner_begin(&security, entity->owner);
	for (int i = 0; i < entity->nfields; i++)
	{
		JsColumn   *column = &entity->fields[i].column;

		write[i] = record->items ? record->known[i] :
			record->fields[i] != NULL;
		if (write[i])
			values[i] = record->items ?
				js_value_from_item(column, &record->items[i]) :
				js_value_from_json(column, record->fields[i]);
	}
	inserted = js_row_insert(entity, record->external_id,
							 apply->stream ? apply->stream->property_value : NULL,
							 write, values, &applied->row);
	js_owner_end(&security);
	if (!inserted)
		ereport(ERROR,
				(errcode(ERRCODE_JS_BAD_RECORD),
				 errmsg("a trigger of table \"%s\" suppressed the insert of record \"%s\"",
						get_rel_name(entity->relid), record->external_id)));

	applied->row_found = true;
	link->local_id = applied->row.local_id;
	js_facts_inserted(apply, record, applied, values);
	apply->counts.created++;
	if (js_open_error(apply, record->external_id, link->local_id))
	{
		JsSubject	subject = js_apply_subject(apply, link);

		js_apply_settled(apply, link);
		js_failure_resolved(&subject, "pull");
	}
	return true;
}

/* The work of js_apply_settle(), without its guard. */
bool
js_apply_local(JsApply *apply, int64 record_id, JsApplied *applied)
{
	JsEntity   *entity = apply->entity;
	JsLink	   *link = js_link_lock(record_id, apply->skip_locked);
	JsSecurity	security;
	JsRowState	state;

	if (link == NULL)
		return false;
	applied->link = link;
	if (link->intent_id == 0 && link->state == JS_DELETED_HERE &&
		link->external_id != NULL && link->snapshot != NULL &&
		entity->on_local_delete == JS_DELETE_RESTORE)
		return js_apply_restore(apply, applied);
	if (link->intent_id != 0 || link->local_id == NULL ||
		(link->state != JS_LINKED && link->state != JS_NEW_HERE))
		return true;
	js_owner_begin(&security, entity->owner);
	state = js_row_lock(entity, link->local_id, apply->skip_locked,
						&applied->row);
	js_owner_end(&security);
	if (state == JS_ROW_LOCKED)
		return false;
	applied->row_found = state == JS_ROW_FOUND;
	if (applied->row_found)
		js_facts_apply(apply, NULL, applied);
	return true;
}
