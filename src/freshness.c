/*-------------------------------------------------------------------------
 *
 * freshness.c
 *	  check_freshness() for the usual case: the data is fresh.
 *
 * It is asked before every operation, so it reads its four tables by their
 * indexes, without statements.  Whatever is not plainly fresh is left to
 * jacksync.judge_freshness(), which finds the words, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "jacksync.h"
#include "live.h"

JS_FUNCTION(jacksync_check_freshness);

#define MAX_STREAMS 16			/* of an entity; with more, it is judged */

static bool oldest_sync(Datum entity, const char *server,
						TimestampTz *oldest);
static int	find_streams(Datum entity, const char *server, int32 *streams);
static bool sync_time(Relation rel, int32 stream, TimestampTz *time);
static bool tolerance_of(Datum entity, Interval *tolerance);
static Relation open_table(const char *name);
static SysScanDesc begin_scan(Relation rel, const char *column,
							  RegProcedure equal, Datum value);
static Datum column_of(HeapTuple tuple, Relation rel, const char *column,
					   bool *isnull);
static Datum judge(FunctionCallInfo fcinfo);

/*
 * check_freshness(entity text, operation text, server name)
 */
Datum
jacksync_check_freshness(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz oldest = 0;
	Interval	tolerance;
	Datum		age;
	Datum		values[5];
	bool		nulls[5] = {false, false, false, false, true};
	bool		fresh;

	if (PG_ARGISNULL(0))
		return judge(fcinfo);
	PushActiveSnapshot(GetTransactionSnapshot());
	fresh = oldest_sync(PG_GETARG_DATUM(0), PG_ARGISNULL(2) ? NULL :
						NameStr(*PG_GETARG_NAME(2)), &oldest) &&
		tolerance_of(PG_GETARG_DATUM(0), &tolerance) && oldest <= now;
	PopActiveSnapshot();
	if (!fresh)
		return judge(fcinfo);
	age = DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(now),
							  TimestampTzGetDatum(oldest));
	if (DatumGetBool(DirectFunctionCall2(interval_gt, age,
										 IntervalPGetDatum(&tolerance))))
		return judge(fcinfo);

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = TimestampTzGetDatum(oldest);
	values[1] = age;
	values[2] = CStringGetTextDatum("fresh");
	values[3] = BoolGetDatum(true);
	values[4] = (Datum) 0;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values,
											 nulls));
}

/* When was the stream synchronised that is furthest behind?  False: ask. */
static bool
oldest_sync(Datum entity, const char *server, TimestampTz *oldest)
{
	int32		streams[MAX_STREAMS];
	int			n = find_streams(entity, server, streams);
	Relation	rel;
	bool		known = n > 0;

	if (!known)
		return false;
	rel = open_table("stream_state");
	for (int i = 0; known && i < n; i++)
	{
		TimestampTz time = 0;

		known = sync_time(rel, streams[i], &time);
		if (known && (i == 0 || time < *oldest))
			*oldest = time;
	}
	table_close(rel, AccessShareLock);
	return known;
}

/*
 * The streams of an entity, or its stream from one server: those that are
 * enabled, if any is.  Returns 0 if there are too many, too.
 */
static int
find_streams(Datum entity, const char *server, int32 *streams)
{
	Relation	rel = open_table("stream");
	SysScanDesc scan = begin_scan(rel, "entity", F_TEXTEQ, entity);
	HeapTuple	tuple;
	bool		enabled = false;
	int			n = 0;

	while (n >= 0 && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		bool		on = DatumGetBool(column_of(tuple, rel, "enabled", &isnull));

		if (server != NULL &&
			strcmp(NameStr(*DatumGetName(column_of(tuple, rel, "server", &isnull))),
				   server) != 0)
			continue;
		if (on && !enabled)
			n = 0;
		enabled = enabled || on;
		if (on != enabled)
			continue;
		if (n == MAX_STREAMS)
			n = -1;
		else
			streams[n++] = DatumGetInt32(column_of(tuple, rel, "stream_id",
												   &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return Max(n, 0);
}

/* When was a stream synchronised?  False: never. */
static bool
sync_time(Relation rel, int32 stream, TimestampTz *time)
{
	SysScanDesc scan = begin_scan(rel, "stream_id", F_INT4EQ,
								  Int32GetDatum(stream));
	HeapTuple	tuple = systable_getnext(scan);
	bool		isnull = true;

	if (HeapTupleIsValid(tuple))
		*time = DatumGetTimestampTz(column_of(tuple, rel, "last_sync_at",
											  &isnull));
	systable_endscan(scan);
	if (!isnull)
		*time = js_live_last_sync(stream, *time);
	return !isnull;
}

/* How old may the data be?  False: what the thresholds of alerts say. */
static bool
tolerance_of(Datum entity, Interval *tolerance)
{
	Relation	rel = open_table("stale_policy");
	SysScanDesc scan = begin_scan(rel, "entity", F_TEXTEQ, entity);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);
	bool		isnull;

	if (found)
		*tolerance = *DatumGetIntervalP(column_of(tuple, rel, "max_stale_age",
												  &isnull));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (found)
		return true;

	rel = open_table("alert_threshold");
	scan = begin_scan(rel, "metric", F_TEXTEQ, CStringGetTextDatum("stale_data"));
	tuple = systable_getnext(scan);
	memset(tolerance, 0, sizeof(Interval));
	tolerance->time = INT64CONST(300) * USECS_PER_SEC;
	if (HeapTupleIsValid(tuple))
		tolerance->time =
			DatumGetFloat8(DirectFunctionCall1(numeric_float8,
											   column_of(tuple, rel, "warning",
														 &isnull))) * USECS_PER_SEC;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return true;
}

/* Open one of our tables. */
static Relation
open_table(const char *name)
{
	return table_open(get_relname_relid(name,
										get_namespace_oid(JS_SCHEMA, false)),
					  AccessShareLock);
}

/* Look for a value of the first column of a table's primary key. */
static SysScanDesc
begin_scan(Relation rel, const char *column, RegProcedure equal, Datum value)
{
	ScanKeyData key;

	ScanKeyInit(&key, get_attnum(RelationGetRelid(rel), column),
				BTEqualStrategyNumber, equal, value);
	if (equal == F_TEXTEQ)
		key.sk_collation =
			TupleDescAttr(RelationGetDescr(rel), key.sk_attno - 1)->attcollation;
	return systable_beginscan(rel, js_primary_key_index(rel), true,
							  GetActiveSnapshot(), 1, &key);
}

/* A column of a row by name. */
static Datum
column_of(HeapTuple tuple, Relation rel, const char *column, bool *isnull)
{
	return heap_getattr(tuple, get_attnum(RelationGetRelid(rel), column),
						RelationGetDescr(rel), isnull);
}

/* Let jacksync.judge_freshness() answer. */
static Datum
judge(FunctionCallInfo fcinfo)
{
	Oid			types[3] = {TEXTOID, TEXTOID, NAMEOID};
	List	   *name = list_make2(makeString(JS_SCHEMA),
								  makeString("judge_freshness"));

	LOCAL_FCINFO(call, 3);
	FmgrInfo	function;

	fmgr_info(LookupFuncName(name, 3, types, false), &function);
	InitFunctionCallInfoData(*call, &function, 3, InvalidOid, NULL, NULL);
	for (int i = 0; i < 3; i++)
		call->args[i] = fcinfo->args[i];
	return FunctionCallInvoke(call);
}
