/*-------------------------------------------------------------------------
 *
 * freshness.c
 *	  check_freshness() for the usual case: the data is fresh.
 *
 * It is asked before every operation.  Which streams count and how old the
 * data may be is kept until the configuration changes; when they were last in
 * sync is read by index, without statements.  Whatever is not plainly fresh
 * is left to jacksync.judge_freshness(), which finds the words, too.
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
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "config.h"
#include "jacksync.h"
#include "live.h"

JS_FUNCTION(jacksync_check_freshness);

#define MAX_STREAMS 16			/* of an entity; with more, it is judged */

/* What the configuration says of an entity, or of it at one server. */
typedef struct Rule
{
	struct Rule *next;
	text	   *entity;
	const char *server;			/* NULL: all of them */
	int			n;				/* of its streams */
	int32		streams[MAX_STREAMS];
	Interval	tolerance;
	Oid			state_table;	/* jacksync.stream_state, and its columns */
	AttrNumber	stream_id;
	AttrNumber	last_sync_at;
} Rule;

static Rule *rules = NULL;
static MemoryContext rules_mcxt = NULL;
static uint64 rules_version = 0;

static Rule *rule_of(Datum entity, const char *server);
static Rule *known_rule(Datum entity, const char *server);
static bool oldest_sync(Rule *rule, TimestampTz *oldest);
static int	find_streams(Datum entity, const char *server, int32 *streams);
static bool sync_time(Rule *rule, Relation rel, int32 stream,
					  TimestampTz *time);
static void tolerance_of(Datum entity, Interval *tolerance);
static Relation open_table(const char *name);
static SysScanDesc begin_scan(Relation rel, const char *column, Datum value);
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
	Interval   *age;
	Rule	   *rule;
	Datum		values[5];
	bool		nulls[5] = {false, false, false, false, true};
	bool		fresh;

	if (PG_ARGISNULL(0))
		return judge(fcinfo);
	PushActiveSnapshot(GetTransactionSnapshot());
	rule = rule_of(PG_GETARG_DATUM(0), PG_ARGISNULL(2) ? NULL :
				   NameStr(*PG_GETARG_NAME(2)));
	fresh = rule != NULL && oldest_sync(rule, &oldest) && oldest <= now;
	PopActiveSnapshot();
	if (!fresh)
		return judge(fcinfo);
	age = DatumGetIntervalP(DirectFunctionCall2(timestamp_mi,
												TimestampTzGetDatum(now),
												TimestampTzGetDatum(oldest)));
	if (DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(age),
										 IntervalPGetDatum(&rule->tolerance))))
		return judge(fcinfo);

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = TimestampTzGetDatum(oldest);
	values[1] = IntervalPGetDatum(age);
	values[2] = CStringGetTextDatum("fresh");
	values[3] = BoolGetDatum(true);
	values[4] = (Datum) 0;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values,
											 nulls));
}

/*
 * The rule of an entity; read, if the configuration has changed since.  NULL:
 * it is to be judged.
 */
static Rule *
rule_of(Datum entity, const char *server)
{
	Rule	   *rule = known_rule(entity, server);
	MemoryContext old;
	Rule		read = {0};

	if (rule != NULL)
		return rule;
	(void) js_config_watch("stream");
	(void) js_config_watch("stale_policy");
	(void) js_config_watch("alert_threshold");
	/* it is kept beyond this transaction, so it must not be older */
	PushActiveSnapshot(GetLatestSnapshot());
	read.n = find_streams(entity, server, read.streams);
	if (read.n > 0)
		tolerance_of(entity, &read.tolerance);
	PopActiveSnapshot();
	if (read.n == 0)
		return NULL;
	read.state_table = get_relname_relid("stream_state",
										 get_namespace_oid(JS_SCHEMA, false));
	read.stream_id = get_attnum(read.state_table, "stream_id");
	read.last_sync_at = get_attnum(read.state_table, "last_sync_at");

	old = MemoryContextSwitchTo(rules_mcxt);
	rule = palloc(sizeof(Rule));
	*rule = read;
	rule->entity = DatumGetTextPCopy(entity);
	rule->server = server != NULL ? pstrdup(server) : NULL;
	rule->next = rules;
	rules = rule;
	MemoryContextSwitchTo(old);
	return rule;
}

/* The same if it is known, and still right; NULL: it is not. */
static Rule *
known_rule(Datum entity, const char *server)
{
	text	   *wanted = DatumGetTextPP(entity);

	if (rules_mcxt == NULL)
		rules_mcxt = AllocSetContextCreate(CacheMemoryContext,
										   "jacksync freshness",
										   ALLOCSET_SMALL_SIZES);
	if (rules_version != js_config_version())
	{
		MemoryContextReset(rules_mcxt);
		rules = NULL;
		rules_version = js_config_version();
	}
	for (Rule *rule = rules; rule != NULL; rule = rule->next)
		if ((server == NULL) == (rule->server == NULL) &&
			(server == NULL || strcmp(server, rule->server) == 0) &&
			VARSIZE_ANY_EXHDR(wanted) == VARSIZE_ANY_EXHDR(rule->entity) &&
			memcmp(VARDATA_ANY(wanted), VARDATA_ANY(rule->entity),
				   VARSIZE_ANY_EXHDR(wanted)) == 0)
			return rule;
	return NULL;
}

/* When was the stream synchronised that is furthest behind?  False: ask. */
static bool
oldest_sync(Rule *rule, TimestampTz *oldest)
{
	Relation	rel = table_open(rule->state_table, AccessShareLock);
	bool		known = true;

	for (int i = 0; known && i < rule->n; i++)
	{
		TimestampTz time = 0;

		known = sync_time(rule, rel, rule->streams[i], &time);
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
	SysScanDesc scan = begin_scan(rel, "entity", entity);
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
sync_time(Rule *rule, Relation rel, int32 stream, TimestampTz *time)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull = true;

	ScanKeyInit(&key, rule->stream_id, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(stream));
	scan = systable_beginscan(rel, js_primary_key_index(rel), true,
							  GetActiveSnapshot(), 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		*time = DatumGetTimestampTz(heap_getattr(tuple, rule->last_sync_at,
												 RelationGetDescr(rel),
												 &isnull));
	systable_endscan(scan);
	if (!isnull)
		*time = js_live_last_sync(stream, *time);
	return !isnull;
}

/* How old may the data be: by its policy, or as the alerts have it? */
static void
tolerance_of(Datum entity, Interval *tolerance)
{
	Relation	rel = open_table("stale_policy");
	SysScanDesc scan = begin_scan(rel, "entity", entity);
	HeapTuple	tuple = systable_getnext(scan);
	bool		found = HeapTupleIsValid(tuple);
	bool		isnull;

	if (found)
		*tolerance = *DatumGetIntervalP(column_of(tuple, rel, "max_stale_age",
												  &isnull));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (found)
		return;

	rel = open_table("alert_threshold");
	scan = begin_scan(rel, "metric", CStringGetTextDatum("stale_data"));
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
}

/* Open one of our tables. */
static Relation
open_table(const char *name)
{
	return table_open(get_relname_relid(name,
										get_namespace_oid(JS_SCHEMA, false)),
					  AccessShareLock);
}

/* Look for a text in the first column of a table's primary key. */
static SysScanDesc
begin_scan(Relation rel, const char *column, Datum value)
{
	ScanKeyData key;

	ScanKeyInit(&key, get_attnum(RelationGetRelid(rel), column),
				BTEqualStrategyNumber, F_TEXTEQ, value);
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
