/*-------------------------------------------------------------------------
 *
 * limiter.c
 *	  Manners towards a server: how often, how many at once, and when not.
 *
 * Requests are counted per server, in this process: N in any sliding period,
 * and so many at once.  What a server has told by its answers (leave me alone
 * for a while; I am down; I do not know you) is shared by all its streams and
 * all processes in jacksync.server_state, which is written when it changes.
 * Other servers are not concerned: one hotel's bad password slows nobody.
 *
 * A server that failed several times in a row is left alone for a while, then
 * asked with one request; its outcome decides for all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "limiter.h"
#include "secure.h"
#include "statement.h"

#define OPEN_AFTER		5		/* failures in a row */
#define OPEN_MS			10000	/* the first time, then twice as long ... */
#define MAX_PAUSE_MS	300000	/* ... up to this */
#define REFUSED_MS		300000
#define PATIENCE_MS		10000	/* a shorter block is waited for */
#define PERSON_PATIENCE_MS	60000	/* by a session */
#define PROBE_POLL_MS	200
#define SLOT_POLL_MS	20

typedef struct Gate
{
	Oid			serverid;
	int			size;			/* of the ring of recent requests */
	int			next;			/* the oldest of them */
	TimestampTz *times;			/* 0: none yet */
	JsOutcome	outcome;		/* why it is blocked */
	int			failures;		/* in a row: no answer, or 5xx */
	int			busy;			/* in a row: too many requests */
	TimestampTz blocked_until;	/* 0: it is not */
	TimestampTz probe_until;	/* one request finds out; 0: none does */
	bool		changed;		/* not yet in the table */
	char		why[200];
	struct Gate *link;
} Gate;

static Gate *gates = NULL;

static Gate *gate_of(JsServer *server);
static long ring_delay(JsServer *server, Gate *gate);
static void block(Gate *gate, JsOutcome outcome, int64 ms, const char *why);
static int64 jittered(int64 base_ms, int doublings, int64 most_ms);
static const char *state_of(Gate *gate);

/* The gate of a server; the size of its ring follows the option. */
static Gate *
gate_of(JsServer *server)
{
	Gate	   *gate;

	for (gate = gates; gate != NULL; gate = gate->link)
		if (gate->serverid == server->serverid)
			break;
	if (gate == NULL)
	{
		gate = MemoryContextAllocZero(TopMemoryContext, sizeof(Gate));
		gate->serverid = server->serverid;
		gate->link = gates;
		gates = gate;
	}
	if (gate->size != server->rate_count)
	{
		if (gate->times != NULL)
			pfree(gate->times);
		gate->times = server->rate_count == 0 ? NULL :
			MemoryContextAllocZero(TopMemoryContext,
								   sizeof(TimestampTz) * server->rate_count);
		gate->size = server->rate_count;
		gate->next = 0;
	}
	return gate;
}

/*
 * May a request be sent?  If so wait_ms is 0, or how long to wait before
 * asking again.  False: not for so long that it is better to give up; then
 * problem says why.  A person is not kept from trying, but from hammering.
 */
bool
js_limiter_ask(JsServer *server, bool person, long *wait_ms, char **problem)
{
	Gate	   *gate = gate_of(server);
	TimestampTz now = GetCurrentTimestamp();
	long		blocked = gate->blocked_until > now ?
	TimestampDifferenceMilliseconds(now, gate->blocked_until) : 0;
	bool		half_open = gate->failures >= OPEN_AFTER && blocked == 0;

	*wait_ms = 0;
	if (person && (gate->outcome != JS_OUTCOME_BUSY ||
				   blocked > PERSON_PATIENCE_MS))
		blocked = 0;
	if (blocked > (person ? PERSON_PATIENCE_MS : PATIENCE_MS))
	{
		*problem = psprintf("server \"%s\" is left alone until %s: %s",
							server->name,
							timestamptz_to_str(gate->blocked_until),
							gate->why);
		return false;
	}
	if (blocked > 0)
		*wait_ms = blocked;
	else if (half_open && !person && gate->probe_until > now)
		*wait_ms = PROBE_POLL_MS;
	else if (server->max_concurrency > 0 &&
			 js_http_group_active(server->serverid) >= server->max_concurrency)
		*wait_ms = SLOT_POLL_MS;
	else
		*wait_ms = ring_delay(server, gate);
	if (*wait_ms == 0 && half_open)
		gate->probe_until =
			TimestampTzPlusMilliseconds(now, server->timeout_ms + 5000);
	return true;
}

/* Until the window lets another request pass. */
static long
ring_delay(JsServer *server, Gate *gate)
{
	if (gate->size == 0 || gate->times[gate->next] == 0)
		return 0;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   gate->times[gate->next] +
										   server->rate_period_us);
}

/* A request is sent. */
void
js_limiter_note(JsServer *server)
{
	Gate	   *gate = gate_of(server);

	if (gate->size == 0)
		return;
	gate->times[gate->next] = GetCurrentTimestamp();
	gate->next = (gate->next + 1) % gate->size;
}

/*
 * How a request ended.  pause_ms is what the PMS asked for (0: nothing), why
 * is for people.
 */
