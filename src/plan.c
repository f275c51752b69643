/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  What is to be done with every field of one record.
 *
 * The table of decisions, and nothing else.  A group of fields is decided as
 * if it were one field whose facts are those of its members together; then
 * every member gets its share of the decision.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "plan.h"

static JsFieldFacts facts_of_group(const JsFieldFacts *facts, int n,
								   int group);
static JsDecision decide(const JsRecordFacts *record,
						 const JsFieldFacts *field);
static JsDecision decide_held(const JsFieldFacts *field);
static JsDecision only_pms(const JsFieldFacts *field);
static JsDecision only_local(const JsRecordFacts *record,
							 const JsFieldFacts *field);
static JsDecision both(const JsRecordFacts *record,
					   const JsFieldFacts *field);
static JsDecision by_time(const JsRecordFacts *record,
						  const JsFieldFacts *field);
static JsDecision take_pms(JsReason reason);
static JsDecision keep(const JsFieldFacts *field, JsReason reason);
static void respect_blank(const JsFieldFacts *field, JsDecision *decision);
static JsDecision member_of(const JsDecision *whole,
							const JsFieldFacts *member);

/* Decide all fields of a record. */
void
js_plan_record(const JsRecordFacts *record, const JsFieldFacts *facts,
			   int nfields, JsDecision *out)
{
	for (int i = 0; i < nfields; i++)
	{
		JsFieldFacts whole;
		JsDecision	decision;

		if (facts[i].group < 0)
		{
			out[i] = decide(record, &facts[i]);
			continue;
		}
		whole = facts_of_group(facts, nfields, facts[i].group);
		decision = decide(record, &whole);
		out[i] = member_of(&decision, &facts[i]);
	}
}

/* The facts of a group as one field. */
static JsFieldFacts
facts_of_group(const JsFieldFacts *facts, int n, int group)
{
	JsFieldFacts whole;

	memset(&whole, 0, sizeof(whole));
	whole.base_known = true;
	whole.equal = true;
	whole.pms_blank = true;
	whole.local_blank = true;
	for (int i = 0; i < n; i++)
	{
		const JsFieldFacts *f = &facts[i];

		if (f->group != group)
			continue;
		whole.strategy = f->strategy;
		whole.push = whole.push || f->push;
		whole.unless_blank = whole.unless_blank || f->unless_blank;
		whole.base_known = whole.base_known && (f->base_known || !f->pms_present);
		whole.pms_present = whole.pms_present || f->pms_present;
		whole.pms_changed = whole.pms_changed ||
			(f->pms_present && f->pms_changed);
		whole.local_changed = whole.local_changed || f->local_changed;
		whole.equal = whole.equal && f->equal;
		whole.pms_blank = whole.pms_blank && f->pms_blank;
		whole.local_blank = whole.local_blank && f->local_blank;
		whole.held = whole.held || f->held;
		if (f->local_time_known &&
			(!whole.local_time_known || f->local_time > whole.local_time))
		{
			whole.local_time_known = true;
			whole.local_time = f->local_time;
		}
	}
	whole.group = group;
	return whole;
}

/* What the decision about a group means for one of its members. */
static JsDecision
member_of(const JsDecision *whole, const JsFieldFacts *member)
{
	JsDecision	decision = *whole;

	decision.move_base = whole->move_base && member->pms_present;
	decision.release = whole->release && member->held;
	if (!member->equal)
		return decision;
	/* nothing to do for a member that both sides have alike */
	decision.action = JS_KEEP;
	decision.audit = false;
	decision.both_changed = false;
	if (whole->action == JS_HOLD)
		decision.move_base = false;
	return decision;
}

/* Decide one field, or one group. */
static JsDecision
decide(const JsRecordFacts *record, const JsFieldFacts *field)
{
	bool		pms_changed = field->pms_present && field->pms_changed;
	bool		local_changed = field->local_changed;

	if (field->held)
		return decide_held(field);
	if (!field->base_known)
	{
		if (!field->pms_present)
		{
			JsDecision	decision = keep(field, local_changed ?
										JS_ONLY_LOCAL_CHANGED :
										JS_NOTHING_CHANGED);

			decision.move_base = false;
			decision.push = field->push && local_changed;
			return decision;
		}
		/* first sight: both may have changed */
		pms_changed = local_changed = true;
	}

	if (!pms_changed && !local_changed)
	{
		JsDecision	decision = keep(field, JS_NOTHING_CHANGED);

		decision.move_base = false;
		decision.push = false;
		return decision;
	}
	if (pms_changed && field->equal)
	{
		JsDecision	decision = keep(field, JS_BOTH_AGREE);

		decision.push = false;
		return decision;
	}
	if (!local_changed)
		return only_pms(field);
	if (!pms_changed)
		return only_local(record, field);
	return both(record, field);
}

