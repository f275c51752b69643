/*-------------------------------------------------------------------------
 *
 * merge.h
 *	  Three-way merge of JSON values and of lines of text.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_MERGE_H
#define JS_MERGE_H

#include "json.h"

/* Which side is newer, where only one can win. */
typedef enum JsMergeSide
{
	JS_NEWER_UNKNOWN,			/* local wins */
	JS_NEWER_LOCAL,
	JS_NEWER_PMS
} JsMergeSide;

extern JsJson *js_merge(const JsAllocator *allocator, const JsJson *base,
						const JsJson *local, const JsJson *pms,
						JsMergeSide newer);
extern char *js_merge_lines(const JsAllocator *allocator, const char *base,
							const char *local, const char *pms);

#endif							/* JS_MERGE_H */
