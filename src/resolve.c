/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  A person decides: conflicts that were held, and undo.
 *
 * Both come to the same: some fields of one record get a value here, the base
 * moves so that what the PMS must learn of is a local change that waits, and
 * everything is audited under the person's name.  All fields are written in
 * one statement, because a constraint may bind them together.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "apply.h"
#include "compat.h"
#include "equal.h"
#include "jacksync.h"
#include "jsonb.h"
#include "secure.h"
#include "statement.h"
#include "wake.h"

JS_FUNCTION(jacksync_resolve_conflict);
JS_FUNCTION(jacksync_undo);

/* One open conflict. */
typedef struct Conflict
{
	int64		conflict_id;
	int64		record_id;
	char	   *entity;
	char	   *server;
	char	   *field;
	char	   *group;
	char	   *status;
	Jsonb	   *base;
	Jsonb	   *local;
	Jsonb	   *pms;
} Conflict;

/* What a person wants of one field. */
typedef struct Verdict
{
	char	   *field_name;
	JsField    *field;
	Jsonb	   *value;			/* NULL: the row keeps its own */
	Jsonb	   *base;			/* NULL: as it is */
	bool		pms;			/* the value is the PMS's */
	Jsonb	   *before;
	Jsonb	   *after;
} Verdict;

/* The record that it is about. */
typedef struct Subject
{
	JsApply		apply;
	JsLink	   *link;
	JsRow		row;
} Subject;

static Conflict *read_conflict(int64 conflict_id);
static List *conflicts_of_group(Conflict *conflict);
static void resolve(List *conflicts, const char *resolution, Jsonb *custom,
					const char *person);
static void close_conflict(Conflict *conflict, const char *resolution,
						   Jsonb *custom, const char *person);
static void open_record(Subject *subject, const char *entity,
						const char *server, int64 record_id,
						const char *what);
static void carry_out(Subject *subject, Verdict *verdicts, int n);
static void write_fields(Subject *subject, Verdict *verdicts, int n);
static void move_bases(Subject *subject, Verdict *verdicts, int n);
static Verdict *verdict_on(Verdict *verdicts, int n, JsField *field);
static bool is_ours_to_keep(JsField *field);
static void undo(int64 audit_id, const char *person);
static void undo_field(Subject *subject, int64 audit_id, Verdict *verdict,
					   const char *person);
static int64 record_of(const char *entity, const char *server,
					   const char *local_id, const char *external_id);

/*
 * resolve_conflict(conflict_id bigint, resolution text, custom_value jsonb)
 */
Datum
jacksync_resolve_conflict(PG_FUNCTION_ARGS)
{
	int64		conflict_id;
	char	   *resolution;
	Jsonb	   *custom = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	Conflict   *conflict;
	List	   *conflicts;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("conflict_id and resolution must not be null")));
	conflict_id = PG_GETARG_INT64(0);
	resolution = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (strcmp(resolution, "local") != 0 && strcmp(resolution, "pms") != 0 &&
		strcmp(resolution, "custom") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid resolution \"%s\"", resolution),
				 errhint("Valid resolutions are \"local\", \"pms\" and \"custom\".")));
	if ((strcmp(resolution, "custom") == 0) != (custom != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 custom ?
				 errmsg("a custom value is for the resolution \"custom\" only") :
				 errmsg("resolution \"custom\" needs a custom value"),
				 errhint("SELECT jacksync.resolve_conflict(%lld, 'custom', '\"value\"');",
						 (long long) conflict_id)));

	SPI_connect();
	conflict = read_conflict(conflict_id);
	if (strcmp(conflict->status, "pending") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFLICT_STATE),
				 errmsg("conflict %lld is resolved already",
						(long long) conflict_id),
				 errhint("The decision is in jacksync.audit_log.")));
	/* one side wins all of a group; a value of one's own is for one field */
	conflicts = custom == NULL && conflict->group != NULL ?
		conflicts_of_group(conflict) : list_make1(conflict);
	resolve(conflicts, resolution, custom,
			GetUserNameFromId(GetUserId(), false));
	SPI_finish();
	js_wake_schedule();
	PG_RETURN_VOID();
}

