/*-------------------------------------------------------------------------
 *
 * live.h
 *	  What idle cycles of the worker found, in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_LIVE_H
#define JS_LIVE_H

#include "datatype/timestamp.h"

/* What jacksync.stream_state tells of a stream that is in sync. */
typedef struct JsStreamTimes
{
	TimestampTz last_sync;
	TimestampTz next_due;
	bool		watermark_known;
	TimestampTz watermark;
} JsStreamTimes;

/*
 * The times as they are, and those that the table has: as long as it has
 * them.
 */
typedef struct JsLive
{
	JsStreamTimes stored;
	JsStreamTimes now;
	int64		idle;			/* cycles since the last row of sync_run */
} JsLive;

extern bool js_live_known(int32 stream_id, const JsStreamTimes *stored);
extern void js_live_written(int32 stream_id, const JsStreamTimes *stored);
extern void js_live_idled(int32 stream_id, const JsStreamTimes *now);
extern int64 js_live_idle(int32 stream_id);
extern void js_live_counted(int32 stream_id);
extern TimestampTz js_live_last_sync(int32 stream_id, TimestampTz stored);
extern TimestampTz js_live_next_due(int32 stream_id, TimestampTz stored);
extern void js_live_watermark(int32 stream_id, bool *known,
							  TimestampTz *watermark);

#endif							/* JS_LIVE_H */
