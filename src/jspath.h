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

extern JsPath *js_path_parse(const char *text, const JsAllocator *allocator);
extern void js_path_eval(const JsPath *path, JsJson *root,
						 const JsAllocator *allocator,
						 JsJson ***items, int *nitems, bool *missing);

#endif							/* JS_JSPATH_H */
