/*-------------------------------------------------------------------------
 *
 * drift.c
 *	  The function reconcile(): both sides compared, for a person.
 *
 * It runs in the transaction of its caller, who waits for the list; the PMS
 * is asked while that is open, so its snapshot is as old as the call is long.
 * The worker's own comparison (reconcile.c) holds nothing meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "jacksync.h"
#include "reconcile.h"
#include "run.h"
#include "secure.h"
#include "statement.h"
#include "txn.h"
#include "wake.h"

JS_FUNCTION(jacksync_reconcile);

static void reconcile_stream(FunctionCallInfo fcinfo, const char *entity,
							 int32 stream_id, const char *server,
							 bool repair);
static void put_drift(ReturnSetInfo *rsinfo, const char *entity,
					  const char *server, int64 run_id, JsDrift *drift);
static Datum text_or_null(const char *text, bool *isnull);

/* reconcile(entity text, server name, repair boolean) returns setof drift */
Datum
jacksync_reconcile(PG_FUNCTION_ARGS)
{
	static JsStatement statement = {
		"SELECT stream_id, server FROM jacksync.stream"
		" WHERE entity = $1 AND ($2 IS NULL OR server = $2) ORDER BY stream_id",
		{TEXTOID, NAMEOID}
	};
	MemoryContext caller = CurrentMemoryContext;
	char	   *entity;
	bool		repair = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	JsSecurity	security;
	JsArgs		args = {0};
	int32	   *ids;
	char	  **servers;
	int			n;
	bool		before;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("entity must not be null")));
	entity = text_to_cstring(PG_GETARG_TEXT_PP(0));
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	MemoryContextSwitchTo(caller);
	js_internal_begin(&security);
	js_arg_text(&args, entity);
	js_arg_name(&args, PG_ARGISNULL(1) ? NULL : NameStr(*PG_GETARG_NAME(1)));
	n = (int) js_run(&statement, &args);
	ids = palloc(sizeof(int32) * Max(n, 1));
	servers = palloc(sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		ids[i] = js_get_int4(i, 1);
		servers[i] = js_get_text(i, 2);
	}
	js_internal_end(&security);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no stream of entity \"%s\"", entity),
				 errhint("SELECT entity, server FROM jacksync.stream lists the streams.")));

	before = js_txn_use_caller(true);
	PG_TRY();
	{
		for (int i = 0; i < n; i++)
			reconcile_stream(fcinfo, entity, ids[i], servers[i], repair);
	}
	PG_FINALLY();
	{
		(void) js_txn_use_caller(before);
	}
	PG_END_TRY();
	SPI_finish();
	MemoryContextSwitchTo(caller);
	js_wake_at_commit();
	return (Datum) 0;
}

/* Compare one stream, and return what was found. */
static void
reconcile_stream(FunctionCallInfo fcinfo, const char *entity, int32 stream_id,
				 const char *server, bool repair)
{
	JsReconcile *r = js_reconcile_new(CurrentMemoryContext, stream_id);
	JsCycle    *volatile cycle = NULL;
	ListCell   *cell;

	r->repair = repair;
	r->listing = true;
	if (!js_stream_lock(stream_id, false))
	{
		ereport(NOTICE,
				(errmsg("another session or the worker is busy with %s from %s; waiting",
						entity, server)));
		(void) js_stream_lock(stream_id, true);
	}
	PG_TRY();
	{
		cycle = js_cycle_start(r->mcxt, stream_id, false, true);
		cycle->reconcile = r;
		while (!cycle->done)
		{
			bool		latch_set;
			TimestampTz due = js_cycle_due(cycle);

			if (js_cycle_ready(cycle))
				js_cycle_step(cycle);
			else
				(void) js_http_wait(due == 0 ? -1 :
									TimestampDifferenceMilliseconds(GetCurrentTimestamp(), due),
									&latch_set);
		}
		if (cycle->error != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_JS_REMOTE),
					 errmsg("could not compare %s with %s: %s", entity, server,
							cycle->error)));
	}
	PG_FINALLY();
	{
		js_stream_unlock(stream_id);
	}
	PG_END_TRY();

	foreach(cell, r->listed)
		put_drift((ReturnSetInfo *) fcinfo->resultinfo, entity, server,
				  cycle->run.id, lfirst(cell));
	js_cycle_free(cycle);
	js_reconcile_free(r);
}

/* Return one difference, in the shape of jacksync.drift. */
static void
put_drift(ReturnSetInfo *rsinfo, const char *entity, const char *server,
		  int64 run_id, JsDrift *drift)
{
	Datum		values[13] = {0};
	bool		nulls[13] = {0};

	nulls[0] = true;			/* it is not kept */
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[2] = CStringGetTextDatum(entity);
	values[3] = DirectFunctionCall1(namein, CStringGetDatum(server));
	values[4] = text_or_null(drift->local_id, &nulls[4]);
	values[5] = text_or_null(drift->external_id, &nulls[5]);
	values[6] = text_or_null(drift->field, &nulls[6]);
	nulls[7] = drift->base == NULL;
	values[7] = JsonbPGetDatum(drift->base);
	nulls[8] = drift->local == NULL;
	values[8] = JsonbPGetDatum(drift->local);
	nulls[9] = drift->pms == NULL;
	values[9] = JsonbPGetDatum(drift->pms);
	values[10] = CStringGetTextDatum(drift->reason);
	values[11] = BoolGetDatum(drift->repaired);
	nulls[12] = run_id == 0;
	values[12] = Int64GetDatum(run_id);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* A text datum. */
static Datum
text_or_null(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}
