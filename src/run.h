/*-------------------------------------------------------------------------
 *
 * run.h
 *	  Running cycles, in a session or step by step.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_RUN_H
#define JS_RUN_H

#include "cycle.h"

#define JS_LOCK_CLASS	27251	/* of our advisory locks: "js" */

extern bool js_stream_lock(int32 stream_id, bool wait);
extern void js_stream_unlock(int32 stream_id);
extern void js_run_step(JsCycle *cycle, bool rethrow);

#endif							/* JS_RUN_H */
