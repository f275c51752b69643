/*-------------------------------------------------------------------------
 *
 * functions.c
 *	  SQL-callable functions that apply records or only look at them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "apply.h"
#include "applypage.h"
#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "notes.h"
#include "plan.h"
#include "rowheap.h"
#include "secure.h"
#include "statement.h"
#include "wake.h"

JS_FUNCTION(jacksync_apply);
JS_FUNCTION(jacksync_apply_cast);
JS_FUNCTION(jacksync_apply_support);
JS_FUNCTION(jacksync_apply_page);
JS_FUNCTION(jacksync_apply_path);
JS_FUNCTION(jacksync_preview);
JS_FUNCTION(jacksync_detect_conflict);
JS_FUNCTION(jacksync_wake_worker);
JS_FUNCTION(jacksync_library_version);

/* How records are given. */
typedef enum Form
{
	AS_JSONB,
	AS_TEXT,
	AS_CAST						/* as text, of which counts what jsonb says */
} Form;

static char *name_arg(FunctionCallInfo fcinfo, int n);
static char *text_arg(FunctionCallInfo fcinfo, int n, const char *name);
static List *records_of(Jsonb *array);
static JsStream *stream_for(const char *entity, const char *server,
							bool *plain);
static Datum sync_result(FunctionCallInfo fcinfo, JsApply *applied,
						 TimestampTz started);
static Datum apply_given(FunctionCallInfo fcinfo, const char *name, Form form);
static bool has_text(Node *node);
static void check_may_apply(void);
static Oid	function_named(const char *name, Oid records);
static void run_apply(JsApply *apply, const char *entity, const char *server,
					  Datum given, Form form, bool keep_run);

/* A text or name argument; null gives NULL. */
static char *
name_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(n)));
}

/* A text argument that must be given. */
static char *
text_arg(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/*
 * apply(entity text, records jsonb, server name) returns sync_result
 */
Datum
jacksync_apply(PG_FUNCTION_ARGS)
{
	return apply_given(fcinfo, "records", AS_JSONB);
}

/*
 * apply_cast(entity text, records text, server name) returns sync_result: what
 * the planner calls for apply(entity, records::jsonb, server), see below.
 */
Datum
jacksync_apply_cast(PG_FUNCTION_ARGS)
{
	check_may_apply();
	return apply_given(fcinfo, "records", AS_CAST);
}

/*
 * apply_page(entity text, page text, server name) returns sync_result
 */
Datum
jacksync_apply_page(PG_FUNCTION_ARGS)
{
	return apply_given(fcinfo, "page", AS_TEXT);
}

/* Apply the second argument, of that name and form. */
static Datum
apply_given(FunctionCallInfo fcinfo, const char *name, Form form)
{
	char	   *entity = text_arg(fcinfo, 0, "entity");
	JsApply		apply = {0};
	TimestampTz started = GetCurrentTimestamp();

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	run_apply(&apply, entity, name_arg(fcinfo, 2), PG_GETARG_DATUM(1), form,
			  true);
	return sync_result(fcinfo, &apply, started);
}

/*
 * The planner's support of apply().  Whoever has records as text, from a
 * column or an answer of the network, casts them to jsonb, which takes longer
 * than to apply those that did not change.  Such a call becomes one of
 * apply_cast(), which reads the text itself and gives the same: what is no
 * jsonb, or means something else there, still is left to the cast.
 */
Datum
jacksync_apply_support(PG_FUNCTION_ARGS)
{
	SupportRequestSimplify *request =
	(SupportRequestSimplify *) PG_GETARG_POINTER(0);
	List	   *args;
	Node	   *records;
	Oid			function;
	FuncExpr   *call;

	if (!IsA(request, SupportRequestSimplify) || request->root == NULL)
		PG_RETURN_POINTER(NULL);
	args = request->fcall->args;
	if (list_length(args) != 3 || !IsA(lsecond(args), CoerceViaIO))
		PG_RETURN_POINTER(NULL);
	records = (Node *) lsecond_node(CoerceViaIO, args)->arg;
	function = function_named("apply_cast", TEXTOID);
	if (!has_text(records) || !OidIsValid(function))
		PG_RETURN_POINTER(NULL);

	/* another role may have rights on apply() only */
	request->root->glob->dependsOnRole = true;
	if (js_function_aclcheck(function, GetUserId()) != ACLCHECK_OK)
		PG_RETURN_POINTER(NULL);
	call = makeFuncExpr(function, request->fcall->funcresulttype,
						list_make3(linitial(args), records, lthird(args)),
						InvalidOid, request->fcall->inputcollid,
						request->fcall->funcformat);
	call->location = request->fcall->location;
	PG_RETURN_POINTER(call);
}

/* Is a value text inside, whatever it is called? */
static bool
has_text(Node *node)
{
	Oid			type = exprType(node);

	return type == TEXTOID || type == VARCHAROID || type == JSONOID;
}

/* Who may not call apply() may not do so by its other name either. */
static void
check_may_apply(void)
{
	AclResult	result = js_function_aclcheck(function_named("apply", JSONBOID),
											  GetUserId());

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, "apply");
}

