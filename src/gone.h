/*-------------------------------------------------------------------------
 *
 * gone.h
 *	  Rows and records that go, and those that come back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_GONE_H
#define JS_GONE_H

#include "apply.h"

extern bool js_apply_missing_row(JsApply *apply, JsRecord *record,
								 JsApplied *applied);
extern bool js_apply_restore(JsApply *apply, JsApplied *applied);
extern void js_apply_mark(JsEntity *entity, JsRow *row, bool deleted);
extern bool js_apply_delete(JsApply *apply, JsRecord *record, JsLink *link);
extern bool js_apply_gone(JsApply *apply, const char *external_id);

#endif							/* JS_GONE_H */
