/*-------------------------------------------------------------------------
 *
 * row.c
 *	  Reading and writing rows of a bound table.
 *
 * This is the general path, by SPI: it serves every kind of table, and the
 * users' triggers, constraints, rules of partitioning and generated columns
 * do their work as for any other client.  Statements are planned once per
 * set of columns and kept with the entity.  Within a page, rows of plain
 * tables take the direct path (rowheap.c), which gives the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "row.h"
#include "rowheap.h"
#include "secure.h"
#include "value.h"

/* A kept plan of one entity. */
typedef struct RowPlan
{
	char	   *sql;
	SPIPlanPtr	plan;
	struct RowPlan *next;
} RowPlan;

/* The plans of an entity; freed with it. */
typedef struct RowPlans
{
	JsEntity   *entity;			/* whose plans these are */
	RowPlan    *first;			/* in the order of their last use */
	int			count;
	MemoryContextCallback callback;
	struct RowPlans *next;
} RowPlans;

#define MAX_PLANS 64			/* per entity: some 25 kB each */

static RowPlans *all_plans = NULL;

/* The write that is under way, for the capture trigger. */
static Oid	writing_relid = InvalidOid;
static int	writing_depth = 0;

static RowPlans *plans_of(JsEntity *entity);
static void forget_plans(void *arg);
static void free_plans(RowPlans *plans);
static RowPlan *find_plan(RowPlans *plans, const char *sql);
static SPIPlanPtr get_plan(JsEntity *entity, const char *sql, int nargs,
						   Oid *types);
static const char *table_name(JsEntity *entity, bool only);
static void append_columns(StringInfo sql, JsEntity *entity);
static void append_key_condition(StringInfo sql, JsEntity *entity,
								 int first_arg);
static void read_row(JsEntity *entity, JsRow *row);
static JsRowState lock_key(JsEntity *entity, const char *local_id,
						   ItemPointer hint, bool skip_locked, bool unlocked,
						   JsRow *row);
static JsRowState lock_where(JsEntity *entity, const char *condition,
							 int nargs, JsColumn **columns, JsValue *args,
							 bool lock, bool skip_locked, JsRow *row);
static void execute(JsEntity *entity, const char *sql, int nargs,
					JsColumn **columns, JsValue *args);
static void execute_write(JsEntity *entity, const char *sql, int nargs,
						  JsColumn **columns, JsValue *args);
static bool update_directly(JsEntity *entity, JsRow *row, const bool *write,
							const JsValue *values, const char *external_id);
static bool insert_directly(JsEntity *entity, const char *external_id,
							const char *property, const bool *write,
							const JsValue *values, JsRow *row);
static void begin_write(JsEntity *entity);
static int	trigger_depth(void);

/*
 * Lock a row by its primary key, so that nobody changes it before the end of
 * the transaction (FOR NO KEY UPDATE: foreign keys to it are not disturbed).
 */
JsRowState
js_row_lock(JsEntity *entity, const char *local_id, bool skip_locked,
			JsRow *row)
{
	return lock_key(entity, local_id, NULL, skip_locked, false, row);
}

/*
 * The same for who can do with an error should somebody change the row before
 * it is written: one that nobody touches may then stay without a lock.  hint
 * is where it was last.
 */
JsRowState
js_row_take(JsEntity *entity, const char *local_id, ItemPointer hint,
			bool skip_locked, JsRow *row)
{
	return lock_key(entity, local_id, hint, skip_locked, true, row);
}

/* Lock a row by its primary key, perhaps only if that is needed. */
static JsRowState
lock_key(JsEntity *entity, const char *local_id, ItemPointer hint,
		 bool skip_locked, bool unlocked, JsRow *row)
{
	StringInfoData condition;
	JsColumn  **columns;

	if (js_rowheap_usable(entity))
		return js_rowheap_lock(entity, local_id, hint, skip_locked, unlocked,
							   row);
	columns = palloc(sizeof(JsColumn *) * entity->nkeys);
	initStringInfo(&condition);
	append_key_condition(&condition, entity, 1);
	for (int i = 0; i < entity->nkeys; i++)
		columns[i] = &entity->keys[i];
	return lock_where(entity, condition.data, entity->nkeys, columns,
					  js_row_parse_id(entity, local_id), true, skip_locked, row);
}

