/*-------------------------------------------------------------------------
 *
 * apply.c
 *	  Bringing one record, or a page of them, in line with the PMS.
 *
 * For every record: find its link; stop if nothing can have changed (the
 * hash gate); lock link and row; establish the facts of every field
 * (facts.c); let the planner decide (plan.c); write the row; write down what
 * was decided.  All of a page happens in one transaction, in which also what
 * could not be applied is stored for a later try.
 *
 * The page is tried as a whole in one subtransaction.  Only if something in
 * it fails is it done again record by record, each in a subtransaction of its
 * own, so that one bad record never stops its page.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
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
#include "heap.h"
#include "jacksync.h"
#include "push.h"
#include "rowheap.h"
#include "secure.h"
#include "statement.h"
#include "txn.h"

static void learn_fields(JsApply *apply, List *records);
static bool attempt(JsApply *apply, Jsonb *raw, const char *version,
					int64 record_id, JsApplied *applied, bool *result,
					ErrorData **error);
static bool attempt_once(JsApply *apply, Jsonb *raw, const char *version,
						 int64 record_id, JsApplied *applied, bool *result,
						 ErrorData **error);
static bool apply_opened(JsApply *apply, JsRecord *record,
						 const char *version, JsApplied *applied);
static bool blame(JsApply *apply, ErrorData *error);
static bool settle(JsApply *apply, int64 record_id, JsApplied *applied);
static void store_unsettled(JsApply *apply, int64 record_id,
							ErrorData *error);
static void store_failure(JsApply *apply, Jsonb *raw, ErrorData *error);
static void store_waiting(JsApply *apply, JsRecord *record,
						  const char *reason);
static bool is_stale(JsApply *apply, JsLink *link, JsRecord *record);
static bool first_sight(JsApply *apply, JsRecord *record,
						JsApplied *applied);
static bool lock_row_with_id(JsApply *apply, JsRecord *record,
							 JsApplied *applied);
static bool insert_row(JsApply *apply, JsRecord *record, JsLink *link,
					   JsApplied *applied);
static bool apply_missing_row(JsApply *apply, JsRecord *record,
							  JsApplied *applied);
static bool pms_edited(JsApply *apply, JsRecord *record, JsLink *link);
static bool restore_row(JsApply *apply, JsApplied *applied);
static void mark_row(JsEntity *entity, JsRow *row, bool deleted);
static Jsonb *row_state(JsEntity *entity, JsRow *row);
static bool apply_delete(JsApply *apply, JsRecord *record, JsLink *link);
static void check_policy(JsApply *apply);
static void audit_record(JsApply *apply, JsLink *link, const char *operation,
						 const char *resolution, Jsonb *before, Jsonb *after);

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
	static JsStatement errors = {
		"SELECT EXISTS (SELECT FROM jacksync.sync_error WHERE entity = $1"
		" AND state IN ('waiting', 'retry', 'dead'))",
		{TEXTOID}
	};
	JsArgs		args = {0};
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

	js_arg_text(&args, entity);
	js_run(&errors, &args);
	apply->open_errors = js_get_bool(0, 1);
	if (stream != NULL)
		apply->pending_deletes = js_deletes_any(stream->stream_id);
	if (stream != NULL && stream->push != NULL)
		apply->open_creates = js_push_creating(stream->stream_id);
	if (js_fold(apply->entity, js_apply_stream_id(apply)) > 0)
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
	subject.run_id = apply->run_id;
	subject.record_id = link->record_id;
	subject.local_id = link->local_id;
	subject.external_id = link->external_id;
	return subject;
}

/*
 * Apply a page: a list of Jsonb.  Records that fail are stored; the rest of
 * the page goes on.  Cancellation, and in a session serialization failures,
 * are errors of the page.
 */
