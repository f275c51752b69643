/*-------------------------------------------------------------------------
 *
 * heapread.h
 *	  Finding rows of tables that are open, and locking them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HEAPREAD_H
#define JS_HEAPREAD_H

#include "heap.h"

/* Visits what an index has of a row; false: enough. */
typedef bool (*JsHeapVisit) (void *arg, IndexTuple entry, TupleDesc desc,
							 ItemPointer tid);

extern JsHeapIndex *js_heap_index(JsHeap *heap, Oid indexid, int nkeys);
extern bool js_heap_find(JsHeap *heap, JsHeapIndex *index, bool unique,
						 bool write);
extern bool js_heap_find_place(JsHeap *heap, JsHeapIndex *index,
							   ItemPointer root);
extern void js_heap_walk(JsHeap *heap, JsHeapIndex *index, ScanKey from,
						 JsHeapVisit visit, void *arg);
extern void js_heap_prefetch(JsHeap *heap, const ItemPointerData *roots,
							 int n);
extern bool js_heap_fetch(JsHeap *heap, ItemPointer root, bool write);
extern JsHeapLock js_heap_lock(JsHeap *heap, bool skip_locked);
extern bool js_heap_untouched(JsHeap *heap);
extern void js_heap_make_room(JsHeap *heap, ItemPointer tid, Size len);

#endif							/* JS_HEAPREAD_H */