/* Read a row by its primary key without a lock. */
JsRowState
js_row_read(JsEntity *entity, const char *local_id, JsRow *row)
{
	StringInfoData condition;
	JsColumn  **columns = palloc(sizeof(JsColumn *) * entity->nkeys);

	initStringInfo(&condition);
	append_key_condition(&condition, entity, 1);
	for (int i = 0; i < entity->nkeys; i++)
		columns[i] = &entity->keys[i];
	return lock_where(entity, condition.data, entity->nkeys, columns,
					  js_row_parse_id(entity, local_id), false, false, row);
}

/*
 * The next rows in the order of the primary key, behind one (NULL: from the
 * first): a list of JsRowKey.
 */
List	   *
js_row_scan(JsEntity *entity, const char *after, int limit)
{
	StringInfoData sql;
	StringInfoData names;
	StringInfoData args;
	JsColumn  **columns = palloc(sizeof(JsColumn *) * entity->nkeys);
	List	   *result = NIL;

	initStringInfo(&sql);
	initStringInfo(&names);
	initStringInfo(&args);
	for (int i = 0; i < entity->nkeys; i++)
	{
		columns[i] = &entity->keys[i];
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "",
						 quote_identifier(entity->keys[i].name));
		appendStringInfo(&args, "%s$%d", i > 0 ? ", " : "", i + 1);
	}
	appendStringInfo(&sql, "SELECT %s, %s IS NOT NULL FROM %s", names.data,
					 quote_identifier(entity->external.name),
					 table_name(entity, true));
	if (after != NULL)
		appendStringInfo(&sql, " WHERE (%s) > (%s)", names.data, args.data);
	appendStringInfo(&sql, " ORDER BY %s LIMIT %d", names.data, limit);
	execute(entity, sql.data, after ? entity->nkeys : 0, columns,
			after ? js_row_parse_id(entity, after) : NULL);

	for (uint64 row = 0; row < SPI_processed; row++)
	{
		JsRowKey   *key = palloc(sizeof(JsRowKey));
		JsValue    *values = palloc(sizeof(JsValue) * entity->nkeys);
		bool		isnull;

		for (int i = 0; i < entity->nkeys; i++)
			values[i].value = SPI_getbinval(SPI_tuptable->vals[row],
											SPI_tuptable->tupdesc, i + 1,
											&values[i].isnull);
		key->local_id = js_row_id_from_values(entity, values);
		key->known = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[row],
												SPI_tuptable->tupdesc,
												entity->nkeys + 1, &isnull));
		result = lappend(result, key);
	}
	return result;
}

/* Lock a row by the id that the PMS gave it. */
JsRowState
js_row_lock_external(JsEntity *entity, const char *external_id,
					 const char *property, bool skip_locked, JsRow *row)
{
	StringInfoData condition;
	JsColumn   *columns[2];
	JsValue		args[2];
	int			nargs = 1;
	JsRowState	state;

	if (js_rowheap_usable(entity) &&
		js_rowheap_lock_external(entity, external_id, property, skip_locked,
								 row, &state))
		return state;
	initStringInfo(&condition);
	appendStringInfo(&condition, "%s = $1",
					 quote_identifier(entity->external.name));
	columns[0] = &entity->external;
	args[0] = js_value_from_text(columns[0], pstrdup(external_id));
	if (entity->property != NULL && property != NULL)
	{
		appendStringInfo(&condition, " AND %s = $2",
						 quote_identifier(entity->property->name));
		columns[1] = entity->property;
		args[1] = js_value_from_text(columns[1], pstrdup(property));
		nargs = 2;
	}
	return lock_where(entity, condition.data, nargs, columns, args, true,
					  skip_locked, row);
}

