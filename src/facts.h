/*-------------------------------------------------------------------------
 *
 * facts.h
 *	  From three values of every field to facts, and from decisions to rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_FACTS_H
#define JS_FACTS_H

#include "apply.h"

extern void js_facts_apply(JsApply *apply, JsRecord *record,
						   JsApplied *applied);
extern void js_facts_inserted(JsApply *apply, JsRecord *record,
							  JsApplied *applied, const JsValue *sent);

#endif							/* JS_FACTS_H */
