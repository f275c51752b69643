/*-------------------------------------------------------------------------
 *
 * absent.c
 *	  Records that a complete list of the PMS does not have any more.
 *
 * A record that is missing from a complete list may be deleted; or the list
 * lies: a filter, a right that was taken away, a page that slipped.  So it is
 * asked for by itself where the stream can read one record (404 or 410: it is
 * gone), and else must be missing from two lists in a row, if lists are all
 * that the stream has.  Too many at once are held for a person before
 * anybody is asked anything.
 *
 * What was seen is a set of 64-bit hashes: two ids that collide let a record
 * pass for seen that is not, which does no harm.  The set lives in this
 * process; a walk that was cut off in between says nothing about absence.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "absent.h"
#include "compat.h"
#include "deletes.h"
#include "jacksync.h"
#include "record.h"
#include "secure.h"
#include "statement.h"
#include "streamtree.h"
#include "txn.h"

#define BATCH 10000				/* records looked at in one transaction */
#define MAX_CONFIRMED 100		/* asked for one by one in one cycle */

/* What is under way in a cycle. */
typedef struct Settling
{
	List	   *ids;			/* char *: to be asked for */
	char	   *asked;
	JsAbsentDone done;
	JsRun	   *run;
} Settling;

static int	compare_hashes(const void *a, const void *b);
static bool was_seen(JsSeen *seen, const char *external_id);
static int	note_batch(JsCycle *cycle, JsSeen *seen, JsApply *apply,
					   int64 *after, bool repair, JsAbsentFound found);
static void note_absent(JsApply *apply, const char *external_id);
static void forget_seen(JsApply *apply, JsSeen *seen);
static List *to_be_confirmed(JsCycle *cycle, JsApply *apply);
static void confirm_next(JsCycle *cycle);
static void confirmed(JsCycle *cycle, JsHttpResponse *response);
static void set_state(const char *external_id, JsCycle *cycle, bool gone);
static void carry_out(JsCycle *cycle, JsRun *run);
static void begin(JsCycle *cycle, JsApply *apply, JsRun *run,
				  const char *activity);

/* Begin a set; last_record is js_seen_last_record() at the start of the walk. */
JsSeen	   *
js_seen_begin(MemoryContext mcxt, int64 last_record)
{
	JsSeen	   *seen = MemoryContextAllocZero(mcxt, sizeof(JsSeen));

	seen->mcxt = mcxt;
	seen->last_record = last_record;
	return seen;
}

/* An id was in the list. */
void
js_seen_add(JsSeen *seen, const char *external_id)
{
	if (seen->n >= seen->size)
	{
		seen->size = Max(1024, seen->size * 2);
		seen->hashes = seen->hashes == NULL ?
			MemoryContextAllocHuge(seen->mcxt, sizeof(uint64) * seen->size) :
			repalloc_huge(seen->hashes, sizeof(uint64) * seen->size);
	}
	seen->hashes[seen->n++] =
		hash_bytes_extended((const unsigned char *) external_id,
							strlen(external_id), 0);
	seen->sorted = false;
}

/* The records of a page were; also those that cannot be stored. */
void
js_seen_page(JsSeen *seen, JsStream *stream, JsPage *page)
{
	bool		trees = page->trees != NIL;
	ListCell   *cell;

	foreach(cell, trees ? page->trees : page->records)
	{
		char	   *id = trees ? js_streamtree_id(stream, lfirst(cell)) :
		js_record_id(stream, false, lfirst(cell));

		if (id != NULL)
			js_seen_add(seen, id);
		else
			seen->spoilt = true;
	}
	foreach(cell, page->bad)
	{
		JsBadRecord *bad = lfirst(cell);

		if (bad->external_id != NULL)
			js_seen_add(seen, bad->external_id);
		else
			seen->spoilt = true;
	}
}

/* The newest record that there is; SPI is connected. */
int64
js_seen_last_record(void)
{
	static JsStatement statement = {
		"SELECT max(record_id) FROM jacksync.link",
		{InvalidOid}
	};

	js_run(&statement, NULL);
	return js_get_int8(0, 1);
}

/* Order of hashes. */
static int
compare_hashes(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : x > y ? 1 : 0;
}

