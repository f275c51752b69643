/*-------------------------------------------------------------------------
 *
 * equal.h
 *	  Equality of values, and of what they came from.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_EQUAL_H
#define JS_EQUAL_H

#include "value.h"

extern bool js_value_equal(JsColumn *column, JsValue a, JsValue b);
extern bool js_value_blank(JsColumn *column, JsValue value);
extern bool js_value_is_item(JsColumn *column, JsValue value,
							 JsonbValue *item);
extern bool js_item_same(JsonbValue *a, JsonbValue *b);

#endif							/* JS_EQUAL_H */
