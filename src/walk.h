/*-------------------------------------------------------------------------
 *
 * walk.h
 *	  Going through the pages of a list: which page is next, and is it all?
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_WALK_H
#define JS_WALK_H

#include "http.h"
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

typedef struct JsWalk
{
	JsPaging	paging;
	int			page_size;		/* 0: not told to the PMS */
	int			base_page;
	int			max_pages;
	Jsonb	   *paginator;

	/* where it is */
	char	   *since;			/* as written into the request; NULL: none */
	TimestampTz started;		/* of the walk, our clock */
	uint64		shape;			/* of request and paginator */
	int			pages;			/* that were read */
	int64		records;
	char	   *cursor;			/* or next URL; NULL: first page */
	bool		max_known;
	TimestampTz max_seen;		/* newest time of a record, PMS clock */
	uint64		last_hash;		/* of the last page's body */
} JsWalk;

/* A page taken apart. */
typedef struct JsPage
{
	List	   *records;		/* Jsonb */
	List	   *bad;			/* JsBadRecord */
	int			count;			/* of both */
	Jsonb	   *document;		/* the whole, where paths need it; or NULL */
	uint64		hash;
} JsPage;

/* A record that cannot be stored as it came. */
typedef struct JsBadRecord
{
	char	   *external_id;	/* NULL: not to be found */
	char	   *problem;
	char	   *text;			/* of the record, made presentable */
} JsBadRecord;

extern JsWalk *js_walk_begin(JsStream *stream, const char *since,
							 TimestampTz now);
extern JsWalk *js_walk_resume(JsStream *stream);
extern Jsonb *js_walk_progress(JsWalk *walk);
extern void js_walk_vars(JsWalk *walk, JsVars *vars);
extern JsPage *js_page_read(JsStream *stream, JsHttpResponse *response,
							char **problem);
extern bool js_walk_next(JsWalk *walk, JsStream *stream, JsPage *page,
						 JsHttpResponse *response, char **problem);

#endif							/* JS_WALK_H */
