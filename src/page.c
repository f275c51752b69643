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
#include "value.h"
#include "window.h"

#define SHOWN_BYTES 80			/* of an answer that is no JSON */

/* A record of a page by its id, to find those that came twice. */
typedef struct Seen
{
	uint64		hash;			/* of the id; must be first */
	int			place;			/* in the list, from 1 */
} Seen;

static bool succeeded(JsStream *stream, JsPage *page, char **problem);
static bool take_all(JsStream *stream, JsPage *page, JsJson *root,
					 char **problem);
static void take_bad(JsStream *stream, JsPage *page, JsJson *item);
static void take_item(JsStream *stream, JsPage *page, JsJsonPath *path,
					  Jsonb *item);
static void take_children(JsStream *stream, JsPage *page, Jsonb *parent);
static Jsonb *without_children(JsStream *stream, Jsonb *parent);
static void take(JsStream *stream, JsPage *page, Jsonb *record,
				 Jsonb *parent);
static char *expand_key(const char *template, Jsonb *record, Jsonb *parent);
static Jsonb *stored(JsJson *json);
static char *presentable(const char *body, size_t len);
static bool stamp_of(JsStream *stream, Jsonb *record, TimestampTz *time);

/*
 * Take a page apart.  NULL, with the problem said, if it is none: then
 * nothing of it may be used.
 */
JsPage *
js_page_read(JsStream *stream, JsHttpResponse *response, char **problem)
{
	JsPage	   *page = palloc0(sizeof(JsPage));
	JsAllocator allocator = js_allocator();
	JsJsonLimits limits = js_json_default_limits;
	JsJsonError error;
	JsJson	   *root;
	bool		whole = stream->record_path.head == NULL &&
		stream->parent_path == NULL;

	*problem = NULL;
	if (response->status == 204 || response->body_len == 0)
		return page;
	page->hash = hash_bytes_extended((unsigned char *) response->body,
									 response->body_len, 0);
	if (!js_json_parse(response->body, response->body_len, &limits,
					   &allocator, &root, &error))
	{
		*problem = psprintf("answer is not valid JSON: %s at byte %zu; it begins \"%s\"",
							error.message, error.offset,
							presentable(response->body,
										response->body_len));
		return NULL;
	}

	/* the envelope is wanted by the paths of stream and paginator */
	if (!js_json_is_bad(root) &&
		(whole || stream->success_path != NULL ||
		 js_jsonb_member(stream->paginator, "has_more_path") ||
		 js_jsonb_member(stream->paginator, "cursor_path") ||
		 js_jsonb_member(stream->paginator, "next_url_path") ||
		 js_jsonb_member(stream->paginator, "total_path")))
		page->document = stored(root);
	if ((whole || stream->success_path != NULL) && page->document == NULL)
	{
		*problem = psprintf("answer cannot be stored: %s",
							js_json_problem(root));
		return NULL;
	}
	if (!succeeded(stream, page, problem) ||
		!take_all(stream, page, root, problem))
		return NULL;
	return page;
}

/* Does the answer satisfy the stream's predicate? */
static bool
succeeded(JsStream *stream, JsPage *page, char **problem)
{
	if (stream->success_path == NULL ||
		js_path_match(stream->success_path, page->document))
		return true;
	*problem = psprintf("answer does not satisfy %s; it begins \"%s\"",
						stream->success_path->text,
						presentable(js_jsonb_out(page->document),
									SHOWN_BYTES));
	return false;
}

/* Take all records of an answer; false if their list is not there. */
static bool
take_all(JsStream *stream, JsPage *page, JsJson *root, char **problem)
{
	JsJsonPath *path = stream->parent_path ? stream->parent_path :
		&stream->record_path;
	JsAllocator allocator = js_allocator();
	JsJson	  **items;
	int			n;
	bool		missing;

	if (path->head == NULL)
	{
		Jsonb	   *document = page->document ? page->document : stored(root);

		take_item(stream, page, path, document);
		page->count = list_length(page->records);
		return true;
	}
	js_path_eval(path->head, root, &allocator, &items, &n, &missing);
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
Jsonb *
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
stored(JsJson *json)
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
stamp_of(JsStream *stream, Jsonb *record, TimestampTz *time)
{
	char	   *text = js_record_time_text(stream, record);

	return text != NULL && js_time_parse(text, time);
}

/*
 * Note the newest time of the page's records: the watermark to be.  Naive
 * times are in the session's zone, so the settings must be pinned.
 */
void
js_page_times(JsStream *stream, JsPage *page)
{
	ListCell   *cell;

	if (stream->cursor_path == NULL)
		return;
	foreach(cell, page->records)
	{
		TimestampTz time;

		if (!stamp_of(stream, lfirst(cell), &time))
			continue;
		if (!page->newest_known || time > page->newest)
			page->newest = time;
		page->newest_known = true;
	}
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
	List	   *unique = NIL;
	ListCell   *cell;

	foreach(cell, page->records)
	{
		Jsonb	   *record = lfirst(cell);
		char	   *id = js_record_id(stream, false, record);
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

			if (!stamp_of(stream, lfirst(other), &then) ||
				!stamp_of(stream, record, &now) || now >= then)
				lfirst(other) = record;
			continue;
		}
		unique = lappend(unique, record);
		if (entry != NULL)
			entry->place = list_length(unique);
	}
	page->records = unique;
	hash_destroy(seen);
}
