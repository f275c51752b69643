/*-------------------------------------------------------------------------
 *
 * pull.c
 *	  The pull half of a cycle: walk the pages, apply them.
 *
 * A page's records, what could not be applied of them, and where the walk is
 * are written in one transaction.  The next page is asked for before the
 * present one is applied, so that the PMS works while we do: one page ahead,
 * no more.  Where the walk is stored only when its page is applied.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "absent.h"
#include "apply.h"
#include "applypage.h"
#include "compat.h"
#include "cycle.h"
#include "detail.h"
#include "faultpoint.h"
#include "jacksync.h"
#include "jsonb.h"
#include "progress.h"
#include "rowheap.h"
#include "secure.h"
#include "statement.h"
#include "streamtree.h"
#include "txn.h"

#define KEPT_BYTES (4 * 1024 * 1024)	/* of memory, from page to page */

static JsWalkKind kind_of_walk(JsCycle *cycle);
static void page_arrived(JsCycle *cycle, JsHttpResponse *response);
static JsPage *read_page(JsCycle *cycle, JsHttpResponse *response,
						 char **problem);
static void forget_cursor(JsCycle *cycle, int status);
static void fail(JsCycle *cycle, const char *problem);
static char *page_problem(JsCycle *cycle, JsHttpResponse *response);
static void retry_stored(JsCycle *cycle);

/* Begin to pull; a walk that was cut off goes on where it was. */
void
js_pull_start(JsCycle *cycle)
{
	if (cycle->push_only)
	{
		js_outbound_start(cycle);
		return;
	}
	retry_stored(cycle);
	if (cycle->stream->detail != NULL)
		js_details_start(cycle, js_pull_walk);	/* what a crash left */
	else
		js_pull_walk(cycle);
}

/* Begin a walk, or go on with it. */
void
js_pull_walk(JsCycle *cycle)
{
	JsWalkKind	kind = kind_of_walk(cycle);
	MemoryContext old;
	JsSecurity	security;

	if (strcmp(cycle->stream->sync_mode, "event_queue") == 0 &&
		(kind == JS_WALK_CHANGES || cycle->stream->full_request == NULL))
	{
		js_events_start(cycle);
		return;
	}
	js_progress_phase(cycle->progress,
					  !cycle->stream->initial_done ? JS_PHASE_INITIAL_LOAD :
					  cycle->stream->full_wanted ? JS_PHASE_FULL : JS_PHASE_PULL);
	js_txn_begin("beginning a walk");
	old = MemoryContextSwitchTo(cycle->mcxt);
	cycle->walk = js_walk_resume(cycle->stream);
	/* one for everything contains the changes, but not the other way round */
	if (cycle->walk != NULL && cycle->walk->kind == JS_WALK_CHANGES &&
		kind != JS_WALK_CHANGES)
		cycle->walk = NULL;
	if (cycle->walk == NULL)
	{
		cycle->walk = js_walk_begin(cycle->stream, kind, cycle->started);
		js_internal_begin(&security);
		cycle->walk->first_tick = js_tick_now();
		if (kind == JS_WALK_FULL &&
			strcmp(cycle->stream->sync_mode, "full_refresh") == 0)
			cycle->seen = js_seen_begin(cycle->mcxt, js_seen_last_record());
		js_internal_end(&security);
	}
	MemoryContextSwitchTo(old);
	js_txn_end();
	js_pull_ask(cycle);
}

/* What is the walk for? */
static JsWalkKind
kind_of_walk(JsCycle *cycle)
{
	JsStream   *stream = cycle->stream;

	if (!stream->initial_done)
		return JS_WALK_INITIAL;
	if (cycle->reconcile != NULL)
		return JS_WALK_RECONCILE;
	if (stream->full_wanted || strcmp(stream->sync_mode, "full_refresh") == 0)
		return JS_WALK_FULL;
	return JS_WALK_CHANGES;
}

