/*-------------------------------------------------------------------------
 *
 * applypage.c
 *	  Bringing a page of records in line with the PMS.
 *
 * Some records at a time, first their links are looked up, in the order of
 * their index, so that neighbours are found together; records that came as
 * they did the last time are done with then.  The others are applied in the
 * order of the page.
 *
 * They are tried as a whole in one subtransaction.  Only if something in it
 * fails are they done again record by record, each in a subtransaction of its
 * own, so that one bad record never stops its page.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "applypage.h"
#include "compat.h"
#include "fold.h"
#include "guard.h"
#include "heap.h"
#include "jsonb.h"
#include "jsonspan.h"
#include "newrows.h"
#include "openerrors.h"
#include "rowheap.h"
#include "txn.h"

#define CHUNK 64				/* records that are in memory at a time */
#define CHUNK_BYTES (256 * 1024)	/* kept for them from chunk to chunk */
#define RECORD_BYTES (32 * 1024)

/* A page that is tried as a whole. */
typedef struct PageTry
{
	JsApply    *apply;
	List	   *records;
	JsHeapPage	heap;
} PageTry;

static void try_page(void *arg);
static void apply_records(JsApply *apply, List *records);
static bool any_failed(JsApply *apply, List *records);
static void apply_chunks(JsApply *apply, List *records);
static void apply_chunk(JsApply *apply, List *records, int from, int to,
						MemoryContext record_context);
static JsRecord *open_record(JsApply *apply, void *record);
static void gate(JsApply *apply, JsRecord **records, int n);
static bool is_known(JsApply *apply, JsRecord *record);
static bool was_met(uint64 *met, uint64 place);
static void parse_record(JsApply *apply, JsRecord *record);
static void again(JsApply *apply, List *records);
static Jsonb *json_of(JsApply *apply, void *record);
static bool apply_spans(JsApply *apply, const char *page, size_t len);

/*
 * Apply a page: a list of Jsonb, of trees, or of spans.  Records that fail are
 * stored; the rest of the page goes on.  Cancellation, and in a session
 * serialization failures, are errors of the page.
 */
void
js_apply_page(JsApply *apply, List *records)
{
	JsCounts	before = apply->counts;
	PageTry		page = {apply, records};
	ErrorData  *error;

	if (!apply->spans && (apply->reader == NULL || !apply->reader->unread))
		js_apply_learn(apply, records);
	error = js_txn_try(try_page, &page);
	if (error == NULL)
		return;
	js_heap_page_abort(&page.heap);
	if (js_must_rethrow(error->sqlerrcode, apply->rethrow))
		ReThrowError(error);
	apply->counts = before;
	apply->previews = NIL;
	if (apply->log != NULL)
		(void) js_fold(apply->entity, js_apply_stream_id(apply));
	apply->log = NULL;
	if (!apply->whole)
		again(apply, records);
}

/* The part of it that may fail. */
static void
try_page(void *arg)
{
	PageTry    *page = arg;

	js_heap_page_begin(&page->heap);
	apply_records(page->apply, page->records);
	js_heap_page_end(&page->heap);
}

/* The page as a whole. */
static void
apply_records(JsApply *apply, List *records)
{
	js_open_errors_expect(apply, list_length(records));
	if (apply->expect_new && js_newrows_usable(apply) &&
		!any_failed(apply, records))
		js_newrows_apply(apply, records);
	else
		apply_chunks(apply, records);
	if (apply->log != NULL)
		js_fold_some(apply->log, apply->entity, js_apply_stream_id(apply),
					 Max(list_length(records) / 64, 16));
}

/* Has one of the trees failed before?  Then that is to be settled. */
static bool
any_failed(JsApply *apply, List *records)
{
	ListCell   *cell;

	if (apply->open_errors && apply->reader->unread)
		js_tree_batch(apply->reader, records, 0, 0);
	foreach(cell, apply->open_errors ? records : NIL)
		if (js_open_error(apply, js_tree_open(apply->reader, apply->entity,
											  lfirst(cell))->external_id,
						  NULL))
		return true;
	return false;
}

