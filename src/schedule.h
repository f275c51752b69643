/*-------------------------------------------------------------------------
 *
 * schedule.h
 *	  When which stream is due: kept in memory by the worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SCHEDULE_H
#define JS_SCHEDULE_H

#include "datatype/timestamp.h"

/* A cycle that is to be started. */
typedef struct JsDue
{
	int32		stream_id;
	bool		push_only;
	TimestampTz at;				/* since when it is due */
} JsDue;

extern void js_schedule_init(MemoryContext mcxt);
extern void js_schedule_forget(void);
extern void js_schedule_look(void);
extern bool js_schedule_is_stale(void);
extern void js_schedule_look_for_changes(void);
extern bool js_schedule_update(void);
extern int	js_schedule_due(JsDue **due);
extern TimestampTz js_schedule_next(void);
extern void js_schedule_started(int32 stream_id);
extern void js_schedule_busy(int32 stream_id);
extern void js_schedule_ended(int32 stream_id, bool pushed);

#endif							/* JS_SCHEDULE_H */
