/*-------------------------------------------------------------------------
 *
 * progress.h
 *	  What runs in a database now, in shared memory.
 *
 * All functions are cheap, throw nothing, and do nothing where there is no
 * shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_PROGRESS_H
#define JS_PROGRESS_H

#include "datatype/timestamp.h"

typedef enum JsPhase
{
	JS_PHASE_RESOLVE,			/* looking up pushes of unknown outcome */
	JS_PHASE_INITIAL_LOAD,
	JS_PHASE_PULL,
	JS_PHASE_FULL,				/* everything is read again */
	JS_PHASE_PUSH
} JsPhase;

/* A cycle: the number of its slot is 0 if it has none. */
extern int	js_progress_begin(int32 stream_id, int64 run_id);
extern void js_progress_run(int slot, int64 run_id);
extern void js_progress_phase(int slot, JsPhase phase);
extern void js_progress_note(int slot, int64 pages, int64 records,
							 int64 pushed);
extern void js_progress_total(int slot, int64 total);
extern void js_progress_end(int slot);

/* The worker. */
extern void js_progress_worker(void);
extern void js_progress_turn(int cycles);

#endif							/* JS_PROGRESS_H */