/* The same where anything may become of a record. */
static void
apply_chunks(JsApply *apply, List *records)
{
	MemoryContext mcxt = CurrentMemoryContext;
	MemoryContext chunk;
	MemoryContext record_context;
	int			n = list_length(records);

	chunk = AllocSetContextCreate(mcxt, "jacksync records", CHUNK_BYTES,
								  CHUNK_BYTES, 4 * CHUNK_BYTES);
	record_context = AllocSetContextCreate(mcxt, "jacksync record",
										   RECORD_BYTES, RECORD_BYTES,
										   ALLOCSET_DEFAULT_MAXSIZE);
	for (int from = 0; from < n; from += CHUNK)
	{
		MemoryContextSwitchTo(chunk);
		apply_chunk(apply, records, from, Min(from + CHUNK, n),
					record_context);
		MemoryContextReset(chunk);
	}
	MemoryContextSwitchTo(mcxt);
	MemoryContextDelete(record_context);
	MemoryContextDelete(chunk);
}

/* Some records of a page: few enough to stay at hand in the processor. */
static void
apply_chunk(JsApply *apply, List *records, int from, int to,
			MemoryContext record_context)
{
	MemoryContext chunk = CurrentMemoryContext;
	int			n = to - from;
	JsRecord  **opened = palloc(sizeof(JsRecord *) * n);

	if (apply->spans || (apply->reader != NULL && apply->reader->unread))
		js_tree_batch(apply->reader, records, from, to);
	for (int i = 0; i < n; i++)
		opened[i] = open_record(apply, list_nth(records, from + i));
	if (!apply->expect_new && !apply->look_closely && !apply->previewing &&
		!apply->retrying)
		gate(apply, opened, n);
	for (int i = 0; i < n; i++)
	{
		JsApplied	applied = {0};

		CHECK_FOR_INTERRUPTS();
		if (opened[i] == NULL)
			continue;
		if (apply->spans)
			parse_record(apply, opened[i]);
		MemoryContextSwitchTo(record_context);
		(void) js_apply_opened(apply, opened[i], NULL, &applied);
		MemoryContextSwitchTo(chunk);
		MemoryContextReset(record_context);
	}
}

/* Of a record of a page, what the gate wants. */
static JsRecord *
open_record(JsApply *apply, void *record)
{
	return apply->spans ? js_tree_open_span(apply->entity, record) :
		apply->reader != NULL ?
		js_tree_open(apply->reader, apply->entity, record) :
		js_record_open(apply->entity, apply->stream, apply->plain, record);
}

/*
 * Find the links of records.  Those that are known are done, and become NULL.
 * What an earlier record of the page may change is left for its turn.
 */
static void
gate(JsApply *apply, JsRecord **records, int n)
{
	const char **ids = palloc(sizeof(char *) * n);
	uint64	   *places = palloc(sizeof(uint64) * n);
	ItemPointerData *hints = palloc(sizeof(ItemPointerData) * n);
	uint64		met[2 * CHUNK] = {0};
	int			changed = 0;

	for (int i = 0; i < n; i++)
		ids[i] = records[i]->external_id;
	js_link_prefetch(apply->entity->entity_id, js_apply_stream_id(apply), ids,
					 places, n);
	for (int i = 0; i < n; i++)
	{
		JsRecord   *record = records[i];

		CHECK_FOR_INTERRUPTS();
		record->place = places[i];
		if (was_met(met, places[i]))
			continue;
		if (is_known(apply, record))
		{
			apply->counts.processed++;
			apply->counts.unchanged++;
			records[i] = NULL;
		}
		else if (record->link != NULL)
			hints[changed++] = record->link->row_at;
	}
	js_rowheap_prefetch(apply->entity, hints, changed);
}

/*
 * Did a record with that place come before in the chunk?  (Two with the same
 * place may have different ids; nothing is lost by taking them for one.)
 */
static bool
was_met(uint64 *met, uint64 place)
{
	uint32		at = place % (2 * CHUNK);

	while (met[at] != 0 && met[at] != place)
		at = (at + 1) % (2 * CHUNK);
	if (met[at] == place)
		return true;
	met[at] = place;
	return false;
}

/* Did a record come as it did the last time? */
static bool
is_known(JsApply *apply, JsRecord *record)
{
	char	   *local_id = NULL;

	if (js_link_gate(apply->entity->entity_id, js_apply_stream_id(apply),
					 record->external_id, record->place,
					 (int64) record->hash, &record->link,
					 apply->log ? &local_id : NULL))
		return !js_fold_has(apply->log, local_id);
	record->looked = true;
	return false;
}

