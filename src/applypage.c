/*-------------------------------------------------------------------------
 *
 * applypage.c
 *	  Bringing a page of records in line with the PMS.
 *
 * First the links of all records are looked up, in the order of their index,
 * so that neighbours are found together; records that came as they did the
 * last time are done with then.  The others are applied in the order of the
 * page.
 *
 * They are tried as a whole in one subtransaction.  Only if something in it
 * fails are they done again record by record, each in a subtransaction of its
 * own, so that one bad record never stops its page.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "applypage.h"
#include "compat.h"
#include "fold.h"
#include "guard.h"
#include "heap.h"
#include "jsonspan.h"
#include "newrows.h"
#include "rowheap.h"
#include "txn.h"

static void apply_records(JsApply *apply, List *records);
static JsRecord *open_record(JsApply *apply, void *record);
static void gate(JsApply *apply, JsRecord **records, int n);
static bool is_known(JsApply *apply, JsRecord *record);
static int	compare_ids(const void *a, const void *b);
static void again(JsApply *apply, List *records);
static bool apply_spans(JsApply *apply, const char *page, size_t len);
static JsRecord **open_spans(JsApply *apply, const JsJsonSpan *spans, int n);
static void learn_fields(JsApply *apply, List *records);

/*
 * Apply a page: a list of Jsonb, or of trees.  Records that fail are stored;
 * the rest of the page goes on.  Cancellation, and in a session serialization
 * failures, are errors of the page.
 */
void
js_apply_page(JsApply *apply, List *records)
{
	JsCounts	before = apply->counts;
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *error = NULL;
	JsHeapPage	page;
	bool		done = false;

	learn_fields(apply, records);

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	js_heap_page_begin(&page);
	PG_TRY();
	{
		apply_records(apply, records);
		js_heap_page_end(&page);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(mcxt);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		js_heap_page_abort(&page);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
	CurrentResourceOwner = owner;
	if (done)
		return;
	if (js_must_rethrow(error->sqlerrcode, apply->rethrow))
		ReThrowError(error);
	apply->counts = before;
	apply->previews = NIL;
	again(apply, records);
}

/* The page as a whole. */
static void
apply_records(JsApply *apply, List *records)
{
	MemoryContext mcxt = CurrentMemoryContext;
	MemoryContext record_context;
	int			n = list_length(records);
	JsRecord  **opened = apply->known;

	if (apply->expect_new && js_newrows_usable(apply))
	{
		js_newrows_apply(apply, records);
		return;
	}
	record_context = AllocSetContextCreate(mcxt, "jacksync record",
										   ALLOCSET_DEFAULT_SIZES);
	if (opened == NULL)
	{
		opened = palloc(sizeof(JsRecord *) * Max(n, 1));
		for (int i = 0; i < n; i++)
			opened[i] = open_record(apply, list_nth(records, i));
		if (!apply->expect_new && !apply->look_closely && !apply->previewing &&
			!apply->retrying)
			gate(apply, opened, n);
	}
	for (int i = 0; i < n; i++)
	{
		JsApplied	applied = {0};

		CHECK_FOR_INTERRUPTS();
		if (opened[i] == NULL)
			continue;
		MemoryContextSwitchTo(record_context);
		(void) js_apply_opened(apply, opened[i], NULL, &applied);
		MemoryContextReset(record_context);
	}
	MemoryContextSwitchTo(mcxt);
	if (apply->log != NULL)
		js_fold_some(apply->log, apply->entity, js_apply_stream_id(apply),
					 Max(n / 64, 16));
}

/* Of a record of a page, what the gate wants. */
static JsRecord *
open_record(JsApply *apply, void *record)
{
	return apply->reader != NULL ?
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
	JsRecord ***sorted = palloc(sizeof(JsRecord **) * Max(n, 1));
	const char *last = NULL;

	for (int i = 0; i < n; i++)
		sorted[i] = &records[i];
	qsort(sorted, n, sizeof(JsRecord **), compare_ids);
	for (int i = 0; i < n; i++)
	{
		JsRecord   *record = *sorted[i];

		CHECK_FOR_INTERRUPTS();
		if (record->external_id == NULL ||
			(last != NULL && strcmp(last, record->external_id) == 0))
			continue;
		last = record->external_id;
		if (!is_known(apply, record))
			continue;
		apply->counts.processed++;
		apply->counts.unchanged++;
		*sorted[i] = NULL;
	}
	pfree(sorted);
}

/* Did a record come as it did the last time? */
static bool
is_known(JsApply *apply, JsRecord *record)
{
	char	   *local_id = NULL;

	if (js_link_gate(apply->entity->entity_id, js_apply_stream_id(apply),
					 record->external_id, (int64) record->hash, &record->link,
					 apply->log ? &local_id : NULL))
		return !js_fold_has(apply->log, local_id);
	record->looked = true;
	return false;
}

/* Order records by their ids, the same ones as they came; unknown ones first. */
static int
compare_ids(const void *a, const void *b)
{
	JsRecord  **left = *(JsRecord ***) a;
	JsRecord  **right = *(JsRecord ***) b;
	int			result = 0;

	if ((*left)->external_id != NULL && (*right)->external_id != NULL)
		result = strcmp((*left)->external_id, (*right)->external_id);
	else if ((*left)->external_id != NULL || (*right)->external_id != NULL)
		result = (*left)->external_id != NULL ? 1 : -1;
	return result != 0 ? result : left < right ? -1 : left > right;
}

/* Something failed: everything once more, record by record. */
static void
again(JsApply *apply, List *records)
{
	ListCell   *cell;

	if (apply->log != NULL)
		(void) js_fold(apply->entity, js_apply_stream_id(apply));
	apply->log = NULL;
	apply->known = NULL;
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
		(void) js_apply_guarded(apply, apply->reader ?
								js_tree_json(lfirst(cell)) : lfirst(cell),
								NULL, &applied);
	}
}

