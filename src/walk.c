/*-------------------------------------------------------------------------
 *
 * walk.c
 *	  Going through the windows and pages of a list: what is asked for next,
 *	  and is it all?
 *
 * A range that is longer than the stream's step is walked in windows, one
 * after the other; each begins a little before the last one ended, so that
 * it does not matter which bound the PMS includes.
 *
 * The pages of a window end when any of the PMS's signs says so: no content,
 * no records, fewer than a page holds, a flag, a null cursor.  A total only
 * says that a short page is not the last one: it may be wrong.  A walk fails
 * when it turns in circles: a cursor or a page that was there before, or too
 * many pages, or page after page without records.
 *
 * Numbered pages move when a record changes, or goes, while they are read: a
 * record may slip from a page that is still to come onto one that was read.
 * A window in which that may have happened is read again, if it is short; the
 * full comparison finds what a long one missed.
 *
 * Where a walk is, is stored with every page (js_walk_progress), so that a
 * crash continues it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "walk.h"
#include "window.h"

#define DEFAULT_MAX_PAGES 10000
#define MAX_EMPTY_PAGES 10		/* that name a next one, in a row */
#define MAX_REPEATED	50		/* pages of a window that is read again */
#define MAX_REPEATS		2

/* What a flag of the PMS says. */
typedef enum Flag
{
	FLAG_UNKNOWN,
	FLAG_NO,
	FLAG_YES
} Flag;

static int	int_option(Jsonb *options, const char *name, int otherwise);
static int64 int8_option(Jsonb *options, const char *name, int64 otherwise);
static char *text_option(Jsonb *options, const char *name);
static uint64 shape_of(JsStream *stream);
static JsWalk *make_walk(JsStream *stream, JsWalkKind kind);
static JsStream *source_of(JsStream *stream, JsWalkKind kind);
static void configure(JsWalk *walk);
static void set_range(JsWalk *walk, TimestampTz now);
static bool distance(Jsonb *options, const char *name, int64 *distance);
static void set_window(JsWalk *walk, TimestampTz from);
static void begin_pages(JsWalk *walk);
static bool next_window(JsWalk *walk);
static void note_moves(JsWalk *walk, JsPage *page);
static bool window_ended(JsWalk *walk, JsPage *page, JsHttpResponse *response,
						 char **problem);
static bool next_page(JsWalk *walk, JsPage *page, JsHttpResponse *response,
					  char **problem);
static bool is_full(JsWalk *walk, JsPage *page);
static bool next_by_number(JsWalk *walk, JsPage *page, Flag more);
static bool next_by_cursor(JsWalk *walk, JsPage *page, const char *cursor,
						   char **problem);
static bool known(JsWalk *walk, uint64 hash);
static char *body_value(JsWalk *walk, JsPage *page, const char *option);
static char *last_record_value(JsPage *page, const char *path);
static Flag has_more(JsWalk *walk, JsPage *page);

/* Begin a walk. */
JsWalk	   *
js_walk_begin(JsStream *stream, JsWalkKind kind, TimestampTz now)
{
	JsWalk	   *walk = make_walk(stream, kind);

	walk->started = now;
	set_range(walk, now);
	return walk;
}

/* A walk that is nowhere yet. */
static JsWalk *
make_walk(JsStream *stream, JsWalkKind kind)
{
	JsWalk	   *walk = palloc0(sizeof(JsWalk));

	walk->mcxt = CurrentMemoryContext;
	walk->kind = kind;
	walk->source = source_of(stream, kind);
	walk->request = kind != JS_WALK_CHANGES && stream->full_request ?
		stream->full_request : stream->request;
	walk->shape = shape_of(stream);
	configure(walk);
	begin_pages(walk);
	return walk;
}

/*
 * The stream with the paths of the list that is walked: the request for
 * everything may be answered in another shape.
 */
static JsStream *
source_of(JsStream *stream, JsWalkKind kind)
{
	JsStream   *source = palloc(sizeof(JsStream));
	Jsonb	   *full = stream->full_request;
	char	   *path;

	*source = *stream;
	if (kind == JS_WALK_CHANGES || full == NULL)
		return source;
	if ((path = text_option(full, "record_path")) != NULL)
		source->record_path = *js_path_make(path);
	if ((path = text_option(full, "primary_key")) != NULL)
		source->primary_key = *js_path_make(path);
	if ((path = text_option(full, "cursor_path")) != NULL)
		source->cursor_path = js_path_make(path);
	if (js_jsonb_member(full, "paginator") != NULL)
		source->paginator = js_jsonb_member(full, "paginator");
	return source;
}