/*
 * A record that is given as its text turned out to be another one than the
 * last time.  What cannot be read by itself is for the page as a whole.
 */
static void
parse_record(JsApply *apply, JsRecord *record)
{
	if (js_tree_parse(apply->reader, apply->entity, record))
		return;
	apply->whole = true;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("record cannot be read by itself")));
}

/* Something failed: everything once more, record by record. */
static void
again(JsApply *apply, List *records)
{
	ListCell   *cell;

	if (apply->expect_new)
	{
		/* an index knew one of them */
		apply->expect_new = false;
		js_apply_page(apply, records);
		return;
	}
	foreach(cell, records)
	{
		JsApplied	applied = {0};

		CHECK_FOR_INTERRUPTS();
		(void) js_apply_guarded(apply, json_of(apply, lfirst(cell)), NULL,
								&applied);
	}
}

/* A record of a page as jsonb. */
static Jsonb *
json_of(JsApply *apply, void *record)
{
	JsJsonSpan *span = record;

	if (apply->spans)
		return js_jsonb_in(pnstrdup(span->start, span->len));
	return apply->reader != NULL ? js_tree_json(record) : record;
}

/*
 * Apply a page of plain records that is given as text: a JSON array.  Records
 * that came before as they are now are not even parsed.  With cast set, what
 * jsonb would see in another way is left to it: false then, with nothing done.
 */
bool
js_apply_text(JsApply *apply, const char *page, size_t len, bool cast)
{
	JsJsonError error;
	JsJson	   *root;
	List	   *records = NIL;
	bool		valid;
	bool		trees = GetDatabaseEncoding() == PG_UTF8 && apply->plain &&
	js_rowheap_obstacle(apply->entity) == NULL;

	if (trees && apply_spans(apply, page, len))
		return true;
	apply->whole = false;
	valid = js_tree_page(page, len, &root, &error);
	if (cast && (!valid || root->type != JS_JSON_ARRAY ||
				 js_json_is_bad(root)))
		return false;
	if (!valid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("page is not valid JSON: %s at byte %zu",
						error.message, error.offset)));
	if (root->type != JS_JSON_ARRAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("records must be a JSON array"),
				 errhint("Put a single record into brackets: [{...}].")));
	/* a value that jsonb refuses is an error of the page, as in apply() */
	if (js_json_is_bad(root))
		trees = false;
	for (int i = 0; i < root->n; i++)
		records = lappend(records, trees ? (void *) root->items[i] :
						  (void *) js_tree_json(root->items[i]));
	if (trees)
		apply->reader = palloc0(sizeof(JsTreeReader));
	js_apply_page(apply, records);
	apply->reader = NULL;
	return true;
}

/*
 * The same where every record stands for itself.  False, with nothing done,
 * if that cannot be: then the page is parsed as a whole.
 */
static bool
apply_spans(JsApply *apply, const char *page, size_t len)
{
	JsAllocator allocator = js_tree_memory();
	List	   *records = NIL;
	JsJsonSpan *spans;
	JsJsonError error;
	int			n;

	if (!js_json_spans(page, len, &allocator, &spans, &n, &error))
		return false;
	for (int i = 0; i < n; i++)
		if (spans[i].id == NULL)
			return false;
		else
			records = lappend(records, &spans[i]);
	apply->reader = palloc0(sizeof(JsTreeReader));
	apply->spans = true;
	js_apply_page(apply, records);
	apply->spans = false;
	apply->reader = NULL;
	return !apply->whole;
}

/*
 * Make fields of members that columns are there for.  Of unread records that
 * must have been done before.
 */
void
js_apply_learn(JsApply *apply, List *records)
{
	bool		learned = false;
	void	   *last = NULL;
	ListCell   *cell;

	foreach(cell, records)
	{
		void	   *record = lfirst(cell);
		void	   *before = last;

		last = record;
		if (before != NULL && (apply->reader ?
							   js_tree_same_keys(before, record) :
							   js_record_same_keys(before, record)))
			continue;
		if (js_record_learn(apply->entity, apply->stream,
							json_of(apply, record)))
			learned = true;
	}
	if (learned)
	{
		apply->entity = js_entity_by_name(apply->entity_name, false);
		js_entity_check(apply->entity);
	}
}
