/*-------------------------------------------------------------------------
 *
 * page.h
 *	  An answer with records, taken apart.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_PAGE_H
#define JS_PAGE_H

#include "nodes/pg_list.h"

#include "coerce.h"
#include "http.h"
#include "stream.h"

typedef struct JsPage
{
	List	   *records;		/* Jsonb */
	List	   *trees;			/* JsJson, instead of these */
	List	   *ids;			/* of the trees; NULL: it has none */
	List	   *bad;			/* JsBadRecord */
	int			count;			/* of what the list has, for the paginator */
	JsJson	   *root;			/* the whole; NULL: no content */
	Jsonb	   *document;		/* the same, once it is wanted; or NULL */
	uint64		hash;
	bool		newest_known;
	TimestampTz newest;			/* time of a record, clock of the PMS */
} JsPage;

/* A record that cannot be stored as it came. */
typedef struct JsBadRecord
{
	char	   *external_id;	/* NULL: not to be found */
	char	   *problem;
	char	   *text;			/* of the record, made presentable */
} JsBadRecord;

extern JsPage *js_page_read(JsStream *stream, JsHttpResponse *response,
							char **problem);
extern JsPage *js_page_read_trees(JsStream *stream, JsHttpResponse *response,
								  char **problem);
extern char *js_page_value(JsPage *page, const char *path);
extern char *js_page_last_value(JsPage *page, const char *path);
extern void js_page_times(JsStream *stream, JsPage *page);
extern void js_page_unique(JsStream *stream, JsPage *page);
extern Jsonb *js_record_with(Jsonb *record, const char *name, Jsonb *value);

#endif							/* JS_PAGE_H */