/* Read and lock a conflict; an unknown one is an error. */
static Conflict *
read_conflict(int64 conflict_id)
{
	static JsStatement statement = {
		"SELECT conflict_id, record_id, entity, server, field, field_group,"
		" status, base_value, local_value, pms_value"
		" FROM jacksync.manual_conflict WHERE conflict_id = $1 FOR UPDATE",
		{INT8OID}
	};
	Conflict   *conflict = palloc0(sizeof(Conflict));
	JsSecurity	security;
	JsArgs		args = {0};

	js_internal_begin(&security);
	js_arg(&args, Int64GetDatum(conflict_id));
	if (js_run(&statement, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("conflict %lld does not exist",
						(long long) conflict_id),
				 errhint("SELECT * FROM jacksync.open_conflict lists the open conflicts.")));
	conflict->conflict_id = js_get_int8(0, 1);
	conflict->record_id = js_get_int8(0, 2);
	conflict->entity = js_get_text(0, 3);
	conflict->server = js_get_text(0, 4);
	conflict->field = js_get_text(0, 5);
	conflict->group = js_get_text(0, 6);
	conflict->status = js_get_text(0, 7);
	conflict->base = js_get_jsonb(0, 8);
	conflict->local = js_get_jsonb(0, 9);
	conflict->pms = js_get_jsonb(0, 10);
	js_internal_end(&security);
	return conflict;
}

/* All open conflicts of the group of one. */
static List *
conflicts_of_group(Conflict *conflict)
{
	static JsStatement statement = {
		"SELECT pg_catalog.array_agg(conflict_id ORDER BY conflict_id)::text"
		" FROM jacksync.manual_conflict"
		" WHERE record_id = $1 AND field_group = $2 AND status = 'pending'",
		{INT8OID, TEXTOID}
	};
	List	   *result = NIL;
	JsSecurity	security;
	JsArgs		args = {0};
	char	   *ids;

	js_internal_begin(&security);
	js_arg(&args, Int64GetDatum(conflict->record_id));
	js_arg_text(&args, conflict->group);
	js_run(&statement, &args);
	ids = js_get_text(0, 1);
	js_internal_end(&security);
	/* {1,2,3} */
	for (char *p = strtok(ids, "{,}"); p != NULL; p = strtok(NULL, "{,}"))
		result = lappend(result, read_conflict(strtoll(p, NULL, 10)));
	return result;
}

/* Decide conflicts of one record alike. */
static void
resolve(List *conflicts, const char *resolution, Jsonb *custom,
		const char *person)
{
	Conflict   *first = linitial(conflicts);
	int			n = list_length(conflicts);
	Verdict    *verdicts = palloc0(sizeof(Verdict) * n);
	Subject		subject = {0};

	open_record(&subject, first->entity, first->server, first->record_id,
				psprintf("conflict %lld", (long long) first->conflict_id));
	for (int i = 0; i < n; i++)
	{
		Conflict   *conflict = list_nth(conflicts, i);

		verdicts[i].field_name = conflict->field;
		verdicts[i].base = conflict->pms;
		verdicts[i].pms = strcmp(resolution, "pms") == 0;
		verdicts[i].value = verdicts[i].pms ? conflict->pms : custom;
		close_conflict(conflict, resolution, custom, person);
	}
	carry_out(&subject, verdicts, n);
	for (int i = 0; i < n; i++)
	{
		Conflict   *conflict = list_nth(conflicts, i);
		JsSubject	about = js_apply_subject(&subject.apply, subject.link);
		JsAudit		audit = {0};

		audit.operation = "conflict_resolution";
		audit.field = conflict->field;
		audit.before = verdicts[i].before;
		audit.after = verdicts[i].after;
		audit.base = conflict->base;
		audit.local = verdicts[i].before;
		audit.pms = conflict->pms;
		audit.resolution = resolution;
		audit.strategy = js_strategy_name(verdicts[i].field->strategy);
		audit.reason = "decided_by_a_person";
		audit.resolved_by = person;
		js_audit(&about, &audit);
	}
	js_apply_end(&subject.apply);
}

