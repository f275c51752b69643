/*-------------------------------------------------------------------------
 *
 * linkfind.h
 *	  Finding links by the ids of records at the PMS.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_LINKFIND_H
#define JS_LINKFIND_H

#include "heapread.h"

/* Columns of jacksync.link, in their order. */
enum
{
	LINK_RECORD_ID,
	LINK_ENTITY_ID,
	LINK_STREAM_ID,
	LINK_STATE,
	LINK_DIRTY,
	LINK_WAITING,
	LINK_CONFLICT,
	LINK_FAILED,
	LINK_MUST_PULL,
	LINK_PUSH_FAILURES,
	LINK_FINALIZED_TICK,
	LINK_EXTERNAL_ID,
	LINK_LOCAL_ID,
	LINK_SNAPSHOT,
	LINK_PMS_UPDATED_AT,
	LINK_LAST_SYNC_AT,
	LINK_HASH,
	LINK_ROW_AT,
	LINK_INTENT_ID,
	LINK_NEXT_PUSH_AT,
	LINK_LOCAL_UPDATED_AT,
	LINK_LOCAL_TIMES,
	LINK_LOCAL_BASE,
	LINK_DECIDED,
	LINK_VERSION,
	LINK_NATTS
};

extern bool js_linkfind(JsHeap *heap, JsHeapIndex *index, int32 entity_id,
						int32 stream_id, const char *external_id,
						uint64 place);
extern uint64 js_linkfind_place(int32 entity_id, int32 stream_id,
								const char *external_id);
extern void js_linkfind_prefetch(JsHeap *heap, JsHeapIndex *index,
								 int32 entity_id, int32 stream_id,
								 const char *const *external_ids,
								 uint64 *places, int n);

#endif							/* JS_LINKFIND_H */
