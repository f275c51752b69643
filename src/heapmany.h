/*-------------------------------------------------------------------------
 *
 * heapmany.h
 *	  New rows of plain tables, many at a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HEAPMANY_H
#define JS_HEAPMANY_H

#include "heap.h"

extern TupleTableSlot **js_heap_slots(JsHeap *heap, int n);
extern void js_heap_append_many(JsHeap *heap, int n, bool ours);

#endif							/* JS_HEAPMANY_H */
