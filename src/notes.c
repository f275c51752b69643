/*-------------------------------------------------------------------------
 *
 * notes.c
 *	  What is written down about decisions, or only shown.
 *
 * The audit, the fields that are held for a person, what preview() shows, and
 * in what both sides differ.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "jsonb.h"
#include "notes.h"
#include "secure.h"

static void note_hold(JsApply *apply, JsSubject *subject, JsField *field,
					  JsFieldState *state, JsRow *after);
static void note_field(JsApply *apply, JsSubject *subject, JsField *field,
					   JsFieldState *state, JsDecision *decision,
					   JsRecordFacts *record_facts, JsValue after);
static const char *outcome_of(JsDecision *decision);
static Jsonb *json_of(JsApply *apply, JsColumn *column, JsValue value);
static Jsonb *copy_json(Jsonb *json);

/* Write down what was decided: audit, conflicts held and released. */
void
js_notes_decisions(JsApply *apply, JsApplied *applied, JsFieldState *states,
				   JsDecision *decisions, JsRecordFacts *record_facts,
				   JsRow *after)
{
	JsEntity   *entity = apply->entity;
	JsSubject	subject = js_apply_subject(apply, applied->link);

	for (int i = 0; i < entity->nfields; i++)
	{
		JsField    *field = &entity->fields[i];

		if (decisions[i].release)
			js_conflict_release(&subject, field->name);
		if (decisions[i].action == JS_HOLD)
			note_hold(apply, &subject, field, &states[i], after);
		if (decisions[i].audit)
			note_field(apply, &subject, field, &states[i], &decisions[i],
					   record_facts, after->values[i]);
	}
}

/* A field is held for a person. */
static void
note_hold(JsApply *apply, JsSubject *subject, JsField *field,
		  JsFieldState *state, JsRow *after)
{
	JsHold		hold = {0};

	hold.field = field->name;
	hold.group = field->group_name;
	hold.reason = "manual";
	if (state->broken)
	{
		/* what a constraint binds together is decided together */
		hold.group = apply->constraint;
		hold.reason = psprintf("constraint \"%s\"", apply->constraint);
	}
	hold.base = js_field_base_json(state);
	hold.local = json_of(apply, &field->column, state->local);
	hold.pms = js_field_pms_json(state);
	if (apply->entity->urgency != NULL)
		hold.urgency = json_of(apply, apply->entity->urgency, after->urgency);
	js_conflict_hold(subject, &hold);
}

/* Audit the decision about a field. */
static void
note_field(JsApply *apply, JsSubject *subject, JsField *field,
		   JsFieldState *state, JsDecision *decision,
		   JsRecordFacts *record_facts, JsValue after)
{
	JsColumn   *column = &field->column;
	Jsonb	   *local = json_of(apply, column, state->local);
	JsAudit		audit = {0};

	audit.operation = decision->both_changed ? "conflict_resolution" : "sync";
	audit.field = field->name;
	audit.before = local;
	audit.after = json_of(apply, column, after);
	audit.base = js_field_base_json(state);
	audit.local = local;
	audit.pms = state->pms_known ? js_field_pms_json(state) : audit.base;
	audit.resolution = outcome_of(decision);
	audit.strategy = js_strategy_name(field->strategy);
	audit.reason = js_reason_name(decision->reason);
	audit.local_time_known = state->time_known;
	audit.local_time = state->time;
	audit.pms_time_known = record_facts->pms_time_known;
	audit.pms_time = record_facts->pms_time;
	js_audit(subject, &audit);
}

/* In one word, what a decision means for the row. */
static const char *
outcome_of(JsDecision *decision)
{
	switch (decision->action)
	{
		case JS_TAKE_PMS:
			return "pms";
		case JS_TAKE_MERGED:
			return "merge";
		case JS_HOLD:
			return "held";
		case JS_KEEP:
			break;
	}
	return "local";
}

/*
 * A value as JSON.  A cast to json that somebody made for his type runs with
 * the rights of the owner of the table, like all that users wrote.
 */
static Jsonb *
json_of(JsApply *apply, JsColumn *column, JsValue value)
{
	JsSecurity	security;
	Jsonb	   *json;

	if (!column->user_code)
		return js_value_to_json(column, value);
	js_owner_begin(&security, apply->entity->owner);
	json = js_value_to_json(column, value);
	js_owner_end(&security);
	return json;
}

/* A copy in the current memory context. */
static Jsonb *
copy_json(Jsonb *json)
{
	return json ? DatumGetJsonbPCopy(JsonbPGetDatum(json)) : NULL;
}

