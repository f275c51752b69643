/*-------------------------------------------------------------------------
 *
 * intake.c
 *	  What is done with a page that came: it is applied.
 *
 * A large initial load whose ids come in no order does not apply a page when
 * it comes, but holds its records (shelf.c), and applies as many of those that
 * it holds, in the order of their ids.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "apply.h"
#include "applypage.h"
#include "cycle.h"
#include "detail.h"
#include "faultpoint.h"
#include "jacksync.h"
#include "jsonb.h"
#include "progress.h"
#include "recordtree.h"
#include "rowheap.h"
#include "shelf.h"
#include "streamtree.h"
#include "txn.h"

#define CHUNK 500				/* records in one transaction, */
#define HELD_CHUNK 1000			/* if they were held */

/* What is applied in one transaction. */
typedef struct Portion
{
	List	   *records;		/* Jsonb */
	List	   *trees;			/* JsJson, instead of these */
	bool		unread;			/* they are yet to be parsed */
	List	   *bad;			/* JsBadRecord */
	int64		tick;			/* when it was asked for */
	Jsonb	   *progress;		/* of the walk, to be stored; or NULL */
} Portion;

static void apply_page(JsCycle *cycle, JsPage *page, int64 tick,
					   Jsonb *progress);
static void keep_sending(void);
static bool may_begin_shelf(JsCycle *cycle, JsPage *page);
static bool follows(JsCycle *cycle, JsPage *page);
static void hold_page(JsCycle *cycle, JsPage *page, int64 tick,
					  Jsonb *progress);
static int	apply_slice(JsCycle *cycle, int n);
static void take_up(JsCycle *cycle, JsPage *page, int64 tick);
static void apply_portion(JsCycle *cycle, Portion *portion);
static void begin_apply(JsCycle *cycle, JsApply *apply, int64 tick);
static void end_apply(JsCycle *cycle, JsApply *apply);
static bool may_expect_new(JsCycle *cycle, JsApply *apply);
static void store_bad(JsApply *apply, List *all);

/*
 * Apply a page, or hold it.  The walk is one page further already; advance:
 * where it is now is stored, when everything before is applied.
 */
void
js_intake_page(JsCycle *cycle, JsPage *page, int64 tick, bool advance)
{
	Jsonb	   *progress = advance ? js_walk_progress(cycle->walk) : NULL;

	if (cycle->shelf == NULL && may_begin_shelf(cycle, page))
		cycle->shelf = js_shelf_begin(cycle->mcxt, cycle->low, cycle->high);
	if (cycle->shelf != NULL && page->records == NIL)
	{
		hold_page(cycle, page, tick, progress);
		return;
	}
	js_intake_rest(cycle);		/* it came before this page */
	apply_page(cycle, page, tick, progress);
}

/* Apply what is held. */
void
js_intake_rest(JsCycle *cycle)
{
	if (cycle->shelf == NULL)
		return;
	do
		(void) apply_slice(cycle, HELD_CHUNK);
	while (!js_shelf_empty(cycle->shelf));
}

/* Apply a page; with its last records, store where the walk is. */
static void
apply_page(JsCycle *cycle, JsPage *page, int64 tick, Jsonb *progress)
{
	List	   *all = page->trees ? page->trees : page->records;
	int			n = list_length(all);

	for (int from = 0; from == 0 || from < n; from += CHUNK)
	{
		Portion		portion = {.tick = tick};
		List	   *some = NIL;

		if (from > 0)
			keep_sending();
		for (int i = from; i < from + CHUNK && i < n; i++)
			some = lappend(some, list_nth(all, i));
		if (page->trees != NIL)
			portion.trees = some;
		else
			portion.records = some;
		if (from + CHUNK >= n)
		{
			portion.bad = page->bad;
			portion.progress = progress;
		}
		apply_portion(cycle, &portion);
	}
}

/* Between two transactions: let the request that is under way go on. */
static void
keep_sending(void)
{
	bool		latch_set;

	(void) js_http_wait(0, &latch_set);
	if (latch_set)
		SetLatch(MyLatch);		/* not for us */
}

/* Is this the page from which on a load holds records? */
static bool
may_begin_shelf(JsCycle *cycle, JsPage *page)
{
	JsWalk	   *walk = cycle->walk;

	return walk->kind == JS_WALK_INITIAL && walk->all_new && !walk->not_new &&
		page->trees != NIL &&
		js_shelf_worthwhile(Max(walk->records, cycle->counts.processed)) &&
		!follows(cycle, page);
}

/*
 * Do pages come in the order of ids, up or down?  Then there is nothing to
 * gain.  What most of a page's ids lie between is compared with that of the
 * page before: a few that are elsewhere do not matter.
 */
static bool
follows(JsCycle *cycle, JsPage *page)
{
	int			n = list_length(page->trees);
	char	  **ids = palloc(sizeof(char *) * n);
	char	   *low = cycle->low;
	char	   *high = cycle->high;
	bool		result;

	for (int i = 0; i < n; i++)
		ids[i] = list_nth(page->ids, i) ? list_nth(page->ids, i) : "";
	qsort(ids, n, sizeof(char *), pg_qsort_strcmp);
	cycle->low = MemoryContextStrdup(cycle->mcxt, ids[n / 10]);
	cycle->high = MemoryContextStrdup(cycle->mcxt, ids[n - 1 - n / 10]);
	if (low == NULL)
		return true;			/* the next page will tell */
	result = strcmp(cycle->low, high) > 0 || strcmp(cycle->high, low) < 0;
	pfree(low);
	pfree(high);
	return result;
}

/*
 * Hold the records of a page, and apply others for them: half as many as long
 * as there is room, so that neither the PMS nor we wait for the other.
 */