/* Read, and perhaps lock, the row that satisfies a condition. */
static JsRowState
lock_where(JsEntity *entity, const char *condition, int nargs,
		   JsColumn **columns, JsValue *args, bool lock, bool skip_locked,
		   JsRow *row)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	append_columns(&sql, entity);
	appendStringInfo(&sql, " FROM %s WHERE %s", table_name(entity, true),
					 condition);
	if (lock)
		appendStringInfo(&sql, " FOR NO KEY UPDATE%s",
						 skip_locked ? " SKIP LOCKED" : "");
	execute(entity, sql.data, nargs, columns, args);
	if (SPI_processed > 1)
		return JS_ROW_AMBIGUOUS;
	if (SPI_processed == 1)
	{
		read_row(entity, row);
		return JS_ROW_FOUND;
	}
	if (!lock || !skip_locked)
		return JS_ROW_MISSING;

	/* skipped, or not there? */
	resetStringInfo(&sql);
	appendStringInfo(&sql, "SELECT 1 FROM %s WHERE %s",
					 table_name(entity, true), condition);
	execute(entity, sql.data, nargs, columns, args);
	return SPI_processed > 0 ? JS_ROW_LOCKED : JS_ROW_MISSING;
}

/*
 * Write some fields of a row that is locked, and read back what the table
 * made of them.  external_id is written too, unless it is NULL.  Returns
 * false if a trigger suppressed the update.
 */
bool
js_row_update(JsEntity *entity, JsRow *row, const bool *write,
			  const JsValue *values, const char *external_id)
{
	StringInfoData sql;
	int			max = entity->nfields + entity->nkeys + 1;
	JsColumn  **columns;
	JsValue    *args;
	int			nargs = 0;

	if (js_rowheap_has(entity, row))
		return update_directly(entity, row, write, values, external_id);
	columns = palloc(sizeof(JsColumn *) * max);
	args = palloc(sizeof(JsValue) * max);
	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s SET ", table_name(entity, true));
	for (int i = 0; i < entity->nfields; i++)
	{
		if (!write[i])
			continue;
		columns[nargs] = &entity->fields[i].column;
		args[nargs++] = values[i];
		appendStringInfo(&sql, "%s%s = $%d", nargs > 1 ? ", " : "",
						 quote_identifier(columns[nargs - 1]->name), nargs);
	}
	if (external_id != NULL)
	{
		columns[nargs] = &entity->external;
		args[nargs++] = js_value_from_text(&entity->external,
										   pstrdup(external_id));
		appendStringInfo(&sql, "%s%s = $%d", nargs > 1 ? ", " : "",
						 quote_identifier(entity->external.name), nargs);
	}
	appendStringInfoString(&sql, " WHERE ");
	append_key_condition(&sql, entity, nargs + 1);
	for (int i = 0; i < entity->nkeys; i++)
	{
		columns[nargs] = &entity->keys[i];
		args[nargs++] = row->keys[i];
	}
	appendStringInfoString(&sql, " RETURNING ");
	append_columns(&sql, entity);

	execute_write(entity, sql.data, nargs, columns, args);
	if (SPI_processed == 0)
		return false;
	read_row(entity, row);
	return true;
}

/*
 * Insert a row with some fields, and read back what the table made of it.
 * Returns false if a trigger suppressed it.
 */
bool
js_row_insert(JsEntity *entity, const char *external_id, const char *property,
			  const bool *write, const JsValue *values, JsRow *row)
{
	StringInfoData sql;
	StringInfoData list;
	int			max = entity->nfields + 2;
	JsColumn  **columns;
	JsValue    *args;
	int			nargs = 0;

	if (js_rowheap_usable(entity))
		return insert_directly(entity, external_id, property, write, values,
							   row);
	columns = palloc(sizeof(JsColumn *) * max);
	args = palloc(sizeof(JsValue) * max);
	columns[nargs] = &entity->external;
	args[nargs++] = js_value_from_text(&entity->external,
									   pstrdup(external_id));
	if (entity->property != NULL && property != NULL)
	{
		columns[nargs] = entity->property;
		args[nargs++] = js_value_from_text(entity->property,
										   pstrdup(property));
	}
	for (int i = 0; i < entity->nfields; i++)
		if (write[i])
		{
			columns[nargs] = &entity->fields[i].column;
			args[nargs++] = values[i];
		}

	initStringInfo(&sql);
	initStringInfo(&list);
	appendStringInfo(&sql, "INSERT INTO %s (", table_name(entity, false));
	for (int i = 0; i < nargs; i++)
	{
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
						 quote_identifier(columns[i]->name));
		appendStringInfo(&list, "%s$%d", i > 0 ? ", " : "", i + 1);
	}
	appendStringInfo(&sql, ") VALUES (%s) RETURNING ", list.data);
	append_columns(&sql, entity);

	execute_write(entity, sql.data, nargs, columns, args);
	if (SPI_processed == 0)
		return false;
	read_row(entity, row);
	return true;
}

