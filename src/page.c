/*-------------------------------------------------------------------------
 *
 * page.c
 *	  An answer with records, taken apart.
 *
 * Lists are found on the tree of the answer, so that a record that cannot be
 * stored does not spoil its page, and a list that is not there is no empty
 * one.  Filters, and what is below a parent, are left to the server's own
 * jsonpath.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"

#include "compat.h"
#include "jsonb.h"
#include "page.h"
#include "record.h"
#include "streamtree.h"
#include "value.h"
#include "window.h"

#define SHOWN_BYTES 80			/* of an answer that is no JSON */

/* A record of a page by its id, to find those that came twice. */
typedef struct Seen
{
	uint64		hash;			/* of the id; must be first */
	int			place;			/* in the list, from 1 */
} Seen;

static JsPage *read_page(JsStream *stream, JsHttpResponse *response,
						 bool trees, char **problem);
static Jsonb *whole(JsPage *page);
static bool succeeded(JsStream *stream, JsPage *page, char **problem);
static bool take_all(JsStream *stream, JsPage *page, bool trees,
					 char **problem);
static void take_bad(JsStream *stream, JsPage *page, JsJson *item);
static void take_item(JsStream *stream, JsPage *page, JsJsonPath *path,
					  Jsonb *item);
static void take_children(JsStream *stream, JsPage *page, Jsonb *parent);
static Jsonb *without_children(JsStream *stream, Jsonb *parent);
static void take(JsStream *stream, JsPage *page, Jsonb *record,
				 Jsonb *parent);
static char *expand_key(const char *template, Jsonb *record, Jsonb *parent);
static Jsonb *stored(const JsJson *json);
static char *presentable(const char *body, size_t len);
static bool stamp_of(JsStream *stream, JsPage *page, void *record,
					 TimestampTz *time);
static bool written_alike(const char *a, const char *b);
static void note_time(JsPage *page, const char *text);

/*
 * Take a page apart.  NULL, with the problem said, if it is none: then
 * nothing of it may be used.
 */
JsPage	   *
js_page_read(JsStream *stream, JsHttpResponse *response, char **problem)
{
	return read_page(stream, response, false, problem);
}

/* The same with the records as trees: streamtree.c reads those. */
JsPage	   *
js_page_read_trees(JsStream *stream, JsHttpResponse *response, char **problem)
{
	return read_page(stream, response, true, problem);
}

/* Take a page apart. */
static JsPage *
read_page(JsStream *stream, JsHttpResponse *response, bool trees,
		  char **problem)
{
	JsPage	   *page = palloc0(sizeof(JsPage));
	JsAllocator allocator = js_tree_memory();
	JsJsonLimits limits = js_json_default_limits;
	JsJsonError error;

	*problem = NULL;
	if (response->status == 204 || response->body_len == 0)
		return page;
	page->hash = hash_bytes_extended((unsigned char *) response->body,
									 response->body_len, 0);
	if (!js_json_parse(response->body, response->body_len, &limits,
					   &allocator, &page->root, &error))
	{
		*problem = psprintf("answer is not valid JSON: %s at byte %zu; it begins \"%s\"",
							error.message, error.offset,
							presentable(response->body,
										response->body_len));
		return NULL;
	}
	if (!succeeded(stream, page, problem) ||
		!take_all(stream, page, trees, problem))
		return NULL;
	return page;
}

/* The answer as jsonb; NULL if it cannot be stored. */
static Jsonb *
whole(JsPage *page)
{
	if (page->document == NULL && page->root != NULL &&
		!js_json_is_bad(page->root))
		page->document = stored(page->root);
	return page->document;
}

/* The text of the scalar at a path into the answer; NULL: none. */
char	   *
js_page_value(JsPage *page, const char *path)
{
	JsJsonPath *made;
	JsAllocator allocator = js_allocator();
	const JsJson *item;
	Jsonb	   *value = NULL;

	if (page->root == NULL)
		return NULL;
	made = js_path_make(path);
	if (made->simple != NULL)
	{
		item = js_path_one(made->simple, page->root, &allocator);
		if (item != NULL && !js_json_is_bad(item))
			value = stored(item);
	}
	else if (whole(page) != NULL)
		value = js_path_first(made, whole(page));
	return value ? js_scalar_text(value) : NULL;
}

