/*-------------------------------------------------------------------------
 *
 * heap.h
 *	  Direct access to plain tables: by index, lock, update, insert.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HEAP_H
#define JS_HEAP_H

#include "access/genam.h"
#include "access/skey.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

#include "compat.h"

#define JS_HEAP_KEYS 8			/* of an index that is searched */

/* An index that rows are found by. */
typedef struct JsHeapIndex
{
	Relation	rel;			/* one of those of the table's result relation */
	IndexScanDesc scan;
	int			nkeys;
	ScanKeyData keys[JS_HEAP_KEYS];
	struct JsHeapIndex *next;
} JsHeapIndex;

/* A table that is open. */
typedef struct JsHeap
{
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *info;
	TupleTableSlot *found;		/* as the index found it */
	TupleTableSlot *locked;		/* its newest version, locked */
	TupleTableSlot *old;		/* which of them an update is to replace */
	TupleTableSlot *fresh;		/* a version to be written */
	TupleTableSlot **many;		/* many of them (js_heap_slots) */
	int			nmany;
	ItemPointerData root;		/* where indexes find the row that was found
								 * or written; invalid: not known */
	JsColumnPermissions *columns;	/* its updatedCols an UPDATE names */
	BlockNumber nblocks;		/* it had at least so many */
	bool		kept;			/* until js_heap_page_end() */
	bool		fires_before;	/* has BEFORE ROW triggers */
	bool		fires_after;	/* has AFTER ROW triggers, ours not counted */
	bool		quiet;			/* writing it runs no code of users */
	JsHeapIndex *indexes;
	Size		space;			/* free on the page of the row that was found */
	const char *name;			/* of a table of ours that was opened by it */
	int			nlater;			/* of many, rows that are to be inserted */
	void	   *extra;			/* what the user of it keeps with it */
	MemoryContext mcxt;
	struct JsHeap *next;
} JsHeap;

/* A stretch of work in which tables are kept open. */
typedef struct JsHeapPage
{
	SubTransactionId subid;
	MemoryContext mcxt;
	JsHeap	   *heaps;
	struct JsHeapPage *outer;
} JsHeapPage;

typedef enum JsHeapLock
{
	JS_HEAP_OK,
	JS_HEAP_BUSY,				/* somebody else holds it */
	JS_HEAP_MOVED,				/* changed meanwhile: look again */
	JS_HEAP_GONE
} JsHeapLock;

extern void js_heap_page_begin(JsHeapPage *page);
extern void js_heap_page_end(JsHeapPage *page);
extern void js_heap_page_abort(JsHeapPage *page);
extern bool js_heap_paged(void);

extern JsHeap *js_heap_open(Oid relid);
extern JsHeap *js_heap_ours(const char *name);
extern void js_heap_close(JsHeap *heap);
extern JsHeapLock js_heap_update(JsHeap *heap, ItemPointer tid,
								 bool locked, Size space);
extern JsHeapLock js_heap_delete(JsHeap *heap, ItemPointer tid);
extern bool js_heap_update_fire(JsHeap *heap);
extern bool js_heap_insert(JsHeap *heap);
extern void js_heap_append(JsHeap *heap);
extern TupleTableSlot *js_heap_later(JsHeap *heap);
extern void js_heap_append_later(JsHeap *heap);

#endif							/* JS_HEAP_H */
