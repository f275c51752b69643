/*-------------------------------------------------------------------------
 *
 * request.c
 *	  Sending the requests of a cycle, and what their answers mean.
 *
 * A phase of a cycle hands over a request and is called with the answer.  In
 * between, here: manners (limiter.c), credentials and tokens, the same again
 * after a pause or with new credentials, the clock of the PMS.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "auth.h"
#include "compat.h"
#include "cycle.h"
#include "httpdate.h"
#include "jacksync.h"
#include "limiter.h"
#include "txn.h"

#define REFUSED_MS		300000	/* after a 403 */
#define BUSY_TRIES		4		/* of one request, if the pauses are short */
#define LONGEST_BUSY_MS 60000
#define NEW_TOKEN_MS	3000	/* a token may be unknown for so long */
#define TOKEN_WAIT_MS	1200

static bool may_send(JsCycle *cycle);
static void send_with(JsCycle *cycle, JsHttpRequest *request);
static void wait_ms(JsCycle *cycle, long ms);
static void defer(JsCycle *cycle, const char *problem);
static void judge(JsCycle *cycle, JsHttpResponse *response);
static bool once_more(JsCycle *cycle, JsHttpResponse *response);
static bool new_credentials(JsCycle *cycle);
static bool secrets_changed(JsCycle *cycle);
static void note_outcome(JsCycle *cycle, JsHttpResponse *response);
static void measure_skew(JsCycle *cycle, JsHttpResponse *response);
static void token_arrived(JsCycle *cycle, JsHttpResponse *response);
static bool token_refused(JsCycle *cycle, JsHttpResponse *response);
static char *redirect_host(JsHttpResponse *response);

/*
 * Send a request; resume is called with the answer.  The request is kept, to
 * be sent again with a new token.
 */
void
js_cycle_send(JsCycle *cycle, JsHttpRequest *request, JsResume resume)
{
	Assert(!js_txn_active());
	cycle->request = *request;
	cycle->resume = resume;
	cycle->fetching_token = false;
	cycle->busy_tries = 0;
	js_request_launch(cycle);
}

/* Send the kept request, when manners let us, with credentials. */
void
js_request_launch(JsCycle *cycle)
{
	JsHttpRequest request = cycle->request;
	char	   *problem = NULL;
	JsTokenState state;
	long		wait = 0;

	if (!may_send(cycle))
		return;
	js_txn_begin("adding credentials to a request");
	state = js_auth_apply(cycle->server, &request, cycle->narrate, &wait,
						  &problem);
	if (state == JS_TOKEN_OURS)
	{
		memset(&request, 0, sizeof(request));
		js_token_request(cycle->step, cycle->server, &request);
	}
	js_txn_end();
	switch (state)
	{
		case JS_TOKEN_WAIT:
			wait_ms(cycle, wait);
			return;
		case JS_TOKEN_FAILED:
			cycle->retry_after_ms = Max(cycle->retry_after_ms, wait);
			defer(cycle, problem);
			return;
		case JS_TOKEN_OURS:
		case JS_TOKEN_READY:
			cycle->fetching_token = state == JS_TOKEN_OURS;
			send_with(cycle, &request);
			return;
	}
}

/* Is it time to send?  If not the cycle waits, or is over. */
static bool
may_send(JsCycle *cycle)
{
	char	   *problem;
	long		wait;

	if (!js_limiter_ask(cycle->server, cycle->narrate, &wait, &problem))
	{
		defer(cycle, problem);
		return false;
	}
	if (wait > 0)
		wait_ms(cycle, wait);
	else
		cycle->not_before = 0;
	return wait == 0;
}

/* Send a request that has all it needs. */
static void
send_with(JsCycle *cycle, JsHttpRequest *request)
{
	js_limiter_note(cycle->server);
	cycle->call = js_http_start(cycle->mcxt, request);
}

/* Come back later. */
static void
wait_ms(JsCycle *cycle, long ms)
{
	cycle->not_before =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
}

/* End the cycle because of what is known already: no new failure. */
static void
defer(JsCycle *cycle, const char *problem)
{
	cycle->deferred = true;
	js_cycle_fail(cycle, problem);
}

