/*-------------------------------------------------------------------------
 *
 * jsonb.h
 *	  Small values of jsonb: what they hold, and how they are built.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_JSONB_H
#define JS_JSONB_H

#include "utils/jsonb.h"

/* A walk through the members of an object. */
typedef struct JsObjectWalk
{
	JsonbContainer *container;
	char	   *data;			/* of keys, then of values */
	uint32		n;
	uint32		at;				/* the next member */
	uint32		key_at;			/* where its key begins */
	uint32		value_at;
} JsObjectWalk;

extern Jsonb *js_jsonb_null(void);
extern bool js_jsonb_is_null(Jsonb *json);
extern Jsonb *js_jsonb_member(Jsonb *object, const char *key);
extern bool js_jsonb_find(Jsonb *object, const char *key, JsonbValue *value);
extern Jsonb *js_jsonb_from_value(JsonbValue *value);
extern JsonbValue js_jsonb_item(Jsonb *json);
extern Jsonb *js_jsonb_in(const char *text);
extern char *js_jsonb_out(Jsonb *json);
extern Jsonb *js_jsonb_string(const char *text);
extern Jsonb *js_jsonb_int8(int64 number);
extern bool js_jsonb_same(Jsonb *a, Jsonb *b);
extern Jsonb *js_jsonb_object(const char *const *keys,
							  JsonbValue *const *values, int n);
extern void js_object_walk(JsObjectWalk *walk, Jsonb *object);
extern bool js_object_next(JsObjectWalk *walk, const char **key,
						   uint32 *keylen, JsonbValue *value);
extern JsonbParseState *js_object_begin(void);
extern void js_object_put(JsonbParseState **state, const char *key,
						  Jsonb *value);
extern void js_array_push(JsonbParseState **state, Jsonb *element);
extern Jsonb *js_object_end(JsonbParseState *state);

#endif							/* JS_JSONB_H */