static void
hold_page(JsCycle *cycle, JsPage *page, int64 tick, Jsonb *progress)
{
	JsShelf    *shelf = cycle->shelf;
	int			n = list_length(page->trees);
	ListCell   *cell;
	ListCell   *id_cell;

	take_up(cycle, page, tick);
	js_shelf_page(shelf, tick, progress);
	forboth(cell, page->trees, id_cell, page->ids)
	{
		JsJson	   *tree = lfirst(cell);
		char	   *id = lfirst(id_cell);

		js_shelf_put(shelf, id ? id : "", js_json_source(tree),
					 js_json_source_len(tree));
	}
	js_shelf_sort(shelf);
	if (!js_shelf_full(shelf))
		n /= 2;
	while (n > 0 || js_shelf_full(shelf))
		n -= apply_slice(cycle, n > 0 ? n : HELD_CHUNK);
}

/*
 * Do what is not done when single records of a page are applied: learn their
 * fields, and store what cannot be applied at all.
 */
static void
take_up(JsCycle *cycle, JsPage *page, int64 tick)
{
	JsApply		apply;

	begin_apply(cycle, &apply, tick);
	apply.reader = js_streamtree_reader(cycle->walk->source, false);
	js_apply_learn(&apply, page->trees);
	store_bad(&apply, page->bad);
	end_apply(cycle, &apply);
}

/* Apply up to n of the records whose turn it is; returns how many. */
static int
apply_slice(JsCycle *cycle, int n)
{
	JsShelfSlice slice;
	Portion		portion = {.unread = true};

	js_shelf_take(cycle->shelf, Min(n, HELD_CHUNK), &slice);
	portion.trees = slice.items;
	portion.tick = slice.tick;
	portion.progress = slice.progress;
	apply_portion(cycle, &portion);
	n = list_length(slice.items);
	js_shelf_taken(cycle->shelf);
	keep_sending();
	return n;
}

/* Apply some records in a transaction. */
static void
apply_portion(JsCycle *cycle, Portion *portion)
{
	JsApply		apply;
	JsWalk	   *walk = cycle->walk;
	List	   *records = portion->trees ? portion->trees : portion->records;
	bool		expected;

	begin_apply(cycle, &apply, portion->tick);
	if (portion->trees != NIL)
		apply.reader = js_streamtree_reader(walk->source, portion->unread);
	apply.expect_new = expected = may_expect_new(cycle, &apply);
	if (cycle->stream->detail != NULL)
		records = js_details_want(cycle, &apply, walk->source, records,
								  cycle->stream->full_wanted);
	js_apply_page(&apply, records);
	walk->all_new = records != NIL && apply.counts.created -
		cycle->counts.created == list_length(records);
	walk->not_new = walk->not_new || expected != apply.expect_new;
	store_bad(&apply, portion->bad);
	if (portion->progress != NULL)
		js_pull_save(cycle, portion->progress);
	end_apply(cycle, &apply);
	js_progress_note(cycle->progress, walk->pages, cycle->counts.processed,
					 cycle->counts.pushed);
	/* the PMS counts a window; only where there is but one it is the whole */
	if (walk->total > 0 && cycle->stream->step == 0)
		js_progress_total(cycle->progress, walk->total);
	JS_FAULT("cp06");
}

/* Begin a transaction in which records of the walk are applied. */
static void
begin_apply(JsCycle *cycle, JsApply *apply, int64 tick)
{
	JsStream   *stream = cycle->stream;

	memset(apply, 0, sizeof(JsApply));
	js_txn_begin(psprintf("applying %s from %s", stream->entity,
						  stream->server));
	apply->run = &cycle->run;
	apply->tick = tick;
	apply->skip_locked = true;
	apply->defer_deletes = true;
	/* a local edit makes a detail wanted: then it must be known now */
	apply->lazy = stream->detail == NULL;
	js_apply_begin(apply, stream->entity, cycle->walk->source, false);
	apply->counts = cycle->counts;
}

/* End it; what was done counts, if anything was. */
static void
end_apply(JsCycle *cycle, JsApply *apply)
{
	if (memcmp(&cycle->counts, &apply->counts, sizeof(JsCounts)) != 0)
		js_run_progress(&cycle->run, &apply->counts);
	cycle->counts = apply->counts;
	cycle->regressed += apply->regressed;
	cycle->advanced += apply->advanced;
	js_apply_end(apply);
	js_txn_end();
}

/*
 * May records be taken for new, without a look for their links and rows?  In
 * an initial load that brought nothing else just now, if indexes would not let
 * a second one in: then what fails is done again, with a look.
 */
static bool
may_expect_new(JsCycle *cycle, JsApply *apply)
{
	JsWalk	   *walk = cycle->walk;

	return walk->kind == JS_WALK_INITIAL && walk->all_new && !walk->not_new &&
		cycle->stream->detail == NULL && !apply->open_creates &&
		js_rowheap_obstacle(apply->entity) == NULL &&
		js_rowheap_unique(apply->entity, walk->source->property_value);
}

/* Records that cannot even be stored as they came: dead letters. */
static void
store_bad(JsApply *apply, List *all)
{
	ListCell   *cell;

	foreach(cell, all)
	{
		JsBadRecord *bad = lfirst(cell);
		JsLink		link = {0};
		JsSubject	subject;
		JsFailure	failure = {0};

		link.external_id = bad->external_id;
		subject = js_apply_subject(apply, &link);
		failure.direction = "pull";
		failure.sqlstate = unpack_sql_state(ERRCODE_JS_BAD_RECORD);
		failure.error = psprintf("record cannot be stored: %s", bad->problem);
		failure.payload = js_jsonb_string(bad->text);
		failure.dead = true;
		js_failure_record(&subject, &failure);
		apply->counts.processed++;
		apply->counts.errors++;
	}
}
