/*-------------------------------------------------------------------------
 *
 * schedule.c
 *	  When which stream is due: kept in memory by the worker.
 *
 * The truth is in the tables; this is a copy, so that a worker that wakes
 * need not ask for all of it.  It is read again as a whole when the
 * configuration changes, when somebody calls a function that changes the
 * schedule (js_wake_schedule()), and every LOOK_AGAIN_MS in case somebody
 * changed jacksync.stream_state by hand; of one stream, when its cycle has
 * ended and right before a cycle is started.  So a copy that is out of date
 * can delay a cycle, but never start one that must not run.
 *
 * A commit with captured changes wakes the worker; then only the log of
 * changes is read, and the streams of the records in it are to push.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "jacksync.h"
#include "live.h"
#include "schedule.h"
#include "secure.h"
#include "statement.h"
#include "txn.h"

#define LOOK_AGAIN_MS	15000	/* at everything */
#define GATHER_MS		50		/* commits that come so close are one look */
#define BUSY_MS			1000	/* a session works on the stream: try again */
#define FAILED_MS		1000	/* the schedule could not be read: try again */
#define MIN_PAUSE_MS	5000	/* a push that had no effect is repeated */
#define MAX_PAUSE_MS	60000

/* What is known of a stream that may run. */
typedef struct Entry
{
	int32		stream_id;
	int32		entity_id;
	TimestampTz due;			/* DT_NOEND: never */
	TimestampTz marked;			/* local changes are to go out; the same */
	TimestampTz not_before;		/* a session is busy with it; 0: nobody is */
	TimestampTz pause_until;	/* for what is marked: pushing had no effect */
	int			pause_ms;
	bool		captured;		/* the log has changes of it */
	bool		may_push;		/* no failure, and loaded */
	bool		running;
	bool		stale;			/* read it again before it is believed */
} Entry;

static MemoryContext schedule_context;
static Entry *entries = NULL;	/* ordered by stream_id */
static int	n_entries = 0;
static Oid	watched[4];
static bool all_stale = true;
static bool look_for_changes = true;
static bool changes_seen = false;	/* in the log, at the last look */
static TimestampTz next_look = 0;
static TimestampTz last_changes = 0;
static TimestampTz failed_until = 0;	/* after an error: not at once again */

static void relcache_callback(Datum arg, Oid relid);
static void watch(void);
static void read_all(void);
static void read_some(TimestampTz now);
static void read_changes(TimestampTz now);
static void take_row(Entry *entry, uint64 row);
static Entry *find(int32 stream_id);
static int	compare_entries(const void *a, const void *b);
static int	compare_due(const void *a, const void *b);
static TimestampTz due_at(const Entry *entry);
static Datum int4_array(const int32 *values, int n);

/*
 * A stream that may run, when it is due, whether it may push between polls,
 * and when local changes are to be pushed that are marked already.
 */
#define READ_STREAMS(which) \
	"SELECT s.stream_id, e.entity_id, t.next_due_at," \
	" t.failure_count = 0 AND t.initial_done," \
	" CASE WHEN EXISTS (SELECT FROM jacksync.link l WHERE l.dirty" \
	"  AND l.entity_id = e.entity_id AND l.stream_id = s.stream_id" \
	"  AND l.intent_id IS NULL AND l.state NOT IN ('t', 'f')" \
	"  AND (l.next_push_at IS NULL OR l.next_push_at <= pg_catalog.now()))" \
	"  THEN pg_catalog.now() ELSE (SELECT min(l.next_push_at) FROM jacksync.link l" \
	"  WHERE l.dirty AND l.entity_id = e.entity_id" \
	"  AND l.stream_id = s.stream_id AND l.intent_id IS NULL" \
	"  AND l.state NOT IN ('t', 'f')) END" \
	" FROM jacksync.stream s" \
	" JOIN jacksync.stream_state t ON t.stream_id = s.stream_id" \
	" JOIN jacksync.entity e ON e.entity = s.entity" \
	" WHERE " which " s.enabled AND e.enabled AND NOT t.paused" \
	" AND s.server NOT IN (SELECT w.server FROM jacksync.maintenance_window w" \
	"  WHERE jacksync.in_maintenance(w.server))" \
	" ORDER BY s.stream_id"

/* Called once, in the worker. */
void
js_schedule_init(MemoryContext mcxt)
{
	schedule_context = AllocSetContextCreate(mcxt, "jacksync schedule",
											 ALLOCSET_DEFAULT_SIZES);
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
}

/* A table changed that the schedule is made of? */
static void
relcache_callback(Datum arg, Oid relid)
{
	if (!OidIsValid(relid))
		all_stale = true;
	for (int i = 0; i < lengthof(watched); i++)
		if (watched[i] == relid)
			all_stale = true;
}

/* The tables whose change means that everything is read again. */
static void
watch(void)
{
	static const char *const tables[] = {
		"entity", "stream", "stream_state", "maintenance_window"
	};
	Oid			schema = get_namespace_oid(JS_SCHEMA, false);

	for (int i = 0; i < lengthof(tables); i++)
		watched[i] = get_relname_relid(tables[i], schema);
}