/* One of ours of (text, records, name); invalid if it does not exist. */
static Oid
function_named(const char *name, Oid records)
{
	Oid			types[3] = {TEXTOID, records, NAMEOID};

	/* whoever plans a call need not have rights on the schema */
	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						   CStringGetDatum(name),
						   PointerGetDatum(buildoidvector(types, 3)),
						   ObjectIdGetDatum(get_namespace_oid(JS_SCHEMA,
															  true)));
}

/*
 * apply_path(entity text): 'direct', or why rows are written by statements
 */
Datum
jacksync_apply_path(PG_FUNCTION_ARGS)
{
	char	   *name = text_arg(fcinfo, 0, "entity");
	JsEntity   *entity = js_entity_by_name(name, false);
	const char *obstacle;

	js_entity_check(entity);
	obstacle = js_rowheap_obstacle(entity);
	PG_RETURN_TEXT_P(cstring_to_text(obstacle ?
									 psprintf("general: %s", obstacle) :
									 "direct"));
}

/* A sync_result. */
static Datum
sync_result(FunctionCallInfo fcinfo, JsApply *applied, TimestampTz started)
{
	JsApply		apply = *applied;
	TupleDesc	tupdesc;
	Datum		values[12];
	bool		nulls[12] = {0};
	HeapTuple	tuple;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum(apply.run->id);
	values[1] = TimestampTzGetDatum(started);
	values[2] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[3] = BoolGetDatum(apply.counts.errors == 0);
	values[4] = Int64GetDatum(apply.counts.processed);
	values[5] = Int64GetDatum(apply.counts.created);
	values[6] = Int64GetDatum(apply.counts.updated);
	values[7] = Int64GetDatum(apply.counts.unchanged);
	values[8] = Int64GetDatum(apply.counts.pushed);
	values[9] = Int64GetDatum(apply.counts.conflicts);
	values[10] = Int64GetDatum(apply.counts.errors);
	nulls[11] = true;
	if (apply.counts.errors > 0)
	{
		nulls[11] = false;
		values[11] = CStringGetTextDatum(psprintf("%lld of %lld records failed; see jacksync.sync_error",
												  (long long) apply.counts.errors,
												  (long long) apply.counts.processed));
	}
	tuple = heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls);
	js_wake_schedule();
	PG_RETURN_DATUM(HeapTupleGetDatum(tuple));
}

/* Apply records, with a run of their own unless it is only a preview. */
static void
run_apply(JsApply *apply, const char *entity, const char *server,
		  Datum given, Form form, bool keep_run)
{
	MemoryContext caller = CurrentMemoryContext;
	JsStream   *stream;
	JsSecurity	security;
	List	   *records = NIL;
	text	   *page = NULL;
	bool		plain;

	if (form == AS_JSONB)
		records = records_of(DatumGetJsonbP(given));
	else
		page = DatumGetTextPP(given);
	SPI_connect();
	MemoryContextSwitchTo(caller);
	js_internal_begin(&security);
	(void) js_entity_by_name(entity, false);
	stream = stream_for(entity, server, &plain);
	if (keep_run)
	{
		apply->run = palloc(sizeof(JsRun));
		js_run_begin(apply->run, entity, stream ? stream->server : NULL,
					 "apply");
	}
	js_internal_end(&security);

	apply->rethrow = true;
	apply->lazy = true;
	js_apply_begin(apply, entity, stream, plain);
	if (form == AS_JSONB)
		js_apply_page(apply, records);
	else if (!js_apply_text(apply, VARDATA_ANY(page), VARSIZE_ANY_EXHDR(page),
							form == AS_CAST))
		js_apply_page(apply, records_of(js_jsonb_in(text_to_cstring(page))));
	if (keep_run)
		js_run_finish(apply->run, &apply->counts,
					  apply->counts.errors > 0 ? "some records failed; see jacksync.sync_error" : NULL);
	js_apply_end(apply);
	SPI_finish();
	MemoryContextSwitchTo(caller);
}

/*
 * The stream that records belong to.  With a server named, that one, and the
 * records are in its shape.  Without, they are plain; they belong to the only
 * stream that the entity has, or to none.
 */
static JsStream *
stream_for(const char *entity, const char *server, bool *plain)
{
	JsStream   *stream;

	*plain = server == NULL;
	if (server != NULL)
	{
		stream = js_stream_find(entity, server);
		if (stream == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("entity \"%s\" has no stream from server \"%s\"",
							entity, server),
					 errhint("SELECT entity, server FROM jacksync.stream lists the streams.")));
		return stream;
	}
	switch (js_stream_count(entity))
	{
		case 0:
			return NULL;
		case 1:
			return js_stream_find(entity, NULL);
		default:
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
					 errmsg("entity \"%s\" is synchronized with more than one server",
							entity),
					 errhint("Name the server that the records come from.")));
	}
	return NULL;				/* keep the compiler quiet */
}

