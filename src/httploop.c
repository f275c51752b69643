/*-------------------------------------------------------------------------
 *
 * httploop.c
 *	  The event loop of requests, and the connections that they use.
 *
 * Every credential has a curl multi handle of its own, and with it its own
 * connections: one that was opened with the credentials of one hotel is never
 * used for another one.  All of them are driven by curl_multi_socket_action()
 * in one loop, which waits with a WaitEventSet for curl's sockets, our latch
 * and the death of the postmaster, so that cancel, terminate, barriers and
 * SetLatch() all work while requests hang.  The set is built anew for every
 * wait; what curl wants is kept in a list of sockets.
 *
 * Signals are blocked while curl runs, because its resolver threads inherit
 * the mask.  Handles are process-local and die with the process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include <curl/curl.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "httploop.h"

#define MAX_EVENTS			16
#define IDLE_CONNECTIONS	4L	/* of one pool, kept for the next request */
#define OPEN_CONNECTIONS	16L /* of one pool, all in all */
#define IDLE_POOL_MS		120000	/* then its connections are closed */
#define POOL_DESCRIPTORS	2	/* that a multi handle has without a
								 * connection */
#define MOST_DESCRIPTORS	(max_safe_fds / 4)	/* then idle ones are closed */

struct JsHttpPool
{
	uint64		key;
	CURLM	   *multi;
	int			transfers;		/* under way */
	TimestampTz timer_at;		/* curl wants to be called then; 0: never */
	TimestampTz used_at;
	struct JsHttpPool *next;
};

/* A socket that curl wants to be watched. */
typedef struct Watched
{
	curl_socket_t socket;
	int			events;
	JsHttpPool *pool;
	struct Watched *next;
} Watched;

static JsHttpPool *pools = NULL;
static Watched *watched = NULL;
static int	descriptors = 0;	/* open, of pools and their connections */

static void act(JsHttpPool *pool, curl_socket_t socket, int events);
static void check_finished(JsHttpPool *pool);
static void run_timers(void);
static void close_idle_pools(void);
static JsHttpPool *longest_idle(void);
static void close_pool(JsHttpPool *pool);
static Watched *find_watched(curl_socket_t socket);
static int	wait_for_events(long timeout_ms, WaitEvent *events);
static int	on_socket(CURL *easy, curl_socket_t socket, int what, void *data,
					  void *socket_data);
static int	on_timer(CURLM *multi_handle, long timeout_ms, void *data);

/* The pool of a key; curl is initialised on first use, never in _PG_init. */
JsHttpPool *
js_http_pool(uint64 key)
{
	static bool initialised = false;
	JsHttpPool *pool;

	for (pool = pools; pool != NULL; pool = pool->next)
		if (pool->key == key)
			return pool;
	if (!initialised && curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not initialize libcurl")));
	initialised = true;
	close_idle_pools();
	pool = MemoryContextAllocZero(TopMemoryContext, sizeof(JsHttpPool));
	pool->key = key;
	pool->multi = curl_multi_init();
	if (pool->multi == NULL)
	{
		pfree(pool);
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	}
	curl_multi_setopt(pool->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(pool->multi, CURLMOPT_SOCKETDATA, pool);
	curl_multi_setopt(pool->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(pool->multi, CURLMOPT_TIMERDATA, pool);
	curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS);
	curl_multi_setopt(pool->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
					  OPEN_CONNECTIONS);
	descriptors += POOL_DESCRIPTORS;
	pool->used_at = GetCurrentTimestamp();
	pool->next = pools;
	pools = pool;
	return pool;
}

/* Begin a transfer. */
void
js_http_pool_add(JsHttpPool *pool, void *easy)
{
	if (curl_multi_add_handle(pool->multi, easy) != CURLM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not start an HTTP request")));
	pool->transfers++;
	act(pool, CURL_SOCKET_TIMEOUT, 0);
}

/* It is over, or not wanted any more. */
void
js_http_pool_remove(JsHttpPool *pool, void *easy)
{
	curl_multi_remove_handle(pool->multi, easy);
	pool->transfers--;
	pool->used_at = GetCurrentTimestamp();
}

/* Let curl work, with signals blocked. */
static void
act(JsHttpPool *pool, curl_socket_t socket, int events)
{
	sigset_t	saved;
	int			running;

	sigprocmask(SIG_SETMASK, &BlockSig, &saved);
	(void) curl_multi_socket_action(pool->multi, socket, events, &running);
	sigprocmask(SIG_SETMASK, &saved, NULL);
	check_finished(pool);
}

/* Note which transfers have ended. */
static void
check_finished(JsHttpPool *pool)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(pool->multi, &left)) != NULL)
	{
		JsHttpEnd  *end;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE,
						  (char **) &end);
		end->done = true;
		end->result = message->data.result;
		end->at = GetCurrentTimestamp();
	}
}

/*
 * One turn of the event loop: wait for the network, our latch, or timeout_ms
 * (-1: for ever).  Tells whether the latch was set.
 */