/* Was an id in the list? */
static bool
was_seen(JsSeen *seen, const char *external_id)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) external_id,
										   strlen(external_id), 0);

	if (!seen->sorted)
	{
		qsort(seen->hashes, seen->n, sizeof(uint64), compare_hashes);
		seen->sorted = true;
	}
	return seen->n > 0 &&
		bsearch(&hash, seen->hashes, seen->n, sizeof(uint64),
				compare_hashes) != NULL;
}

/*
 * A walk is complete and was not cut off: what is known and was not in it?
 * found is called for each; with repair they are deleted by the policy of the
 * entity, as far as it is sure.  done is called at the end.
 */
void
js_absent_settle(JsCycle *cycle, JsSeen *seen, JsRun *run, bool repair,
				 JsAbsentFound found, JsAbsentDone done)
{
	Settling   *settling = MemoryContextAllocZero(cycle->mcxt,
												  sizeof(Settling));
	int64		after = 0;
	int			n;

	settling->done = done;
	settling->run = run;
	cycle->settling = settling;
	do
	{
		JsApply		apply = {0};

		begin(cycle, &apply, run, "looking for records that are gone");
		n = note_batch(cycle, seen, &apply, &after, repair, found);
		if (n < BATCH && repair)
		{
			forget_seen(&apply, seen);
			js_deletes_weigh(cycle->stream);
			settling->ids = to_be_confirmed(cycle, &apply);
		}
		js_apply_end(&apply);
		js_txn_end();
	} while (n == BATCH);

	if (repair)
		confirm_next(cycle);
	else
		done(cycle);
}

/* A transaction. */
static void
begin(JsCycle *cycle, JsApply *apply, JsRun *run, const char *activity)
{
	js_txn_begin(activity);
	apply->run = run;
	apply->skip_locked = true;
	js_apply_begin(apply, cycle->stream->entity, cycle->stream, false);
	apply->counts = cycle->counts;
}

/* Look at some records.  Returns how many there were. */
static int
note_batch(JsCycle *cycle, JsSeen *seen, JsApply *apply, int64 *after,
		   bool repair, JsAbsentFound found)
{
	static JsStatement statement = {
		"SELECT record_id, external_id, local_id FROM jacksync.link"
		" WHERE entity_id = $1 AND stream_id = $2 AND record_id > $3"
		" AND record_id <= $4 AND state = 'l' AND intent_id IS NULL"
		" AND external_id IS NOT NULL ORDER BY record_id LIMIT $5",
		{INT4OID, INT4OID, INT8OID, INT8OID, INT8OID}
	};
	JsArgs		args = {0};
	List	   *ids = NIL;
	List	   *locals = NIL;
	ListCell   *id;
	ListCell   *local;
	int			n;

	js_arg(&args, Int32GetDatum(apply->entity->entity_id));
	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	js_arg(&args, Int64GetDatum(*after));
	js_arg(&args, Int64GetDatum(seen->last_record));
	js_arg(&args, Int64GetDatum(BATCH));
	n = (int) js_run(&statement, &args);
	for (int i = 0; i < n; i++)
	{
		char	   *external_id = js_get_text(i, 2);

		*after = js_get_int8(i, 1);
		if (was_seen(seen, external_id))
		{
			pfree(external_id);
			continue;
		}
		ids = lappend(ids, external_id);
		locals = lappend(locals, js_get_text(i, 3));
	}
	forboth(id, ids, local, locals)
	{
		if (found != NULL)
			found(cycle, apply, lfirst(id), lfirst(local));
		if (repair)
			note_absent(apply, lfirst(id));
	}
	return n;
}

