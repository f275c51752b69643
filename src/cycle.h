/*-------------------------------------------------------------------------
 *
 * cycle.h
 *	  One cycle of one stream: resolve, pull, push.
 *
 * A cycle is a state machine between HTTP answers, so that the worker can run
 * many at once; a session runs one.  No transaction is open while it waits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CYCLE_H
#define JS_CYCLE_H

#include "http.h"
#include "journal.h"
#include "push.h"
#include "recount.h"
#include "server.h"
#include "stream.h"
#include "verdict.h"
#include "walk.h"

typedef struct JsCycle JsCycle;

typedef void (*JsResume) (JsCycle *cycle, JsHttpResponse *response);

struct JsCycle
{
	MemoryContext mcxt;			/* of the cycle */
	MemoryContext step;			/* reset before every step */
	MemoryContext request_mcxt; /* of the request under way */
	MemoryContext push_mcxt;	/* of the intent under way */
	int32		stream_id;
	bool		push_only;
	bool		narrate;		/* NOTICEs of progress, in a session */
	JsStream   *stream;
	JsServer   *server;
	JsRun		run;			/* entity is NULL: not begun yet */
	int			progress;		/* its slot in shared memory */
	JsCounts	counts;
	TimestampTz started;

	/* nothing is written as long as nothing is found (quiet.c) */
	bool		quiet;
	int64		stored_skew;	/* as the table has it */
	JsStreamTimes *written;		/* to the table; NULL: none */
	Jsonb	   *unwritten_walk; /* where the walk is; NULL: it is written */
	bool		pulled;			/* the pull is complete; not written yet: */
	bool		pulled_all;		/* everything was read */
	TimestampTz pulled_at;		/* its data is as fresh as that */
	bool		pulled_upto_known;
	TimestampTz pulled_upto;	/* the watermark */

	/* the request under way */
	JsHttpCall *call;			/* NULL: none */
	JsHttpRequest request;		/* kept, to be sent again after a token */
	JsResume	resume;
	Oid			owner;			/* of the table: whose mapping is used */
	bool		fetching_token;
	bool		token_renewed;
	bool		token_waited;	/* for a brand-new one to be known */
	int			busy_tries;		/* of the same request */
	TimestampTz not_before;		/* rate limit: send then; 0: now */
	JsVerdict	verdict;		/* on the last answer */
	bool		by_rule;		/* a rule of the stream says so */
	int64		tick;			/* when the request was made */

	/* pull */
	JsWalk	   *walk;
	JsRecount	recount;
	struct JsShelf *shelf;		/* what an initial load holds; or NULL */
	char	   *low;			/* most ids of the last page are between: */
	char	   *high;			/* NULL: not known */
	struct JsSeen *seen;		/* by a walk that is to say what is gone */
	struct JsDetails *details;	/* NULL: none yet */
	int			polls;			/* of an event queue */

	/* the full comparison */
	struct JsReconcile *reconcile;	/* NULL: none under way */
	struct Settling *settling;	/* of what is absent (absent.c) */

	struct JsCheck *check;		/* the PMS is tried out; NULL: an ordinary
								 * cycle */

	/* push */
	List	   *unknown;		/* JsIntent */
	int64		last_record;
	JsIntent   *intent;
	bool		resolving;		/* unknown outcomes, before the pull */
	bool		again;			/* the same record has more to send */
	int			visits;			/* requests for the same record */
	int			gone;			/* records that the PMS does not have */
	int			forbidden;		/* changes refused with 403, in a row */
	int64		reading_record; /* read before write */
	int64		overtaken;		/* the one whose last read was; 0: it was not */
	char	   *reading_id;
	Jsonb	   *remote;			/* the record as it was read, or NULL */
	char	   *refusal;		/* what a 404 to the push said, or NULL */
	int64		seen_hash;		/* of what the claim was made on */
	int64		outdated_record;	/* the last one that lost a race */
	int64		outdated_hash;
	char	   *outdated_version;	/* that it was sent with; NULL: none */
	int			outdated_count;

	/* clock of the PMS minus ours, microseconds: within these */
	bool		skew_known;
	int64		skew_low;
	int64		skew_high;

	int64		regressed;		/* records older than what we know */
	int64		advanced;		/* and newer ones */
	bool		done;
	bool		pull_complete;
	bool		deferred;		/* the server is left alone */
	char	   *error;			/* NULL: all went well */
	int			retry_after_ms; /* what the PMS asked for; 0: nothing */
};

extern JsCycle *js_cycle_start(MemoryContext parent, int32 stream_id,
							   bool push_only, bool narrate);
extern bool js_cycle_ready(JsCycle *cycle);
extern TimestampTz js_cycle_due(JsCycle *cycle);
extern void js_cycle_step(JsCycle *cycle);
extern void js_cycle_fail(JsCycle *cycle, const char *error);
extern void js_cycle_free(JsCycle *cycle);

/* between the files of a cycle */
extern void js_cycle_send(JsCycle *cycle, JsHttpRequest *request,
						  JsResume resume);
extern char *js_cycle_problem(JsCycle *cycle, JsHttpResponse *response);
extern void js_request_launch(JsCycle *cycle);
extern void js_request_answered(JsCycle *cycle);
extern MemoryContext js_cycle_new_request(JsCycle *cycle);
extern JsVars *js_cycle_vars(JsCycle *cycle);
extern void js_cycle_end(JsCycle *cycle);
extern int64 js_cycle_next_delay(JsCycle *cycle, int64 interval,
								 int failures);
extern void js_quiet_begin(JsCycle *cycle);
extern bool js_quiet(JsCycle *cycle);
extern void js_quiet_written(void *cycle);
extern bool js_quiet_end(JsCycle *cycle);
extern void js_pull_start(JsCycle *cycle);
extern void js_pull_walk(JsCycle *cycle);
extern void js_pull_ask(JsCycle *cycle);
extern void js_pull_save(JsCycle *cycle, Jsonb *progress);
extern void js_intake_page(JsCycle *cycle, JsPage *page, int64 tick,
						   bool advance);
extern void js_intake_rest(JsCycle *cycle);
extern void js_pull_complete(JsCycle *cycle);
extern void js_pull_record(JsCycle *cycle);
extern void js_events_start(JsCycle *cycle);
extern void js_outbound_resolve(JsCycle *cycle);
extern void js_outbound_start(JsCycle *cycle);
extern bool js_outbound_read_request(JsCycle *cycle, const char *external_id,
									 JsHttpRequest *request);
extern void js_reconcile_slice(JsCycle *cycle);
extern void js_reconcile_all(JsCycle *cycle);
extern bool js_reconcile_pauses(JsCycle *cycle);
extern void js_reconcile_page(JsCycle *cycle, JsPage *page, int64 tick,
							  bool more);
extern void js_reconcile_records(JsCycle *cycle, struct JsApply *apply,
								 List *records);
extern void js_reconcile_recount(JsCycle *cycle);
extern bool js_reconcile_lists(JsCycle *cycle);
extern void js_reconcile_give_up(JsCycle *cycle, const char *problem);

#endif							/* JS_CYCLE_H */
