/*-------------------------------------------------------------------------
 *
 * live.c
 *	  What idle cycles of the worker found, in shared memory.
 *
 * A poll that finds nothing changes only times: when the data was last known
 * to be right, how far the PMS was read, when the next poll is due.  To write
 * them every time would be all that an idle worker writes.  So they are kept
 * here, and written once in a while (quiet.c), and with whatever else is
 * written of the stream.
 *
 * What is here takes the place of what the table was last given.  Once the
 * table has something else, whoever wrote it and for whatever reason, the
 * table is right: nobody has to tell us.  So what is here can be lost, but can
 * never be wrong; after a crash the data looks older than it is, and never
 * younger.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "compat.h"
#include "jacksync.h"
#include "live.h"
#include "shared.h"

JS_FUNCTION(jacksync_live_last_sync);
JS_FUNCTION(jacksync_live_next_due);

static JsLiveSlot *slot_of(int32 stream_id);
static bool copy_of(int32 stream_id, JsLive *live);

/* The slot of a stream; NULL if it has none. */
static JsLiveSlot *
slot_of(int32 stream_id)
{
	JsShared   *shared = js_shared();

	for (int i = 0; shared != NULL && i < shared->n_streams; i++)
		if (shared->streams[i].stream_id == stream_id)
			return &shared->streams[i];
	return NULL;
}

/* A copy of what is known of a stream; false: nothing. */
static bool
copy_of(int32 stream_id, JsLive *live)
{
	JsLiveSlot *slot = slot_of(stream_id);

	if (slot == NULL)
		return false;
	SpinLockAcquire(&slot->mutex);
	*live = slot->live;
	SpinLockRelease(&slot->mutex);
	return true;
}

/* Does the table have what it was last given, as far as is known here? */
bool
js_live_known(int32 stream_id, const JsStreamTimes *stored)
{
	JsLive		live;

	return copy_of(stream_id, &live) &&
		live.stored.last_sync == stored->last_sync &&
		live.stored.next_due == stored->next_due &&
		live.stored.watermark_known == stored->watermark_known &&
		live.stored.watermark == stored->watermark;
}

/*
 * The table was given these times.  Only who has the lock of the stream may
 * say so.  Streams never give their slots back: their numbers are not used
 * again, and one that finds no slot is written every time.
 */
void
js_live_written(int32 stream_id, const JsStreamTimes *stored)
{
	JsShared   *shared = js_shared();
	JsLiveSlot *slot = slot_of(stream_id);

	if (shared == NULL)
		return;
	if (slot == NULL)
	{
		SpinLockAcquire(&shared->mutex);
		if (shared->n_streams < JS_STREAMS)
		{
			slot = &shared->streams[shared->n_streams];
			slot->stream_id = stream_id;
			shared->n_streams++;
		}
		SpinLockRelease(&shared->mutex);
	}
	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	slot->live.stored = slot->live.now = *stored;
	slot->live.idle = 0;
	SpinLockRelease(&slot->mutex);
}

/* A cycle found nothing: these are the times now. */
void
js_live_idled(int32 stream_id, const JsStreamTimes *now)
{
	JsLiveSlot *slot = slot_of(stream_id);

	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	slot->live.now = *now;
	slot->live.idle++;
	SpinLockRelease(&slot->mutex);
}

/* How many cycles were counted since the last row of sync_run? */
int64
js_live_idle(int32 stream_id)
{
	JsLive		live;

	return copy_of(stream_id, &live) ? live.idle : 0;
}

/* They are in that row now. */
void
js_live_counted(int32 stream_id)
{
	JsLiveSlot *slot = slot_of(stream_id);

	if (slot == NULL)
		return;
	SpinLockAcquire(&slot->mutex);
	slot->live.idle = 0;
	SpinLockRelease(&slot->mutex);
}

/*
 * When a stream was last in sync, of which the table says stored.  In a
 * session, whose memory may be that of another time, it is looked for once
 * more if it is not there.
 */
TimestampTz
js_live_last_sync(int32 stream_id, TimestampTz stored)
{
	JsLive		live;

	do
	{
		if (copy_of(stream_id, &live) && live.stored.last_sync == stored)
			return live.now.last_sync;
	} while (js_shared_look());
	return stored;
}

/* When it is due, of which the table says stored. */
TimestampTz
js_live_next_due(int32 stream_id, TimestampTz stored)
{
	JsLive		live;

	return copy_of(stream_id, &live) && live.stored.next_due == stored ?
		live.now.next_due : stored;
}

/* Up to where it was read, of which the table says what is given. */
void
js_live_watermark(int32 stream_id, bool *known, TimestampTz *watermark)
{
	JsLive		live;

	if (!copy_of(stream_id, &live) || !live.now.watermark_known ||
		live.stored.watermark_known != *known ||
		(*known && live.stored.watermark != *watermark))
		return;
	*known = true;
	*watermark = live.now.watermark;
}

/* live_last_sync(stream_id integer, stored timestamptz) */
Datum
jacksync_live_last_sync(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(js_live_last_sync(PG_GETARG_INT32(0),
											PG_GETARG_TIMESTAMPTZ(1)));
}

/* live_next_due(stream_id integer, stored timestamptz) */
Datum
jacksync_live_next_due(PG_FUNCTION_ARGS)
{
	(void) js_shared_look();
	PG_RETURN_TIMESTAMPTZ(js_live_next_due(PG_GETARG_INT32(0),
										   PG_GETARG_TIMESTAMPTZ(1)));
}
