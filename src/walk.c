/*-------------------------------------------------------------------------
 *
 * walk.c
 *	  Going through the pages of a list: which page is next, and is it all?
 *
 * A walk ends when any of the PMS's signs says so: no content, no records,
 * fewer than a page holds, a flag, a null cursor, a total that is reached
 * together with a short page.  It fails when it turns in circles: the same
 * cursor, or the same page with records, twice in a row; or too many pages.
 * Where a walk is, is stored with every page (js_walk_progress), so that a
 * crash continues it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "jacksync.h"
#include "json.h"
#include "value.h"
#include "walk.h"

#define DEFAULT_MAX_PAGES 10000
#define SHOWN_BYTES 80			/* of an answer that is no JSON */

static int	int_option(Jsonb *options, const char *name, int otherwise);
static char *text_option(Jsonb *options, const char *name);
static uint64 shape_of(JsStream *stream);
static void configure(JsWalk *walk, JsStream *stream);
static bool page_from_tree(JsStream *stream, JsPage *page, JsJson *root,
						   char **problem);
static bool page_from_jsonb(JsStream *stream, JsPage *page);
static bool is_success(JsStream *stream, JsPage *page, char **problem);
static void take_record(JsStream *stream, JsPage *page, JsJson *item);
static Jsonb *stored(JsJson *json);
static char *presentable(const char *body, size_t len);
static char *json_text(Jsonb *value);
static bool next_by_cursor(JsWalk *walk, JsPage *page, const char *cursor,
						   char **problem);
static char *last_record_value(JsPage *page, const char *path);

/* Begin a walk; since is the lower bound as the PMS wants it written. */
JsWalk *
js_walk_begin(JsStream *stream, const char *since, TimestampTz now)
{
	JsWalk	   *walk = palloc0(sizeof(JsWalk));

	configure(walk, stream);
	walk->since = since ? pstrdup(since) : NULL;
	walk->started = now;
	return walk;
}

/* Take the options of the paginator. */
static void
configure(JsWalk *walk, JsStream *stream)
{
	static const char *const names[] = {
		"single_page", "page_number", "offset", "cursor", "next_url",
		"header_link"
	};
	char	   *type = text_option(stream->paginator, "type");

	walk->paging = JS_SINGLE_PAGE;
	for (int i = 0; type != NULL && i < lengthof(names); i++)
		if (strcmp(type, names[i]) == 0)
			walk->paging = (JsPaging) i;
	walk->paginator = stream->paginator;
	walk->shape = shape_of(stream);
	walk->page_size = int_option(stream->paginator, "page_size", 0);
	walk->base_page = int_option(stream->paginator, "base_page", 1);
	walk->max_pages = int_option(stream->paginator, "max_pages",
								 DEFAULT_MAX_PAGES);
}

/* A number that changes with what is asked for, and in which pages. */
static uint64
shape_of(JsStream *stream)
{
	Jsonb	   *parts[3];
	uint64		hash = 0;

	parts[0] = stream->request;
	parts[1] = stream->full_request;
	parts[2] = stream->paginator;
	for (int i = 0; i < lengthof(parts); i++)
		if (parts[i] != NULL)
			hash = hash_bytes_extended((unsigned char *) VARDATA_ANY(parts[i]),
									   VARSIZE_ANY_EXHDR(parts[i]), hash);
	return hash;
}

/*
 * The walk that was under way when its stream was last left, or NULL.  One
 * whose request or paginator was changed meanwhile begins anew: its page
 * numbers mean something else now.
 */
JsWalk *
js_walk_resume(JsStream *stream)
{
	JsWalk	   *walk;
	Jsonb	   *progress = stream->progress;
	char	   *text;

	if (progress == NULL)
		return NULL;
	text = text_option(progress, "shape");
	if (text == NULL || strtoull(text, NULL, 10) != shape_of(stream))
		return NULL;
	walk = js_walk_begin(stream, text_option(progress, "since"), 0);
	walk->cursor = text_option(progress, "cursor");
	walk->pages = int_option(progress, "pages", 0);
	text = text_option(progress, "records");
	walk->records = text ? strtoll(text, NULL, 10) : 0;
	text = text_option(progress, "started");
	walk->started = text ? strtoll(text, NULL, 10) : GetCurrentTimestamp();
	text = text_option(progress, "max_seen");
	walk->max_known = text != NULL;
	walk->max_seen = text ? strtoll(text, NULL, 10) : 0;
	return walk;
}