/* An answer came, or will not come. */
void
js_request_answered(JsCycle *cycle)
{
	JsHttpCall *call = cycle->call;
	JsHttpResponse *response = js_http_response(call);

	cycle->call = NULL;
	if (cycle->fetching_token)
		token_arrived(cycle, response);
	else
	{
		measure_skew(cycle, response);
		judge(cycle, response);
		if (!once_more(cycle, response))
		{
			cycle->token_renewed = cycle->token_waited = false;
			cycle->resume(cycle, response);
		}
	}
	js_http_close(call);
}

/*
 * What does the answer mean?  One that is to be ignored is, for who asked, an
 * answer without content.
 */
static void
judge(JsCycle *cycle, JsHttpResponse *response)
{
	cycle->verdict = js_verdict(cycle->stream, response, &cycle->by_rule);
	if (cycle->verdict == JS_VERDICT_IGNORE)
	{
		response->status = 204;
		response->body_len = 0;
		response->body = "";
	}
}

/*
 * Is the same request sent once more, after a pause or with new credentials?
 * Only where the PMS has not acted on it.
 */
static bool
once_more(JsCycle *cycle, JsHttpResponse *response)
{
	if (cycle->verdict == JS_VERDICT_REFRESH_TOKEN && new_credentials(cycle))
	{
		if (cycle->not_before == 0)
			js_request_launch(cycle);
		return true;
	}
	note_outcome(cycle, response);
	if (cycle->verdict != JS_VERDICT_RATE_LIMITED ||
		++cycle->busy_tries >= BUSY_TRIES ||
		js_limiter_blocked_ms(cycle->server) > LONGEST_BUSY_MS)
		return false;
	if (cycle->narrate)
		ereport(NOTICE,
				(errmsg("%s from %s: the PMS is busy, waiting %ld ms",
						cycle->stream->entity, cycle->stream->server,
						js_limiter_blocked_ms(cycle->server))));
	wait_ms(cycle, js_limiter_blocked_ms(cycle->server));
	return true;
}

/*
 * The credentials were refused.  Once a request may have others: a token that
 * is newer, or was too new to be known; or a secret that stands in a file and
 * was replaced.
 */
static bool
new_credentials(JsCycle *cycle)
{
	bool		again;

	if (!js_token_used(cycle->server))
	{
		again = !cycle->token_renewed && secrets_changed(cycle);
		cycle->token_renewed = true;
		return again;
	}
	if (!cycle->token_waited && cycle->server->token_age_ms < NEW_TOKEN_MS)
	{
		cycle->token_waited = true;
		wait_ms(cycle, TOKEN_WAIT_MS);
		return true;
	}
	if (cycle->token_renewed)
		return false;
	cycle->token_renewed = true;
	js_txn_begin("forgetting a token");
	again = js_token_refused(cycle->server);
	js_txn_end();
	return again;
}

/* Read the options and secrets again: are they others? */
static bool
secrets_changed(JsCycle *cycle)
{
	uint64		before = cycle->server->fingerprint;
	MemoryContext old;

	js_txn_begin("reading the options of a server");
	old = MemoryContextSwitchTo(cycle->mcxt);
	cycle->server = js_server_load(cycle->mcxt, cycle->stream->serverid,
								   cycle->owner);
	MemoryContextSwitchTo(old);
	js_txn_end();
	cycle->request.pool = cycle->server->fingerprint;
	return cycle->server->fingerprint != before;
}

/* What the answer says of the server, for all of its streams. */
static void
note_outcome(JsCycle *cycle, JsHttpResponse *response)
{
	JsOutcome	outcome = JS_OUTCOME_GOOD;
	char	   *why = "";

	if (response->failure == JS_HTTP_TLS)
		outcome = JS_OUTCOME_UNTRUSTED;
	else if (response->failure == JS_HTTP_REFUSED ||
			 response->failure == JS_HTTP_TOO_LARGE)
		return;					/* our own rules */
	else if (response->failure != JS_HTTP_OK)
		outcome = JS_OUTCOME_DOWN;
	else if (cycle->verdict == JS_VERDICT_RATE_LIMITED)
		outcome = JS_OUTCOME_BUSY;
	else if (response->status == 401)
		outcome = JS_OUTCOME_REFUSED;
	else if (response->status >= 500 && !cycle->by_rule)
		outcome = JS_OUTCOME_DOWN;
	if (outcome != JS_OUTCOME_GOOD)
		why = js_server_redact(cycle->server,
							   response->failure != JS_HTTP_OK ?
							   response->error :
							   psprintf("HTTP %ld: %s", response->status,
										js_verdict_words(response)));
	js_limiter_outcome(cycle->server, outcome,
					   js_verdict_pause_ms(response), why);
	if (outcome == JS_OUTCOME_GOOD && cycle->server->token_refusals > 0)
	{
		js_txn_begin("noting that a token is good");
		js_token_good(cycle->server);
		js_txn_end();
	}
}