/* js_row_update() for a row that was locked directly. */
static bool
update_directly(JsEntity *entity, JsRow *row, const bool *write,
				const JsValue *values, const char *external_id)
{
	Oid			outer_relid = writing_relid;
	int			outer_depth = writing_depth;
	volatile bool result = false;

	PG_TRY();
	{
		begin_write(entity);
		result = js_rowheap_update(entity, row, write, values, external_id);
	}
	PG_FINALLY();
	{
		writing_relid = outer_relid;
		writing_depth = outer_depth;
	}
	PG_END_TRY();
	return result;
}

/* js_row_insert() into a table that can be written directly. */
static bool
insert_directly(JsEntity *entity, const char *external_id,
				const char *property, const bool *write,
				const JsValue *values, JsRow *row)
{
	Oid			outer_relid = writing_relid;
	int			outer_depth = writing_depth;
	volatile bool result = false;

	PG_TRY();
	{
		begin_write(entity);
		result = js_rowheap_insert(entity, external_id, property, write,
								   values, row);
	}
	PG_FINALLY();
	{
		writing_relid = outer_relid;
		writing_depth = outer_depth;
	}
	PG_END_TRY();
	return result;
}

/*
 * Mark a row that is locked as deleted at the PMS, or take the mark away, in
 * the column that the entity names for it.
 */
void
js_row_mark(JsEntity *entity, JsRow *row, bool deleted)
{
	StringInfoData sql;
	JsColumn  **columns = palloc(sizeof(JsColumn *) * (entity->nkeys + 1));
	JsValue    *args = palloc(sizeof(JsValue) * (entity->nkeys + 1));
	bool		flag = entity->deleted->basetype == BOOLOID;

	columns[0] = entity->deleted;
	args[0].isnull = !flag && !deleted;
	if (!args[0].isnull)
		args[0] = js_value_from_text(entity->deleted,
									 pstrdup(!flag ? "now" :
											 deleted ? "true" : "false"));
	for (int i = 0; i < entity->nkeys; i++)
	{
		columns[i + 1] = &entity->keys[i];
		args[i + 1] = row->keys[i];
	}
	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s SET %s = $1 WHERE ",
					 table_name(entity, true),
					 quote_identifier(entity->deleted->name));
	append_key_condition(&sql, entity, 2);
	appendStringInfoString(&sql, " RETURNING ");
	append_columns(&sql, entity);
	execute_write(entity, sql.data, entity->nkeys + 1, columns, args);
	if (SPI_processed > 0)
		read_row(entity, row);
	row->direct = false;
}

/* Delete a row that is locked.  Returns false if a trigger suppressed it. */
bool
js_row_delete(JsEntity *entity, JsRow *row)
{
	StringInfoData sql;
	JsColumn  **columns = palloc(sizeof(JsColumn *) * entity->nkeys);

	initStringInfo(&sql);
	appendStringInfo(&sql, "DELETE FROM %s WHERE ", table_name(entity, true));
	append_key_condition(&sql, entity, 1);
	for (int i = 0; i < entity->nkeys; i++)
		columns[i] = &entity->keys[i];
	execute_write(entity, sql.data, entity->nkeys, columns, row->keys);
	return SPI_processed > 0;
}

/*
 * Does a condition over OLD and NEW hold for two rows?  They are composite
 * values of type rowtype.  What is not known is false.
 */
bool
js_row_condition(JsEntity *entity, const char *condition, Oid rowtype,
				 Datum old, bool old_isnull, Datum new)
{
	Oid			types[2] = {rowtype, rowtype};
	Datum		values[2] = {old, new};
	char		nulls[2] = {old_isnull ? 'n' : ' ', ' '};
	MemoryContext caller = CurrentMemoryContext;
	char	   *type;
	char	   *sql;
	bool		isnull;
	Datum		result;

	/* partitions have types of their own, and so need plans of their own */
	type = format_type_extended(rowtype, -1, FORMAT_TYPE_FORCE_QUALIFY);
	sql = psprintf("SELECT (%s\n) IS TRUE FROM (SELECT ($1::%s).*) AS old,"
				   " (SELECT ($2::%s).*) AS new", condition, type, type);
	if (SPI_execute_plan(get_plan(entity, sql, 2, types), values, nulls, true,
						 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "condition of a guard gave no row: %s", condition);
	result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						   &isnull);
	MemoryContextSwitchTo(caller);
	return !isnull && DatumGetBool(result);
}

