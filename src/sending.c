/*-------------------------------------------------------------------------
 *
 * sending.c
 *	  A claimed change: it is sent, and its answer is recorded.
 *
 * What the answer means decides what becomes of the intent: it was taken, or
 * refused; it was not sent at all; or nobody knows, and somebody must look
 * (lookup.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "body.h"
#include "compat.h"
#include "faultpoint.h"
#include "jacksync.h"
#include "jsonb.h"
#include "outbound.h"
#include "secure.h"
#include "txn.h"

#define MOST_FORBIDDEN 10		/* in a row */
#define MOST_OUTDATED 5			/* races lost by one record in one cycle */

static void make_push(JsCycle *cycle, JsHttpRequest *request);
static void intent_answered(JsCycle *cycle, JsHttpResponse *response);
static void taken(JsCycle *cycle, JsHttpResponse *response);
static void taken_unseen(JsCycle *cycle, JsHttpResponse *response,
						 const char *external_id);
static void taken_and_shown(JsCycle *cycle, JsHttpResponse *response,
							Jsonb *record);
static void outdated(JsCycle *cycle, int status, const char *problem);
static bool same_as_before(JsCycle *cycle);
static void rejected(JsCycle *cycle, int status, const char *problem);
static void doubtful(JsCycle *cycle, const char *problem, bool look);
static void not_sent(JsCycle *cycle, const char *problem);
static bool refused_in_body(JsCycle *cycle, JsOperation *operation,
							Jsonb *document);

/* Send a claimed change: no transaction is open. */
void
js_outbound_send(JsCycle *cycle)
{
	JsHttpRequest request = {0};
	char	   *problem;

	JS_FAULT("cp08");
	problem = js_make_request(cycle, make_push, &request);
	if (problem != NULL)
		rejected(cycle, 0, problem);
	else
		js_cycle_send(cycle, &request, intent_answered);
}

/* The request of the intent. */
static void
make_push(JsCycle *cycle, JsHttpRequest *request)
{
	JsIntent   *intent = cycle->intent;
	Jsonb	   *push = cycle->stream->push;
	JsBody		body = {0};
	MemoryContext old;
	char	   *header;

	body.server = cycle->server;
	body.vars = js_record_vars(cycle, intent->external_id, intent);
	body.stream = cycle->stream;
	body.entity = js_entity_by_name(cycle->stream->entity, false);
	body.operation = js_operation_at(push, intent->kind, intent->place);
	body.kind = intent->kind;
	body.changes = intent->changes;
	body.base = intent->base;
	body.remote = cycle->remote;
	if (body.operation == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_BAD_RECORD),
				 errmsg("the stream has no operation push.%s any more",
						intent->kind)));
	js_body_request(js_cycle_new_request(cycle), &body, request);

	/* like all of the request these outlive the step: it may be repeated */
	old = MemoryContextSwitchTo(cycle->request_mcxt);
	if (intent->if_match != NULL && js_option_text(push, "if_match") != NULL &&
		js_http_check_header_value(intent->if_match))
		request->headers = lappend(request->headers,
								   psprintf("If-Match: %s", intent->if_match));
	header = js_option_text(push, "idempotency_header");
	if (header != NULL)
		request->headers = lappend(request->headers,
								   psprintf("%s: %s", header,
											intent->idempotency_key));
	MemoryContextSwitchTo(old);
}

/* The PMS answered to a change, or did not. */
static void
intent_answered(JsCycle *cycle, JsHttpResponse *response)
{
	char	   *problem = js_cycle_problem(cycle, response);
	bool		deleting = strcmp(cycle->intent->kind, "delete") == 0;

	JS_FAULT("cp10");
	if (problem != NULL)
		problem = js_answer_words(cycle, problem);
	if (response->failure != JS_HTTP_OK && !response->sent)
		not_sent(cycle, problem);
	else if (response->failure != JS_HTTP_OK)
		doubtful(cycle, problem, false);
	else if (problem == NULL)
		taken(cycle, response);
	else if (cycle->by_rule && cycle->verdict == JS_VERDICT_FAIL_RECORD)
		rejected(cycle, response->status, problem);
	else if (cycle->by_rule)
		not_sent(cycle, problem);	/* the rule says to try later */
	else if (response->status >= 500)
		doubtful(cycle, problem, false);
	else if (response->status == 409 || response->status == 412)
		outdated(cycle, response->status, problem);
	else if (js_answer_kind(cycle, response) == JS_ANSWER_STOP)
		not_sent(cycle, problem);
	else if (js_answer_kind(cycle, response) == JS_ANSWER_GONE && deleting)
	{
		JsApply		apply = {0};

		js_outbound_begin(cycle, &apply, "recording the outcome of a push");
		js_push_deleted(&apply, cycle->intent, response->status, NULL);
		js_outbound_end(cycle, &apply);
		js_outbound_go_on(cycle);
	}
	else if (js_answer_kind(cycle, response) == JS_ANSWER_GONE &&
			 cycle->intent->external_id != NULL &&
			 js_stream_reads_one(cycle->stream))
	{
		/* is the record gone, or is it the address that is wrong? */
		cycle->refusal = MemoryContextStrdup(cycle->push_mcxt, problem);
		doubtful(cycle, problem, true);
	}
	else
		rejected(cycle, response->status, problem);
}