/* A record was not in the list: once, or once more. */
static void
note_absent(JsApply *apply, const char *external_id)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.pending_delete AS d (stream_id, external_id,"
		" tick, state, absences) VALUES ($1, $2, 0, 'absent', 1)"
		" ON CONFLICT (stream_id, external_id) DO UPDATE"
		" SET absences = d.absences + 1 WHERE d.state = 'absent'",
		{INT4OID, TEXTOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	js_arg_text(&args, external_id);
	js_run(&statement, &args);
}

/* What was missing and is there again is not missing. */
static void
forget_seen(JsApply *apply, JsSeen *seen)
{
	static JsStatement statement = {
		"SELECT external_id FROM jacksync.pending_delete"
		" WHERE stream_id = $1 AND absences > 0",
		{INT4OID}
	};
	JsArgs		args = {0};
	List	   *ids = NIL;
	ListCell   *cell;
	uint64		rows;

	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	rows = js_run(&statement, &args);
	for (uint64 row = 0; row < rows; row++)
		ids = lappend(ids, js_get_text(row, 1));
	foreach(cell, ids)
		if (was_seen(seen, lfirst(cell)))
		js_deletes_forget(apply, lfirst(cell));
}

/*
 * Which of them are to be asked for one by one: none if the stream cannot
 * read a record.  Then two lists in a row are believed, if they are all that
 * the stream has; a feed of changes without a filter may be less than all.
 */
static List *
to_be_confirmed(JsCycle *cycle, JsApply *apply)
{
	static JsStatement statement = {
		"SELECT external_id FROM jacksync.pending_delete"
		" WHERE stream_id = $1 AND state = 'absent'"
		" ORDER BY seen_at, external_id LIMIT $2",
		{INT4OID, INT8OID}
	};
	static JsStatement believe = {
		"UPDATE jacksync.pending_delete SET state = 'gathered'"
		" WHERE stream_id = $1 AND state = 'absent' AND absences >= 2",
		{INT4OID}
	};
	MemoryContext old;
	JsArgs		args = {0};
	List	   *ids = NIL;
	uint64		rows;

	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	if (!js_stream_reads_one(cycle->stream))
	{
		if (strcmp(cycle->stream->sync_mode, "full_refresh") == 0)
			js_run(&believe, &args);
		return NIL;
	}
	js_arg(&args, Int64GetDatum(MAX_CONFIRMED));
	rows = js_run(&statement, &args);
	old = MemoryContextSwitchTo(cycle->mcxt);
	for (uint64 row = 0; row < rows; row++)
		ids = lappend(ids, js_get_text(row, 1));
	MemoryContextSwitchTo(old);
	return ids;
}

/* Ask for the next one, or carry out what is sure. */
static void
confirm_next(JsCycle *cycle)
{
	Settling   *settling = cycle->settling;
	JsHttpRequest request = {0};

	if (settling->ids == NIL)
	{
		carry_out(cycle, settling->run);
		settling->done(cycle);
		return;
	}
	settling->asked = linitial(settling->ids);
	settling->ids = list_delete_first(settling->ids);
	if (js_outbound_read_request(cycle, settling->asked, &request))
		js_cycle_send(cycle, &request, confirmed);
	else
		confirm_next(cycle);
}

/* The PMS said whether there is such a record. */
static void
confirmed(JsCycle *cycle, JsHttpResponse *response)
{
	Settling   *settling = cycle->settling;
	char	   *problem = js_cycle_problem(cycle, response);

	if (response->failure == JS_HTTP_OK &&
		(response->status == 404 || response->status == 410))
		set_state(settling->asked, cycle, true);
	else if (problem == NULL)
		set_state(settling->asked, cycle, false);
	else
	{
		/* not sure: the next complete walk asks again */
		settling->ids = NIL;
	}
	confirm_next(cycle);
}

/* It is gone; or it is not, and the list lied. */
static void
set_state(const char *external_id, JsCycle *cycle, bool gone)
{
	static JsStatement statement = {
		"UPDATE jacksync.pending_delete SET state = 'gathered'"
		" WHERE stream_id = $1 AND external_id = $2 AND state = 'absent'",
		{INT4OID, TEXTOID}
	};
	JsApply		apply = {0};
	JsArgs		args = {0};

	begin(cycle, &apply, &cycle->run, "noting that a record is gone");
	if (gone)
	{
		js_arg(&args, Int32GetDatum(cycle->stream_id));
		js_arg_text(&args, external_id);
		js_run(&statement, &args);
	}
	else
		js_deletes_forget(&apply, external_id);
	js_apply_end(&apply);
	js_txn_end();
}

/* Delete what is sure, by the policy of the entity. */
static void
carry_out(JsCycle *cycle, JsRun *run)
{
	bool		more;

	do
	{
		JsApply		apply = {0};

		begin(cycle, &apply, run, "deleting what the PMS deleted");
		more = apply.pending_deletes && js_deletes_apply(&apply);
		cycle->counts = apply.counts;
		js_apply_end(&apply);
		js_txn_end();
	} while (more);
}
