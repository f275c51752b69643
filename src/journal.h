/*-------------------------------------------------------------------------
 *
 * journal.h
 *	  What is written down about a record: audit, conflicts, errors, runs.
 *
 * SPI is connected and the caller is inside js_internal_user().
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_JOURNAL_H
#define JS_JOURNAL_H

#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* Counters of a run, as sync_result and sync_run have them. */
typedef struct JsCounts
{
	int64		processed;
	int64		created;
	int64		updated;
	int64		unchanged;
	int64		pushed;
	int64		conflicts;
	int64		errors;
} JsCounts;

/*
 * A run.  It gets its number when something is told of it, and its row in
 * sync_run when something was written in it: most polls find nothing.
 */
typedef struct JsRun
{
	int64		id;				/* 0: none yet */
	bool		stored;
	const char *entity;
	const char *server;			/* NULL: none */
	const char *kind;
	TimestampTz started;
	int64		idle;			/* cycles before it that have no row */
} JsRun;

/* Which record an entry is about. */
typedef struct JsSubject
{
	const char *entity;
	const char *server;			/* NULL: none */
	JsRun	   *run;			/* NULL: none */
	int64		record_id;
	const char *local_id;
	const char *external_id;
} JsSubject;

/* One decision about one field. */
typedef struct JsAudit
{
	const char *operation;
	const char *field;			/* NULL: the record as a whole */
	Jsonb	   *before;
	Jsonb	   *after;
	Jsonb	   *base;			/* NULL: unknown */
	Jsonb	   *local;
	Jsonb	   *pms;
	const char *resolution;
	const char *strategy;
	const char *reason;
	const char *resolved_by;	/* NULL: system */
	bool		local_time_known;
	TimestampTz local_time;		/* when the field was changed here */
	bool		pms_time_known;
	TimestampTz pms_time;		/* when the PMS changed it, by our clock */
} JsAudit;

/* A field that is held for a person. */
typedef struct JsHold
{
	const char *field;
	const char *group;			/* what is decided with it; NULL: alone */
	const char *reason;
	Jsonb	   *base;			/* NULL: unknown */
	Jsonb	   *local;
	Jsonb	   *pms;			/* NULL: as it was last seen */
	Jsonb	   *urgency;		/* NULL: the entity names no column */
} JsHold;

/* A payload that could not be applied or pushed. */
typedef struct JsFailure
{
	const char *direction;		/* "pull" or "push" */
	const char *sqlstate;
	const char *error;
	Jsonb	   *payload;
	bool		waiting;		/* not an error: a lock or an open push */
	bool		dead;			/* no use in trying again */
	int64		tick;
	bool		time_known;
	TimestampTz time;			/* when the PMS changed what the payload is */
	TimestampTz latest;			/* a later one cannot be, and does not count */
} JsFailure;

extern void js_audit(const JsSubject *subject, const JsAudit *audit);
extern void js_conflict_hold(const JsSubject *subject, const JsHold *hold);
extern void js_conflict_release(const JsSubject *subject, const char *field);
extern char **js_conflict_fields(int64 record_id, int *n);
extern void js_failure_record(const JsSubject *subject,
							  const JsFailure *failure);
extern void js_failure_resolved(const JsSubject *subject,
								const char *direction);
extern void js_run_begin(JsRun *run, const char *entity, const char *server,
						 const char *kind);
extern int64 js_run_number(JsRun *run);
extern void js_run_store(JsRun *run, const JsCounts *counts);
extern void js_run_progress(JsRun *run, const JsCounts *counts);
extern void js_run_finish(JsRun *run, const JsCounts *counts,
						  const char *error);
extern int64 js_tick(void);
extern int64 js_tick_now(void);

#endif							/* JS_JOURNAL_H */