/* The extension is gone: so is all that was known. */
void
js_schedule_forget(void)
{
	n_entries = 0;
	entries = NULL;
	MemoryContextReset(schedule_context);
	js_schedule_look();
}

/* Look at everything at the next turn. */
void
js_schedule_look(void)
{
	all_stale = true;
	look_for_changes = true;
}

/* Is everything to be read again? */
bool
js_schedule_is_stale(void)
{
	return all_stale;
}

/* Somebody woke us: are there captured changes? */
void
js_schedule_look_for_changes(void)
{
	look_for_changes = true;
}

/*
 * Bring the copy up to date, as far as it matters now.  Should that fail, it
 * is tried again after a while.
 */
bool
js_schedule_update(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		some = false;

	if (now < failed_until)
		return true;
	failed_until = TimestampTzPlusMilliseconds(now, FAILED_MS);
	if (all_stale || now >= next_look)
		read_all();
	if (look_for_changes &&
		now >= TimestampTzPlusMilliseconds(last_changes, GATHER_MS))
		read_changes(now);
	for (int i = 0; i < n_entries && !some; i++)
		some = entries[i].stale || (!entries[i].running &&
									due_at(&entries[i]) <= now);
	if (some)
		read_some(now);
	failed_until = 0;
	return true;
}

/* Read everything.  What is running stays so. */
static void
read_all(void)
{
	static JsStatement statement = {
		READ_STREAMS(""),
		{InvalidOid}
	};
	JsSecurity	security;
	MemoryContext mcxt;
	Entry	   *all;
	bool		told = all_stale;
	int			n;

	/* an invalidation may come while we read */
	all_stale = false;
	look_for_changes = true;
	next_look = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											LOOK_AGAIN_MS);
	js_txn_begin("reading the schedule");
	js_internal_begin(&security);
	watch();
	n = (int) js_run(&statement, NULL);
	mcxt = AllocSetContextCreate(MemoryContextGetParent(schedule_context),
								 "jacksync schedule", ALLOCSET_DEFAULT_SIZES);
	all = MemoryContextAllocZero(mcxt, sizeof(Entry) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		Entry	   *old = find(js_get_int4(i, 1));

		if (old != NULL)
			all[i] = *old;
		take_row(&all[i], i);
		/* somebody may have marked records that are no reason to pause */
		if (told)
			all[i].pause_until = 0;
	}
	MemoryContextDelete(schedule_context);
	schedule_context = mcxt;
	entries = all;
	n_entries = n;
	js_internal_end(&security);
	js_txn_end();
}

/*
 * Read again the streams whose cycle has ended, and those that seem to be
 * due.  A stream that must not run any more is forgotten until the next look
 * at everything.
 */
static void
read_some(TimestampTz now)
{
	static JsStatement statement = {
		READ_STREAMS("s.stream_id = ANY ($1) AND"),
		{INT4ARRAYOID},
		.generic = true
	};
	JsSecurity	security;
	JsArgs		args = {0};
	int32	   *ids = palloc(sizeof(int32) * n_entries);
	int			n = 0;
	uint64		rows;

	for (int i = 0; i < n_entries; i++)
	{
		Entry	   *entry = &entries[i];

		if (entry->stale || (!entry->running && due_at(entry) <= now))
		{
			ids[n++] = entry->stream_id;
			entry->stale = true;
		}
	}
	js_txn_begin("looking for streams that are due");
	js_internal_begin(&security);
	js_arg(&args, int4_array(ids, n));
	rows = js_run(&statement, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		Entry	   *entry = find(js_get_int4(row, 1));

		if (entry != NULL)
			take_row(entry, row);
	}
	js_internal_end(&security);
	js_txn_end();
	for (int i = 0; i < n; i++)
	{
		Entry	   *entry = find(ids[i]);

		if (entry == NULL || !entry->stale)
			continue;
		entry->stale = false;
		entry->due = entry->marked = DT_NOEND;
		entry->may_push = false;
	}
	pfree(ids);
}

/* What a row says of a stream. */
static void
take_row(Entry *entry, uint64 row)
{
	bool		isnull;

	entry->stream_id = js_get_int4(row, 1);
	entry->entity_id = js_get_int4(row, 2);
	entry->due = js_live_next_due(entry->stream_id, js_get_int8(row, 3));
	entry->may_push = js_get_bool(row, 4);
	entry->marked = DatumGetTimestampTz(js_get(row, 5, &isnull));
	if (isnull)
		entry->marked = DT_NOEND;
	entry->stale = false;
}

/*
 * Which streams do captured changes belong to?  A row that is not linked yet
 * may be anybody's: one stream of its entity takes it up, and the others are
 * looked at afterwards.
 */