void
js_apply_page(JsApply *apply, List *records)
{
	JsCounts	before = apply->counts;
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext record_context;
	ErrorData  *error = NULL;
	ListCell   *cell;
	JsHeapPage	page;
	bool		done = false;

	record_context = AllocSetContextCreate(mcxt, "jacksync record",
										   ALLOCSET_DEFAULT_SIZES);
	learn_fields(apply, records);

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	js_heap_page_begin(&page);
	PG_TRY();
	{
		foreach(cell, records)
		{
			JsApplied	applied = {0};

			CHECK_FOR_INTERRUPTS();
			MemoryContextSwitchTo(record_context);
			if (apply->reader != NULL)
				(void) apply_opened(apply,
									js_tree_open(apply->reader, apply->entity,
												 lfirst(cell)),
									NULL, &applied);
			else
				(void) js_apply_record(apply, lfirst(cell), NULL, &applied);
			MemoryContextReset(record_context);
		}
		MemoryContextSwitchTo(mcxt);
		js_heap_page_end(&page);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(mcxt);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		js_heap_page_abort(&page);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
	CurrentResourceOwner = owner;
	if (done)
		return;
	if (js_must_rethrow(error->sqlerrcode, apply->rethrow))
		ReThrowError(error);

	apply->counts = before;
	apply->previews = NIL;
	foreach(cell, records)
	{
		JsApplied	applied = {0};

		CHECK_FOR_INTERRUPTS();
		(void) js_apply_guarded(apply, apply->reader ?
								js_tree_json(lfirst(cell)) : lfirst(cell),
								NULL, &applied);
	}
}

/*
 * Apply a page of plain records that is given as text: a JSON array.  Of
 * records that came before as they are now, not even values are made.
 */
void
js_apply_text(JsApply *apply, const char *page, size_t len)
{
	JsJsonError error;
	JsJson	   *root;
	List	   *records = NIL;
	bool		trees = GetDatabaseEncoding() == PG_UTF8 && apply->plain &&
		js_rowheap_obstacle(apply->entity) == NULL;

	if (!js_tree_page(page, len, &root, &error))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("page is not valid JSON: %s at byte %zu",
						error.message, error.offset)));
	if (root->type != JS_JSON_ARRAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("records must be a JSON array"),
				 errhint("Put a single record into brackets: [{...}].")));
	/* a value that jsonb refuses is an error of the page, as in apply() */
	if (js_json_is_bad(root))
		trees = false;
	for (int i = 0; i < root->n; i++)
		records = lappend(records, trees ? (void *) root->items[i] :
						  (void *) js_tree_json(root->items[i]));
	if (trees)
		apply->reader = palloc0(sizeof(JsTreeReader));
	js_apply_page(apply, records);
	apply->reader = NULL;
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

/* Make fields of members that columns are there for. */
static void
learn_fields(JsApply *apply, List *records)
{
	bool		learned = false;
	void	   *last = NULL;
	ListCell   *cell;

	foreach(cell, records)
	{
		void	   *record = lfirst(cell);
		void	   *before = last;

		last = record;
		if (before != NULL && (apply->reader ?
							   js_tree_same_keys(before, record) :
							   js_record_same_keys(before, record)))
			continue;
		if (js_record_learn(apply->entity, apply->stream, apply->reader ?
							js_tree_json(record) : record))
			learned = true;
	}
	if (learned)
	{
		apply->entity = js_entity_by_name(apply->entity_name, false);
		js_entity_check(apply->entity);
	}
}

/*
 * Apply one record in a subtransaction of its own; if it fails, store it.
 * Returns false if it was stored for a later try.  Errors: those that are not
 * the record's fault.
 */
bool
js_apply_guarded(JsApply *apply, Jsonb *raw, const char *version,
				 JsApplied *applied)
{
	ErrorData  *error;
	bool		result;

	if (attempt(apply, raw, version, 0, applied, &result, &error))
		return result;
	store_failure(apply, raw, error);
	return false;
}

/*
 * Apply a record, or settle one (raw is NULL), in a subtransaction.  Where the
 * mixture of both sides breaks a constraint it is done again with the fields
 * of the constraint held.  Returns false if it failed; result is what
 * js_apply_record() or js_apply_settle() returned.
 */
static bool
attempt(JsApply *apply, Jsonb *raw, const char *version, int64 record_id,
		JsApplied *applied, bool *result, ErrorData **error)
{
	JsCounts	before = apply->counts;
	int			previews = list_length(apply->previews);
	bool		success;

	for (;;)
	{
		success = attempt_once(apply, raw, version, record_id, applied,
							   result, error);
		if (success)
			break;
		if (js_must_rethrow((*error)->sqlerrcode, apply->rethrow))
			ReThrowError(*error);
		apply->counts = before;
		apply->previews = list_truncate(apply->previews, previews);
		if (!blame(apply, *error))
			break;
	}
	apply->suspects = NULL;
	apply->constraint = NULL;
	return success;
}

/* One try of it. */
static bool
attempt_once(JsApply *apply, Jsonb *raw, const char *version, int64 record_id,
			 JsApplied *applied, bool *result, ErrorData **error)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool success = false;

	memset(applied, 0, sizeof(JsApplied));
	js_watchdog(true);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	PG_TRY();
	{
		*result = raw != NULL ?
			js_apply_record(apply, raw, version, applied) :
			settle(apply, record_id, applied);
		ReleaseCurrentSubTransaction();
		success = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(mcxt);
		*error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
	CurrentResourceOwner = owner;
	return success;
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

	link.external_id = js_record_id(apply->stream, apply->plain, raw);
	subject = js_apply_subject(apply, &link);
	failure.direction = "pull";
	failure.sqlstate = unpack_sql_state(error->sqlerrcode);
	failure.error = error->message;
	failure.payload = raw;
	failure.tick = apply->tick;
	failure.dead = link.external_id == NULL;
	js_failure_record(&subject, &failure);
	apply->open_errors = true;
	apply->counts.processed++;
	apply->counts.errors++;

	if (link.external_id == NULL)
		return;
	js_arg(&args, Int32GetDatum(apply->entity->entity_id));
	js_arg_text(&args, link.external_id);
	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	js_run(&mark, &args);
}