/* Take the options of the paginator. */
static void
configure(JsWalk *walk)
{
	static const char *const names[] = {
		"single_page", "page_number", "offset", "cursor", "next_url",
		"header_link"
	};
	Jsonb	   *options = walk->source->paginator;
	char	   *type = text_option(options, "type");
	char	   *unit = text_option(options, "offset_unit");

	walk->paging = JS_SINGLE_PAGE;
	for (int i = 0; type != NULL && i < lengthof(names); i++)
		if (strcmp(type, names[i]) == 0)
			walk->paging = (JsPaging) i;
	walk->offset_is_page = unit != NULL && strcmp(unit, "page") == 0;
	walk->page_size = int_option(options, "page_size", 0);
	walk->base_page = int_option(options, "base_page",
								 walk->offset_is_page ? 0 : 1);
	walk->max_pages = int_option(options, "max_pages", DEFAULT_MAX_PAGES);
}

/* A number that changes with what is asked for, and in which pages. */
static uint64
shape_of(JsStream *stream)
{
	Jsonb	   *parts[] = {
		stream->request, stream->full_request, stream->paginator
	};
	uint64		hash = (uint64) stream->step + stream->newest_first;

	for (int i = 0; i < lengthof(parts); i++)
		if (parts[i] != NULL)
			hash = hash_bytes_extended((unsigned char *) VARDATA_ANY(parts[i]),
									   VARSIZE_ANY_EXHDR(parts[i]), hash);
	return hash;
}

/* From when to when a walk goes, by the clock of the PMS. */
static void
set_range(JsWalk *walk, TimestampTz now)
{
	JsStream   *stream = walk->source;
	Jsonb	   *full = walk->kind == JS_WALK_CHANGES ? NULL :
	stream->full_request;
	TimestampTz from = 0;
	int64		away;

	now += stream->skew;
	walk->until = now + stream->skew_error;
	if (full != NULL && distance(full, "to", &away))
	{
		walk->until = now + away;
		walk->absolute = true;
	}
	if (full != NULL && distance(full, "from", &away))
	{
		walk->from_known = walk->absolute = true;
		from = now + away;
	}
	else if (walk->kind == JS_WALK_CHANGES && stream->watermark_known)
	{
		/* equal times are asked for again even if the bound is exclusive */
		walk->from_known = true;
		from = stream->watermark - Max(stream->lookback, js_time_grain(stream));
	}
	else if (stream->initial_known)
	{
		walk->from_known = true;
		from = stream->initial_value;
	}
	set_window(walk, from);
}

