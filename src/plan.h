/*-------------------------------------------------------------------------
 *
 * plan.h
 *	  What is to be done with every field of one record.
 *
 * Pure: no PostgreSQL, no I/O, no clock.  The caller states facts about each
 * field (which side changed, by typed comparison), the planner answers what
 * to write here, what waits to be pushed, what is held for a person and what
 * must be audited.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_PLAN_H
#define JS_PLAN_H

#include <stdbool.h>
#include <stdint.h>

typedef enum JsStrategy
{
	JS_PMS_WINS,
	JS_LOCAL_WINS,
	JS_MERGE,
	JS_LATEST_WINS,
	JS_MANUAL
} JsStrategy;

/* What becomes of a local edit of a field that the PMS owns. */
typedef enum JsLocalEdit
{
	JS_EDIT_REVERT,
	JS_EDIT_KEEP,
	JS_EDIT_WARN,				/* was warned about; is then reverted */
	JS_EDIT_REJECT				/* was refused; if it got past, is reverted */
} JsLocalEdit;

/* Facts that hold for the whole record. */
typedef struct JsRecordFacts
{
	JsLocalEdit on_local_edit;
	bool		pms_time_known;
	int64_t		pms_time;		/* microseconds, already corrected for skew */
	int64_t		time_tolerance; /* differences up to this are a tie */
} JsRecordFacts;

/* The rule of one field, and the facts of its three values. */
typedef struct JsFieldFacts
{
	JsStrategy	strategy;
	bool		push;			/* local values go to the PMS */
	bool		unless_blank;
	int			group;			/* fields with the same number >= 0 are one */
	bool		base_known;
	bool		pms_present;	/* the PMS record contains the field */
	bool		pms_changed;	/* PMS differs from the base (typed) */
	bool		local_changed;	/* row differs from the base (typed) */
	bool		equal;			/* row and PMS are the same (typed) */
	bool		pms_blank;
	bool		local_blank;
	bool		held;			/* an open conflict freezes the field */
	bool		local_time_known;
	int64_t		local_time;		/* microseconds: when the field was changed */
} JsFieldFacts;

typedef enum JsAction
{
	JS_KEEP,					/* the row keeps its value */
	JS_TAKE_PMS,				/* the row gets the PMS's value (or the base,
								 * where the PMS did not send the field) */
	JS_TAKE_MERGED,				/* the caller merges; the row gets the result */
	JS_HOLD						/* frozen: open or update the conflict row */
} JsAction;

/* Why, for the audit and for explain(). */
typedef enum JsReason
{
	JS_NOTHING_CHANGED,
	JS_ONLY_PMS_CHANGED,
	JS_ONLY_LOCAL_CHANGED,
	JS_BOTH_AGREE,
	JS_PMS_OWNS,				/* pms_wins decided */
	JS_LOCAL_OWNS,				/* local_wins decided */
	JS_MERGED,
	JS_NEWER,					/* latest_wins decided by time */
	JS_TIE,						/* latest_wins could not tell: local */
	JS_WINNER_BLANK,			/* unless_blank turned the decision */
	JS_HELD,					/* manual, or already held */
	JS_LOCAL_EDIT_UNDONE		/* on_local_edit = revert, warn, reject */
} JsReason;

typedef struct JsDecision
{
	JsAction	action;
	bool		move_base;		/* the base becomes what the PMS sent */
	bool		push;			/* the row's value (then) waits to be pushed,
								 * if it differs from the PMS's */
	bool		audit;			/* write an audit row */
	bool		both_changed;	/* both sides changed, to different values */
	bool		release;		/* an open conflict of the field closes itself */
	JsReason	reason;
} JsDecision;

/*
 * Decide all fields of a record.  facts and out have nfields elements; group
 * numbers are below nfields.
 */
extern void js_plan_record(const JsRecordFacts *record,
						   const JsFieldFacts *facts, int nfields,
						   JsDecision *out);

extern const char *js_strategy_name(JsStrategy strategy);
extern const char *js_reason_name(JsReason reason);

#endif							/* JS_PLAN_H */
