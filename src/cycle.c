/*-------------------------------------------------------------------------
 *
 * cycle.c
 *	  One cycle of one stream: resolve, pull, push.
 *
 * The order is that of the protocol: outcomes that are unknown are looked up
 * first, because their records cannot be applied before; then the PMS's
 * changes are pulled and merged; then what is left of the local changes goes
 * out.  This file has what all phases share: start and end, sending requests
 * with credentials, and what answers mean.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "auth.h"
#include "compat.h"
#include "config.h"
#include "cycle.h"
#include "httpdate.h"
#include "installation.h"
#include "jacksync.h"
#include "limiter.h"
#include "progress.h"
#include "secure.h"
#include "statement.h"
#include "txn.h"

#define MIN_BACKOFF_MS	1000
#define MAX_BACKOFF_MS	300000

static void load_cycle(JsCycle *cycle);
static void begin_run(JsCycle *cycle);
static void launch(JsCycle *cycle);
static void judge(JsCycle *cycle, JsHttpResponse *response);
static void measure_skew(JsCycle *cycle, JsHttpResponse *response);
static void token_arrived(JsCycle *cycle, JsHttpResponse *response);
static void finish(JsCycle *cycle);
static int64 next_delay(JsCycle *cycle, int64 interval, int failures);
static char *redirect_host(JsHttpResponse *response);

/*
 * Start a cycle: read the configuration, open a run.  Errors of the
 * configuration end it; they are recorded like any other.
 */
JsCycle *
js_cycle_start(MemoryContext parent, int32 stream_id, bool push_only,
			   bool narrate)
{
	MemoryContext mcxt = AllocSetContextCreate(parent, "jacksync cycle",
											   ALLOCSET_DEFAULT_SIZES);
	JsCycle    *cycle = MemoryContextAllocZero(mcxt, sizeof(JsCycle));

	cycle->mcxt = mcxt;
	cycle->step = AllocSetContextCreate(mcxt, "jacksync step",
										ALLOCSET_DEFAULT_SIZES);
	cycle->request_mcxt = AllocSetContextCreate(mcxt, "jacksync request",
												ALLOCSET_SMALL_SIZES);
	cycle->push_mcxt = AllocSetContextCreate(mcxt, "jacksync push",
											 ALLOCSET_SMALL_SIZES);
	cycle->stream_id = stream_id;
	cycle->push_only = push_only;
	cycle->narrate = narrate;
	cycle->started = GetCurrentTimestamp();
	return cycle;
}

/* Can the cycle go on now? */
bool
js_cycle_ready(JsCycle *cycle)
{
	if (cycle->done)
		return false;
	if (cycle->call != NULL)
		return js_http_done(cycle->call);
	return cycle->not_before == 0 ||
		cycle->not_before <= GetCurrentTimestamp();
}

/* When it can go on by itself; 0 if it waits for an answer. */
TimestampTz
js_cycle_due(JsCycle *cycle)
{
	return cycle->call != NULL || cycle->done ? 0 : cycle->not_before;
}

/*
 * Go on until the next answer is needed.  Errors are the caller's to catch:
 * it calls js_cycle_fail() then.
 */
void
js_cycle_step(JsCycle *cycle)
{
	MemoryContext old;

	MemoryContextReset(cycle->step);
	old = MemoryContextSwitchTo(cycle->step);
	if (cycle->stream == NULL)
		load_cycle(cycle);
	else if (cycle->call == NULL)
		launch(cycle);
	else
	{
		JsHttpCall *call = cycle->call;
		JsHttpResponse *response = js_http_response(call);

		cycle->call = NULL;
		if (!cycle->fetching_token)
			measure_skew(cycle, response);
		if (!cycle->fetching_token)
			judge(cycle, response);
		if (cycle->fetching_token)
			token_arrived(cycle, response);
		else if (cycle->verdict == JS_VERDICT_REFRESH_TOKEN &&
				 !cycle->token_renewed && js_auth_uses_token(cycle->server))
		{
			/* it may have been revoked: once more with a new one */
			cycle->token_renewed = true;
			js_txn_begin("forgetting a token");
			js_auth_token_forget(cycle->server);
			js_txn_end();
			launch(cycle);
		}
		else
		{
			cycle->token_renewed = false;
			cycle->resume(cycle, response);
		}
		js_http_close(call);
	}
	MemoryContextSwitchTo(old);
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

/* The first step: read the configuration, and see what there is to do. */
static void
load_cycle(JsCycle *cycle)
{
	JsSecurity	security;
	JsEntity   *entity;

	js_txn_begin("reading the configuration of a stream");
	js_internal_begin(&security);
	js_installation_check();
	MemoryContextSwitchTo(cycle->mcxt);
	cycle->stream = js_stream_load(cycle->stream_id);
	MemoryContextSwitchTo(cycle->step);
	if (cycle->stream == NULL)
	{
		js_internal_end(&security);
		js_txn_end();
		cycle->done = true;
		return;
	}
	begin_run(cycle);
	js_internal_end(&security);
	js_txn_end();

	js_txn_begin("reading the options of a server");
	if (!OidIsValid(cycle->stream->serverid))
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFIG),
				 errmsg("server \"%s\" does not exist",
						cycle->stream->server),
				 errhint("Run CREATE SERVER ... FOREIGN DATA WRAPPER jacksync.")));
	entity = js_entity_by_name(cycle->stream->entity, false);
	js_entity_check(entity);
	MemoryContextSwitchTo(cycle->mcxt);
	cycle->server = js_server_load(cycle->mcxt, cycle->stream->serverid,
								   entity->owner);
	MemoryContextSwitchTo(cycle->step);
	js_txn_end();

	if (cycle->reconcile != NULL)
		js_reconcile_all(cycle);
	else
		js_outbound_resolve(cycle);
}

