/*-------------------------------------------------------------------------
 *
 * bases.h
 *	  After a decision: the bases move, and what waits to be pushed is found.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_BASES_H
#define JS_BASES_H

#include "apply.h"
#include "fieldstate.h"

extern void js_bases_update(JsApply *apply, JsRecord *record,
							JsApplied *applied, JsFieldState *states,
							JsDecision *decisions, JsRow *after);

#endif							/* JS_BASES_H */
