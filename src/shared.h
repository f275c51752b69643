/*-------------------------------------------------------------------------
 *
 * shared.h
 *	  The shared memory of a database.
 *
 * Numbers only: nothing in it belongs to one process.  Every spinlock guards
 * a few stores.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SHARED_H
#define JS_SHARED_H

#include "datatype/timestamp.h"
#include "storage/spin.h"

#include "live.h"

#define JS_SLOTS	1100		/* cycles of a worker, and some sessions */
#define JS_STREAMS	2048		/* whose state is kept here */

/* A cycle that runs (progress.c). */
typedef struct JsSlot
{
	slock_t		mutex;
	int			pid;			/* 0: free */
	int32		stream_id;
	int32		phase;
	int64		run_id;			/* 0: none yet */
	TimestampTz started;
	TimestampTz phase_started;
	int64		pages;
	int64		records;
	int64		total;			/* -1: not known */
	int64		pushed;
} JsSlot;

/* What idle cycles of a stream found (live.c). */
typedef struct JsLiveSlot
{
	slock_t		mutex;
	int32		stream_id;
	JsLive		live;
} JsLiveSlot;

typedef struct JsShared
{
	uint32		magic;
	uint32		size;			/* of this struct: is it our layout? */
	Oid			database;
	slock_t		mutex;			/* of what follows, and of taking a slot */
	int			worker_pid;
	int			cycles;			/* that the worker runs now */
	TimestampTz worker_started;
	TimestampTz last_turn;
	int64		turns;			/* of the worker's loop: its wake-ups */
	int			n_streams;		/* slots of streams in use, from the first */
	JsSlot		slots[JS_SLOTS];
	JsLiveSlot	streams[JS_STREAMS];
} JsShared;

extern JsShared *js_shared(void);
extern void js_shared_attach(bool create);
extern bool js_shared_look(void);

#endif							/* JS_SHARED_H */
