/*-------------------------------------------------------------------------
 *
 * absent.h
 *	  Records that a complete list of the PMS does not have any more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_ABSENT_H
#define JS_ABSENT_H

#include "cycle.h"
#include "sweep.h"

/* The ids that a walk has seen. */
typedef struct JsSeen
{
	MemoryContext mcxt;
	uint64	   *hashes;
	int64		n;
	int64		size;
	bool		sorted;
	bool		spoilt;			/* a record had no id: nothing is sure */
	int64		last_record;	/* records after it came while the walk went */
} JsSeen;

typedef void (*JsAbsentDone) (JsCycle *cycle);
typedef void (*JsAbsentFound) (JsCycle *cycle, JsApply *apply,
							   const char *external_id, const char *local_id);

extern JsSeen *js_seen_begin(MemoryContext mcxt, int64 last_record);
extern void js_seen_add(JsSeen *seen, const char *external_id);
extern void js_seen_page(JsSeen *seen, JsStream *stream, JsPage *page);
extern int64 js_seen_last_record(void);
extern void js_absent_settle(JsCycle *cycle, JsSeen *seen, JsRun *run,
							 bool repair, JsAbsentFound found,
							 JsAbsentDone done);

#endif							/* JS_ABSENT_H */
