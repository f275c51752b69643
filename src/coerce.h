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

extern Jsonb *js_field_read(JsStream *stream, JsField *field, Jsonb *raw);
extern Jsonb *js_record_push_value(JsStream *stream, JsField *field,
								   Jsonb *value);
extern char *js_scalar_text(Jsonb *json);

#endif							/* JS_COERCE_H */