/*
 * Is a row of this table being written by ourselves, in the statement whose
 * triggers run now?  The capture trigger then has nothing to log.  Writes
 * that users' triggers make meanwhile are nested deeper, and are logged.
 */
bool
js_row_being_written(Oid relid)
{
	return OidIsValid(writing_relid) && relid == writing_relid &&
		trigger_depth() == writing_depth;
}

/* Is any write of ours under way?  Guards of operations do not apply then. */
bool
js_row_write_active(void)
{
	return OidIsValid(writing_relid);
}

/* How deep are we in triggers? */
static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

/* From now on the capture trigger knows the write as ours. */
static void
begin_write(JsEntity *entity)
{
	writing_relid = entity->relid;
	writing_depth = trigger_depth() + 1;
}

/* Run a statement that writes, known to the capture trigger as ours. */
static void
execute_write(JsEntity *entity, const char *sql, int nargs,
			  JsColumn **columns, JsValue *args)
{
	Oid			outer_relid = writing_relid;
	int			outer_depth = writing_depth;

	PG_TRY();
	{
		begin_write(entity);
		execute(entity, sql, nargs, columns, args);
	}
	PG_FINALLY();
	{
		writing_relid = outer_relid;
		writing_depth = outer_depth;
	}
	PG_END_TRY();
}

/* Run a statement with values of columns as its arguments. */
static void
execute(JsEntity *entity, const char *sql, int nargs, JsColumn **columns,
		JsValue *args)
{
	Oid		   *types = palloc(sizeof(Oid) * nargs);
	Datum	   *values = palloc(sizeof(Datum) * nargs);
	char	   *nulls = palloc(nargs);
	MemoryContext caller = CurrentMemoryContext;
	int			result;

	for (int i = 0; i < nargs; i++)
	{
		types[i] = columns[i]->typid;
		values[i] = args[i].value;
		nulls[i] = args[i].isnull ? 'n' : ' ';
	}
	result = SPI_execute_plan(get_plan(entity, sql, nargs, types), values,
							  nulls, false, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s: %s",
			 SPI_result_code_string(result), sql);
	/* SPI leaves its own context current */
	MemoryContextSwitchTo(caller);
}

/* The kept plan of a statement. */
static SPIPlanPtr
get_plan(JsEntity *entity, const char *sql, int nargs, Oid *types)
{
	RowPlan    *plan = find_plan(plans_of(entity), sql);

	if (plan->plan != NULL)
	{
		if (SPI_plan_is_valid(plan->plan))
			return plan->plan;
		SPI_freeplan(plan->plan);
		plan->plan = NULL;
	}
	plan->plan = SPI_prepare(sql, nargs, types);
	if (plan->plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s: %s",
			 SPI_result_code_string(SPI_result), sql);
	SPI_keepplan(plan->plan);
	return plan->plan;
}

/*
 * The place of a statement's plan, at the front from now on.  Every set of
 * columns that is written has a statement of its own, so that there may be any
 * number of them: the one that was not used for the longest time gives way.
 */
static RowPlan *
find_plan(RowPlans *plans, const char *sql)
{
	RowPlan   **link = &plans->first;
	RowPlan    *plan;

	while ((plan = *link) != NULL && strcmp(plan->sql, sql) != 0 &&
		   (plan->next != NULL || plans->count < MAX_PLANS))
		link = &plan->next;
	if (plan == NULL)
	{
		plan = MemoryContextAllocZero(plans->entity->mcxt, sizeof(RowPlan));
		plan->sql = MemoryContextStrdup(plans->entity->mcxt, sql);
		plans->count++;
	}
	else
	{
		if (strcmp(plan->sql, sql) != 0)
		{
			char	   *other = plan->sql;

			plan->sql = MemoryContextStrdup(plans->entity->mcxt, sql);
			pfree(other);
			if (plan->plan != NULL)
				SPI_freeplan(plan->plan);
			plan->plan = NULL;
		}
		*link = plan->next;
	}
	plan->next = plans->first;
	plans->first = plan;
	return plan;
}

