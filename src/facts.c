/*-------------------------------------------------------------------------
 *
 * facts.c
 *	  From three values of every field to facts, and from decisions to rows.
 *
 * The facts are gathered (fieldstate.c), the planner decides (plan.c), and
 * here it is carried out: the row is written.  Then the bases move (bases.c),
 * and what was decided is written down (notes.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "bases.h"
#include "equal.h"
#include "facts.h"
#include "fieldstate.h"
#include "jacksync.h"
#include "merge.h"
#include "notes.h"
#include "plan.h"
#include "rowheap.h"
#include "secure.h"

static void hold_suspects(JsApply *apply, JsFieldState *states,
						  JsFieldFacts *facts);
static void carry_out(JsApply *apply, JsFieldState *states,
					  JsFieldFacts *facts, JsDecision *decisions,
					  JsRecordFacts *record_facts);
static void write_row(JsApply *apply, JsApplied *applied, JsFieldState *states,
					  JsRow *after);

/*
 * Decide all fields of a record whose link and row are locked, and carry it
 * out.  record is NULL to decide local changes alone, with the PMS as it was
 * last seen.  applied->pending gets the values that are to be pushed.
 */
void
js_facts_apply(JsApply *apply, JsRecord *record, JsApplied *applied)
{
	JsEntity   *entity = apply->entity;
	JsLink	   *link = applied->link;
	int			n = Max(entity->nfields, 1);
	JsFieldFacts *facts = palloc0(sizeof(JsFieldFacts) * n);
	JsDecision *decisions = palloc0(sizeof(JsDecision) * n);
	JsRecordFacts record_facts = {0};
	JsFieldState *states;
	JsRow		after;
	JsSecurity	security;
	bool		both_changed = false;

	if (link->conflict)
		js_field_mark_held(entity, link, facts);
	js_casts_begin(&security, entity);
	states = js_field_gather(entity, record, link, &applied->row, facts);

	record_facts.on_local_edit = entity->on_local_edit;
	if (record != NULL && record->time_known)
	{
		record_facts.pms_time_known = true;
		record_facts.pms_time = record->time;
		if (apply->stream != NULL)
		{
			record_facts.pms_time -= apply->stream->skew;
			record_facts.time_tolerance = apply->stream->skew_error;
		}
	}
	if (apply->suspects != NULL)
		hold_suspects(apply, states, facts);
	js_plan_record(&record_facts, facts, entity->nfields, decisions);
	carry_out(apply, states, facts, decisions, &record_facts);
	js_casts_end(&security, entity);
	write_row(apply, applied, states, &after);

	if (record != NULL)
	{
		bool		written = false;

		for (int i = 0; i < entity->nfields; i++)
		{
			written = written || states[i].write;
			both_changed = both_changed || decisions[i].both_changed;
		}
		if (written)
			apply->counts.updated++;
		else
			apply->counts.unchanged++;
		if (both_changed)
			apply->counts.conflicts++;
	}
	js_bases_update(apply, record, applied, states, decisions, &after);
	js_notes_decisions(apply, applied, states, decisions, &record_facts,
					   &after);
	if (apply->previewing)
		js_notes_preview(apply, link, states, decisions);
	applied->row = after;
}

/*
 * The result broke a constraint over these fields.  If any of them was
 * changed here it is the mixture of both sides that is wrong: they are held,
 * with all of their groups.  Else what the PMS sent is wrong by itself, which
 * is an error of the record.
 */
static void
hold_suspects(JsApply *apply, JsFieldState *states, JsFieldFacts *facts)
{
	JsEntity   *entity = apply->entity;
	Bitmapset  *held = bms_copy(apply->suspects);
	bool		changed_here = false;

	for (int i = 0; i < entity->nfields; i++)
	{
		if (facts[i].group < 0 || !bms_is_member(i, apply->suspects))
			continue;
		for (int j = 0; j < entity->nfields; j++)
			if (facts[j].group == facts[i].group)
				held = bms_add_member(held, j);
	}
	for (int i = 0; i < entity->nfields; i++)
		if (bms_is_member(i, held) && facts[i].local_changed)
			changed_here = true;
	for (int i = 0; changed_here && i < entity->nfields; i++)
		if (bms_is_member(i, held) && !facts[i].held)
			facts[i].held = states[i].broken = true;
}

