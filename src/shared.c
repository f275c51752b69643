/*-------------------------------------------------------------------------
 *
 * shared.c
 *	  The shared memory of a database.
 *
 * A dynamic segment per database, so that nothing has to be preloaded.  The
 * first process that needs it creates it and pins it, so that it outlives its
 * worker; its handle stands in jacksync.shared_state, with the start of the
 * server, since handles mean nothing after a restart.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/dsm.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "jacksync.h"
#include "shared.h"
#include "statement.h"

#define MAGIC		0x4A535051u

static JsShared *shared = NULL;
static dsm_segment *segment = NULL;
static Oid	state_table = InvalidOid;	/* jacksync.shared_state */
static bool looked = false;		/* there, since it changed */

static dsm_handle known_handle(bool latest);
static dsm_handle handle_in_table(void);
static void table_changed(Datum arg, Oid relid);
static Oid	find_table(void);
static bool attach_to(dsm_handle handle);
static void create(void);
static void detach(void);

/* The memory; NULL: this process is not attached to any. */
JsShared   *
js_shared(void)
{
	return shared;
}

/*
 * Attach to the segment of this database; with create, make one if there is
 * none.  SPI is connected, and the caller is inside js_internal_begin().
 */
void
js_shared_attach(bool may_create)
{
	dsm_handle	handle = known_handle(false);

	if (segment != NULL && handle == dsm_segment_handle(segment))
		return;
	/* the extension was dropped and created: nobody needs the old one */
	if (segment != NULL && handle == DSM_HANDLE_INVALID && may_create &&
		AmBackgroundWorkerProcess())
		dsm_unpin_segment(dsm_segment_handle(segment));
	detach();
	if (handle != DSM_HANDLE_INVALID && attach_to(handle))
		return;
	if (may_create && !RecoveryInProgress())
		create();
}

/*
 * The same for reading, and without statements: for what is called often.
 * Returns whether another segment was found than the present one.
 */
bool
js_shared_look(void)
{
	dsm_handle	handle = looked ? DSM_HANDLE_INVALID : handle_in_table();

	if (handle == DSM_HANDLE_INVALID ||
		(segment != NULL && handle == dsm_segment_handle(segment)))
		return false;
	detach();
	return attach_to(handle);
}

/* The handle in the table, if this server may use it. */
static dsm_handle
known_handle(bool latest)
{
	static JsStatement statement = {
		"SELECT handle FROM jacksync.shared_state"
		" WHERE server_start = pg_catalog.pg_postmaster_start_time()",
		{InvalidOid}
	};
	uint64		rows = latest ? js_run_latest(&statement, NULL) :
	js_run(&statement, NULL);

	return rows > 0 ? (dsm_handle) js_get_int8(0, 1) : DSM_HANDLE_INVALID;
}

/* The same, read without a statement. */
static dsm_handle
handle_in_table(void)
{
	dsm_handle	handle = DSM_HANDLE_INVALID;
	Snapshot	snapshot;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	state_table = find_table();
	if (!OidIsValid(state_table))
		return handle;
	rel = table_open(state_table, AccessShareLock);
	looked = true;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		start = heap_getattr(tuple,
										 get_attnum(state_table, "server_start"),
										 RelationGetDescr(rel), &isnull);
		Datum		number = heap_getattr(tuple,
										  get_attnum(state_table, "handle"),
										  RelationGetDescr(rel), &isnull);

		if (DatumGetTimestampTz(start) == PgStartTime)
			handle = (dsm_handle) DatumGetInt64(number);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return handle;
}

/* Look again: perhaps the table has another segment. */
static void
table_changed(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == state_table)
		looked = false;
}

/* The table; InvalidOid: there is none.  From now on we hear of its changes. */
static Oid
find_table(void)
{
	static bool registered = false;

	if (!registered)
		CacheRegisterRelcacheCallback(table_changed, (Datum) 0);
	registered = true;
	return get_relname_relid("shared_state",
							 get_namespace_oid(JS_SCHEMA, true));
}

/* Attach to a segment, if it is there and is ours. */
static bool
attach_to(dsm_handle handle)
{
	dsm_segment *found = dsm_attach(handle);
	JsShared   *memory;

	if (found == NULL)
		return false;
	memory = dsm_segment_address(found);
	if (dsm_segment_map_length(found) < sizeof(JsShared) ||
		memory->magic != MAGIC || memory->size != sizeof(JsShared) ||
		memory->database != MyDatabaseId)
	{
		dsm_detach(found);
		return false;
	}
	dsm_pin_mapping(found);
	segment = found;
	shared = memory;
	return true;
}

/* Create the segment, unless somebody was faster. */
static void
create(void)
{
	static JsStatement lock = {
		"LOCK TABLE jacksync.shared_state IN SHARE ROW EXCLUSIVE MODE",
		{InvalidOid}
	};
	static JsStatement write = {
		"INSERT INTO jacksync.shared_state (handle, server_start)"
		" VALUES ($1, pg_catalog.pg_postmaster_start_time())"
		" ON CONFLICT (singleton) DO UPDATE SET handle = excluded.handle,"
		" server_start = excluded.server_start",
		{INT8OID}
	};
	dsm_handle	handle;
	dsm_segment *made;
	JsArgs		args = {0};

	js_run(&lock, NULL);
	handle = known_handle(true);
	if (handle != DSM_HANDLE_INVALID && attach_to(handle))
		return;

	made = dsm_create(sizeof(JsShared), DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (made == NULL)
		return;
	js_arg(&args, Int64GetDatum((int64) dsm_segment_handle(made)));
	js_run(&write, &args);
	CacheInvalidateRelcacheByRelid(find_table());

	shared = dsm_segment_address(made);
	memset(shared, 0, sizeof(JsShared));
	shared->magic = MAGIC;
	shared->size = sizeof(JsShared);
	shared->database = MyDatabaseId;
	SpinLockInit(&shared->mutex);
	for (int i = 0; i < JS_SLOTS; i++)
		SpinLockInit(&shared->slots[i].mutex);
	for (int i = 0; i < JS_STREAMS; i++)
		SpinLockInit(&shared->streams[i].mutex);
	dsm_pin_segment(made);
	dsm_pin_mapping(made);
	segment = made;
}

/* Let go of the segment. */
static void
detach(void)
{
	if (segment != NULL)
		dsm_detach(segment);
	segment = NULL;
	shared = NULL;
}