/* Store a record that cannot be applied now, though nothing is wrong. */
static void
store_waiting(JsApply *apply, JsRecord *record, const char *reason)
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
	failure.tick = apply->tick;
	js_failure_record(&subject, &failure);
	apply->open_errors = true;
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
	return apply_opened(apply, js_record_open(apply->entity, apply->stream,
											  apply->plain, raw),
						version, applied);
}

/* The same for a record that is only opened. */
static bool
apply_opened(JsApply *apply, JsRecord *record, const char *version,
			 JsApplied *applied)
{
	JsEntity   *entity = apply->entity;
	JsLink	   *link;
	JsSubject	subject;

	apply->counts.processed++;
	if (version != NULL || apply->look_closely || apply->previewing)
		link = js_link_by_external(entity->entity_id,
								   js_apply_stream_id(apply),
								   record->external_id);
	else if (js_link_gate(entity->entity_id, js_apply_stream_id(apply),
						  record->external_id, (int64) record->hash, &link))
	{
		apply->counts.unchanged++;
		return true;
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
		store_waiting(apply, record, "another session works on the record");
		return false;
	}
	if (link->intent_id != 0)
	{
		/* R1: else our own push would come back as somebody's change */
		store_waiting(apply, record, "a push of the record is open");
		return false;
	}
	if (is_stale(apply, link, record))
	{
		apply->counts.unchanged++;
		return true;
	}
	if (record->deleted)
		return apply_delete(apply, record, link);
	if (apply->pending_deletes)
		js_deletes_forget(apply, record->external_id);

	if (link->local_id != NULL)
	{
		JsSecurity	security;
		JsRowState	state;

		js_owner_begin(&security, entity->owner);
		state = js_row_lock(entity, link->local_id, apply->skip_locked,
							&applied->row);
		js_owner_end(&security);
		if (state == JS_ROW_LOCKED)
		{
			store_waiting(apply, record, "another session holds the row");
			return false;
		}
		applied->row_found = state == JS_ROW_FOUND;
	}
	if (!applied->row_found)
		return apply_missing_row(apply, record, applied);

	if (link->state == JS_TOMBSTONE && entity->deleted != NULL)
		mark_row(entity, &applied->row, false);
	link->state = JS_LINKED;
	js_facts_apply(apply, record, applied);
	JS_FAULT("cp05");
	if (link->failed || apply->open_errors)
	{
		subject = js_apply_subject(apply, link);
		js_failure_resolved(&subject, "pull");
	}
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
		js_link_update(link);
		return true;
	}
	if (!record->time_known || !link->pms_time_known)
		return false;
	/* what we deleted ourselves may be listed for a while */
	if (link->state == JS_TOMBSTONE && !record->deleted &&
		record->time == link->pms_updated_at)
		return true;
	if (record->time > link->pms_updated_at)
		apply->advanced++;
	if (record->time >= link->pms_updated_at ||
		link->pms_updated_at > GetCurrentTimestamp() + USECS_PER_MINUTE +
		(apply->stream ? apply->stream->skew : 0))
		return false;
	apply->regressed++;
	return true;
}

/* A record without a link: adopt the row that has its id, or insert one. */
static bool
first_sight(JsApply *apply, JsRecord *record, JsApplied *applied)
{
	JsEntity   *entity = apply->entity;
	JsLink	   *link;

	if (record->deleted)
	{
		apply->counts.unchanged++;
		return true;
	}
	if (!lock_row_with_id(apply, record, applied))
		return false;
	if (!applied->row_found && apply->open_creates && !apply->previewing)
	{
		/* perhaps it is ours: a row for it would be a second one */
		if (js_push_adopt(apply, record))
			return true;
		store_waiting(apply, record, "a new record is being created at the PMS");
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
			store_waiting(apply, record, "a push of the record is open");
			return false;
		}
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
		return insert_row(apply, record, link, applied);
	link->local_id = applied->row.local_id;
	js_facts_apply(apply, record, applied);
	return true;
}

/*
 * Lock the row that has the id of a record, if there is one.  Returns false if
 * somebody else holds it; the record is stored then.
 */