/* Where a walk is, for stream_state.progress. */
Jsonb *
js_walk_progress(JsWalk *walk)
{
	JsonbParseState *state = js_object_begin();

	if (walk->since != NULL)
		js_object_put(&state, "since", js_jsonb_string(walk->since));
	if (walk->cursor != NULL)
		js_object_put(&state, "cursor", js_jsonb_string(walk->cursor));
	js_object_put(&state, "shape",
				  js_jsonb_string(psprintf(UINT64_FORMAT, walk->shape)));
	js_object_put(&state, "pages",
				  js_jsonb_string(psprintf("%d", walk->pages)));
	js_object_put(&state, "records",
				  js_jsonb_string(psprintf(INT64_FORMAT, walk->records)));
	js_object_put(&state, "started",
				  js_jsonb_string(psprintf(INT64_FORMAT, walk->started)));
	if (walk->max_known)
		js_object_put(&state, "max_seen",
					  js_jsonb_string(psprintf(INT64_FORMAT,
											   walk->max_seen)));
	return js_object_end(state);
}

/* The placeholders that a walk fills. */
void
js_walk_vars(JsWalk *walk, JsVars *vars)
{
	if (walk->since != NULL)
		js_vars_set_text(vars, "since", walk->since);
	if (walk->page_size > 0)
		js_vars_set_int(vars, "limit", walk->page_size);
	js_vars_set_int(vars, "page", walk->base_page + walk->pages);
	js_vars_set_int(vars, "offset", walk->records);
	if (walk->cursor != NULL && walk->paging == JS_CURSOR)
		js_vars_set_text(vars, "cursor", walk->cursor);
}

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
	bool		ok;

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
	if (stream->record_path.simple == NULL || stream->success_path != NULL)
	{
		if (js_json_is_bad(root))
		{
			*problem = psprintf("answer cannot be stored: %s",
								js_json_problem(root));
			return NULL;
		}
		page->document = stored(root);
		if (!is_success(stream, page, problem))
			return NULL;
	}
	ok = stream->record_path.simple != NULL ?
		page_from_tree(stream, page, root, problem) :
		page_from_jsonb(stream, page);
	return ok ? page : NULL;
}

/* The records of a page by a simple path, on the tree. */
static bool
page_from_tree(JsStream *stream, JsPage *page, JsJson *root, char **problem)
{
	JsAllocator allocator = js_allocator();
	JsJson	  **items;
	int			n;
	bool		missing;

	js_path_eval(stream->record_path.simple, root, &allocator, &items, &n,
				 &missing);
	if (missing)
	{
		*problem = psprintf("answer has nothing at %s",
							stream->record_path.text);
		return false;
	}
	for (int i = 0; i < n; i++)
		take_record(stream, page, items[i]);
	page->count = n;

	/* the envelope is wanted by the paginator's paths */
	if (page->document == NULL && !js_json_is_bad(root) &&
		stream->paginator != NULL &&
		(js_jsonb_member(stream->paginator, "has_more_path") ||
		 js_jsonb_member(stream->paginator, "cursor_path") ||
		 js_jsonb_member(stream->paginator, "next_url_path") ||
		 js_jsonb_member(stream->paginator, "total_path")))
		page->document = stored(root);
	return true;
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

/* Take one record, or say what is wrong with it. */
static void
take_record(JsStream *stream, JsPage *page, JsJson *item)
{
	if (js_json_is_bad(item))
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
		if (stream->primary_key.simple != NULL)
		{
			js_path_eval(stream->primary_key.simple, item, &allocator, &ids,
						 &n, &missing);
			if (n == 1 && !js_json_is_bad(ids[0]))
				bad->external_id = json_text(stored(ids[0]));
		}
		page->bad = lappend(page->bad, bad);
		return;
	}
	page->records = lappend(page->records, stored(item));
}

/* Does the answer satisfy success_path?  If not, the problem is said. */
static bool
is_success(JsStream *stream, JsPage *page, char **problem)
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

/* The records of a page by the server's own jsonpath. */
static bool
page_from_jsonb(JsStream *stream, JsPage *page)
{
	Jsonb	   *all = js_path_all(&stream->record_path, page->document);

	page->count = all ? JB_ROOT_COUNT(all) : 0;
	for (int i = 0; i < page->count; i++)
		page->records = lappend(page->records,
								js_jsonb_from_value(getIthJsonbValueFromContainer(&all->root, i)));
	return true;
}