/* Write the decision into the conflict. */
static void
close_conflict(Conflict *conflict, const char *resolution, Jsonb *custom,
			   const char *person)
{
	static JsStatement statement = {
		"WITH c AS (UPDATE jacksync.manual_conflict SET status = 'resolved',"
		" resolution = $2, custom_value = $3, resolved_by = $4,"
		" resolved_at = pg_catalog.clock_timestamp()"
		" WHERE conflict_id = $1 RETURNING conflict_id)"
		" SELECT jacksync.alert_conflict_closed(conflict_id) FROM c",
		{INT8OID, TEXTOID, JSONBOID, TEXTOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int64GetDatum(conflict->conflict_id));
	js_arg_text(&args, resolution);
	js_arg_jsonb(&args, custom);
	js_arg_text(&args, person);
	js_run(&statement, &args);
}

/*
 * Lock a record and its row.  what is for the error: the thing that cannot be
 * done if they are gone.
 */
static void
open_record(Subject *subject, const char *entity, const char *server,
			int64 record_id, const char *what)
{
	JsApply    *apply = &subject->apply;
	JsSecurity	security;
	JsRowState	state;

	js_apply_begin(apply, entity, NULL, true);
	if (server != NULL)
		apply->stream = js_stream_find(entity, server);
	subject->link = js_link_lock(record_id, false);
	if (subject->link == NULL || subject->link->local_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFLICT_STATE),
				 errmsg("the record of %s is not synchronized any more",
						what)));
	if (subject->link->intent_id != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the record of %s is being sent to the PMS", what),
				 errhint("Try again in a moment.")));

	js_owner_begin(&security, apply->entity->owner);
	state = js_row_lock(apply->entity, subject->link->local_id, false,
						&subject->row);
	js_owner_end(&security);
	if (state != JS_ROW_FOUND)
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFLICT_STATE),
				 errmsg("row %s of \"%s\" does not exist any more",
						subject->link->local_id, entity)));
}

/* Carry verdicts on fields of one record out. */
static void
carry_out(Subject *subject, Verdict *verdicts, int n)
{
	JsLink	   *link = subject->link;
	int			still_held;

	for (int i = 0; i < n; i++)
	{
		verdicts[i].field = js_entity_field(subject->apply.entity,
											verdicts[i].field_name);
		if (verdicts[i].field == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_JS_CONFLICT_STATE),
					 errmsg("field \"%s\" of \"%s\" is not synchronized any more",
							verdicts[i].field_name,
							subject->apply.entity->name)));
		if (!verdicts[i].pms &&
			(verdicts[i].field->push ||
			 is_ours_to_keep(verdicts[i].field)))
			link->waiting = true;
	}
	write_fields(subject, verdicts, n);
	move_bases(subject, verdicts, n);
	(void) js_conflict_fields(link->record_id, &still_held);
	link->conflict = still_held > 0;
	link->dirty = true;
	link->hash_known = false;
	link->local_updated_at = GetCurrentTimestamp();
	link->local_time_known = true;
	js_link_update(link);
}

/* Write the row; a value that does not fit its column is an error here. */
static void
write_fields(Subject *subject, Verdict *verdicts, int n)
{
	JsEntity   *entity = subject->apply.entity;
	bool	   *write = palloc0(sizeof(bool) * entity->nfields);
	JsValue    *values = palloc0(sizeof(JsValue) * entity->nfields);
	bool		any = false;
	JsSecurity	security;

	js_owner_begin(&security, entity->owner);
	for (int i = 0; i < n; i++)
	{
		JsField    *field = verdicts[i].field;
		int			position = field - entity->fields;

		verdicts[i].before = js_value_to_json(&field->column,
											  subject->row.values[position]);
		if (verdicts[i].value == NULL)
			continue;
		values[position] = js_value_from_json(&field->column,
											  verdicts[i].value);
		write[position] = any = true;
	}
	if (any && !js_row_update(entity, &subject->row, write, values, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFLICT_STATE),
				 errmsg("a trigger of the table of \"%s\" suppressed the update of row %s",
						entity->name, subject->row.local_id)));
	for (int i = 0; i < n; i++)
		verdicts[i].after =
			js_value_to_json(&verdicts[i].field->column,
							 subject->row.values[verdicts[i].field - entity->fields]);
	js_owner_end(&security);
}