/* A member that is an interval, in microseconds. */
static bool
distance(Jsonb *options, const char *name, int64 *distance)
{
	char	   *text = text_option(options, name);
	Interval   *interval;

	if (text == NULL)
		return false;
	interval = DatumGetIntervalP(DirectFunctionCall3(interval_in,
													 CStringGetDatum(text),
													 ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
	*distance = interval->time +
		((int64) interval->month * DAYS_PER_MONTH + interval->day) * USECS_PER_DAY;
	return true;
}

/* Begin the window that starts at a time. */
static void
set_window(JsWalk *walk, TimestampTz from)
{
	JsStream   *stream = walk->source;

	walk->upto = walk->until;
	if (!walk->from_known)
		return;
	walk->from = js_time_floor(stream, js_time_safe(stream, from));
	if (stream->step > 0 && walk->until - walk->from > stream->step)
		walk->upto = walk->from + stream->step;
	/* some take a window that ends where it starts for "equal to" */
	if (js_time_floor(stream, walk->upto) <= walk->from)
		walk->upto = walk->from + js_time_grain(stream);
}

/* Begin with the first page of a window. */
static void
begin_pages(JsWalk *walk)
{
	HASHCTL		control = {.keysize = sizeof(uint64),
	.entrysize = sizeof(uint64),.hcxt = walk->mcxt};

	if (walk->seen != NULL)
		hash_destroy(walk->seen);
	walk->seen = hash_create("jacksync pages", 64, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	walk->index = 0;
	walk->records = 0;
	walk->empty = 0;
	walk->cursor = NULL;
	walk->moved = false;
	walk->total = -1;
	walk->pass = GetCurrentTimestamp();
}

/* Go on to the next window; false if there is none. */
static bool
next_window(JsWalk *walk)
{
	TimestampTz from = walk->upto - js_time_grain(walk->source);

	if (walk->moved && walk->index > MAX_REPEATED)
		walk->missed = true;
	else if (walk->moved && walk->repeats < MAX_REPEATS)
	{
		walk->repeats++;
		begin_pages(walk);
		return true;
	}
	walk->repeats = 0;
	walk->windows++;
	if (!walk->from_known || walk->upto >= walk->until)
		return false;
	if (js_time_floor(walk->source, js_time_safe(walk->source, from)) <= walk->from)
		from = walk->upto;
	set_window(walk, from);
	begin_pages(walk);
	return true;
}

/*
 * The walk that was under way when its stream was last left, or NULL.  One
 * whose request or paginator was changed meanwhile begins anew: its page
 * numbers mean something else now.
 */
JsWalk	   *
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
	walk = make_walk(stream, (JsWalkKind) int_option(progress, "kind",
													 JS_WALK_CHANGES));
	walk->resumed = true;
	walk->started = int8_option(progress, "started", GetCurrentTimestamp());
	walk->first_tick = int8_option(progress, "first_tick", 0);
	walk->from_known = text_option(progress, "from") != NULL;
	walk->from = int8_option(progress, "from", 0);
	walk->upto = int8_option(progress, "upto", walk->started);
	walk->until = int8_option(progress, "until", walk->started);
	walk->absolute = text_option(progress, "absolute") != NULL;
	walk->windows = int_option(progress, "windows", 0);
	walk->page_size = int_option(progress, "page_size", walk->page_size);
	walk->pages = int_option(progress, "pages", 0);
	walk->index = int_option(progress, "index", walk->pages);
	walk->records = int8_option(progress, "records", 0);
	walk->moved = text_option(progress, "moved") != NULL;
	walk->missed = text_option(progress, "missed") != NULL;
	walk->repeats = int_option(progress, "repeats", 0);
	walk->cursor = text_option(progress, "cursor");
	walk->max_known = text_option(progress, "max_seen") != NULL;
	walk->max_seen = int8_option(progress, "max_seen", 0);
	if (walk->cursor != NULL)
		(void) known(walk, hash_bytes_extended((unsigned char *) walk->cursor,
											   strlen(walk->cursor), 1));
	return walk;
}

/* Where a walk is, for stream_state.progress. */
Jsonb	   *
js_walk_progress(JsWalk *walk)
{
	JsonbParseState *state = js_object_begin();
	struct
	{
		const char *name;
		bool		known;
		int64		value;
	}			numbers[] = {
		{"kind", true, walk->kind},
		{"started", true, walk->started},
		{"first_tick", true, walk->first_tick},
		{"from", walk->from_known, walk->from},
		{"upto", true, walk->upto},
		{"until", true, walk->until},
		{"absolute", walk->absolute, 1},
		{"windows", true, walk->windows},
		{"page_size", walk->page_size > 0, walk->page_size},
		{"pages", true, walk->pages},
		{"index", true, walk->index},
		{"records", true, walk->records},
		{"moved", walk->moved, 1},
		{"missed", walk->missed, 1},
		{"repeats", walk->repeats > 0, walk->repeats},
		{"max_seen", walk->max_known, walk->max_seen},
	};

	js_object_put(&state, "shape",
				  js_jsonb_string(psprintf(UINT64_FORMAT, walk->shape)));
	for (int i = 0; i < lengthof(numbers); i++)
		if (numbers[i].known)
			js_object_put(&state, numbers[i].name,
						  js_jsonb_string(psprintf(INT64_FORMAT,
												   numbers[i].value)));
	if (walk->cursor != NULL)
		js_object_put(&state, "cursor", js_jsonb_string(walk->cursor));
	return js_object_end(state);
}

/* The placeholders that a walk fills. */
void
js_walk_vars(JsWalk *walk, JsVars *vars)
{
	if (walk->from_known)
		js_vars_set_text(vars, "since",
						 js_time_format(walk->source, walk->from));
	js_vars_set_text(vars, "until", js_time_format(walk->source, walk->upto));
	if (walk->page_size > 0)
		js_vars_set_int(vars, "limit", walk->page_size);
	js_vars_set_int(vars, "page", walk->base_page + walk->index);
	js_vars_set_int(vars, "offset",
					walk->offset_is_page ? walk->base_page + walk->index :
					walk->records);
	if (walk->cursor != NULL && walk->paging == JS_CURSOR)
		js_vars_set_text(vars, "cursor", walk->cursor);
}

/*
 * Go on to the next page.  False at the end of the walk, and, with the
 * problem said, when the walk cannot go on.
 */
bool
js_walk_next(JsWalk *walk, JsPage *page, JsHttpResponse *response,
			 char **problem)
{
	*problem = NULL;
	walk->resumed = false;
	walk->pages++;
	walk->index++;
	walk->records += page->count;
	if (page->newest_known && (!walk->max_known || page->newest > walk->max_seen))
	{
		walk->max_known = true;
		walk->max_seen = page->newest;
	}
	note_moves(walk, page);
	if (!window_ended(walk, page, response, problem))
		return *problem == NULL;
	return next_window(walk);
}

/*
 * Did records move from page to page?  They did if one changed since the
 * window was begun, or the PMS counts fewer than with the page before.
 */
static void
note_moves(JsWalk *walk, JsPage *page)
{
	JsStream   *stream = walk->source;
	char	   *text = body_value(walk, page, "total_path");
	int64		total = text ? strtoll(text, NULL, 10) : -1;
	bool		fewer = total >= 0 && total < walk->total;
	int64		slack = stream->skew_error +
	(page->newest % USECS_PER_SEC == 0 ? USECS_PER_SEC : 0);

	walk->total = total;
	if (walk->paging != JS_PAGE_NUMBER && walk->paging != JS_OFFSET)
		return;
	if (walk->index > 1 &&
		(fewer || (page->newest_known &&
				   page->newest + slack >= walk->pass + stream->skew)))
		walk->moved = true;
}

/* Was that the last page of the window? */
static bool
window_ended(JsWalk *walk, JsPage *page, JsHttpResponse *response,
			 char **problem)
{
	if (walk->paging == JS_SINGLE_PAGE || response->status == 204 ||
		response->body_len == 0)
		return true;
	if (page->count > 0 && known(walk, page->hash))
	{
		*problem = pstrdup("pagination loop: the same page came twice");
		return false;
	}
	if (walk->source->newest_first && walk->kind == JS_WALK_CHANGES &&
		walk->from_known && page->newest_known && page->newest < walk->from)
		return true;			/* what follows is older still */
	if (!next_page(walk, page, response, problem))
		return *problem == NULL;
	walk->empty = page->count > 0 ? 0 : walk->empty + 1;
	if (walk->index >= walk->max_pages)
		*problem = psprintf("more than %d pages", walk->max_pages);
	else if (walk->empty >= MAX_EMPTY_PAGES)
		*problem = psprintf("pagination does not end: %d pages in a row had no records but named a next page",
							walk->empty);
	return false;
}

/* Is there a next page of the window? */
static bool
next_page(JsWalk *walk, JsPage *page, JsHttpResponse *response,
		  char **problem)
{
	Flag		more = has_more(walk, page);
	char	   *path;

	if (more == FLAG_NO)
		return false;
	switch (walk->paging)
	{
		case JS_CURSOR:
			path = text_option(walk->source->paginator, "cursor_path");
			if (path == NULL || strncmp(path, "record.", 7) != 0)
				return next_by_cursor(walk, page,
									  body_value(walk, page, "cursor_path"),
									  problem);
			if (more != FLAG_YES && (page->count == 0 || !is_full(walk, page)))
				return false;
			if (next_by_cursor(walk, page,
							   last_record_value(page, path + 7), problem))
				return true;
			if (*problem != NULL)
				*problem = psprintf("pagination loop: the same cursor came twice; if more than %d records have the same %s, raise paginator.page_size",
									page->count, path + 7);
			return false;
		case JS_NEXT_URL:
			return next_by_cursor(walk, page,
								  body_value(walk, page, "next_url_path"),
								  problem);
		case JS_HEADER_LINK:
			return next_by_cursor(walk, page, js_http_next_link(response),
								  problem);
		default:
			return next_by_number(walk, page, more);
	}
}

/*
 * Does a page have as much as was asked for?  Where records have parents it
 * may be either that the PMS counts.
 */
static bool
is_full(JsWalk *walk, JsPage *page)
{
	int			records = list_length(page->records) + list_length(page->bad);

	return Max(page->count, records) >= walk->page_size;
}

/*
 * Is there a page of the next number?  A short page is the last one, unless
 * the PMS says that there is more: perhaps it gives smaller pages than we ask
 * for.
 */
static bool
next_by_number(JsWalk *walk, JsPage *page, Flag more)
{
	char	   *total = body_value(walk, page, "total_path");

	if (more == FLAG_YES)
		return true;
	if (page->count == 0)
		return false;
	return is_full(walk, page) ||
		(total != NULL && strtoll(total, NULL, 10) > walk->records);
}

/* Go on at a cursor, unless it is the end or one that was there. */
static bool
next_by_cursor(JsWalk *walk, JsPage *page, const char *cursor, char **problem)
{
	if (cursor == NULL || cursor[0] == '\0')
		return false;
	if (page->count == 0 && walk->cursor != NULL &&
		strcmp(walk->cursor, cursor) == 0)
		return false;			/* the end, and where to go on some day */
	if (known(walk, hash_bytes_extended((unsigned char *) cursor,
										strlen(cursor), 1)))
	{
		*problem = pstrdup("pagination loop: the same cursor came twice");
		return false;
	}
	walk->cursor = MemoryContextStrdup(walk->mcxt, cursor);
	return true;
}

/* Note a hash; was it there in this window? */
static bool
known(JsWalk *walk, uint64 hash)
{
	bool		found;

	(void) hash_search(walk->seen, &hash, HASH_ENTER, &found);
	return found;
}

/*
 * Ask for smaller pages from now on: the PMS finds them too heavy.  The size
 * divides the old one, so that page numbers go on.  False if they cannot be
 * smaller.
 */
bool
js_walk_shrink(JsWalk *walk)
{
	int			old = walk->page_size;

	for (int parts = 2; parts <= old; parts++)
	{
		if (old % parts != 0)
			continue;
		walk->page_size = old / parts;
		walk->index *= parts;
		return true;
	}
	return false;
}

/*
 * Up to which time all changes were seen, when the walk is complete; false if
 * it does not tell.
 */
bool
js_walk_watermark(JsWalk *walk, JsStream *stream, TimestampTz *watermark)
{
	/* the skew was perhaps measured only since the walk began */
	TimestampTz limit = walk->started + stream->skew - stream->skew_error;

	if (!walk->absolute)
		limit = Min(limit, walk->until);
	if (walk->max_known)
		*watermark = Min(walk->max_seen, limit);
	/* a list of ids without times is complete up to its request as well */
	if (walk->source->cursor_path == NULL ||
		(stream->detail != NULL && !walk->max_known))
		*watermark = limit;
	else if (walk->windows > 1 && !walk->absolute &&
			 (!walk->max_known || *watermark < walk->from))
		*watermark = Min(walk->from, limit);	/* earlier windows are
												 * complete */
	else
		return walk->max_known;
	return true;
}

/* The text at a path into the answer that an option gives; NULL: none. */
static char *
body_value(JsWalk *walk, JsPage *page, const char *option)
{
	char	   *path = text_option(walk->source->paginator, option);

	return path ? js_page_value(page, path) : NULL;
}

/* A value of the last record of a page, as a cursor. */
static char *
last_record_value(JsPage *page, const char *path)
{
	return js_page_last_value(page, path[0] == '$' ? path :
							  psprintf("$.%s", path));
}

/* Does the PMS say that there is more? */
static Flag
has_more(JsWalk *walk, JsPage *page)
{
	char	   *text = body_value(walk, page, "has_more_path");

	if (text == NULL)
		return FLAG_UNKNOWN;
	return strcmp(text, "false") == 0 || strcmp(text, "0") == 0 ||
		text[0] == '\0' ? FLAG_NO : FLAG_YES;
}

/* An option as text, or NULL. */
static char *
text_option(Jsonb *options, const char *name)
{
	Jsonb	   *value = options ? js_jsonb_member(options, name) : NULL;

	return value ? js_scalar_text(value) : NULL;
}

/* An option as a number. */
static int64
int8_option(Jsonb *options, const char *name, int64 otherwise)
{
	char	   *text = text_option(options, name);

	return text ? strtoll(text, NULL, 10) : otherwise;
}

/* The same, where it is a small one. */
static int
int_option(Jsonb *options, const char *name, int otherwise)
{
	return (int) int8_option(options, name, otherwise);
}