/*
 * Go on to the next page.  False at the end of the walk, and, with the
 * problem said, when the walk cannot go on.
 */
bool
js_walk_next(JsWalk *walk, JsStream *stream, JsPage *page,
			 JsHttpResponse *response, char **problem)
{
	char	   *path;
	Jsonb	   *value;
	bool		full;

	*problem = NULL;
	walk->pages++;
	walk->records += page->count;
	if (walk->paging == JS_SINGLE_PAGE || response->status == 204 ||
		page->count == 0)
		return false;
	if (page->hash == walk->last_hash)
	{
		*problem = pstrdup("pagination loop: the same page came twice");
		return false;
	}
	walk->last_hash = page->hash;
	if (walk->pages >= walk->max_pages)
	{
		*problem = psprintf("more than %d pages", walk->max_pages);
		return false;
	}

	path = text_option(walk->paginator, "has_more_path");
	if (path != NULL && page->document != NULL)
		return js_path_match(js_path_make(path), page->document);
	full = walk->page_size == 0 || page->count >= walk->page_size;

	switch (walk->paging)
	{
		case JS_CURSOR:
			path = text_option(walk->paginator, "cursor_path");
			if (path != NULL && strncmp(path, "record.", 7) == 0)
				return full &&
					next_by_cursor(walk, page,
								   last_record_value(page, path + 7),
								   problem);
			value = path && page->document ?
				js_path_first(js_path_make(path), page->document) : NULL;
			return next_by_cursor(walk, page,
								  value ? json_text(value) : NULL, problem);
		case JS_NEXT_URL:
			path = text_option(walk->paginator, "next_url_path");
			value = path && page->document ?
				js_path_first(js_path_make(path), page->document) : NULL;
			return next_by_cursor(walk, page,
								  value ? json_text(value) : NULL, problem);
		case JS_HEADER_LINK:
			return next_by_cursor(walk, page,
								  js_http_next_link(response), problem);
		default:
			path = text_option(walk->paginator, "total_path");
			value = path && page->document ?
				js_path_first(js_path_make(path), page->document) : NULL;
			if (value != NULL && json_text(value) != NULL && !full &&
				walk->records >= strtoll(json_text(value), NULL, 10))
				return false;
			return full;
	}
}

/* Go on at a cursor, unless it is the end or the one we came from. */
static bool
next_by_cursor(JsWalk *walk, JsPage *page, const char *cursor, char **problem)
{
	if (cursor == NULL || cursor[0] == '\0')
		return false;
	if (walk->cursor != NULL && strcmp(walk->cursor, cursor) == 0)
	{
		*problem = pstrdup("pagination loop: the same cursor came twice");
		return false;
	}
	walk->cursor = MemoryContextStrdup(GetMemoryChunkContext(walk), cursor);
	return true;
}

/* A value of the last record of a page, as a cursor. */
static char *
last_record_value(JsPage *page, const char *path)
{
	Jsonb	   *value;

	if (page->records == NIL)
		return NULL;
	value = js_path_first(js_path_make(path[0] == '$' ? path :
									   psprintf("$.%s", path)),
						  llast(page->records));
	return value ? json_text(value) : NULL;
}

/* The text of a scalar; NULL for null and containers. */
static char *
json_text(Jsonb *value)
{
	JsonbValue	scalar;

	if (!JB_ROOT_IS_SCALAR(value) || js_jsonb_is_null(value))
		return NULL;
	JsonbExtractScalar(&value->root, &scalar);
	if (scalar.type == jbvString)
		return pnstrdup(scalar.val.string.val, scalar.val.string.len);
	return js_jsonb_out(value);
}

/* An option as text, or NULL. */
static char *
text_option(Jsonb *options, const char *name)
{
	Jsonb	   *value = options ? js_jsonb_member(options, name) : NULL;

	return value ? json_text(value) : NULL;
}

/* An option as a number. */
static int
int_option(Jsonb *options, const char *name, int otherwise)
{
	char	   *text = text_option(options, name);

	return text ? pg_strtoint32(text) : otherwise;
}

/* The beginning of an answer, with nothing in it that could do harm. */
static char *
presentable(const char *body, size_t len)
{
	char	   *result = palloc(SHOWN_BYTES + 1);
	int			n = 0;

	for (size_t i = 0; i < len && n < SHOWN_BYTES; i++)
		result[n++] = body[i] >= ' ' && body[i] < 127 ? body[i] : '.';
	result[n] = '\0';
	return result;
}