/* A 2xx: what does it say? */
static void
taken(JsCycle *cycle, JsHttpResponse *response)
{
	JsIntent   *intent = cycle->intent;
	JsApply		apply = {0};
	JsOperation *operation;
	Jsonb	   *document;
	Jsonb	   *record = NULL;
	char	   *id = intent->external_id;
	bool		refused;

	js_outbound_begin(cycle, &apply, "reading an answer");
	operation = js_operation_at(cycle->stream->push, intent->kind,
								intent->place);
	document = js_answer_document(response);
	refused = refused_in_body(cycle, operation, document);
	if (id == NULL)
		id = js_answer_new_id(cycle, operation, response, document);
	if (id != NULL && document != NULL &&
		!js_option_true(operation->spec, "read_back"))
		record = js_answer_record(cycle, response, id);
	if (record != NULL && strcmp(intent->kind, "delete") != 0 &&
		!js_answer_tells(&apply, intent, record))
		record = NULL;
	js_outbound_end(cycle, &apply);

	if (response->body_len > 0 && document == NULL)
		doubtful(cycle, "the answer is not JSON", true);
	else if (refused)
		rejected(cycle, response->status,
				 js_answer_words(cycle, psprintf("the PMS refused it with HTTP %ld: %s",
												 response->status,
												 js_verdict_words(response))));
	else if (record != NULL || strcmp(intent->kind, "delete") == 0)
		taken_and_shown(cycle, response, record);
	else
		taken_unseen(cycle, response, id);
}

/* Does the body of a 2xx say that it failed all the same? */
static bool
refused_in_body(JsCycle *cycle, JsOperation *operation, Jsonb *document)
{
	char	   *path = js_option_text(operation->spec, "success_path");

	if (document == NULL)
		return false;
	if (path != NULL)
		return !js_path_match(js_path_make(path), document);
	return cycle->stream->success_path != NULL &&
		js_jsonb_member(operation->spec, "success_path") == NULL &&
		js_path_first(cycle->stream->success_path, document) != NULL &&
		!js_path_match(cycle->stream->success_path, document);
}

/* It was taken, and the answer is the record; or it is deleted. */
static void
taken_and_shown(JsCycle *cycle, JsHttpResponse *response, Jsonb *record)
{
	JsIntent   *intent = cycle->intent;
	JsApply		apply = {0};

	js_outbound_begin(cycle, &apply, "recording the outcome of a push");
	if (strcmp(intent->kind, "delete") == 0)
		js_push_deleted(&apply, intent, response->status, record);
	else
	{
		if (intent->external_id == NULL)
			intent->external_id =
				MemoryContextStrdup(cycle->push_mcxt,
									js_record_id(cycle->stream, false, record));
		intent->accepted = response->status;
		js_push_accepted(&apply, intent, record,
						 js_http_header(response, "ETag"));
	}
	js_outbound_end(cycle, &apply);
	JS_FAULT("cp12");
	cycle->forbidden = 0;
	cycle->again = intent->more;
	js_outbound_go_on(cycle);
}

