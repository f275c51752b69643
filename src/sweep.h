/*-------------------------------------------------------------------------
 *
 * sweep.h
 *	  The local sweep: changes of bound tables that no trigger saw.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SWEEP_H
#define JS_SWEEP_H

#include "apply.h"

/* One difference, for jacksync.drift. */
typedef struct JsDrift
{
	const char *local_id;
	const char *external_id;
	const char *field;			/* NULL: the record as a whole */
	Jsonb	   *base;
	Jsonb	   *local;
	Jsonb	   *pms;
	const char *reason;
	bool		repaired;
} JsDrift;

extern void js_drift_record(JsApply *apply, const JsDrift *drift);
extern void js_sweep(JsApply *apply, bool quiet);

#endif							/* JS_SWEEP_H */