void
js_http_wait(long timeout_ms, bool *latch_set)
{
	WaitEvent	events[MAX_EVENTS];
	TimestampTz now = GetCurrentTimestamp();
	int			n;

	*latch_set = false;
	for (JsHttpPool *pool = pools; pool != NULL; pool = pool->next)
		if (pool->timer_at != 0)
		{
			long		due = TimestampDifferenceMilliseconds(now,
															  pool->timer_at);

			if (timeout_ms < 0 || due < timeout_ms)
				timeout_ms = due;
		}
	n = wait_for_events(timeout_ms, events);
	for (int i = 0; i < n; i++)
	{
		if (events[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			*latch_set = true;
		}
		else if (events[i].events & (WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE))
		{
			/* what was done for another socket may have closed this one */
			Watched    *w = find_watched(events[i].fd);

			if (w != NULL)
				act(w->pool, w->socket,
					(events[i].events & WL_SOCKET_READABLE ? CURL_CSELECT_IN : 0) |
					(events[i].events & WL_SOCKET_WRITEABLE ? CURL_CSELECT_OUT : 0));
		}
	}
	run_timers();
	close_idle_pools();
	CHECK_FOR_INTERRUPTS();
}

/* Wait for what curl watches, the latch, and the postmaster. */
static int
wait_for_events(long timeout_ms, WaitEvent *events)
{
	static uint32 idle = 0;
	static uint32 busy = 0;
	WaitEventSet *set;
	int			sockets = 0;
	int			n;

	if (idle == 0)
	{
		idle = js_wait_event_new("JacksyncIdle");
		busy = js_wait_event_new("JacksyncHttp");
	}
	for (Watched *w = watched; w != NULL; w = w->next)
		sockets++;
	set = js_create_wait_event_set(sockets + 2);
	PG_TRY();
	{
		AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL,
						  NULL);
		for (Watched *w = watched; w != NULL; w = w->next)
			AddWaitEventToSet(set,
							  (w->events & CURL_POLL_IN ? WL_SOCKET_READABLE : 0) |
							  (w->events & CURL_POLL_OUT ? WL_SOCKET_WRITEABLE : 0),
							  w->socket, NULL, NULL);
		n = WaitEventSetWait(set, timeout_ms, events, MAX_EVENTS,
							 sockets > 0 ? busy : idle);
	}
	PG_FINALLY();
	{
		FreeWaitEventSet(set);
	}
	PG_END_TRY();
	return n;
}

/* Call curl where its time has come. */
static void
run_timers(void)
{
	TimestampTz now = GetCurrentTimestamp();

	for (JsHttpPool *pool = pools; pool != NULL; pool = pool->next)
		if (pool->timer_at != 0 && pool->timer_at <= now)
		{
			pool->timer_at = 0;
			act(pool, CURL_SOCKET_TIMEOUT, 0);
		}
}

/*
 * Connections that nobody needed for a while are closed; where hundreds of
 * servers are asked in turn, or credentials change again and again, those that
 * were not needed for the longest time, so that descriptors do not run out.
 */
static void
close_idle_pools(void)
{
	TimestampTz now = GetCurrentTimestamp();
	JsHttpPool *pool;

	while ((pool = longest_idle()) != NULL &&
		   (descriptors > MOST_DESCRIPTORS ||
			TimestampDifferenceMilliseconds(pool->used_at, now) >= IDLE_POOL_MS))
		close_pool(pool);
}

/* The pool that was not used for the longest time; NULL: all are in use. */
static JsHttpPool *
longest_idle(void)
{
	JsHttpPool *result = NULL;

	for (JsHttpPool *pool = pools; pool != NULL; pool = pool->next)
		if (pool->transfers == 0 &&
			(result == NULL || pool->used_at < result->used_at))
			result = pool;
	return result;
}

/* Close the connections of a pool, which is gone then. */
static void
close_pool(JsHttpPool *pool)
{
	JsHttpPool **link = &pools;

	while (*link != pool)
		link = &(*link)->next;
	*link = pool->next;
	curl_multi_cleanup(pool->multi);
	descriptors -= POOL_DESCRIPTORS;
	for (Watched **w = &watched; *w != NULL;)
	{
		Watched    *gone = *w;

		if (gone->pool != pool)
		{
			w = &gone->next;
			continue;
		}
		*w = gone->next;
		free(gone);
	}
	pfree(pool);
}

/*
 * curl wants one more socket: the server must know of descriptors that it did
 * not open itself.  Returns false if there are too many.  Must not throw.
 */
bool
js_http_socket_acquire(void)
{
	if (!AcquireExternalFD())
		return false;
	descriptors++;
	return true;
}

/* It is closed. */
void
js_http_socket_release(void)
{
	ReleaseExternalFD();
	descriptors--;
}

/* What is watched of a socket; NULL: nothing. */
static Watched *
find_watched(curl_socket_t socket)
{
	for (Watched *w = watched; w != NULL; w = w->next)
		if (w->socket == socket)
			return w;
	return NULL;
}

/* curl: watch this socket, or do not any more.  Must not throw. */
static int
on_socket(CURL *easy, curl_socket_t socket, int what, void *data,
		  void *socket_data)
{
	Watched   **link;

	for (link = &watched; *link != NULL; link = &(*link)->next)
		if ((*link)->socket == socket)
			break;
	if (what == CURL_POLL_REMOVE)
	{
		Watched    *gone = *link;

		if (gone != NULL)
		{
			*link = gone->next;
			free(gone);
		}
		return 0;
	}
	if (*link == NULL)
	{
		*link = malloc(sizeof(Watched));
		if (*link == NULL)
			return -1;
		(*link)->socket = socket;
		(*link)->next = NULL;
	}
	(*link)->events = what;
	(*link)->pool = (JsHttpPool *) data;
	return 0;
}

/* curl: call me after so many milliseconds. */
static int
on_timer(CURLM *multi_handle, long timeout_ms, void *data)
{
	((JsHttpPool *) data)->timer_at = timeout_ms < 0 ? 0 :
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	return 0;
}