/* A field that is frozen until a person decides, or both sides agree. */
static JsDecision
decide_held(const JsFieldFacts *field)
{
	JsDecision	decision;

	memset(&decision, 0, sizeof(decision));
	if (field->equal)
	{
		decision.action = JS_KEEP;
		decision.move_base = field->pms_present;
		decision.release = true;
		decision.reason = JS_BOTH_AGREE;
		return decision;
	}
	decision.action = JS_HOLD;
	decision.both_changed = true;
	decision.reason = JS_HELD;
	return decision;
}

/* The row is to hold what the PMS has. */
static JsDecision
take_pms(JsReason reason)
{
	JsDecision	decision;

	memset(&decision, 0, sizeof(decision));
	decision.action = JS_TAKE_PMS;
	decision.move_base = true;
	decision.reason = reason;
	return decision;
}

/* The row keeps its value, which the PMS may have to learn of. */
static JsDecision
keep(const JsFieldFacts *field, JsReason reason)
{
	JsDecision	decision;

	memset(&decision, 0, sizeof(decision));
	decision.action = JS_KEEP;
	decision.move_base = true;
	decision.push = field->push;
	decision.reason = reason;
	return decision;
}

/* Only the PMS changed. */
static JsDecision
only_pms(const JsFieldFacts *field)
{
	JsDecision	decision = field->strategy == JS_LOCAL_WINS ?
	keep(field, JS_LOCAL_OWNS) : take_pms(JS_ONLY_PMS_CHANGED);

	respect_blank(field, &decision);
	return decision;
}

/* Only we changed. */
static JsDecision
only_local(const JsRecordFacts *record, const JsFieldFacts *field)
{
	JsDecision	decision = keep(field, JS_ONLY_LOCAL_CHANGED);

	decision.move_base = false;
	if (field->strategy == JS_MERGE)
		decision.action = JS_TAKE_MERGED;
	else if (field->strategy == JS_PMS_WINS &&
			 record->on_local_edit != JS_EDIT_KEEP)
	{
		decision = take_pms(JS_LOCAL_EDIT_UNDONE);
		decision.audit = true;
		respect_blank(field, &decision);
		decision.audit = decision.action == JS_TAKE_PMS;
	}
	return decision;
}

/* Both changed, to different values. */
static JsDecision
both(const JsRecordFacts *record, const JsFieldFacts *field)
{
	JsDecision	decision;

	switch (field->strategy)
	{
		case JS_PMS_WINS:
			decision = take_pms(JS_PMS_OWNS);
			break;
		case JS_LOCAL_WINS:
			decision = keep(field, JS_LOCAL_OWNS);
			break;
		case JS_MERGE:
			decision = keep(field, JS_MERGED);
			decision.action = JS_TAKE_MERGED;
			break;
		case JS_LATEST_WINS:
			decision = by_time(record, field);
			break;
		case JS_MANUAL:
		default:
			memset(&decision, 0, sizeof(decision));
			decision.action = JS_HOLD;
			decision.both_changed = true;
			decision.reason = JS_HELD;
			return decision;
	}
	respect_blank(field, &decision);
	decision.audit = true;
	decision.both_changed = true;
	return decision;
}

/*
 * The newer side wins.  A local time that is unknown is older than any; what
 * cannot be told apart is a tie, and a tie is local.
 */
static JsDecision
by_time(const JsRecordFacts *record, const JsFieldFacts *field)
{
	int64_t		difference;

	if (!record->pms_time_known)
		return keep(field, field->local_time_known ? JS_NEWER : JS_TIE);
	if (!field->local_time_known)
		return take_pms(JS_NEWER);
	difference = record->pms_time - field->local_time;
	if (difference > record->time_tolerance)
		return take_pms(JS_NEWER);
	return keep(field, difference < -record->time_tolerance ?
				JS_NEWER : JS_TIE);
}

/* unless_blank: a winner without a value loses to a side that has one. */
static void
respect_blank(const JsFieldFacts *field, JsDecision *decision)
{
	if (!field->unless_blank || field->strategy == JS_MERGE ||
		field->strategy == JS_MANUAL)
		return;
	if (decision->action == JS_TAKE_PMS && field->pms_blank &&
		!field->local_blank)
		*decision = keep(field, JS_WINNER_BLANK);
	else if (decision->action == JS_KEEP && field->local_blank &&
			 !field->pms_blank)
		*decision = take_pms(JS_WINNER_BLANK);
}

/* The name of a strategy, as in the enum jacksync.strategy. */
const char *
js_strategy_name(JsStrategy strategy)
{
	static const char *const names[] = {
		"pms_wins", "local_wins", "merge", "latest_wins", "manual"
	};

	return names[strategy];
}

/* The name of a reason, as the audit log shows it. */
const char *
js_reason_name(JsReason reason)
{
	static const char *const names[] = {
		"nothing_changed", "only_pms_changed", "only_local_changed",
		"both_agree", "pms_owns", "local_owns", "merged", "newer", "tie",
		"winner_blank", "held", "local_edit_undone"
	};

	return names[reason];
}
