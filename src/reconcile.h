/*-------------------------------------------------------------------------
 *
 * reconcile.h
 *	  The full comparison of both sides, field by field.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_RECONCILE_H
#define JS_RECONCILE_H

#include "absent.h"
#include "recount.h"

typedef struct JsReconcile
{
	MemoryContext mcxt;
	int32		stream_id;
	bool		repair;
	bool		listing;		/* for a person: everything is listed, and
								 * repaired at the end */
	bool		whole;			/* no part of the walk was missed */
	bool		more;			/* there is another page */
	JsRun		run;
	int64		found;
	JsCounts	counts;
	JsRecount	recount;
	JsSeen	   *seen;
	TimestampTz slice_end;
	List	   *listed;			/* JsDrift */
	List	   *broken;			/* Jsonb: records to be repaired */
	struct JsReconcile *next;
} JsReconcile;

extern JsReconcile *js_reconcile_new(MemoryContext parent, int32 stream_id);
extern void js_reconcile_free(JsReconcile *reconcile);
extern void js_reconcile_define_settings(void);

#endif							/* JS_RECONCILE_H */
