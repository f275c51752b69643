/*-------------------------------------------------------------------------
 *
 * walk.h
 *	  Going through the windows and pages of a list: what is asked for next,
 *	  and is it all?
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_WALK_H
#define JS_WALK_H

#include "utils/hsearch.h"

#include "http.h"
#include "page.h"
#include "stream.h"
#include "template.h"

typedef enum JsPaging
{
	JS_SINGLE_PAGE,
	JS_PAGE_NUMBER,
	JS_OFFSET,
	JS_CURSOR,
	JS_NEXT_URL,
	JS_HEADER_LINK
} JsPaging;

/* What a walk is for; all but JS_WALK_CHANGES go through everything. */
typedef enum JsWalkKind
{
	JS_WALK_INITIAL,
	JS_WALK_CHANGES,
	JS_WALK_FULL,				/* full_refresh, or somebody wants it */
	JS_WALK_RECONCILE
} JsWalkKind;

typedef struct JsWalk
{
	JsWalkKind	kind;
	JsStream   *source;			/* the stream, with the paths of this list */
	Jsonb	   *request;
	JsPaging	paging;
	bool		offset_is_page; /* {offset} counts pages */
	int			page_size;		/* 0: not told to the PMS */
	int			base_page;
	int			max_pages;
	uint64		shape;			/* of request, paginator and windows */

	/* the range of times, clock of the PMS */
	bool		from_known;
	TimestampTz from;			/* of this window */
	TimestampTz upto;			/* of this window */
	TimestampTz until;			/* of the whole walk */
	bool		absolute;		/* the range is not that of changes */

	/* where it is */
	bool		resumed;		/* nothing was read since it was continued */
	TimestampTz started;		/* our clock */
	int64		first_tick;		/* tick at the start */
	int			windows;		/* that are complete */
	int			pages;			/* that were read, in all */
	int			index;			/* of the page in its window */
	int64		records;		/* of the window */
	char	   *cursor;			/* or next URL; NULL: first page */
	bool		max_known;
	TimestampTz max_seen;		/* newest time of a record, PMS clock */
	int			empty;			/* pages without records in a row */
	TimestampTz pass;			/* when its first page was asked for, our
								 * clock */
	bool		moved;			/* records moved from page to page meanwhile */
	int64		total;			/* that the PMS told with the last page; or -1 */
	int			repeats;		/* of this window, for that reason */
	bool		missed;			/* a window that was too long for that */
	bool		all_new;		/* the last records were, all of them */
	bool		not_new;		/* they were thought to be, and were not */
	HTAB	   *seen;			/* hashes of pages and cursors of the window */
	MemoryContext mcxt;
} JsWalk;

extern JsWalk *js_walk_begin(JsStream *stream, JsWalkKind kind,
							 TimestampTz now);
extern JsWalk *js_walk_resume(JsStream *stream);
extern Jsonb *js_walk_progress(JsWalk *walk);
extern void js_walk_vars(JsWalk *walk, JsVars *vars);
extern bool js_walk_next(JsWalk *walk, JsPage *page,
						 JsHttpResponse *response, char **problem);
extern bool js_walk_shrink(JsWalk *walk);
extern bool js_walk_watermark(JsWalk *walk, JsStream *stream,
							  TimestampTz *watermark);

#endif							/* JS_WALK_H */
