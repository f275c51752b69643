/*-------------------------------------------------------------------------
 *
 * notes.h
 *	  What is written down about decisions, or only shown.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_NOTES_H
#define JS_NOTES_H

#include "apply.h"
#include "fieldstate.h"

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

extern void js_notes_decisions(JsApply *apply, JsApplied *applied,
							   JsFieldState *states, JsDecision *decisions,
							   JsRecordFacts *record_facts, JsRow *after);
extern void js_notes_preview(JsApply *apply, JsLink *link,
							 JsFieldState *states, JsDecision *decisions);
extern void js_facts_compare(JsEntity *entity, JsRecord *record, JsLink *link,
							 JsRow *row, Jsonb **local_changes,
							 Jsonb **pms_changes);
extern List *js_facts_differences(JsApply *apply, JsRecord *record,
								  JsLink *link, JsRow *row);

#endif							/* JS_NOTES_H */
