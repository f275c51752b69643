/*-------------------------------------------------------------------------
 *
 * limiter.c
 *	  Not more requests than a server allows: N in any sliding period.
 *
 * The times of the last N requests of every server are kept in a ring, in
 * this process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "limiter.h"

/* The last requests to one server. */
typedef struct Ring
{
	Oid			serverid;
	int			size;
	int			next;			/* the oldest of them */
	TimestampTz *times;			/* 0: none yet */
	struct Ring *link;
} Ring;

static Ring *rings = NULL;

static Ring *ring_of(JsServer *server);

/* The ring of a server; its size follows the option. */
static Ring *
ring_of(JsServer *server)
{
	Ring	   *ring;

	for (ring = rings; ring != NULL; ring = ring->link)
		if (ring->serverid == server->serverid)
			break;
	if (ring == NULL)
	{
		ring = MemoryContextAllocZero(TopMemoryContext, sizeof(Ring));
		ring->serverid = server->serverid;
		ring->link = rings;
		rings = ring;
	}
	if (ring->size != server->rate_count)
	{
		if (ring->times != NULL)
			pfree(ring->times);
		ring->times = MemoryContextAllocZero(TopMemoryContext,
											 sizeof(TimestampTz) * server->rate_count);
		ring->size = server->rate_count;
		ring->next = 0;
	}
	return ring;
}

/* Milliseconds to wait before the next request; 0: now. */
long
js_limiter_delay(JsServer *server)
{
	Ring	   *ring;
	TimestampTz free_at;

	if (server->rate_count <= 0)
		return 0;
	ring = ring_of(server);
	if (ring->times[ring->next] == 0)
		return 0;
	free_at = ring->times[ring->next] + server->rate_period_us;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), free_at);
}

/* A request is sent. */
void
js_limiter_note(JsServer *server)
{
	Ring	   *ring;

	if (server->rate_count <= 0)
		return;
	ring = ring_of(server);
	ring->times[ring->next] = GetCurrentTimestamp();
	ring->next = (ring->next + 1) % ring->size;
}
