/*-------------------------------------------------------------------------
 *
 * recount.c
 *	  Records that are read once more in the same run count once.
 *
 * A window whose records moved from page to page while they were read is read
 * again (walk.c).  What was counted in it is taken back then, but for what was
 * done: the records that were inserted or changed are unchanged this time, and
 * are not to count as such.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "recount.h"

/* A page of a walk came, and is not counted yet. */
void
js_recount_page(JsRecount *recount, const JsWalk *walk, JsCounts *counts,
				int64 *regressed)
{
	bool		same = recount->begun && recount->window == walk->windows;

	if (recount->begun && !js_recount_over(recount, walk))
		return;
	if (same)
	{
		recount->touched += counts->created - recount->before.created +
			counts->updated - recount->before.updated;
		counts->processed = recount->before.processed;
		counts->unchanged = recount->before.unchanged;
		counts->errors = recount->before.errors;
		*regressed = recount->regressed;
	}
	recount->begun = true;
	recount->window = walk->windows;
	recount->repeats = walk->repeats;
	recount->before = *counts;
	recount->regressed = *regressed;
}

/* Has the walk left the window of the last page, or begun it again? */
bool
js_recount_over(const JsRecount *recount, const JsWalk *walk)
{
	return recount->window != walk->windows ||
		recount->repeats != walk->repeats;
}

/* The walk is complete. */
void
js_recount_end(JsRecount *recount, JsCounts *counts)
{
	counts->unchanged = Max(counts->unchanged - recount->touched, 0);
	recount->touched = 0;
}