void
js_limiter_outcome(JsServer *server, JsOutcome outcome, long pause_ms,
				   const char *why)
{
	Gate	   *gate = gate_of(server);

	gate->probe_until = 0;
	if (outcome != JS_OUTCOME_DOWN && gate->failures > 0)
	{
		gate->failures = 0;
		gate->changed = true;
	}
	switch (outcome)
	{
		case JS_OUTCOME_GOOD:
			gate->busy = 0;
			if (gate->blocked_until == 0 && gate->outcome == JS_OUTCOME_GOOD)
				return;
			gate->blocked_until = 0;
			gate->outcome = outcome;
			gate->changed = true;
			break;
		case JS_OUTCOME_BUSY:
			block(gate, outcome, Max(pause_ms, pause_ms > 0 ? 0 :
									 jittered(1000, gate->busy, 60000)), why);
			gate->busy++;
			break;
		case JS_OUTCOME_REFUSED:
		case JS_OUTCOME_UNTRUSTED:
			block(gate, outcome, Max(pause_ms, REFUSED_MS), why);
			break;
		case JS_OUTCOME_DOWN:
			gate->failures++;
			gate->outcome = outcome;
			gate->changed = true;
			if (gate->failures >= OPEN_AFTER)
				block(gate, outcome,
					  Max(pause_ms, jittered(OPEN_MS,
											 gate->failures - OPEN_AFTER,
											 MAX_PAUSE_MS)), why);
			else if (pause_ms > 0)
				block(gate, JS_OUTCOME_BUSY, pause_ms, why);
			break;
	}
}

/* Leave the server alone for a while. */
static void
block(Gate *gate, JsOutcome outcome, int64 ms, const char *why)
{
	gate->outcome = outcome;
	gate->blocked_until =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	strlcpy(gate->why, why, sizeof(gate->why));
	gate->changed = true;
}

/* A back-off: doubled so often, then anything between a half and all of it. */
static int64
jittered(int64 base_ms, int doublings, int64 most_ms)
{
	int64		ms = base_ms;

	while (doublings-- > 0 && ms < most_ms)
		ms *= 2;
	ms = Min(ms, most_ms);
	return ms / 2 + (int64) (0.5 * ms * pg_prng_double(&pg_global_prng_state));
}

/* How long the server is still left alone. */
long
js_limiter_blocked_ms(JsServer *server)
{
	Gate	   *gate = gate_of(server);

	return gate->blocked_until == 0 ? 0 :
		TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										gate->blocked_until);
}

/*
 * Take what is known of the server by now: other processes may have learnt
 * something, or somebody said that it is to be tried again.
 */
void
js_limiter_load(JsServer *server)
{
	static JsStatement statement = {
		"SELECT failures, state, reason,"
		" (1000 * extract(epoch FROM blocked_until - pg_catalog.clock_timestamp()))::bigint"
		" FROM jacksync.server_state WHERE server_oid = $1",
		{OIDOID}
	};
	Gate	   *gate = gate_of(server);
	JsSecurity	security;
	JsArgs		args = {0};
	bool		isnull;

	/* what was not written yet is newer */
	if (gate->changed)
		return;
	js_internal_begin(&security);
	js_arg(&args, ObjectIdGetDatum(server->serverid));
	gate->failures = 0;
	gate->blocked_until = 0;
	gate->outcome = JS_OUTCOME_GOOD;
	if (js_run(&statement, &args) > 0)
	{
		char	   *state = js_get_text(0, 2);

		gate->failures = js_get_int4(0, 1);
		gate->outcome = strcmp(state, "refused") == 0 ? JS_OUTCOME_REFUSED :
			strcmp(state, "untrusted") == 0 ? JS_OUTCOME_UNTRUSTED :
			strcmp(state, "busy") == 0 ? JS_OUTCOME_BUSY : JS_OUTCOME_DOWN;
		strlcpy(gate->why, js_get_text(0, 3), sizeof(gate->why));
		(void) js_get(0, 4, &isnull);
		if (!isnull)
			gate->blocked_until =
				TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											js_get_int8(0, 4));
	}
	js_internal_end(&security);
}

/* Write what has changed, and tell people. */
void
js_limiter_save(JsServer *server)
{
	static JsStatement statement = {
		"SELECT jacksync.note_server_state($1, $2, $3, $4,"
		" pg_catalog.clock_timestamp() + $5 * '1 ms'::interval, $6)",
		{OIDOID, NAMEOID, TEXTOID, INT4OID, INT8OID, TEXTOID}
	};
	Gate	   *gate = gate_of(server);
	JsSecurity	security;
	JsArgs		args = {0};
	long		blocked = js_limiter_blocked_ms(server);

	if (!gate->changed)
		return;
	js_internal_begin(&security);
	js_arg(&args, ObjectIdGetDatum(server->serverid));
	js_arg_name(&args, server->name);
	js_arg_text(&args, state_of(gate));
	js_arg(&args, Int32GetDatum(gate->failures));
	if (blocked > 0)
		js_arg(&args, Int64GetDatum(blocked));
	else
		js_arg_null(&args);
	js_arg_text(&args, gate->why);
	js_run(&statement, &args);
	js_internal_end(&security);
	gate->changed = false;
}

/* The state of a gate, in one word. */
static const char *
state_of(Gate *gate)
{
	if (gate->failures == 0 && gate->blocked_until == 0)
		return "ok";
	if (gate->failures >= OPEN_AFTER)
		return "open";
	if (gate->blocked_until == 0)
		return "failing";
	switch (gate->outcome)
	{
		case JS_OUTCOME_REFUSED:
			return "refused";
		case JS_OUTCOME_UNTRUSTED:
			return "untrusted";
		default:
			return "busy";
	}
}
