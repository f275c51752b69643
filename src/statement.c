/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  Statements on the tables of jacksync, planned once per session.
 *
 * SPI must be connected, and the caller is inside js_internal_begin().  All
 * names in the statements are qualified; the plans are kept by SPI, which
 * plans anew when a table changes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "jacksync.h"
#include "statement.h"

static uint64 execute(JsStatement *statement, JsArgs *args, long limit,
					  bool read_only);

/* Add an argument. */
void
js_arg(JsArgs *args, Datum value)
{
	Assert(args->n < JS_MAX_ARGS);
	args->nulls[args->n] = ' ';
	args->values[args->n++] = value;
}

/* Add a null. */
void
js_arg_null(JsArgs *args)
{
	Assert(args->n < JS_MAX_ARGS);
	args->nulls[args->n] = 'n';
	args->values[args->n++] = (Datum) 0;
}

/* Add a text; a NULL pointer is null. */
void
js_arg_text(JsArgs *args, const char *text)
{
	if (text == NULL)
		js_arg_null(args);
	else
		js_arg(args, CStringGetTextDatum(text));
}

/* Add a name; a NULL pointer is null. */
void
js_arg_name(JsArgs *args, const char *name)
{
	if (name == NULL)
		js_arg_null(args);
	else
		js_arg(args, DirectFunctionCall1(namein, CStringGetDatum(name)));
}

/* Add a jsonb; a NULL pointer is null. */
void
js_arg_jsonb(JsArgs *args, const void *jsonb)
{
	if (jsonb == NULL)
		js_arg_null(args);
	else
		js_arg(args, PointerGetDatum(jsonb));
}

/* Add a time; an unknown one is null. */
void
js_arg_time(JsArgs *args, int64 time, bool known)
{
	if (!known)
		js_arg_null(args);
	else
		js_arg(args, TimestampTzGetDatum(time));
}

/* Run a statement.  Returns the number of rows. */
uint64
js_run(JsStatement *statement, JsArgs *args)
{
	return execute(statement, args, 0, false);
}

/* The same, for at most limit rows (0: all). */
uint64
js_run_limit(JsStatement *statement, JsArgs *args, long limit)
{
	return execute(statement, args, limit, false);
}

/*
 * Read what is committed now, even in a transaction whose snapshot is older:
 * configuration is never read as of yesterday.
 */
uint64
js_run_latest(JsStatement *statement, JsArgs *args)
{
	uint64		rows;

	PushActiveSnapshot(GetLatestSnapshot());
	rows = execute(statement, args, 0, true);
	PopActiveSnapshot();
	return rows;
}

/* Plan once, then run. */
static uint64
execute(JsStatement *statement, JsArgs *args, long limit, bool read_only)
{
	MemoryContext caller = CurrentMemoryContext;
	int			result;
	int			nargs = 0;

	while (nargs < JS_MAX_ARGS && OidIsValid(statement->types[nargs]))
		nargs++;
	if ((args ? args->n : 0) != nargs)
		elog(ERROR, "statement wants %d arguments, got %d: %s", nargs,
			 args ? args->n : 0, statement->sql);

	if (statement->plan != NULL && !SPI_plan_is_valid(statement->plan))
	{
		SPI_freeplan(statement->plan);
		statement->plan = NULL;
	}
	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare_cursor(statement->sql, nargs,
											  statement->types,
											  statement->generic ?
											  CURSOR_OPT_GENERIC_PLAN : 0);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s: %s",
				 SPI_result_code_string(SPI_result), statement->sql);
		SPI_keepplan(plan);
		statement->plan = plan;
	}

	result = SPI_execute_plan(statement->plan, args ? args->values : NULL,
							  args ? args->nulls : NULL, read_only,
							  limit);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s: %s",
			 SPI_result_code_string(result), statement->sql);
	/* SPI leaves its own context current */
	MemoryContextSwitchTo(caller);
	return SPI_processed;
}

/* A column of a row of the last result. */
Datum
js_get(uint64 row, int column, bool *isnull)
{
	if (SPI_tuptable == NULL || row >= SPI_tuptable->numvals)
		elog(ERROR, "the statement gave no row %llu",
			 (unsigned long long) row);
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						 column, isnull);
}

/* The text of a column; NULL for null. */
char	   *
js_get_text(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						column);
}

/* A bigint; null is 0. */
int64
js_get_int8(uint64 row, int column)
{
	bool		isnull;
	Datum		value = js_get(row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/* An integer; null is 0. */
int32
js_get_int4(uint64 row, int column)
{
	bool		isnull;
	Datum		value = js_get(row, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

/* A boolean; null is false. */
bool
js_get_bool(uint64 row, int column)
{
	bool		isnull;
	Datum		value = js_get(row, column, &isnull);

	return !isnull && DatumGetBool(value);
}

/* A copy of a jsonb; NULL for null. */
void	   *
js_get_jsonb(uint64 row, int column)
{
	bool		isnull;
	Datum		value = js_get(row, column, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(value);
}