/*
 * Apply a page of plain records that is given as text: a JSON array.  Records
 * that came before as they are now are not even parsed.
 */
void
js_apply_text(JsApply *apply, const char *page, size_t len)
{
	JsJsonError error;
	JsJson	   *root;
	List	   *records = NIL;
	bool		trees = GetDatabaseEncoding() == PG_UTF8 && apply->plain &&
		js_rowheap_obstacle(apply->entity) == NULL;

	if (trees && !apply->look_closely && !apply->previewing &&
		!apply->retrying && apply_spans(apply, page, len))
		return;
	if (!js_tree_page(page, len, &root, &error))
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
}

/*
 * The same where every record stands for itself.  False, with nothing done,
 * if that cannot be: then the page is parsed as a whole.
 */
static bool
apply_spans(JsApply *apply, const char *page, size_t len)
{
	JsCounts	before = apply->counts;
	JsAllocator allocator = js_tree_memory();
	JsJsonLimits limits = js_json_default_limits;
	List	   *trees = NIL;
	JsJsonSpan *spans;
	JsJsonError error;
	JsRecord  **records;
	int			left = 0;
	int			n;
	uint64		seed = apply->entity->seed;

	if (!js_json_spans(page, len, &allocator, &spans, &n, &error))
		return false;
	records = open_spans(apply, spans, n);
	for (int i = 0; i < n; i++)
	{
		JsJson	   *tree;

		if (records[i] == NULL)
			continue;
		if (records[i]->external_id == NULL ||
			!js_json_parse(spans[i].start, spans[i].len, &limits, &allocator,
						   &tree, &error) || js_json_is_bad(tree))
		{
			apply->counts = before;
			return false;
		}
		records[i]->tree = tree;
		trees = lappend(trees, tree);
		records[left++] = records[i];
	}
	apply->reader = palloc0(sizeof(JsTreeReader));
	learn_fields(apply, trees);
	if (apply->entity->seed == seed)
		apply->known = records;
	js_apply_page(apply, trees);
	apply->known = NULL;
	apply->reader = NULL;
	return true;
}

/* Records of which only the bytes are known; those that came before are NULL. */
static JsRecord **
open_spans(JsApply *apply, const JsJsonSpan *spans, int n)
{
	JsRecord  **records = palloc(sizeof(JsRecord *) * Max(n, 1));
	JsHeapPage	heaps;

	for (int i = 0; i < n; i++)
		records[i] = js_tree_open_span(apply->entity, &spans[i]);
	js_heap_page_begin(&heaps);
	PG_TRY();
	{
		gate(apply, records, n);
	}
	PG_CATCH();
	{
		js_heap_page_abort(&heaps);
		PG_RE_THROW();
	}
	PG_END_TRY();
	js_heap_page_end(&heaps);
	return records;
}

/* Make fields of members that columns are there for. */
static void
learn_fields(JsApply *apply, List *records)
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
		if (js_record_learn(apply->entity, apply->stream, apply->reader ?
							js_tree_json(record) : record))
			learned = true;
	}
	if (learned)
	{
		apply->entity = js_entity_by_name(apply->entity_name, false);
		js_entity_check(apply->entity);
	}
}
