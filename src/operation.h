/*-------------------------------------------------------------------------
 *
 * operation.h
 *	  The operations of stream.push: which of them carries which field.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_OPERATION_H
#define JS_OPERATION_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef enum JsBodyStyle
{
	JS_BODY_MERGE,				/* RFC 7396, or just an object */
	JS_BODY_JSON_PATCH,			/* RFC 6902 */
	JS_BODY_REPLACE,			/* the whole, or the part at replace_at */
	JS_BODY_FORM
} JsBodyStyle;

typedef enum JsNulls
{
	JS_NULLS_SEND,
	JS_NULLS_OMIT,				/* left out of the body */
	JS_NULLS_REFUSE				/* the PMS cannot clear a field */
} JsNulls;

/* One operation of push.update, push.create or push.delete. */
typedef struct JsOperation
{
	int			place;			/* in the list */
	Jsonb	   *spec;
	Jsonb	   *fields;			/* field to path; NULL: not given */
	Jsonb	   *when;			/* field to values; NULL: not given */
	JsBodyStyle style;
	JsNulls		nulls;
} JsOperation;

extern List *js_operations(Jsonb *push, const char *kind);
extern JsOperation *js_operation_at(Jsonb *push, const char *kind, int place);
extern bool js_operation_selected(JsOperation *operation, Jsonb *values);
extern bool js_operation_covers(JsOperation *operation, List *operations,
								const char *field);
extern bool js_operation_takes(JsOperation *operation, List *operations,
							   const char *field, Jsonb *values);

/* Members of the configuration, read with their types. */
extern char *js_option_text(Jsonb *options, const char *name);
extern bool js_option_true(Jsonb *options, const char *name);
extern List *js_object_keys(Jsonb *object);

#endif							/* JS_OPERATION_H */
