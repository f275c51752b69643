/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  A person decides a conflict that was held.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "apply.h"
#include "compat.h"
#include "jacksync.h"
#include "secure.h"
#include "statement.h"
#include "wake.h"

JS_FUNCTION(jacksync_resolve_conflict);

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

static Conflict *read_conflict(int64 conflict_id);
static List *conflicts_of_group(Conflict *conflict);
static void decide(Conflict *conflict, const char *resolution, Jsonb *custom,
				   const char *person);
static void move_bases(JsEntity *entity, JsLink *link, JsField *field,
					   Jsonb *pms, Jsonb *synced);
static void close_conflict(Conflict *conflict, const char *resolution,
						   Jsonb *custom, const char *person);
static void audit_decision(JsApply *apply, JsLink *link, Conflict *conflict,
						   const char *resolution, Jsonb *before,
						   Jsonb *after, const char *person);

/*
 * resolve_conflict(conflict_id bigint, resolution text, custom_value jsonb)
 */
Datum
jacksync_resolve_conflict(PG_FUNCTION_ARGS)
{
	int64		conflict_id;
	char	   *resolution;
	Jsonb	   *custom = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	char	   *person = GetUserNameFromId(GetUserId(), false);
	Conflict   *conflict;
	List	   *group;
	ListCell   *cell;

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
	decide(conflict, resolution, custom, person);
	if (custom == NULL && conflict->group != NULL)
	{
		/* one side wins all of a group */
		group = conflicts_of_group(conflict);
		foreach(cell, group)
			decide(read_conflict(*(int64 *) lfirst(cell)), resolution, NULL,
				   person);
	}
	SPI_finish();
	js_wake_at_commit();
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
				 errhint("SELECT * FROM jacksync.manual_conflict WHERE status = 'pending' lists the open conflicts.")));
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

/* The other open conflicts of a group. */
static List *
conflicts_of_group(Conflict *conflict)
{
	static JsStatement statement = {
		"SELECT conflict_id FROM jacksync.manual_conflict"
		" WHERE record_id = $1 AND field_group = $2 AND status = 'pending'"
		" ORDER BY conflict_id",
		{INT8OID, TEXTOID}
	};
	List	   *result = NIL;
	JsSecurity	security;
	JsArgs		args = {0};
	uint64		rows;

	js_internal_begin(&security);
	js_arg(&args, Int64GetDatum(conflict->record_id));
	js_arg_text(&args, conflict->group);
	rows = js_run(&statement, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		int64	   *id = palloc(sizeof(int64));

		*id = js_get_int8(row, 1);
		result = lappend(result, id);
	}
	js_internal_end(&security);
	return result;
}

/*
 * Carry a decision out: write the row if need be, and move the bases so that
 * what the PMS must learn of is a local change that waits.
 */
static void
decide(Conflict *conflict, const char *resolution, Jsonb *custom,
	   const char *person)
{
	JsApply		apply = {0};
	JsEntity   *entity;
	JsField    *field;
	JsLink	   *link;
	JsRow		row;
	JsSecurity	security;
	Jsonb	   *before;
	Jsonb	   *wanted = strcmp(resolution, "pms") == 0 ? conflict->pms : custom;
	Jsonb	   *synced;

	js_apply_begin(&apply, conflict->entity, NULL, true);
	if (conflict->server != NULL)
		apply.stream = js_stream_find(conflict->entity, conflict->server);
	entity = apply.entity;
	field = js_entity_field(entity, conflict->field);
	link = js_link_lock(conflict->record_id, false);
	if (field == NULL || link == NULL || link->local_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFLICT_STATE),
				 errmsg("the record of conflict %lld is not synchronized any more",
						(long long) conflict->conflict_id)));

	js_owner_begin(&security, entity->owner);
	if (js_row_lock(entity, link->local_id, false, &row) != JS_ROW_FOUND)
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFLICT_STATE),
				 errmsg("row %s of \"%s\" does not exist any more",
						link->local_id, entity->name)));
	before = js_value_to_json(&field->column,
							  row.values[field - entity->fields]);
	if (wanted != NULL)
	{
		bool	   *write = palloc0(sizeof(bool) * entity->nfields);
		JsValue    *values = palloc0(sizeof(JsValue) * entity->nfields);
		int			i = field - entity->fields;

		/* a value that does not fit the column is an error here */
		values[i] = js_value_from_json(&field->column, wanted);
		write[i] = true;
		js_row_update(entity, &row, write, values, NULL);
	}
	synced = js_value_to_json(&field->column,
							  row.values[field - entity->fields]);
	js_owner_end(&security);

	move_bases(entity, link, field, conflict->pms,
			   strcmp(resolution, "pms") == 0 ? synced : NULL);
	close_conflict(conflict, resolution, custom, person);
	{
		int			n;

		(void) js_conflict_fields(link->record_id, &n);
		link->conflict = n > 0;
	}
	link->dirty = true;
	link->waiting = link->waiting || (field->push &&
									  strcmp(resolution, "pms") != 0);
	link->hash_known = false;
	js_link_update(link);
	audit_decision(&apply, link, conflict, resolution, before, synced, person);
	js_apply_end(&apply);
}

/* The PMS's value is the base now; synced is what the row holds for it. */
static void
move_bases(JsEntity *entity, JsLink *link, JsField *field, Jsonb *pms,
		   Jsonb *synced)
{
	JsonbParseState *snapshot = js_object_begin();
	JsonbParseState *local_base = js_object_begin();

	for (int i = 0; i < entity->nfields; i++)
	{
		JsField    *other = &entity->fields[i];
		Jsonb	   *base = js_jsonb_member(link->snapshot, other->name);
		Jsonb	   *local = js_jsonb_member(link->local_base, other->name);

		if (other == field)
		{
			base = pms;
			local = synced;
		}
		if (base != NULL)
			js_object_put(&snapshot, other->name, base);
		if (local != NULL)
			js_object_put(&local_base, other->name, local);
	}
	link->snapshot = js_object_end(snapshot);
	link->local_base = js_object_end(local_base);
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

/* Audit a person's decision. */
static void
audit_decision(JsApply *apply, JsLink *link, Conflict *conflict,
			   const char *resolution, Jsonb *before, Jsonb *after,
			   const char *person)
{
	JsSubject	subject = js_apply_subject(apply, link);
	JsAudit		audit = {0};

	audit.operation = "conflict_resolution";
	audit.field = conflict->field;
	audit.before = before;
	audit.after = after;
	audit.base = conflict->base;
	audit.local = before;
	audit.pms = conflict->pms;
	audit.resolution = resolution;
	audit.strategy = "manual";
	audit.reason = "decided_by_a_person";
	audit.resolved_by = person;
	js_audit(&subject, &audit);
}