/* Remember what preview() shows. */
void
js_notes_preview(JsApply *apply, JsLink *link, JsFieldState *states,
				 JsDecision *decisions)
{
	JsEntity   *entity = apply->entity;
	MemoryContext old = MemoryContextSwitchTo(apply->mcxt);

	for (int i = 0; i < entity->nfields; i++)
	{
		JsColumn   *column = &entity->fields[i].column;
		JsFieldState *state = &states[i];
		JsPreview  *preview;

		if (!state->pms_known && !state->base_known && !state->write)
			continue;
		preview = palloc0(sizeof(JsPreview));
		preview->external_id = pstrdup(link->external_id);
		preview->field = pstrdup(entity->fields[i].name);
		/* what these point to may go with the record */
		preview->base = copy_json(js_field_base_json(state));
		preview->local = copy_json(json_of(apply, column, state->local));
		preview->pms = state->pms_known ? copy_json(js_field_pms_json(state)) :
			preview->base;
		preview->resolved = copy_json(json_of(apply, column, state->result));
		preview->strategy = js_strategy_name(entity->fields[i].strategy);
		preview->outcome = decisions[i].reason == JS_NOTHING_CHANGED ?
			"unchanged" : decisions[i].reason == JS_BOTH_AGREE ? "agree" :
			outcome_of(&decisions[i]);
		apply->previews = lappend(apply->previews, preview);
	}
	MemoryContextSwitchTo(old);
}

/*
 * What changed on either side since the last sync: {field: {from, to}} each.
 * Writes nothing.
 */
void
js_facts_compare(JsEntity *entity, JsRecord *record, JsLink *link, JsRow *row,
				 Jsonb **local_changes, Jsonb **pms_changes)
{
	JsFieldFacts *facts = palloc0(sizeof(JsFieldFacts) * Max(entity->nfields, 1));
	JsonbParseState *local = js_object_begin();
	JsonbParseState *pms = js_object_begin();
	JsFieldState *states;
	JsSecurity	security;

	js_owner_begin(&security, entity->owner);
	states = js_field_gather(entity, record, link, row, facts);
	for (int i = 0; i < entity->nfields; i++)
	{
		JsField    *field = &entity->fields[i];
		JsFieldState *state = &states[i];
		JsonbParseState *change;
		bool		known = state->base_known;

		if (facts[i].local_changed &&
			(known || (state->pms_known && !facts[i].equal)))
		{
			change = js_object_begin();
			js_object_put(&change, "from",
						  known ? js_value_to_json(&field->column, js_field_local_base(&field->column, state)) :
						  js_jsonb_null());
			js_object_put(&change, "to", js_value_to_json(&field->column, state->local));
			js_object_put(&local, field->name, js_object_end(change));
		}
		if (facts[i].pms_present && facts[i].pms_changed &&
			(known || !facts[i].equal))
		{
			change = js_object_begin();
			js_object_put(&change, "from", known ? js_field_base_json(state) : js_jsonb_null());
			js_object_put(&change, "to", js_field_pms_json(state));
			js_object_put(&pms, field->name, js_object_end(change));
		}
	}
	js_owner_end(&security);
	*local_changes = js_object_end(local);
	*pms_changes = js_object_end(pms);
}

/*
 * The fields of which both sides hold different values, though cast and
 * triggers are allowed for: a list of JsDifference.  Writes nothing.
 */
List	   *
js_facts_differences(JsApply *apply, JsRecord *record, JsLink *link,
					 JsRow *row)
{
	JsEntity   *entity = apply->entity;
	JsFieldFacts *facts = palloc0(sizeof(JsFieldFacts) * Max(entity->nfields, 1));
	List	   *result = NIL;
	JsFieldState *states;
	JsSecurity	security;

	if (link->conflict)
		js_field_mark_held(entity, link, facts);
	js_owner_begin(&security, entity->owner);
	states = js_field_gather(entity, record, link, row, facts);
	for (int i = 0; i < entity->nfields; i++)
	{
		JsDifference *difference;

		if (!facts[i].pms_present || facts[i].equal ||
			!(facts[i].local_changed || facts[i].pms_changed))
			continue;
		difference = palloc0(sizeof(JsDifference));
		difference->field = &entity->fields[i];
		difference->base = js_field_base_json(&states[i]);
		difference->local = js_value_to_json(&entity->fields[i].column,
											 states[i].local);
		difference->pms = js_field_pms_json(&states[i]);
		difference->local_changed = facts[i].local_changed;
		difference->pms_changed = facts[i].pms_changed;
		difference->held = facts[i].held;
		result = lappend(result, difference);
	}
	js_owner_end(&security);
	return result;
}
