/*-------------------------------------------------------------------------
 *
 * shelf.h
 *	  Records of an initial load that wait for their turn in the order of
 *	  their ids.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SHELF_H
#define JS_SHELF_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef struct JsShelf JsShelf;

/* Records that were taken together. */
typedef struct JsShelfSlice
{
	List	   *items;			/* unread JsJson, in the order of ids */
	int64		tick;			/* the oldest of their pages' */
	Jsonb	   *progress;		/* of the walk: everything up to there was
								 * taken; NULL: no more than before */
} JsShelfSlice;

extern void js_shelf_define_settings(void);
extern bool js_shelf_worthwhile(int64 records);
extern JsShelf *js_shelf_begin(MemoryContext parent, const char *low,
							   const char *high);
extern void js_shelf_page(JsShelf *shelf, int64 tick, Jsonb *progress);
extern void js_shelf_put(JsShelf *shelf, const char *id, const char *text,
						 size_t len);
extern void js_shelf_sort(JsShelf *shelf);
extern bool js_shelf_empty(JsShelf *shelf);
extern bool js_shelf_full(JsShelf *shelf);
extern void js_shelf_take(JsShelf *shelf, int n, JsShelfSlice *slice);
extern void js_shelf_taken(JsShelf *shelf);

#endif							/* JS_SHELF_H */