/* It was taken, but what the PMS made of it must be read. */
static void
taken_unseen(JsCycle *cycle, JsHttpResponse *response, const char *external_id)
{
	JsIntent   *intent = cycle->intent;
	const char *version = js_http_header(response, "ETag");
	JsSecurity	security;

	if (version != NULL)
		intent->taken_version = MemoryContextStrdup(cycle->push_mcxt, version);
	js_txn_begin("recording the outcome of a push");
	js_internal_begin(&security);
	js_push_mark_accepted(intent, response->status, external_id);
	js_internal_end(&security);
	js_txn_end();
	if (intent->external_id == NULL && external_id != NULL)
		intent->external_id = MemoryContextStrdup(cycle->mcxt, external_id);
	cycle->again = intent->more;
	js_lookup_intent(cycle);
}

/*
 * The PMS has something newer (409, 412): it is read, and tried again.  If
 * what was read is the same as before, it was no race: the PMS does not want
 * it.
 */
static void
outdated(JsCycle *cycle, int status, const char *problem)
{
	JsIntent   *intent = cycle->intent;
	bool		same_record = cycle->outdated_record == intent->record_id;
	JsApply		apply = {0};

	if (strcmp(intent->kind, "create") == 0 &&
		js_jsonb_member(cycle->stream->push, "find") != NULL)
	{
		/* perhaps it was created before, and the answer got lost */
		cycle->refusal = MemoryContextStrdup(cycle->push_mcxt, problem);
		doubtful(cycle, problem, true);
		return;
	}
	if ((same_record && same_as_before(cycle)) ||
		intent->external_id == NULL ||
		!js_stream_reads_one(cycle->stream))
	{
		rejected(cycle, status, problem);
		return;
	}
	cycle->outdated_count = same_record ? cycle->outdated_count + 1 : 1;
	cycle->outdated_record = intent->record_id;
	cycle->outdated_hash = cycle->seen_hash;
	cycle->outdated_version = intent->if_match ?
		MemoryContextStrdup(cycle->mcxt, intent->if_match) : NULL;
	js_outbound_begin(cycle, &apply, "recording the outcome of a push");
	js_push_outdated(&apply, intent, status);
	js_outbound_end(cycle, &apply);
	cycle->again = cycle->outdated_count < MOST_OUTDATED;
	js_outbound_go_on(cycle);
}

/*
 * Is what was read the same as before the last refusal?  Values may be what
 * they were though somebody wrote them again: the version tells, if there is
 * one.
 */
static bool
same_as_before(JsCycle *cycle)
{
	const char *before = cycle->outdated_version;
	const char *now = cycle->intent->if_match;

	return cycle->outdated_hash != 0 &&
		cycle->outdated_hash == cycle->seen_hash &&
		(before == NULL ? now == NULL : now != NULL && strcmp(before, now) == 0);
}

/* The PMS does not want it, or it cannot be sent at all. */
static void
rejected(JsCycle *cycle, int status, const char *problem)
{
	JsIntent   *intent = cycle->intent;
	JsApply		apply = {0};

	js_outbound_begin(cycle, &apply, "recording the outcome of a push");
	js_push_rejected(&apply, intent, status, problem);
	js_outbound_end(cycle, &apply);
	/* every change refused: that is rather a right that we do not have */
	if (status == 403 && ++cycle->forbidden >= MOST_FORBIDDEN)
	{
		cycle->intent = NULL;
		js_cycle_fail(cycle, problem);
		return;
	}
	cycle->again = intent->more || intent->divisible;
	js_outbound_go_on(cycle);
}

/*
 * Whether the PMS took it is not known.  look: it answers, so it can be asked
 * at once; else this ends the cycle.
 */
static void
doubtful(JsCycle *cycle, const char *problem, bool look)
{
	JsSecurity	security;

	js_txn_begin("recording the outcome of a push");
	js_internal_begin(&security);
	js_push_mark_unknown(cycle->intent, problem, false);
	js_internal_end(&security);
	js_txn_end();
	if (look)
	{
		/* if it was not taken: once more now, else in the next cycle */
		cycle->again = cycle->visits < 2;
		js_lookup_intent(cycle);
		return;
	}
	cycle->intent = NULL;
	js_cycle_fail(cycle, problem);
}

/* Nothing was sent, or the PMS has no time for us now: later. */
static void
not_sent(JsCycle *cycle, const char *problem)
{
	JsApply		apply = {0};

	js_outbound_begin(cycle, &apply, "recording the outcome of a push");
	js_push_not_sent(&apply, cycle->intent);
	js_outbound_end(cycle, &apply);
	cycle->intent = NULL;
	js_cycle_fail(cycle, problem);
}