/* The same of the last record of a page. */
char	   *
js_page_last_value(JsPage *page, const char *path)
{
	Jsonb	   *record;
	Jsonb	   *value;

	if (page->trees == NIL && page->records == NIL)
		return NULL;
	record = page->trees != NIL ? stored(llast(page->trees)) :
		llast(page->records);
	value = js_path_first(js_path_make(path), record);
	return value ? js_scalar_text(value) : NULL;
}

/* Does the answer satisfy the stream's predicate? */
static bool
succeeded(JsStream *stream, JsPage *page, char **problem)
{
	JsJsonPath *path = stream->success_path;
	JsAllocator allocator = js_allocator();
	JsPredicate *predicate;

	if (path == NULL)
		return true;
	predicate = js_predicate_parse(path->text, &allocator);
	if (predicate != NULL ?
		js_predicate_holds(predicate, page->root, &allocator) :
		whole(page) != NULL && js_path_match(path, page->document))
		return true;
	if (predicate == NULL && whole(page) == NULL)
		*problem = psprintf("answer cannot be stored: %s",
							js_json_problem(page->root));
	else
		*problem = psprintf("answer does not satisfy %s; it begins \"%s\"",
							path->text,
							presentable(js_json_source(page->root),
										js_json_source_len(page->root)));
	return false;
}

/* Take all records of an answer; false if their list is not there. */
static bool
take_all(JsStream *stream, JsPage *page, bool trees, char **problem)
{
	JsJsonPath *path = stream->parent_path ? stream->parent_path :
	&stream->record_path;
	JsAllocator allocator = js_allocator();
	JsJson	  **items;
	int			n;
	bool		missing;

	if (path->head == NULL)
	{
		if (whole(page) == NULL)
		{
			*problem = psprintf("answer cannot be stored: %s",
								js_json_problem(page->root));
			return false;
		}
		take_item(stream, page, path, page->document);
		page->count = list_length(page->records);
		return true;
	}
	js_path_eval(path->head, page->root, &allocator, &items, &n, &missing);
	if (missing)
	{
		*problem = psprintf("answer has nothing at %s", path->text);
		return false;
	}
	for (int i = 0; i < n; i++)
	{
		if (items[i]->type == JS_JSON_NULL)
			continue;
		page->count++;
		if (js_json_is_bad(items[i]))
			take_bad(stream, page, items[i]);
		else if (trees)
			page->trees = lappend(page->trees, items[i]);
		else if (path->rest != NULL)
			take_item(stream, page, path->rest, stored(items[i]));
		else if (stream->parent_path != NULL)
			take_children(stream, page, stored(items[i]));
		else
			take(stream, page, stored(items[i]), NULL);
	}
	return true;
}

/* Take what a path finds in an item of the list. */
static void
take_item(JsStream *stream, JsPage *page, JsJsonPath *path, Jsonb *item)
{
	Jsonb	   *all = js_path_all(path, item);
	int			n = all ? JB_ROOT_COUNT(all) : 0;

	for (int i = 0; i < n; i++)
	{
		Jsonb	   *found = js_jsonb_from_value(getIthJsonbValueFromContainer(&all->root, i));

		if (stream->parent_path != NULL)
			take_children(stream, page, found);
		else
			take(stream, page, found, NULL);
	}
}

/* Take the records below a parent; it may have none. */
static void
take_children(JsStream *stream, JsPage *page, Jsonb *parent)
{
	Jsonb	   *all = js_path_all(&stream->record_path, parent);
	int			n = all ? JB_ROOT_COUNT(all) : 0;

	if (n == 0)
		return;
	parent = without_children(stream, parent);
	for (int i = 0; i < n; i++)
		take(stream, page,
			 js_jsonb_from_value(getIthJsonbValueFromContainer(&all->root, i)),
			 parent);
}

