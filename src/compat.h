/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Every difference between server and libcurl versions, in one place.
 *
 * Include after postgres.h.  Nothing here gives a name of the server another
 * meaning; names that an old version lacks are supplied.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_COMPAT_H
#define JS_COMPAT_H

#include "fmgr.h"
#include "storage/latch.h"
#include "utils/guc.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif
#if PG_VERSION_NUM >= 170000
#include "utils/resowner.h"
#include "utils/wait_event.h"
#endif
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

#if PG_VERSION_NUM < 150000
#error "jacksync needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 180000
#define JS_MODULE_MAGIC(n, v)	PG_MODULE_MAGIC_EXT(.name = n, .version = v)
#else
#define JS_MODULE_MAGIC(n, v)	PG_MODULE_MAGIC
#define pg_noreturn				pg_attribute_noreturn()
#endif

/* The wait event that pg_stat_activity shows; a name of our own since 17. */
#if PG_VERSION_NUM >= 170000
#define js_wait_event_new(name) WaitEventExtensionNew(name)
#else
#define js_wait_event_new(name) PG_WAIT_EXTENSION
#endif

/* Decode a time that was split into fields; since 16 it tells more. */
#if PG_VERSION_NUM >= 160000
#define js_decode_datetime(f, t, n, d, tm, fs, tz) \
	DecodeDateTime(f, t, n, d, tm, fs, tz, &(DateTimeErrorExtra) {0})
#else
#define js_decode_datetime(f, t, n, d, tm, fs, tz) \
	DecodeDateTime(f, t, n, d, tm, fs, tz)
#endif

#if PG_VERSION_NUM < 170000
#define AmBackgroundWorkerProcess() (IsBackgroundWorker)
#endif

/* A wait event set that lives until it is freed. */
#if PG_VERSION_NUM >= 170000
#define js_create_wait_event_set(n) CreateWaitEventSet((ResourceOwner) NULL, n)
#else
#define js_create_wait_event_set(n) CreateWaitEventSet(CurrentMemoryContext, n)
#endif

#if PG_VERSION_NUM >= 180000
#define js_primary_key_index(rel) RelationGetPrimaryKeyIndex(rel, true)
#else
#define js_primary_key_index(rel) RelationGetPrimaryKeyIndex(rel)
#endif

/* How an index compares the values of its ssup_attno. */
#if PG_VERSION_NUM >= 180000
#define js_sort_support(index, reverse, ssup) \
	PrepareSortSupportFromIndexRel(index, reverse, ssup)
#else
#define js_sort_support(index, reverse, ssup) \
	PrepareSortSupportFromIndexRel(index, (reverse) ? BTGreaterStrategyNumber : \
								   BTLessStrategyNumber, ssup)
#endif

/* May a role call a function? */
#if PG_VERSION_NUM >= 160000
#define js_function_aclcheck(function, role) \
	object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE)
#else
#define js_function_aclcheck(function, role) \
	pg_proc_aclcheck(function, role, ACL_EXECUTE)
#endif

/*
 * Pages of the heap that nothing is on go back to the system.  glibc keeps
 * those between things that are in use, and at the end the more, the larger
 * the largest answer was: a process that lives for months would be as large as
 * all of its busiest moments together.
 */
#ifdef __GLIBC__
#include <malloc.h>
#define js_give_back_memory()	((void) malloc_trim(0))
#else
#define js_give_back_memory()	((void) 0)
#endif

/* Ask the processor for a cache line that will be read soon. */
#ifdef __GNUC__
#define js_prefetch(address) __builtin_prefetch(address)
#else
#define js_prefetch(address) ((void) (address))
#endif

/* Which file a relation is in, for ReadRecentBuffer(). */
#if PG_VERSION_NUM >= 160000
#define js_file_of(rel) ((rel)->rd_locator)
#define js_file_number(rel) ((rel)->rd_locator.relNumber)
#else
#define js_file_of(rel) ((rel)->rd_node)
#define js_file_number(rel) ((rel)->rd_node.relNode)
#endif

/* What heap.c calls of the executor. */
#if PG_VERSION_NUM >= 160000
#define JsColumnPermissions RTEPermissionInfo
#define js_column_permissions(list, rte) addRTEPermissionInfo(list, rte)
#define JsUpdateIndexes TU_UpdateIndexes
#define js_moved(indexes) ((indexes) == TU_All)
#define js_insert_index_tuples(info, slot, estate, indexes) \
	((indexes) == TU_None ? NIL : \
	 ExecInsertIndexTuples(info, slot, estate, true, false, NULL, NIL, \
						   (indexes) == TU_Summarizing))
#define js_insert_all_index_tuples(info, slot, estate) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL, false)
#define js_epq_init(epq, estate) \
	EvalPlanQualInit(epq, estate, NULL, NIL, -1, NIL)
#else
#define JsColumnPermissions RangeTblEntry
#define js_column_permissions(list, rte) (rte)
#define JsUpdateIndexes bool
#define js_moved(indexes) (indexes)
#define js_insert_index_tuples(info, slot, estate, indexes) \
	((indexes) ? \
	 ExecInsertIndexTuples(info, slot, estate, true, false, NULL, NIL) : NIL)
#define js_insert_all_index_tuples(info, slot, estate) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL)
#define js_epq_init(epq, estate) EvalPlanQualInit(epq, estate, NULL, NIL, -1)
#endif
#if PG_VERSION_NUM >= 180000
#define js_init_range_table(estate, rte, permissions) \
	ExecInitRangeTable(estate, list_make1(rte), permissions, \
					   bms_make_singleton(1))
#define js_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#elif PG_VERSION_NUM >= 160000
#define js_init_range_table(estate, rte, permissions) \
	ExecInitRangeTable(estate, list_make1(rte), permissions)
#else
#define js_init_range_table(estate, rte, permissions) \
	((void) (permissions), ExecInitRangeTable(estate, list_make1(rte)))
#endif
#if PG_VERSION_NUM < 180000
#define js_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/*
 * SQL-callable functions are the only symbols that leave the library: it is
 * compiled with hidden visibility.  (Before 16 PG_FUNCTION_INFO_V1 declares
 * the function without PGDLLEXPORT.)
 */
#define JS_FUNCTION(name) \
	PGDLLEXPORT Datum name(PG_FUNCTION_ARGS); \
	PG_FUNCTION_INFO_V1(name)

#endif							/* JS_COMPAT_H */
