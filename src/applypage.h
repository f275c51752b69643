/*-------------------------------------------------------------------------
 *
 * applypage.h
 *	  Bringing a page of records in line with the PMS.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_APPLYPAGE_H
#define JS_APPLYPAGE_H

#include "apply.h"

extern void js_apply_page(JsApply *apply, List *records);
extern void js_apply_learn(JsApply *apply, List *records);
extern bool js_apply_text(JsApply *apply, const char *page, size_t len,
						  bool cast);

#endif							/* JS_APPLYPAGE_H */