/* Ask for the page at which the walk is. */
void
js_pull_ask(JsCycle *cycle)
{
	JsWalk	   *walk = cycle->walk;
	JsVars	   *vars = js_cycle_vars(cycle);
	JsHttpRequest request = {0};
	JsSecurity	security;

	js_txn_begin("making a request");
	js_walk_vars(walk, vars);
	js_internal_begin(&security);
	cycle->tick = js_tick_now();
	js_internal_end(&security);
	js_server_request(cycle->server, &request);
	request.repeatable = true;
	js_template_request(js_cycle_new_request(cycle), walk->request,
						cycle->server, vars, &request);
	if (walk->cursor != NULL && (walk->paging == JS_NEXT_URL ||
								 walk->paging == JS_HEADER_LINK))
		request.url = js_http_same_origin(cycle->request_mcxt, request.url,
										  walk->cursor);
	js_txn_end();
	if (request.url == NULL)
	{
		fail(cycle, "the next page is on another host, which is not asked");
		return;
	}
	js_cycle_send(cycle, &request, page_arrived);
}

/*
 * A page came.  Where the walk cannot go on from it, its records are applied
 * all the same.
 */
static void
page_arrived(JsCycle *cycle, JsHttpResponse *response)
{
	char	   *problem = page_problem(cycle, response);
	int64		tick = cycle->tick;
	JsPage	   *page = NULL;
	bool		more = false;

	if (response->failure == JS_HTTP_OK && response->status == 408 &&
		js_walk_shrink(cycle->walk))
	{
		js_pull_ask(cycle);
		return;
	}
	if (problem == NULL)
		page = read_page(cycle, response, &problem);
	if (page == NULL)
	{
		if (response->failure == JS_HTTP_OK && response->status >= 400)
			forget_cursor(cycle, response->status);
		fail(cycle, problem);
		return;
	}
	if (cycle->reconcile == NULL)
		js_recount_page(&cycle->recount, cycle->walk, &cycle->counts,
						&cycle->regressed);
	else
		js_reconcile_recount(cycle);
	js_txn_begin("looking for the next page");
	more = js_walk_next(cycle->walk, page, response, &problem);
	js_txn_end();
	if (cycle->seen != NULL)
		js_seen_page(cycle->seen, cycle->walk->source, page);
	if (more && cycle->stream->detail == NULL && !js_reconcile_pauses(cycle))
		js_pull_ask(cycle);
	JS_FAULT("cp02");
	if (cycle->reconcile != NULL)
	{
		if (problem == NULL)
			js_reconcile_page(cycle, page, tick, more);
		else
			js_reconcile_give_up(cycle, problem);
		return;
	}
	js_intake_page(cycle, page, tick, problem == NULL);
	if (!more || cycle->done || js_recount_over(&cycle->recount, cycle->walk))
		js_intake_rest(cycle);
	if (cycle->narrate)
		ereport(NOTICE,
				(errmsg("%s from %s: page %d, " INT64_FORMAT " records so far",
						cycle->stream->entity, cycle->stream->server,
						cycle->walk->pages, cycle->counts.processed)));
	if (problem != NULL)
		js_cycle_fail(cycle, problem);
	else if (cycle->stream->detail != NULL)
		js_details_start(cycle, more ? js_pull_ask : js_pull_complete);
	else if (!more && !cycle->done)
		js_pull_complete(cycle);
}

/*
 * A walk was continued at a cursor that the PMS does not take any more: the
 * next run begins anew, rather than to ask for it for ever.
 */
static void
forget_cursor(JsCycle *cycle, int status)
{
	JsWalk	   *walk = cycle->walk;
	JsSecurity	security;

	if (!walk->resumed || walk->cursor == NULL || cycle->reconcile != NULL ||
		(status != 400 && status != 404 && status != 410 && status != 422))
		return;
	js_txn_begin("forgetting where a walk was");
	js_internal_begin(&security);
	js_pull_save(cycle, NULL);
	js_internal_end(&security);
	js_txn_end();
}