/* The plans of an entity; they go when its memory goes. */
static RowPlans *
plans_of(JsEntity *entity)
{
	RowPlans   *plans;

	for (plans = all_plans; plans != NULL; plans = plans->next)
		if (plans->entity == entity)
			return plans;

	plans = MemoryContextAllocZero(entity->mcxt, sizeof(RowPlans));
	plans->entity = entity;
	plans->next = all_plans;
	all_plans = plans;
	plans->callback.func = forget_plans;
	plans->callback.arg = plans;
	MemoryContextRegisterResetCallback(entity->mcxt, &plans->callback);
	return plans;
}

/* The memory of an entity goes away. */
static void
forget_plans(void *arg)
{
	RowPlans   *plans = (RowPlans *) arg;
	RowPlans  **link = &all_plans;

	while (*link != plans)
		link = &(*link)->next;
	*link = plans->next;
	free_plans(plans);
}

/* Free all plans of an entity. */
static void
free_plans(RowPlans *plans)
{
	for (RowPlan *plan = plans->first; plan != NULL; plan = plan->next)
		if (plan->plan != NULL)
			SPI_freeplan(plan->plan);
	plans->first = NULL;
	plans->count = 0;
}

/* The quoted name of the table, as it is called now. */
static const char *
table_name(JsEntity *entity, bool only)
{
	char	   *relname = get_rel_name(entity->relid);
	char	   *nspname = get_namespace_name(get_rel_namespace(entity->relid));

	if (relname == NULL || nspname == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table of entity \"%s\" does not exist",
						entity->name)));
	return psprintf("%s%s", only && !entity->partitioned ? "ONLY " : "",
					quote_qualified_identifier(nspname, relname));
}

/*
 * The columns that read_row() wants: key, external id, property, urgency,
 * fields.
 */
static void
append_columns(StringInfo sql, JsEntity *entity)
{
	for (int i = 0; i < entity->nkeys; i++)
		appendStringInfo(sql, "%s, ", quote_identifier(entity->keys[i].name));
	appendStringInfoString(sql, quote_identifier(entity->external.name));
	if (entity->property != NULL)
		appendStringInfo(sql, ", %s", quote_identifier(entity->property->name));
	if (entity->urgency != NULL)
		appendStringInfo(sql, ", %s", quote_identifier(entity->urgency->name));
	for (int i = 0; i < entity->nfields; i++)
		appendStringInfo(sql, ", %s",
						 quote_identifier(entity->fields[i].column.name));
}

/* The condition on the primary key. */
static void
append_key_condition(StringInfo sql, JsEntity *entity, int first_arg)
{
	for (int i = 0; i < entity->nkeys; i++)
		appendStringInfo(sql, "%s%s = $%d", i > 0 ? " AND " : "",
						 quote_identifier(entity->keys[i].name),
						 first_arg + i);
}

/* Copy the row of the present result. */
static void
read_row(JsEntity *entity, JsRow *row)
{
	HeapTuple	tuple = SPI_tuptable->vals[0];
	TupleDesc	tupdesc = SPI_tuptable->tupdesc;
	int			column = 1;

	row->direct = false;
	ItemPointerSetInvalid(&row->root);
	row->keys = palloc(sizeof(JsValue) * entity->nkeys);
	row->values = palloc(sizeof(JsValue) * Max(entity->nfields, 1));
	for (int i = 0; i < entity->nkeys; i++)
		row->keys[i].value = SPI_getbinval(tuple, tupdesc, column++,
										   &row->keys[i].isnull);
	row->external.value = SPI_getbinval(tuple, tupdesc, column++,
										&row->external.isnull);
	if (entity->property != NULL)
		row->property.value = SPI_getbinval(tuple, tupdesc, column++,
											&row->property.isnull);
	if (entity->urgency != NULL)
		row->urgency.value = SPI_getbinval(tuple, tupdesc, column++,
										   &row->urgency.isnull);
	for (int i = 0; i < entity->nfields; i++)
		row->values[i].value = SPI_getbinval(tuple, tupdesc, column++,
											 &row->values[i].isnull);
	row->local_id = js_row_id_from_values(entity, row->keys);
}

/* The values of all fields of a row, as JSON by their names. */
Jsonb	   *
js_row_values(JsEntity *entity, JsRow *row)
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
