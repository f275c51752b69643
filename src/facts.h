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
/* A field that both sides hold different values of. */
typedef struct JsDifference
{
	JsField    *field;
	Jsonb	   *base;			/* NULL: unknown */
	Jsonb	   *local;
	Jsonb	   *pms;
	bool		local_changed;
	bool		pms_changed;
	bool		held;
} JsDifference;

extern List *js_facts_differences(JsApply *apply, JsRecord *record,
								  JsLink *link, JsRow *row);
extern void js_facts_compare(JsEntity *entity, JsRecord *record, JsLink *link,
							 JsRow *row, Jsonb **local_changes,
							 Jsonb **pms_changes);

#endif							/* JS_FACTS_H */
