/*-------------------------------------------------------------------------
 *
 * newrows.h
 *	  Records that are all new, many at a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_NEWROWS_H
#define JS_NEWROWS_H

#include "apply.h"

extern bool js_newrows_usable(JsApply *apply);
extern void js_newrows_apply(JsApply *apply, List *trees);

#endif							/* JS_NEWROWS_H */