static bool
lock_row_with_id(JsApply *apply, JsRecord *record, JsApplied *applied)
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
		store_waiting(apply, record, "another session holds the row");
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
static bool
insert_row(JsApply *apply, JsRecord *record, JsLink *link, JsApplied *applied)
{
	JsEntity   *entity = apply->entity;
	bool	   *write = palloc0(sizeof(bool) * Max(entity->nfields, 1));
	JsValue    *values = palloc0(sizeof(JsValue) * Max(entity->nfields, 1));
	JsSecurity	security;
	bool		inserted;

	js_owner_begin(&security, entity->owner);
	for (int i = 0; i < entity->nfields; i++)
	{
		Jsonb	   *json = js_record_field(record, i);

		if (json == NULL)
			continue;
		values[i] = js_value_from_json(&entity->fields[i].column, json);
		write[i] = true;
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
	if (apply->open_errors)
	{
		JsSubject	subject = js_apply_subject(apply, link);

		js_failure_resolved(&subject, "pull");
	}
	return true;
}

/*
 * The row of a record is gone: somebody deleted it here.  By policy it comes
 * back, or stays away (with the delete still to be told to the PMS, or not).
 * A record that the PMS has changed meanwhile is not deleted there: the edit
 * wins, and the row comes back.
 */
static bool
apply_missing_row(JsApply *apply, JsRecord *record, JsApplied *applied)
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

		if (!lock_row_with_id(apply, record, applied))
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
		insert_row(apply, record, link, applied);
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
static bool
restore_row(JsApply *apply, JsApplied *applied)
{
	JsEntity   *entity = apply->entity;
	JsLink	   *link = applied->link;
	JsRecord	record = {0};

	record.external_id = link->external_id;
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
	link->dirty = link->waiting = false;
	insert_row(apply, &record, link, applied);
	audit_record(apply, link, "sync", "pms", NULL, link->snapshot);
	return true;
}

/* Mark a row as deleted at the PMS, or as there again. */
static void
mark_row(JsEntity *entity, JsRow *row, bool deleted)
{
	JsSecurity	security;

	js_owner_begin(&security, entity->owner);
	js_row_mark(entity, row, deleted);
	js_owner_end(&security);
}

/* What a row held when it went, for the audit. */
static Jsonb *
row_state(JsEntity *entity, JsRow *row)
{
	JsonbParseState *state = js_object_begin();
	JsSecurity	security;

	js_owner_begin(&security, entity->owner);
	for (int i = 0; i < entity->nfields; i++)
		js_object_put(&state, entity->fields[i].name,
					  js_value_to_json(&entity->fields[i].column,
									   row->values[i]));
	js_owner_end(&security);
	return js_object_end(state);
}

/* The PMS says that a record is deleted. */
static bool
apply_delete(JsApply *apply, JsRecord *record, JsLink *link)
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
			before = row_state(entity, &row);
			if (marks)
				mark_row(entity, &row, true);
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
				store_waiting(apply, record, "another session holds the row");
			return false;
		}
	}
	if (link->conflict)
	{
		JsSubject	subject = js_apply_subject(apply, link);

		js_conflict_release(&subject, NULL);
	}
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
	return apply_delete(apply, &record, link);
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

/*
 * Decide a record whose row was changed here, with the PMS as it was last
 * seen: undo what is to be undone, find what is to be pushed.  Returns false
 * if the record or its row is held by somebody else, or if it failed, which
 * is stored.
 */
bool
js_apply_settle(JsApply *apply, int64 record_id, JsApplied *applied)
{
	ErrorData  *error;
	bool		result;

	if (attempt(apply, NULL, NULL, record_id, applied, &result, &error))
		return result;
	store_unsettled(apply, record_id, error);
	return false;
}

/* A record whose local changes could not be decided is tried later. */
static void
store_unsettled(JsApply *apply, int64 record_id, ErrorData *error)
{
	static JsStatement postpone = {
		"UPDATE jacksync.link l SET failed = true,"
		" push_failures = push_failures + 1, dirty = e.state <> 'dead',"
		" next_push_at = e.next_attempt_at"
		" FROM jacksync.sync_error e WHERE l.record_id = $1"
		" AND e.entity = $2 AND e.server IS NOT DISTINCT FROM $3"
		" AND e.local_id = l.local_id AND e.direction = 'push'"
		" AND e.state IN ('retry', 'dead')",
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
	failure.sqlstate = unpack_sql_state(error->sqlerrcode);
	failure.error = error->message;
	js_failure_record(&subject, &failure);
	apply->counts.errors++;
	js_arg(&args, Int64GetDatum(record_id));
	js_arg_text(&args, subject.entity);
	js_arg_name(&args, subject.server);
	js_run(&postpone, &args);
}

/* The work of js_apply_settle(). */
static bool
settle(JsApply *apply, int64 record_id, JsApplied *applied)
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
		return restore_row(apply, applied);
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