/* Work out the values that decisions ask for. */
static void
carry_out(JsApply *apply, JsFieldState *states, JsFieldFacts *facts,
		  JsDecision *decisions, JsRecordFacts *record_facts)
{
	JsEntity   *entity = apply->entity;

	for (int i = 0; i < entity->nfields; i++)
	{
		JsFieldState *state = &states[i];
		JsColumn   *column = &entity->fields[i].column;
		JsMergeSide newer = JS_NEWER_UNKNOWN;

		state->result = state->local;
		if (decisions[i].action == JS_TAKE_PMS)
		{
			/* back to what the row held then, if the PMS has not moved */
			state->result = facts[i].pms_changed ? js_field_pms(column, state) :
				js_field_local_base(column, state);
		}
		else if (decisions[i].action == JS_TAKE_MERGED)
		{
			if (record_facts->pms_time_known && facts[i].local_time_known)
				newer = record_facts->pms_time > facts[i].local_time ?
					JS_NEWER_PMS : JS_NEWER_LOCAL;
			state->result = js_value_merge(column, js_field_base(column, state),
										   state->local,
										   js_field_pms(column, state),
										   state->base_known, newer);
			/* an element that was removed here came back */
			if (!decisions[i].audit &&
				!js_value_equal(column, state->result, state->local))
				decisions[i].audit = true;
		}
		else
			continue;
		state->write = !js_value_equal(column, state->result, state->local);
	}
}

/* Write the row, and read back what the table made of it. */
static void
write_row(JsApply *apply, JsApplied *applied, JsFieldState *states,
		  JsRow *after)
{
	JsEntity   *entity = apply->entity;
	bool	   *write = palloc0(sizeof(bool) * Max(entity->nfields, 1));
	JsValue    *values = palloc0(sizeof(JsValue) * Max(entity->nfields, 1));
	const char *id = NULL;
	JsSecurity	security;
	bool		any = false;
	bool		quiet;
	bool		written;

	*after = applied->row;
	for (int i = 0; i < entity->nfields; i++)
	{
		write[i] = states[i].write;
		values[i] = states[i].result;
		any = any || write[i];
	}
	/* the row of a record that was created at the PMS may not have its id yet */
	if (applied->row.external.isnull && applied->link->state == JS_LINKED)
		id = applied->link->external_id;
	if (!any && id == NULL)
		return;
	quiet = js_rowheap_quiet(entity);
	if (!quiet)
		js_owner_begin(&security, entity->owner);
	written = js_row_update(entity, after, write, values, id);
	if (!quiet)
		js_owner_end(&security);
	if (!written)
		ereport(ERROR,
				(errcode(ERRCODE_JS_BAD_RECORD),
				 errmsg("a trigger of the table of \"%s\" suppressed the update of row %s",
						entity->name, applied->row.local_id)));
}

/*
 * The bases of a row that was just inserted with what the PMS sent.
 */
void
js_facts_inserted(JsApply *apply, JsRecord *record, JsApplied *applied,
				  const JsValue *sent)
{
	JsEntity   *entity = apply->entity;
	int			n = Max(entity->nfields, 1);
	JsFieldState *states = palloc0(sizeof(JsFieldState) * n);
	JsDecision *decisions = palloc0(sizeof(JsDecision) * n);

	if (applied->link->conflict)
	{
		JsSubject	subject = js_apply_subject(apply, applied->link);

		/* what was held was the row before this one */
		js_conflict_release(&subject, NULL);
	}
	for (int i = 0; i < entity->nfields; i++)
	{
		states[i].pms_known = record->items ?
			(states[i].pms_item = record->items[i], record->known[i]) :
			js_field_take_item(record->fields[i], &states[i].pms_item);
		states[i].pms = sent[i];
		states[i].base_cast = states[i].local_base_cast = true;
		states[i].pms_cast = true;
		states[i].local.isnull = true;
		states[i].result = sent[i];
		if (!states[i].pms_known)
			continue;
		decisions[i].action = JS_TAKE_PMS;
		decisions[i].move_base = true;
		decisions[i].reason = JS_ONLY_PMS_CHANGED;
		states[i].write = true;
	}
	js_bases_update(apply, record, applied, states, decisions, &applied->row);
	if (apply->previewing)
		js_notes_preview(apply, applied->link, states, decisions);
}