/* Open a run, and mark the attempt. */
static void
begin_run(JsCycle *cycle)
{
	static JsStatement attempt = {
		"UPDATE jacksync.stream_state SET last_attempt_at = pg_catalog.clock_timestamp()"
		" WHERE stream_id = $1",
		{INT4OID}
	};
	JsArgs		args = {0};

	cycle->run_id = js_run_start(cycle->stream->entity,
								 cycle->stream->server,
								 cycle->reconcile ? "reconcile" :
								 cycle->push_only ? "push" : "sync");
	cycle->progress = js_progress_begin(cycle->stream_id, cycle->run_id);
	if (cycle->push_only || cycle->reconcile)
		return;
	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_run(&attempt, &args);
}

/* Memory for the next request; that of the last one is gone. */
MemoryContext
js_cycle_new_request(JsCycle *cycle)
{
	MemoryContextReset(cycle->request_mcxt);
	return cycle->request_mcxt;
}

/* Variables that every request may use. */
JsVars *
js_cycle_vars(JsCycle *cycle)
{
	return js_vars_new(CurrentMemoryContext);
}

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
	launch(cycle);
}

/* Send the kept request, when the rate limit lets us, with credentials. */
static void
launch(JsCycle *cycle)
{
	JsHttpRequest request = cycle->request;
	long		wait = js_limiter_delay(cycle->server);
	bool		ready;

	if (wait > 0)
	{
		cycle->not_before =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait);
		return;
	}
	cycle->not_before = 0;

	js_txn_begin("adding credentials to a request");
	ready = js_auth_apply(cycle->server, &request) == JS_AUTH_READY;
	if (!ready)
	{
		memset(&request, 0, sizeof(request));
		js_auth_token_request(cycle->step, cycle->server, &request);
	}
	js_txn_end();

	cycle->fetching_token = !ready;
	js_limiter_note(cycle->server);
	cycle->call = js_http_start(cycle->mcxt, &request);
}

/* An access token came, or did not. */
static void
token_arrived(JsCycle *cycle, JsHttpResponse *response)
{
	char	   *problem;

	cycle->fetching_token = false;
	if (response->failure != JS_HTTP_OK)
		problem = psprintf("could not get an access token: %s",
						   response->error);
	else
	{
		js_txn_begin("storing a token");
		problem = js_auth_token_store(cycle->server, response);
		js_txn_end();
	}
	if (problem != NULL)
	{
		js_cycle_fail(cycle, problem);
		return;
	}
	launch(cycle);
}

/*
 * What is wrong with an answer, in words for an operator; NULL if it is a
 * success, by its status or by a rule of the stream.  cycle->verdict says
 * what to do about it.  Notes how long the PMS wants to be left alone.
 */