static void
read_changes(TimestampTz now)
{
	static JsStatement statement = {
		"SELECT DISTINCT c.entity_id, coalesce(l.stream_id, 0)"
		" FROM (SELECT entity_id, local_id FROM jacksync.change"
		"  WHERE entity_id = ANY ($1) LIMIT 1000) c"
		" LEFT JOIN jacksync.link l ON l.entity_id = c.entity_id"
		" AND l.local_id = c.local_id",
		{INT4ARRAYOID},
		.generic = true
	};
	JsSecurity	security;
	JsArgs		args = {0};
	int32	   *ids = palloc(sizeof(int32) * Max(n_entries, 1));
	int			n = 0;
	uint64		rows;

	look_for_changes = changes_seen = false;
	last_changes = now;
	for (int i = 0; i < n_entries; i++)
		if (entries[i].may_push &&
			(n == 0 || ids[n - 1] != entries[i].entity_id))
			ids[n++] = entries[i].entity_id;
	if (n == 0)
		return;
	js_txn_begin("looking for local changes");
	js_internal_begin(&security);
	js_arg(&args, int4_array(ids, n));
	rows = js_run(&statement, &args);
	changes_seen = rows > 0;
	for (uint64 row = 0; row < rows; row++)
	{
		int32		entity_id = js_get_int4(row, 1);
		int32		stream_id = js_get_int4(row, 2);

		for (int i = 0; i < n_entries; i++)
		{
			Entry	   *entry = &entries[i];

			if (!entry->may_push || entry->entity_id != entity_id ||
				(stream_id != 0 && entry->stream_id != stream_id))
				continue;
			entry->captured = true;
			break;
		}
	}
	js_internal_end(&security);
	js_txn_end();
	pfree(ids);
}

/* The cycles that are to be started now, the one that waits longest first. */
int
js_schedule_due(JsDue **due)
{
	TimestampTz now = GetCurrentTimestamp();
	int			n = 0;

	*due = palloc(sizeof(JsDue) * Max(n_entries, 1));
	for (int i = 0; i < n_entries; i++)
	{
		Entry	   *entry = &entries[i];

		if (entry->running || entry->stale || due_at(entry) > now)
			continue;
		(*due)[n].stream_id = entry->stream_id;
		(*due)[n].push_only = entry->due > now;
		(*due)[n].at = due_at(entry);
		n++;
	}
	qsort(*due, n, sizeof(JsDue), compare_due);
	return n;
}

/* When the schedule is to be looked at again. */
TimestampTz
js_schedule_next(void)
{
	TimestampTz next = all_stale ? 0 : next_look;

	if (failed_until != 0)
		return failed_until;
	if (look_for_changes)
		next = Min(next, TimestampTzPlusMilliseconds(last_changes, GATHER_MS));
	for (int i = 0; i < n_entries; i++)
	{
		if (entries[i].stale)
			return 0;
		if (!entries[i].running)
			next = Min(next, due_at(&entries[i]));
	}
	return next;
}

/* A cycle was started; it takes up what is captured. */
void
js_schedule_started(int32 stream_id)
{
	Entry	   *entry = find(stream_id);

	if (entry == NULL)
		return;
	entry->running = true;
	entry->not_before = 0;
	entry->captured = false;
}

/* A cycle could not be started, because a session works on the stream. */
void
js_schedule_busy(int32 stream_id)
{
	Entry	   *entry = find(stream_id);

	if (entry != NULL)
		entry->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
														BUSY_MS);
}

/*
 * A cycle has ended.  What came meanwhile is looked for, if anything came; and
 * if it pushed nothing, what is still marked waits for something that we do
 * not see here: not again at once, and less and less often.
 */
void
js_schedule_ended(int32 stream_id, bool pushed)
{
	Entry	   *entry = find(stream_id);

	look_for_changes = look_for_changes || changes_seen;
	if (entry == NULL)
		return;
	entry->running = false;
	entry->captured = false;
	entry->stale = true;
	if (pushed)
		entry->pause_ms = 0;
	else
		entry->pause_ms = entry->pause_ms == 0 ? MIN_PAUSE_MS :
			Min(entry->pause_ms * 2, MAX_PAUSE_MS);
	entry->pause_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													 entry->pause_ms);
}

/* When a stream is due: to poll, or to push. */
static TimestampTz
due_at(const Entry *entry)
{
	TimestampTz at = entry->due;

	if (entry->may_push && entry->captured)
		at = 0;
	else if (entry->may_push)
		at = Min(at, Max(entry->marked, entry->pause_until));
	return Max(at, entry->not_before);
}

/* The entry of a stream; NULL if there is none. */
static Entry *
find(int32 stream_id)
{
	Entry		key;

	if (n_entries == 0)
		return NULL;
	key.stream_id = stream_id;
	return bsearch(&key, entries, n_entries, sizeof(Entry), compare_entries);
}

static int
compare_entries(const void *a, const void *b)
{
	int32		x = ((const Entry *) a)->stream_id;
	int32		y = ((const Entry *) b)->stream_id;

	return x < y ? -1 : x > y;
}

static int
compare_due(const void *a, const void *b)
{
	TimestampTz x = ((const JsDue *) a)->at;
	TimestampTz y = ((const JsDue *) b)->at;

	return x < y ? -1 : x > y;
}

/* An array of integers. */
static Datum
int4_array(const int32 *values, int n)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		elements[i] = Int32GetDatum(values[i]);
	return PointerGetDatum(construct_array(elements, n, INT4OID, 4, true,
										   TYPALIGN_INT));
}
