/*-------------------------------------------------------------------------
 *
 * jspath.h
 *	  The simple paths of jsonpath, evaluated on a JSON tree.
 *
 * Pure.  Everything else is left to the server's own jsonpath engine.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_JSPATH_H
#define JS_JSPATH_H

#include "json.h"

typedef struct JsPath JsPath;
typedef struct JsPredicate JsPredicate; /* a path == a constant */

extern JsPath *js_path_parse(const char *text, const JsAllocator *allocator);
extern void js_path_eval(const JsPath *path, const JsJson *root,
						 const JsAllocator *allocator,
						 JsJson ***items, int *nitems, bool *missing);
extern const JsJson *js_path_one(const JsPath *path, const JsJson *root,
								 const JsAllocator *allocator);
extern const char *js_path_key(const JsPath *path, size_t *keylen);
extern JsPredicate *js_predicate_parse(const char *text,
									   const JsAllocator *allocator);
extern bool js_predicate_holds(const JsPredicate *predicate,
							   const JsJson *root,
							   const JsAllocator *allocator);

#endif							/* JS_JSPATH_H */
