/*-------------------------------------------------------------------------
 *
 * recordtree.h
 *	  Plain records that are read from text, without jsonb.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_RECORDTREE_H
#define JS_RECORDTREE_H

#include "jsonspan.h"
#include "record.h"

/* Reads records of one page; knows the keys of the last one. */
typedef struct JsTreeReader
{
	const JsJson *last;			/* NULL: none yet */
	int		   *fields;			/* of its members: number of the field, or -1 */
	int			room;
	int			id;				/* its member "id", or -1 */
	int			time;			/* its member "updatedAt", or -1 */
	uint64		seed;			/* of the entity for which this holds */
	bool		learns;			/* a column is there for one that is no field */
	bool		unread;			/* items are yet to be parsed */
	JsAllocator memory;			/* for what is parsed */

	/* records of a stream are read by these (streamtree.c); NULL: plain ones */
	JsRecord   *(*open) (struct JsTreeReader *reader, JsEntity *entity,
						 const JsJson *item);
	void		(*finish) (struct JsTreeReader *reader, JsEntity *entity,
						   JsRecord *record);
	JsStream   *stream;
	struct JsStreamPlan *plan;
} JsTreeReader;

extern bool js_tree_page(const char *s, size_t len, JsJson **root,
						 JsJsonError *error);
extern JsAllocator js_tree_memory(void);
extern bool js_tree_same_keys(const JsJson *a, const JsJson *b);
extern Jsonb *js_tree_json(const JsJson *item);
extern char *js_tree_text(const JsJson *json);
extern void js_tree_item(const JsJson *json, JsonbValue *item);
extern JsRecord *js_tree_open(JsTreeReader *reader, JsEntity *entity,
							  const JsJson *item);
extern JsRecord *js_tree_open_span(JsEntity *entity, const JsJsonSpan *span);
extern JsJson *js_tree_unread(const char *text, size_t len);
extern void js_tree_batch(JsTreeReader *reader, List *items, int from,
						  int to);
extern const JsJson *js_tree_read(JsTreeReader *reader, const JsJson *item);
extern bool js_tree_parse(JsTreeReader *reader, JsEntity *entity,
						  JsRecord *record);
extern void js_tree_finish(JsTreeReader *reader, JsEntity *entity,
						   JsRecord *record);

#endif							/* JS_RECORDTREE_H */
