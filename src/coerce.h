/*-------------------------------------------------------------------------
 *
 * coerce.h
 *	  stream.fields: where a field is in a record, and what is made of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_COERCE_H
#define JS_COERCE_H

#include "config.h"
#include "stream.h"

/* Where a field is on the tree of a record (recordtree.c). */
typedef struct JsFieldWay
{
	JsPath	   *path;			/* NULL: the member of its name */
	bool		as_is;			/* what is found there is its value */
	bool		is_time;		/* unless it is a number */
} JsFieldWay;

extern bool js_field_way(JsStream *stream, JsField *field, JsFieldWay *way);
extern Jsonb *js_field_make(JsStream *stream, JsField *field, Jsonb *found);
extern Jsonb *js_field_read(JsStream *stream, JsField *field, Jsonb *raw);
extern Jsonb *js_record_push_value(JsStream *stream, JsField *field,
								   Jsonb *value);
extern char *js_scalar_text(Jsonb *json);
extern char *js_item_text(JsonbValue *item);

#endif							/* JS_COERCE_H */