/* The parent without the member that holds the records. */
static Jsonb *
without_children(JsStream *stream, Jsonb *parent)
{
	const char *path = stream->record_path.text;
	char	   *name;

	/* jsonpath writes itself with quoted names: $."rooms"[*] */
	if (strncmp(path, "$.\"", 3) != 0 || !JB_ROOT_IS_OBJECT(parent))
		return parent;
	name = pnstrdup(path + 3, strcspn(path + 3, "\""));
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_delete,
											  JsonbPGetDatum(parent),
											  CStringGetTextDatum(name)));
}

/* Take a record, with its parent's values and its id where it needs them. */
static void
take(JsStream *stream, JsPage *page, Jsonb *record, Jsonb *parent)
{
	char	   *key;

	if (js_jsonb_is_null(record))
		return;
	if (JB_ROOT_IS_OBJECT(record))
	{
		if (parent != NULL)
			record = js_record_with(record, JS_PARENT, parent);
		if (stream->key_template != NULL)
		{
			key = expand_key(stream->key_template, record, parent);
			if (key != NULL)
				record = js_record_with(record, JS_KEY, js_jsonb_string(key));
		}
	}
	page->records = lappend(page->records, record);
}

/* A record with one member more. */
Jsonb	   *
js_record_with(Jsonb *record, const char *name, Jsonb *value)
{
	JsonbParseState *state = js_object_begin();

	js_object_put(&state, name, value);
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
											  JsonbPGetDatum(record),
											  JsonbPGetDatum(js_object_end(state))));
}

/*
 * An id made of several values: {record.name} and {parent.name}, which may be
 * paths.  NULL if one of them is not there.
 */
static char *
expand_key(const char *template, Jsonb *record, Jsonb *parent)
{
	StringInfoData buf;

	initStringInfo(&buf);
	while (*template != '\0')
	{
		const char *end = strchr(template, '}');
		bool		of_parent = strncmp(template, "{parent.", 8) == 0;
		Jsonb	   *from = of_parent ? parent : record;
		Jsonb	   *value;
		char	   *text;

		if (end == NULL || (!of_parent && strncmp(template, "{record.", 8) != 0))
		{
			appendStringInfoChar(&buf, *template++);
			continue;
		}
		text = pnstrdup(template + 8, end - template - 8);

		value = from ? js_path_first(js_path_make(psprintf("$.%s", text)), from) : NULL;
		text = value ? js_scalar_text(value) : NULL;

		if (text == NULL || text[0] == '\0')
			return NULL;
		appendStringInfoString(&buf, text);
		template = end + 1;
	}
	return buf.data;
}

/* Take a record that cannot be stored: say what is wrong with it. */
static void
take_bad(JsStream *stream, JsPage *page, JsJson *item)
{
	JsBadRecord *bad = palloc0(sizeof(JsBadRecord));
	JsAllocator allocator = js_allocator();
	JsBuffer	buffer;
	JsJson	  **ids;
	int			n;
	bool		missing;

	js_buffer_init(&buffer, &allocator);
	js_json_write(item, &buffer);
	bad->text = buffer.data;
	bad->problem = pstrdup(js_json_problem(item));
	if (stream->primary_key.simple != NULL && !stream->keyed)
	{
		js_path_eval(stream->primary_key.simple, item, &allocator, &ids, &n,
					 &missing);
		if (n == 1 && !js_json_is_bad(ids[0]))
			bad->external_id = js_scalar_text(stored(ids[0]));
	}
	page->bad = lappend(page->bad, bad);
}

/*
 * A value as the database stores it.  Where its encoding is not UTF-8 (that
 * is SQL_ASCII: 29_version_limits.sql) jsonb takes no escapes, so they are
 * written out.
 */
static Jsonb *
stored(const JsJson *json)
{
	JsAllocator allocator = js_allocator();
	JsBuffer	buffer;

	if (GetDatabaseEncoding() == PG_UTF8)
		return js_jsonb_in(pnstrdup(js_json_source(json),
									js_json_source_len(json)));
	js_buffer_init(&buffer, &allocator);
	js_json_write(json, &buffer);
	return js_jsonb_in(buffer.data);
}