/*
 * Move the bases.  What the PMS has is its base.  A value of ours is a local
 * change against it, which waits to be pushed; but where the rule would undo
 * or merge it again, it stands as what the row held at the last sync, and is
 * marked to be pushed all the same.
 */
static void
move_bases(Subject *subject, Verdict *verdicts, int n)
{
	JsEntity   *entity = subject->apply.entity;
	JsLink	   *link = subject->link;
	JsonbParseState *snapshot = js_object_begin();
	JsonbParseState *local_base = js_object_begin();
	JsonbParseState *decided = js_object_begin();
	JsonbParseState *times = js_object_begin();

	for (int i = 0; i < entity->nfields; i++)
	{
		JsField    *field = &entity->fields[i];
		Verdict    *verdict = verdict_on(verdicts, n, field);
		Jsonb	   *base = js_jsonb_member(link->snapshot, field->name);
		Jsonb	   *local = js_jsonb_member(link->local_base, field->name);
		Jsonb	   *time = js_jsonb_member(link->local_times, field->name);
		bool		chosen = js_jsonb_member(link->decided, field->name) != NULL;

		if (verdict != NULL)
		{
			if (verdict->base != NULL)
				base = verdict->base;
			chosen = !verdict->pms && is_ours_to_keep(field);
			local = verdict->pms || chosen ? verdict->after : NULL;
			chosen = chosen &&
				js_stream_pushes(subject->apply.stream, field->name);
			time = verdict->pms ? NULL :
				js_jsonb_int8(GetCurrentTimestamp());
		}
		if (base != NULL)
			js_object_put(&snapshot, field->name, base);
		if (local != NULL)
			js_object_put(&local_base, field->name, local);
		if (chosen)
			js_object_put(&decided, field->name, js_jsonb_null());
		if (time != NULL)
			js_object_put(&times, field->name, time);
	}
	link->snapshot = js_object_end(snapshot);
	link->local_base = js_object_end(local_base);
	link->decided = js_object_end(decided);
	link->local_times = js_object_end(times);
}

/* The verdict on a field, or NULL. */
static Verdict *
verdict_on(Verdict *verdicts, int n, JsField *field)
{
	for (int i = 0; i < n; i++)
		if (verdicts[i].field == field)
			return &verdicts[i];
	return NULL;
}

/* Would the rule of a field take back what a person chose for this side? */
static bool
is_ours_to_keep(JsField *field)
{
	return field->strategy == JS_PMS_WINS || field->strategy == JS_MERGE;
}

/*
 * undo(audit_id bigint): puts back the value that lost.
 */
Datum
jacksync_undo(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("audit_id must not be null")));
	SPI_connect();
	undo(PG_GETARG_INT64(0), GetUserNameFromId(GetUserId(), false));
	SPI_finish();
	js_wake_schedule();
	PG_RETURN_VOID();
}