char *
js_cycle_problem(JsCycle *cycle, JsHttpResponse *response)
{
	if (response->failure != JS_HTTP_OK)
		return pstrdup(response->error);
	if (cycle->verdict == JS_VERDICT_OK || cycle->verdict == JS_VERDICT_IGNORE)
		return NULL;
	cycle->retry_after_ms = Max(cycle->retry_after_ms,
								js_verdict_pause_ms(response));
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

/* The cycle failed. */
void
js_cycle_fail(JsCycle *cycle, const char *error)
{
	if (cycle->reconcile != NULL && !js_reconcile_lists(cycle))
	{
		js_reconcile_give_up(cycle, error);
		return;
	}
	cycle->error = MemoryContextStrdup(cycle->mcxt,
									   cycle->server ?
									   js_server_redact(cycle->server, error) :
									   error);
	js_cycle_end(cycle);
}

/* The cycle is over: write down how it went. */
void
js_cycle_end(JsCycle *cycle)
{
	JsSecurity	security;

	cycle->done = true;
	js_progress_end(cycle->progress);
	cycle->progress = 0;
	if (cycle->call != NULL)
		js_http_close(cycle->call);
	cycle->call = NULL;
	if (cycle->run_id == 0 && cycle->error == NULL)
		return;
	js_txn_begin("recording the end of a run");
	js_internal_begin(&security);
	finish(cycle);
	js_internal_end(&security);
	js_txn_end();
}

/* Record the end of a run, the failures in a row, and when the next is due. */
static void
finish(JsCycle *cycle)
{
	static JsStatement read = {
		"SELECT failure_count,"
		" (1000 * extract(epoch FROM s.poll_interval))::bigint,"
		" s.entity, s.server FROM jacksync.stream_state t JOIN jacksync.stream s USING (stream_id)"
		" WHERE stream_id = $1 FOR UPDATE OF t",
		{INT4OID}
	};
	static JsStatement write = {
		"UPDATE jacksync.stream_state SET failure_count = $2, last_error = $3,"
		" next_due_at = pg_catalog.clock_timestamp() + $4 * '1 ms'::interval,"
		" skew = coalesce($5 * '1 us'::interval, skew),"
		" skew_error = coalesce($6 * '1 us'::interval, skew_error)"
		" WHERE stream_id = $1",
		{INT4OID, INT4OID, TEXTOID, INT8OID, INT8OID, INT8OID}
	};
	static JsStatement alert = {
		"SELECT jacksync.alert_run($1, $2, $3, $4, $5)",
		{TEXTOID, NAMEOID, INT4OID, INT4OID, TEXTOID}
	};
	JsArgs		args = {0};
	int			before;
	int			failures;
	int64		delay;
	char	   *entity;
	char	   *server;

	if (cycle->run_id != 0)
		js_run_finish(cycle->run_id, &cycle->counts, cycle->error);
	if ((cycle->push_only && cycle->error == NULL) || js_reconcile_lists(cycle))
		return;

	js_arg(&args, Int32GetDatum(cycle->stream_id));
	if (js_run(&read, &args) == 0)
		return;					/* the stream was dropped meanwhile */
	before = js_get_int4(0, 1);
	failures = cycle->error ? before + 1 : 0;
	delay = next_delay(cycle, js_get_int8(0, 2), failures);
	entity = js_get_text(0, 3);
	server = js_get_text(0, 4);

	memset(&args, 0, sizeof(args));
	js_arg(&args, Int32GetDatum(cycle->stream_id));
	js_arg(&args, Int32GetDatum(failures));
	js_arg_text(&args, cycle->error);
	js_arg(&args, Int64GetDatum(delay));
	if (cycle->skew_known)
	{
		js_arg(&args, Int64GetDatum(cycle->stream->skew));
		js_arg(&args, Int64GetDatum(cycle->stream->skew_error));
	}
	else
	{
		js_arg_null(&args);
		js_arg_null(&args);
	}
	js_run(&write, &args);

	if (failures == 0 && before == 0)
		return;
	memset(&args, 0, sizeof(args));
	js_arg_text(&args, entity);
	js_arg_name(&args, server);
	js_arg(&args, Int32GetDatum(failures));
	js_arg(&args, Int32GetDatum(before));
	js_arg_text(&args, cycle->error);
	js_run(&alert, &args);
}

/*
 * Milliseconds until the next run: the interval, give or take a tenth, so
 * that many streams do not march in step; after failures longer and longer,
 * up to five minutes; and as long as the PMS asks for.
 */
static int64
next_delay(JsCycle *cycle, int64 interval, int failures)
{
	int64		delay = interval;

	if (failures > 0)
	{
		int64		backoff = MIN_BACKOFF_MS;

		for (int i = 1; i < failures && backoff < MAX_BACKOFF_MS; i++)
			backoff *= 2;
		delay = Max(delay, Min(backoff, MAX_BACKOFF_MS));
	}
	delay += (int64) (delay * 0.2 *
					  (pg_prng_double(&pg_global_prng_state) - 0.5));
	return Max(delay, cycle->retry_after_ms);
}

/* Free everything of a cycle, and cancel its request. */
void
js_cycle_free(JsCycle *cycle)
{
	js_progress_end(cycle->progress);
	if (cycle->call != NULL)
		js_http_close(cycle->call);
	MemoryContextDelete(cycle->mcxt);
}