/* The walk cannot go on. */
static void
fail(JsCycle *cycle, const char *problem)
{
	js_intake_rest(cycle);
	if (cycle->reconcile != NULL)
		js_reconcile_give_up(cycle, problem);
	else
		js_cycle_fail(cycle, problem);
}

/* What is wrong with an answer to the request for a page. */
static char *
page_problem(JsCycle *cycle, JsHttpResponse *response)
{
	char	   *problem = js_cycle_problem(cycle, response);

	if (problem != NULL && response->failure == JS_HTTP_OK &&
		(response->status == 400 || response->status == 413 ||
		 response->status == 422) && cycle->walk->page_size > 0)
		problem = psprintf("%s (it was asked for pages of %d records: paginator.page_size)",
						   problem, cycle->walk->page_size);
	return problem;
}

/*
 * Take a page apart: casts and jsonpath need the catalogs.  Its records stay
 * trees where nothing needs jsonb of them.
 */
static JsPage *
read_page(JsCycle *cycle, JsHttpResponse *response, char **problem)
{
	static MemoryContext kept = NULL;
	JsStream   *source = cycle->walk->source;
	MemoryContext old;
	JsPage	   *page;
	int			level;

	/*
	 * No page is read before the last one is done with, so all have the same
	 * memory: it need not be got from the system for each.
	 */
	if (kept == NULL)
		kept = AllocSetContextCreate(TopMemoryContext, "jacksync page",
									 KEPT_BYTES, KEPT_BYTES, 2 * KEPT_BYTES);
	MemoryContextReset(kept);
	js_txn_begin("reading a page");
	old = MemoryContextSwitchTo(kept);
	level = js_pin_settings(source->datetime_zone);
	page = cycle->reconcile == NULL &&
		js_streamtree_usable(source,
							 js_entity_by_name(cycle->stream->entity, false)) ?
		js_page_read_trees(source, response, problem) :
		js_page_read(source, response, problem);
	if (page != NULL)
	{
		js_page_times(source, page);
		js_page_unique(source, page);
	}
	js_unpin_settings(level);
	MemoryContextSwitchTo(old);
	js_txn_end();
	return page;
}

/*
 * Try again what was stored and is due: records that failed, or whose row
 * was locked, or that came while a push was open.
 */
static void
retry_stored(JsCycle *cycle)
{
	static JsStatement statement = {
		"SELECT payload, tick FROM jacksync.sync_error"
		" WHERE entity = $1 AND server = $2 AND direction = 'pull'"
		" AND state IN ('waiting', 'retry') AND next_attempt_at <= pg_catalog.now()"
		" AND pg_catalog.jsonb_typeof(payload) <> 'string'"
		" ORDER BY next_attempt_at, error_id LIMIT 200",
		{TEXTOID, NAMEOID}
	};
	JsApply		apply = {0};
	JsArgs		args = {0};
	List	   *payloads = NIL;
	List	   *ticks = NIL;
	ListCell   *payload;
	ListCell   *tick;
	uint64		rows;

	js_txn_begin("retrying stored records");
	js_arg_text(&args, cycle->stream->entity);
	js_arg_name(&args, cycle->stream->server);
	apply.run = &cycle->run;
	apply.skip_locked = true;
	apply.retrying = true;
	apply.defer_deletes = true;
	js_apply_begin(&apply, cycle->stream->entity, cycle->stream, false);
	rows = js_run(&statement, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		int64	   *copy = palloc(sizeof(int64));

		*copy = js_get_int8(row, 2);
		payloads = lappend(payloads, js_get_jsonb(row, 1));
		ticks = lappend(ticks, copy);
	}
	apply.counts = cycle->counts;
	forboth(payload, payloads, tick, ticks)
	{
		apply.tick = *(int64 *) lfirst(tick);
		js_apply_page(&apply, list_make1(lfirst(payload)));
	}
	cycle->counts = apply.counts;
	js_apply_end(&apply);
	js_txn_end();
}
