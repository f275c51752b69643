/*-------------------------------------------------------------------------
 *
 * jsonspan.h
 *	  The values of an array of JSON, without a look into them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_JSONSPAN_H
#define JS_JSONSPAN_H

#include "json.h"

/* A value of the array. */
typedef struct JsJsonSpan
{
	const char *start;
	size_t		len;
	const char *id;				/* its member "id"; NULL: none, or not plain */
	size_t		id_len;
} JsJsonSpan;

extern bool js_json_spans(const char *s, size_t len,
						  const JsAllocator *allocator, JsJsonSpan **spans,
						  int *n, JsJsonError *error);

#endif							/* JS_JSONSPAN_H */