/* The beginning of an answer, with nothing in it that could do harm. */
static char *
presentable(const char *body, size_t len)
{
	char	   *result = palloc(SHOWN_BYTES + 1);
	int			n = 0;

	for (size_t i = 0; i < len && n < SHOWN_BYTES && body[i] != '\0'; i++)
		result[n++] = body[i] >= ' ' && body[i] < 127 ? body[i] : '.';
	result[n] = '\0';
	return result;
}

/* The time of a record; one that cannot be read is left to its own failure. */
static bool
stamp_of(JsStream *stream, JsPage *page, void *record, TimestampTz *time)
{
	char	   *text = page->trees != NIL ?
	js_streamtree_time(stream, record) : js_record_time_text(stream, record);

	return text != NULL && js_time_parse(text, time);
}

/*
 * Are two texts times in UTC that are written alike, so that they compare as
 * texts do?
 */
static bool
written_alike(const char *a, const char *b)
{
	size_t		len = strlen(a);

	if (len != strlen(b) || len < 20 || a[len - 1] != 'Z' || a[4] != '-')
		return false;
	for (int i = 0; i < 4; i++)
		if (!isdigit((unsigned char) a[i]))
			return false;
	for (size_t i = 0; i < len; i++)
		if (a[i] != b[i] && !(isdigit((unsigned char) a[i]) &&
							  isdigit((unsigned char) b[i])))
			return false;
	return true;
}

/* Note a time, if it is the newest of the page. */
static void
note_time(JsPage *page, const char *text)
{
	TimestampTz time;

	if (!js_time_parse(text, &time))
		return;
	if (!page->newest_known || time > page->newest)
		page->newest = time;
	page->newest_known = true;
}

/*
 * Note the newest time of the page's records: the watermark to be.  Naive
 * times are in the session's zone, so the settings must be pinned.
 */
void
js_page_times(JsStream *stream, JsPage *page)
{
	char	   *latest = NULL;
	ListCell   *cell;

	if (stream->cursor_path == NULL)
		return;
	foreach(cell, page->trees != NIL ? page->trees : page->records)
	{
		char	   *text = page->trees != NIL ?
		js_streamtree_time(stream, lfirst(cell)) :
		js_record_time_text(stream, lfirst(cell));

		if (text == NULL)
			continue;
		if (latest != NULL && !written_alike(latest, text))
			note_time(page, text);
		else if (latest == NULL || strcmp(text, latest) > 0)
			latest = text;
	}
	if (latest != NULL)
		note_time(page, latest);
}

/*
 * Of records that came twice in a page the newer one counts, and the later
 * one of two that are equally new.
 */
void
js_page_unique(JsStream *stream, JsPage *page)
{
	HASHCTL		control = {.keysize = sizeof(uint64),
	.entrysize = sizeof(Seen),.hcxt = CurrentMemoryContext};
	HTAB	   *seen = hash_create("jacksync ids of a page", 256, &control,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	bool		trees = page->trees != NIL;
	List	   *unique = NIL;
	ListCell   *cell;

	foreach(cell, trees ? page->trees : page->records)
	{
		void	   *record = lfirst(cell);
		char	   *id = trees ? js_streamtree_id(stream, record) :
		js_record_id(stream, false, record);
		bool		found = false;
		Seen	   *entry = NULL;
		uint64		hash;

		if (id != NULL)
		{
			hash = hash_bytes_extended((unsigned char *) id, strlen(id), 0);
			entry = hash_search(seen, &hash, HASH_ENTER, &found);
		}
		if (found)
		{
			ListCell   *other = list_nth_cell(unique, entry->place - 1);
			TimestampTz then;
			TimestampTz now;

			if (!stamp_of(stream, page, lfirst(other), &then) ||
				!stamp_of(stream, page, record, &now) || now >= then)
				lfirst(other) = record;
			continue;
		}
		unique = lappend(unique, record);
		if (trees)
			page->ids = lappend(page->ids, id);
		if (entry != NULL)
			entry->place = list_length(unique);
	}
	if (trees)
		page->trees = unique;
	else
		page->records = unique;
	hash_destroy(seen);
}