/* Find out what lost, and where. */
static void
undo(int64 audit_id, const char *person)
{
	static JsStatement statement = {
		"SELECT entity, server, local_id, external_id, field,"
		" before_state -> field, conflict_details ->> 'resolution',"
		" conflict_details -> 'pmsValue' FROM jacksync.audit_log"
		" WHERE audit_id = $1",
		{INT8OID}
	};
	Subject		subject = {0};
	Verdict		verdict = {0};
	JsSecurity	security;
	JsArgs		args = {0};
	char	   *entity;
	char	   *server;
	char	   *resolution;
	int64		record_id;

	js_internal_begin(&security);
	js_arg(&args, Int64GetDatum(audit_id));
	if (js_run(&statement, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("audit entry %lld does not exist",
						(long long) audit_id),
				 errhint("SELECT audit_id, entity, external_id, field FROM jacksync.audit_log lists the entries.")));
	entity = js_get_text(0, 1);
	server = js_get_text(0, 2);
	verdict.field_name = js_get_text(0, 5);
	resolution = js_get_text(0, 7);
	/* where our value won, the PMS's lost; else what the row had before */
	verdict.value = resolution != NULL && strcmp(resolution, "local") == 0 ?
		js_get_jsonb(0, 8) : js_get_jsonb(0, 6);
	if (verdict.field_name == NULL || resolution == NULL ||
		verdict.value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFLICT_STATE),
				 errmsg("audit entry %lld is no decision about a field",
						(long long) audit_id),
				 errhint("Only entries with a field and conflict_details can be undone.")));
	record_id = record_of(entity, server, js_get_text(0, 3),
						  js_get_text(0, 4));
	js_internal_end(&security);

	open_record(&subject, entity, server, record_id,
				psprintf("audit entry %lld", (long long) audit_id));
	undo_field(&subject, audit_id, &verdict, person);
	js_apply_end(&subject.apply);
}

/* Put the value back. */
static void
undo_field(Subject *subject, int64 audit_id, Verdict *verdict,
		   const char *person)
{
	JsLink	   *link = subject->link;
	JsSubject	about = js_apply_subject(&subject->apply, link);
	JsField    *field = js_entity_field(subject->apply.entity,
										verdict->field_name);
	JsAudit		audit = {0};
	int			n;
	char	  **held = js_conflict_fields(link->record_id, &n);

	for (int i = 0; i < n; i++)
		if (strcmp(held[i], verdict->field_name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_JS_CONFLICT_STATE),
					 errmsg("field \"%s\" is held in an open conflict",
							verdict->field_name),
					 errhint("Decide it with jacksync.resolve_conflict().")));
	audit.base = js_jsonb_member(link->snapshot, verdict->field_name);
	/* putting the PMS's own value back is no change that it must learn of */
	if (field != NULL && audit.base != NULL)
	{
		JsSecurity	security;

		js_owner_begin(&security, subject->apply.entity->owner);
		verdict->pms = js_value_equal(&field->column,
									  js_value_from_json(&field->column, audit.base),
									  js_value_from_json(&field->column, verdict->value));
		js_owner_end(&security);
	}
	carry_out(subject, verdict, 1);
	if (js_jsonb_same(verdict->before, verdict->after))
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFLICT_STATE),
				 errmsg("the row holds the value already that audit entry %lld would put back",
						(long long) audit_id)));

	audit.operation = "manual_override";
	audit.field = verdict->field_name;
	audit.before = verdict->before;
	audit.after = verdict->after;
	audit.local = verdict->before;
	audit.pms = audit.base;
	audit.resolution = "undo";
	audit.strategy = js_strategy_name(verdict->field->strategy);
	audit.reason = psprintf("undo of %lld", (long long) audit_id);
	audit.resolved_by = person;
	js_audit(&about, &audit);
}

/* The record that an audit entry is about; 0 if it is gone. */
static int64
record_of(const char *entity, const char *server, const char *local_id,
		  const char *external_id)
{
	static JsStatement statement = {
		"SELECT l.record_id FROM jacksync.link l"
		" JOIN jacksync.entity e ON e.entity_id = l.entity_id"
		" LEFT JOIN jacksync.stream s ON s.stream_id = l.stream_id"
		" WHERE e.entity = $1 AND CASE WHEN $4 IS NOT NULL"
		" THEN l.external_id = $4 AND ($2 IS NULL OR s.server = $2)"
		" ELSE l.local_id = $3 END",
		{TEXTOID, NAMEOID, TEXTOID, TEXTOID}
	};
	JsArgs		args = {0};

	js_arg_text(&args, entity);
	js_arg_name(&args, server);
	js_arg_text(&args, local_id);
	js_arg_text(&args, external_id);
	return js_run(&statement, &args) > 0 ? js_get_int8(0, 1) : 0;
}
