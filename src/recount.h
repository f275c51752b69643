/*-------------------------------------------------------------------------
 *
 * recount.h
 *	  Records that are read once more in the same run count once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_RECOUNT_H
#define JS_RECOUNT_H

#include "journal.h"
#include "walk.h"

/* The counts when a window was begun. */
typedef struct JsRecount
{
	bool		begun;
	int			window;			/* its number */
	int			repeats;		/* how often it was begun again */
	JsCounts	before;
	int64		regressed;
	int64		touched;		/* records that will be found unchanged now */
} JsRecount;

extern void js_recount_page(JsRecount *recount, const JsWalk *walk,
							JsCounts *counts, int64 *regressed);
extern bool js_recount_over(const JsRecount *recount, const JsWalk *walk);
extern void js_recount_end(JsRecount *recount, JsCounts *counts);

#endif							/* JS_RECOUNT_H */