/* An access token came, or did not. */
static void
token_arrived(JsCycle *cycle, JsHttpResponse *response)
{
	char	   *problem;

	cycle->fetching_token = false;
	js_txn_begin("storing a token");
	problem = js_token_arrived(cycle->server, response);
	js_txn_end();
	if (problem == NULL)
	{
		js_request_launch(cycle);
		return;
	}
	if (token_refused(cycle, response))
		js_limiter_outcome(cycle->server, JS_OUTCOME_REFUSED,
						   js_verdict_pause_ms(response), problem);
	js_cycle_fail(cycle, problem);
}

/* Were the credentials refused, with no other refresh token left to try? */
static bool
token_refused(JsCycle *cycle, JsHttpResponse *response)
{
	return response->failure == JS_HTTP_OK && response->status >= 400 &&
		response->status < 500 && response->status != 408 &&
		response->status != 429 &&
		(cycle->server->refresh[0] == NULL ||
		 cycle->server->token_failures >= 2);
}

/*
 * How far the clock of the PMS is ahead of ours, by the Date header.  The
 * header is cut to seconds, and was written at some moment between request
 * and answer: every answer gives an interval, and those of one cycle are
 * intersected.  An answer out of a cache (Age) says nothing.
 */
static void
measure_skew(JsCycle *cycle, JsHttpResponse *response)
{
	const char *date = js_http_header(response, "Date");
	long long	seconds;
	TimestampTz stamp;
	int64		low;
	int64		high;

	if (response->failure != JS_HTTP_OK || date == NULL ||
		js_http_header(response, "Age") != NULL ||
		!js_http_date(date, &seconds) ||
		seconds < 0 || seconds > INT64CONST(32503680000) ||
		response->received_at < response->sent_at)
		return;
	stamp = time_t_to_timestamptz((pg_time_t) seconds);
	low = stamp - response->received_at;
	high = stamp + USECS_PER_SEC - response->sent_at;
	if (cycle->skew_known && Max(low, cycle->skew_low) <= Min(high, cycle->skew_high))
	{
		low = Max(low, cycle->skew_low);
		high = Min(high, cycle->skew_high);
	}
	cycle->skew_known = true;
	cycle->skew_low = low;
	cycle->skew_high = high;
	cycle->stream->skew = low + (high - low) / 2;
	cycle->stream->skew_error = Max((high - low) / 2, 1);
}

/*
 * What is wrong with an answer, in words for an operator; NULL if it is a
 * success, by its status or by a rule of the stream.  cycle->verdict says
 * what to do about it.  Notes how long the PMS wants to be left alone.
 */
char	   *
js_cycle_problem(JsCycle *cycle, JsHttpResponse *response)
{
	if (response->failure != JS_HTTP_OK)
		return pstrdup(response->error);
	if (cycle->verdict == JS_VERDICT_OK || cycle->verdict == JS_VERDICT_IGNORE)
		return NULL;
	cycle->retry_after_ms = Max(cycle->retry_after_ms,
								js_verdict_pause_ms(response));
	if (response->status == 403 && !cycle->by_rule)
		cycle->retry_after_ms = Max(cycle->retry_after_ms, REFUSED_MS);
	if (response->status >= 300 && response->status < 400)
		return psprintf("unexpected redirect to host %s (HTTP %ld), which is not followed",
						redirect_host(response), response->status);
	return psprintf("the PMS answered HTTP %ld: %s", response->status,
					js_verdict_words(response));
}

/* Where a redirect points, for people: never its query, which may be secret. */
static char *
redirect_host(JsHttpResponse *response)
{
	const char *location = js_http_header(response, "Location");
	char	   *host = location ?
	js_http_host(CurrentMemoryContext, location) : NULL;

	return host ? psprintf("\"%s\"", host) :
		pstrdup(location ? "(the same)" : "(none named)");
}