/* The elements of an array of records. */
static List *
records_of(Jsonb *array)
{
	List	   *records = NIL;

	if (!JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("records must be a JSON array"),
				 errhint("Put a single record into brackets: [{...}].")));
	for (int i = 0; i < JB_ROOT_COUNT(array); i++)
		records = lappend(records,
						  js_jsonb_from_value(getIthJsonbValueFromContainer(&array->root, i)));
	return records;
}

/*
 * preview(entity text, records jsonb, server name): does what apply() does,
 * in a subtransaction that is rolled back, and tells what happened.  So it
 * cannot differ from it.
 */
Datum
jacksync_preview(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *entity = text_arg(fcinfo, 0, "entity");
	char	   *server = name_arg(fcinfo, 2);
	JsApply		apply = {0};
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ListCell   *cell;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("records must not be null")));
	InitMaterializedSRF(fcinfo, 0);
	apply.previewing = true;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		run_apply(&apply, entity, server, PG_GETARG_DATUM(1), AS_JSONB, false);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		/* left open, it would keep the session in a failed block */
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		CurrentResourceOwner = owner;
		ReThrowError(error);
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;

	foreach(cell, apply.previews)
	{
		JsPreview  *preview = lfirst(cell);
		Datum		values[8];
		bool		nulls[8] = {0};

		values[0] = CStringGetTextDatum(preview->external_id);
		values[1] = CStringGetTextDatum(preview->field);
		nulls[2] = preview->base == NULL;
		values[2] = JsonbPGetDatum(preview->base);
		values[3] = JsonbPGetDatum(preview->local);
		nulls[4] = preview->pms == NULL;
		values[4] = JsonbPGetDatum(preview->pms);
		values[5] = OidInputFunctionCall(F_ENUM_IN,
										 unconstify(char *, preview->strategy),
										 TupleDescAttr(rsinfo->setDesc, 5)->atttypid,
										 -1);
		values[6] = JsonbPGetDatum(preview->resolved);
		values[7] = CStringGetTextDatum(preview->outcome);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

/*
 * detect_conflict(entity text, pms_record jsonb, server name)
 */
Datum
jacksync_detect_conflict(PG_FUNCTION_ARGS)
{
	char	   *entity_name = text_arg(fcinfo, 0, "entity");
	char	   *server = name_arg(fcinfo, 2);
	MemoryContext caller = CurrentMemoryContext;
	JsEntity   *entity;
	JsStream   *stream;
	JsRecord   *record;
	JsLink	   *link;
	JsRow		row;
	JsRowState	state = JS_ROW_MISSING;
	JsSecurity	security;
	JsSecurity	owner;
	bool		plain;
	Jsonb	   *local;
	Jsonb	   *pms;
	const char *type;
	TupleDesc	tupdesc;
	Datum		values[3];
	bool		nulls[3] = {0};
	int			level;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("pms_record must not be null")));
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	SPI_connect();
	MemoryContextSwitchTo(caller);
	js_internal_begin(&security);
	entity = js_entity_by_name(entity_name, false);
	js_entity_check(entity);
	stream = stream_for(entity_name, server, &plain);
	level = js_pin_settings(stream ? stream->datetime_zone : NULL);
	record = js_record_read(entity, stream, plain, PG_GETARG_JSONB_P(1));
	link = js_link_by_external(entity->entity_id,
							   stream ? stream->stream_id : 0,
							   record->external_id);
	js_owner_begin(&owner, entity->owner);
	if (link != NULL && link->local_id != NULL)
		state = js_row_read(entity, link->local_id, &row);
	else if (link == NULL)
		state = js_row_lock_external(entity, record->external_id,
									 stream ? stream->property_value : NULL,
									 false, &row);
	js_owner_end(&owner);
	if (state != JS_ROW_FOUND)
	{
		row.values = palloc(sizeof(JsValue) * Max(entity->nfields, 1));
		for (int i = 0; i < entity->nfields; i++)
			row.values[i].isnull = true;
	}
	if (link == NULL)
		link = palloc0(sizeof(JsLink));
	js_facts_compare(entity, record, link, &row, &local, &pms);
	js_unpin_settings(level);
	js_internal_end(&security);
	SPI_finish();
	MemoryContextSwitchTo(caller);

	if (state != JS_ROW_FOUND)
		local = js_jsonb_in("{}");
	type = JB_ROOT_COUNT(local) == 0 ?
		(JB_ROOT_COUNT(pms) == 0 ? "synced" : "pms_modified") :
		(JB_ROOT_COUNT(pms) == 0 ? "local_modified" : "conflict");
	values[0] = OidInputFunctionCall(F_ENUM_IN, unconstify(char *, type),
									 TupleDescAttr(tupdesc, 0)->atttypid, -1);
	values[1] = JsonbPGetDatum(local);
	values[2] = JsonbPGetDatum(pms);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  values, nulls)));
}

/* wake_worker() */
Datum
jacksync_wake_worker(PG_FUNCTION_ARGS)
{
	/* the process id of the worker is read with any entity */
	SPI_connect();
	js_config_read_worker();
	SPI_finish();
	js_wake_schedule();
	PG_RETURN_VOID();
}

/* library_version() */
Datum
jacksync_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(JACKSYNC_VERSION));
}
