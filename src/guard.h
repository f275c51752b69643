/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  A record by itself: what fails is stored, and stops nothing else.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_GUARD_H
#define JS_GUARD_H

#include "apply.h"

extern bool js_apply_guarded(JsApply *apply, Jsonb *raw, const char *version,
							 JsApplied *applied);
extern bool js_apply_settle(JsApply *apply, int64 record_id,
							JsApplied *applied);
extern void js_apply_postpone(JsApply *apply, int64 record_id, int sqlstate,
							  const char *message);
extern void js_apply_settled(JsApply *apply, JsLink *link);
extern bool js_apply_one_waits(JsApply *apply, JsRecord *record,
							   TimestampTz *time);
extern void js_apply_waiting(JsApply *apply, JsRecord *record,
							 const char *reason);
extern bool js_must_rethrow(int sqlstate, bool serialization);

#endif							/* JS_GUARD_H */
