/*-------------------------------------------------------------------------
 *
 * texts.h
 *	  Values of text[]: from and to JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_TEXTS_H
#define JS_TEXTS_H

#include "utils/jsonb.h"

#include "json.h"

extern bool js_texts_plain(Datum value);
extern bool js_texts_from_json(Jsonb *json, Datum *result);
extern Jsonb *js_texts_to_json(Datum value);
extern JsJson *js_texts_to_tree(Datum value, const JsAllocator *allocator);
extern bool js_texts_from_tree(const JsJson *tree, Datum *result);

#endif							/* JS_TEXTS_H */
