/*-------------------------------------------------------------------------
 *
 * facts.c
 *	  From three values of every field to facts, and from decisions to rows.
 *
 * There are two bases.  The snapshot is what the PMS said; local_base is what
 * the row held after the cast and after users' triggers, kept only where that
 * is another value.  A side has changed if it differs from its own base.  So
 * a trigger that writes capitals, or a numeric(10,2), never looks like a
 * local change.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "facts.h"
#include "jacksync.h"
#include "merge.h"
#include "plan.h"
#include "secure.h"

/*
 * The values of one field on their way through a decision.  Most fields are
 * the same on both sides, and are never cast; base_of() and the like cast
 * those that must be.
 */
typedef struct FieldState
{
	JsonbValue	base_item;		/* of the snapshot */
	JsonbValue	local_base_item;
	JsonbValue	pms_item;
	bool		base_known;
	bool		local_base_known;	/* else what the row held is the base */
	bool		pms_known;		/* the record has the field */
	bool		pms_same;		/* as JSON, the PMS says what it said */
	bool		base_cast;
	bool		local_base_cast;
	bool		pms_cast;
	JsValue		base;
	JsValue		local_base;		/* what the row held at the last sync */
	JsValue		pms;
	JsValue		local;			/* the row's value before */
	JsValue		result;			/* what the row is to hold */
	bool		write;
	bool		broken;			/* held because of apply->constraint */
	bool		decided;		/* a person chose the value */
	bool		time_known;
	TimestampTz time;			/* of the local change */
} FieldState;

static FieldState *gather(JsEntity *entity, JsRecord *record, JsLink *link,
						  JsRow *row, JsFieldFacts *facts);
static void gather_items(JsEntity *entity, JsRecord *record, JsLink *link,
						 FieldState *states);
static bool take_item(Jsonb *json, JsonbValue *item);
static void gather_field(JsField *field, JsLink *link, FieldState *state,
						 JsFieldFacts *facts);
static bool local_unchanged(JsColumn *column, FieldState *state);
static JsValue base_of(JsColumn *column, FieldState *state);
static JsValue local_base_of(JsColumn *column, FieldState *state);
static JsValue pms_of(JsColumn *column, FieldState *state);
static Jsonb *base_json(FieldState *state);
static Jsonb *pms_json(FieldState *state);
static void begin_casts(JsSecurity *security, JsEntity *entity);
static void end_casts(JsSecurity *security, JsEntity *entity);
static bool is_untouched(JsColumn *column, FieldState *state,
						 JsDecision *decision, JsValue now);
static void put_json(JsonbParseState **object, const char *name, Jsonb *json);
static void put_item(JsonbParseState **object, const char *name,
					 JsonbValue *item);
static void mark_held(JsEntity *entity, JsLink *link, JsFieldFacts *facts);
static void hold_suspects(JsApply *apply, FieldState *states,
						  JsFieldFacts *facts);
static void carry_out(JsApply *apply, FieldState *states,
					  JsFieldFacts *facts, JsDecision *decisions,
					  JsRecordFacts *record_facts);
static void write_row(JsApply *apply, JsApplied *applied, FieldState *states,
					  JsRow *after);
static void note_decisions(JsApply *apply, JsApplied *applied,
						   FieldState *states, JsDecision *decisions,
						   JsRecordFacts *record_facts, JsRow *after);
static void note_hold(JsApply *apply, JsSubject *subject, JsField *field,
					  FieldState *state, JsRow *after);
static void note_field(JsApply *apply, JsSubject *subject, JsField *field,
					   FieldState *state, JsDecision *decision,
					   JsRecordFacts *record_facts, JsValue after);
static void update_bases(JsApply *apply, JsRecord *record, JsApplied *applied,
						 FieldState *states, JsDecision *decisions,
						 JsRow *after);
static Jsonb *copy_json(Jsonb *json);
static void preview_fields(JsApply *apply, JsLink *link, FieldState *states,
						   JsDecision *decisions);
static Jsonb *json_of(JsApply *apply, JsColumn *column, JsValue value);
static Jsonb *end_or_null(JsonbParseState *state);
static const char *outcome_of(JsDecision *decision);

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
	FieldState *states;
	JsRow		after;
	JsSecurity	security;
	bool		both_changed = false;

	if (link->conflict)
		mark_held(entity, link, facts);
	begin_casts(&security, entity);
	states = gather(entity, record, link, &applied->row, facts);

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
	end_casts(&security, entity);
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
	update_bases(apply, record, applied, states, decisions, &after);
	note_decisions(apply, applied, states, decisions, &record_facts, &after);
	if (apply->previewing)
		preview_fields(apply, link, states, decisions);
	applied->row = after;
}

/* Establish the facts of all fields. */
static FieldState *
gather(JsEntity *entity, JsRecord *record, JsLink *link, JsRow *row,
	   JsFieldFacts *facts)
{
	FieldState *states = palloc0(sizeof(FieldState) * Max(entity->nfields, 1));

	gather_items(entity, record, link, states);
	for (int i = 0; i < entity->nfields; i++)
	{
		JsField    *field = &entity->fields[i];

		facts[i].strategy = field->strategy;
		facts[i].push = field->push;
		facts[i].unless_blank = field->unless_blank;
		facts[i].group = field->group;
		states[i].local = row->values[i];
		gather_field(field, link, &states[i], &facts[i]);
	}
	return states;
}

/* Find what link and record say about every field. */
static void
gather_items(JsEntity *entity, JsRecord *record, JsLink *link,
			 FieldState *states)
{
	int			n = entity->nfields;
	JsonbValue *items = palloc(sizeof(JsonbValue) * Max(n, 1));
	bool	   *known = palloc(sizeof(bool) * Max(n, 1));

	js_entity_split(entity, link->snapshot, items, known);
	for (int i = 0; i < n; i++)
	{
		states[i].base_item = items[i];
		states[i].base_known = known[i];
	}
	if (link->local_base != NULL)
	{
		js_entity_split(entity, link->local_base, items, known);
		for (int i = 0; i < n; i++)
		{
			states[i].local_base_item = items[i];
			states[i].local_base_known = known[i];
		}
	}
	if (link->local_times != NULL)
	{
		js_entity_split(entity, link->local_times, items, known);
		for (int i = 0; i < n; i++)
		{
			states[i].time_known = known[i];
			if (known[i])
				states[i].time =
					DatumGetInt64(DirectFunctionCall1(numeric_int8,
													  NumericGetDatum(items[i].val.numeric)));
		}
	}
	if (link->decided != NULL)
	{
		js_entity_split(entity, link->decided, items, known);
		for (int i = 0; i < n; i++)
			states[i].decided = known[i];
	}
	if (record != NULL)
		for (int i = 0; i < n; i++)
			states[i].pms_known = record->items ?
				(states[i].pms_item = record->items[i], record->known[i]) :
				take_item(record->fields[i], &states[i].pms_item);
}

/* A JSON value as an item; false if there is none. */
static bool
take_item(Jsonb *json, JsonbValue *item)
{
	if (json == NULL)
		return false;
	if (JB_ROOT_IS_SCALAR(json))
		(void) JsonbExtractScalar(&json->root, item);
	else
	{
		item->type = jbvBinary;
		item->val.binary.data = &json->root;
		item->val.binary.len = VARSIZE_ANY_EXHDR(json);
	}
	return true;
}

/* Establish the facts of one field. */
static void
gather_field(JsField *field, JsLink *link, FieldState *state,
			 JsFieldFacts *facts)
{
	JsColumn   *column = &field->column;

	facts->base_known = state->base_known;
	facts->pms_present = state->pms_known;
	facts->local_time_known = state->time_known;
	facts->local_time = state->time;

	if (state->base_known)
		facts->local_changed = !local_unchanged(column, state);
	else
	{
		state->base.isnull = true;
		state->base_cast = state->local_base_cast = true;
		facts->local_changed = facts->local_time_known ||
			!js_value_blank(column, state->local);
	}

	state->pms_same = state->pms_known && state->base_known &&
		js_item_same(&state->pms_item, &state->base_item);
	if (state->pms_known && !state->pms_same)
	{
		facts->pms_changed = !state->base_known ||
			!js_value_equal(column, pms_of(column, state),
							base_of(column, state));
		/* never seen, and nothing here that could be lost */
		if (!facts->base_known && link->record_id != 0 &&
			!facts->local_changed && !facts->held)
			facts->base_known = true;
	}

	/* what the PMS said became our value by cast and triggers: no change */
	if (!facts->local_changed && !facts->pms_changed && facts->base_known)
		facts->equal = true;
	else
		facts->equal = (facts->base_known || facts->pms_present) &&
			js_value_equal(column, state->local, pms_of(column, state));
	if (field->unless_blank || field->group >= 0)
	{
		facts->pms_blank = js_value_blank(column, pms_of(column, state));
		facts->local_blank = js_value_blank(column, state->local);
	}
}

/* Does the row still hold what it held at the last sync? */
static bool
local_unchanged(JsColumn *column, FieldState *state)
{
	if (!state->local_base_known &&
		js_value_is_item(column, state->local, &state->base_item))
	{
		/* it is the cast of the base, too */
		state->base = state->local_base = state->local;
		state->base_cast = state->local_base_cast = true;
		return true;
	}
	return js_value_equal(column, state->local, local_base_of(column, state));
}

/* The base, cast to the type of the column. */
static JsValue
base_of(JsColumn *column, FieldState *state)
{
	if (!state->base_cast)
		state->base = js_value_from_item(column, &state->base_item);
	state->base_cast = true;
	return state->base;
}

/* What the row held at the last sync. */
static JsValue
local_base_of(JsColumn *column, FieldState *state)
{
	if (!state->local_base_cast)
		state->local_base = state->local_base_known ?
			js_value_from_item(column, &state->local_base_item) :
			base_of(column, state);
	state->local_base_cast = true;
	return state->local_base;
}

/* What the PMS says; the base, if it says nothing new. */
static JsValue
pms_of(JsColumn *column, FieldState *state)
{
	if (!state->pms_cast)
		state->pms = state->pms_known && !state->pms_same ?
			js_value_from_item(column, &state->pms_item) :
			base_of(column, state);
	state->pms_cast = true;
	return state->pms;
}

/* The base as JSON; NULL: unknown. */
static Jsonb *
base_json(FieldState *state)
{
	return state->base_known ? js_jsonb_from_value(&state->base_item) : NULL;
}

/* What the record says as JSON; NULL: nothing. */
static Jsonb *
pms_json(FieldState *state)
{
	return state->pms_known ? js_jsonb_from_value(&state->pms_item) : NULL;
}

/* Casts of users' types run as the owner of the table; ours need not. */
static void
begin_casts(JsSecurity *security, JsEntity *entity)
{
	if (entity->user_code)
		js_owner_begin(security, entity->owner);
}

/* The end of it. */
static void
end_casts(JsSecurity *security, JsEntity *entity)
{
	if (entity->user_code)
		js_owner_end(security);
}

/* Mark the fields that are held for a person. */
static void
mark_held(JsEntity *entity, JsLink *link, JsFieldFacts *facts)
{
	int			n;
	char	  **held = js_conflict_fields(link->record_id, &n);

	for (int i = 0; i < n; i++)
	{
		JsField    *field = js_entity_field(entity, held[i]);

		if (field != NULL)
			facts[field - entity->fields].held = true;
	}
}

/*
 * The result broke a constraint over these fields.  If any of them was
 * changed here it is the mixture of both sides that is wrong: they are held,
 * with all of their groups.  Else what the PMS sent is wrong by itself, which
 * is an error of the record.
 */
static void
hold_suspects(JsApply *apply, FieldState *states, JsFieldFacts *facts)
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
carry_out(JsApply *apply, FieldState *states, JsFieldFacts *facts,
		  JsDecision *decisions, JsRecordFacts *record_facts)
{
	JsEntity   *entity = apply->entity;

	for (int i = 0; i < entity->nfields; i++)
	{
		FieldState *state = &states[i];
		JsColumn   *column = &entity->fields[i].column;
		JsMergeSide newer = JS_NEWER_UNKNOWN;

		state->result = state->local;
		if (decisions[i].action == JS_TAKE_PMS)
		{
			/* back to what the row held then, if the PMS has not moved */
			state->result = facts[i].pms_changed ? pms_of(column, state) :
				local_base_of(column, state);
		}
		else if (decisions[i].action == JS_TAKE_MERGED)
		{
			if (record_facts->pms_time_known && facts[i].local_time_known)
				newer = record_facts->pms_time > facts[i].local_time ?
					JS_NEWER_PMS : JS_NEWER_LOCAL;
			state->result = js_value_merge(column, base_of(column, state),
										   state->local,
										   pms_of(column, state),
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
write_row(JsApply *apply, JsApplied *applied, FieldState *states, JsRow *after)
{
	JsEntity   *entity = apply->entity;
	bool	   *write = palloc0(sizeof(bool) * Max(entity->nfields, 1));
	JsValue    *values = palloc0(sizeof(JsValue) * Max(entity->nfields, 1));
	const char *id = NULL;
	JsSecurity	security;
	bool		any = false;
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
	js_owner_begin(&security, entity->owner);
	written = js_row_update(entity, after, write, values, id);
	js_owner_end(&security);
	if (!written)
		ereport(ERROR,
				(errcode(ERRCODE_JS_BAD_RECORD),
				 errmsg("a trigger of the table of \"%s\" suppressed the update of row %s",
						entity->name, applied->row.local_id)));
}

/*
 * Move the bases, find what waits to be pushed, and write the link.
 */
static void
update_bases(JsApply *apply, JsRecord *record, JsApplied *applied,
			 FieldState *states, JsDecision *decisions, JsRow *after)
{
	JsEntity   *entity = apply->entity;
	JsLink	   *link = applied->link;
	JsonbParseState *snapshot = js_object_begin();
	JsonbParseState *local_base = NULL;
	JsonbParseState *times = NULL;
	JsonbParseState *pending = NULL;
	JsonbParseState *decided_fields = NULL;
	JsSecurity	security;
	bool		held = false;

	begin_casts(&security, entity);
	for (int k = 0; k < entity->nfields; k++)
	{
		int			i = entity->key_order[k];
		JsField    *field = &entity->fields[i];
		JsColumn   *column = &field->column;
		FieldState *state = &states[i];
		JsonbValue *base_item = state->base_known ? &state->base_item : NULL;
		JsValue		now = after->values[i];
		JsValue		base;
		JsValue		synced;
		bool		decided = state->decided;
		bool		changed;

		if (is_untouched(column, state, &decisions[i], now))
		{
			put_item(&snapshot, field->name, base_item);
			continue;
		}
		base = base_of(column, state);
		synced = local_base_of(column, state);

		/* the PMS has moved on, or both agree: what was chosen is over */
		if (decided && ((decisions[i].move_base && state->pms_known &&
						 !state->pms_same) ||
						decisions[i].release))
			decided = false;
		if (decisions[i].move_base && state->pms_known)
		{
			base_item = &state->pms_item;
			base = pms_of(column, state);
			synced = base;
		}
		/* the row's value came from the PMS, through cast and triggers */
		if (decisions[i].action == JS_TAKE_PMS && base_item != NULL)
			synced = now;
		held = held || decisions[i].action == JS_HOLD;

		if (base_item != NULL)
		{
			put_item(&snapshot, field->name, base_item);
			if (!js_value_equal(column, synced, base))
				put_json(&local_base, field->name,
						 js_value_to_json(column, synced));
			changed = !js_value_equal(column, now, synced);
		}
		else
			changed = state->time_known ||
				(link->state == JS_NEW_HERE && !now.isnull);

		if (decided && js_value_equal(column, now, base))
			decided = false;
		if (decided)
			put_json(&decided_fields, field->name, js_jsonb_null());
		if (!changed && !decided)
			continue;
		if (state->time_known)
			put_json(&times, field->name, js_jsonb_int8(state->time));
		if ((field->push || decided) && decisions[i].action != JS_HOLD)
			put_json(&pending, field->name, js_value_to_json(column, now));
	}
	end_casts(&security, entity);

	link->snapshot = js_object_end(snapshot);
	link->local_base = end_or_null(local_base);
	link->local_times = end_or_null(times);
	link->decided = end_or_null(decided_fields);
	applied->pending = end_or_null(pending);

	link->dirty = link->waiting = applied->pending != NULL ||
		link->state == JS_NEW_HERE;
	/* what was refused may be over now */
	if (link->push_failures > 0)
		link->dirty = true;
	link->conflict = held;
	if (record != NULL)
	{
		link->pms_time_known = record->time_known;
		link->pms_updated_at = record->time;
		link->hash = (int64) record->hash;
		link->hash_known = true;
		link->failed = link->push_failures > 0;
		link->must_pull = false;
		link->version = record->version;	/* a page does not tell */
	}
	if (link->record_id == 0)
		js_link_insert(link);
	else
		js_link_update(link);
}

/*
 * A field that nobody changed and nothing is noted about, and that no trigger
 * touched: its base stays.
 */
static bool
is_untouched(JsColumn *column, FieldState *state, JsDecision *decision,
			 JsValue now)
{
	return state->base_known && decision->reason == JS_NOTHING_CHANGED &&
		decision->action == JS_KEEP && !decision->release &&
		!state->local_base_known && !state->time_known && !state->decided &&
		(!state->pms_known || state->pms_same) &&
		now.isnull == state->local.isnull &&
		(now.isnull || datum_image_eq(now.value, state->local.value,
									  column->byval, column->len));
}

/* Add an item to an object. */
static void
put_item(JsonbParseState **object, const char *name, JsonbValue *item)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	pushJsonbValue(object, WJB_KEY, &key);
	pushJsonbValue(object, WJB_VALUE, item);
}

/* Add a value to an object, which is begun if need be. */
static void
put_json(JsonbParseState **object, const char *name, Jsonb *json)
{
	if (*object == NULL)
		*object = js_object_begin();
	js_object_put(object, name, json);
}

/*
 * The bases of a row that was just inserted with what the PMS sent.
 */
void
js_facts_inserted(JsApply *apply, JsRecord *record, JsApplied *applied,
				  const JsValue *sent)
{
	JsEntity   *entity = apply->entity;
	FieldState *states = palloc0(sizeof(FieldState) * Max(entity->nfields, 1));
	JsDecision *decisions = palloc0(sizeof(JsDecision) * Max(entity->nfields, 1));

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
			take_item(record->fields[i], &states[i].pms_item);
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
	update_bases(apply, record, applied, states, decisions, &applied->row);
	if (apply->previewing)
		preview_fields(apply, applied->link, states, decisions);
}

/* Write down what was decided: audit, conflicts held and released. */
static void
note_decisions(JsApply *apply, JsApplied *applied, FieldState *states,
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
		  FieldState *state, JsRow *after)
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
	hold.base = base_json(state);
	hold.local = json_of(apply, &field->column, state->local);
	hold.pms = pms_json(state);
	if (apply->entity->urgency != NULL)
		hold.urgency = json_of(apply, apply->entity->urgency, after->urgency);
	js_conflict_hold(subject, &hold);
}

/* Audit the decision about a field. */
static void
note_field(JsApply *apply, JsSubject *subject, JsField *field,
		   FieldState *state, JsDecision *decision,
		   JsRecordFacts *record_facts, JsValue after)
{
	JsColumn   *column = &field->column;
	Jsonb	   *local = json_of(apply, column, state->local);
	JsAudit		audit = {0};

	audit.operation = decision->both_changed ? "conflict_resolution" : "sync";
	audit.field = field->name;
	audit.before = local;
	audit.after = json_of(apply, column, after);
	audit.base = base_json(state);
	audit.local = local;
	audit.pms = state->pms_known ? pms_json(state) : audit.base;
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
static void
preview_fields(JsApply *apply, JsLink *link, FieldState *states,
			   JsDecision *decisions)
{
	JsEntity   *entity = apply->entity;
	MemoryContext old = MemoryContextSwitchTo(apply->mcxt);

	for (int i = 0; i < entity->nfields; i++)
	{
		JsColumn   *column = &entity->fields[i].column;
		FieldState *state = &states[i];
		JsPreview  *preview;

		if (!state->pms_known && !state->base_known && !state->write)
			continue;
		preview = palloc0(sizeof(JsPreview));
		preview->external_id = pstrdup(link->external_id);
		preview->field = pstrdup(entity->fields[i].name);
		/* what these point to may go with the record */
		preview->base = copy_json(base_json(state));
		preview->local = copy_json(json_of(apply, column, state->local));
		preview->pms = state->pms_known ? copy_json(pms_json(state)) :
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
	FieldState *states;
	JsSecurity	security;

	js_owner_begin(&security, entity->owner);
	states = gather(entity, record, link, row, facts);
	for (int i = 0; i < entity->nfields; i++)
	{
		JsField    *field = &entity->fields[i];
		FieldState *state = &states[i];
		JsonbParseState *change;
		bool		known = state->base_known;

		if (facts[i].local_changed &&
			(known || (state->pms_known && !facts[i].equal)))
		{
			change = js_object_begin();
			js_object_put(&change, "from",
						  known ? js_value_to_json(&field->column, local_base_of(&field->column, state)) :
						  js_jsonb_null());
			js_object_put(&change, "to", js_value_to_json(&field->column, state->local));
			js_object_put(&local, field->name, js_object_end(change));
		}
		if (facts[i].pms_present && facts[i].pms_changed &&
			(known || !facts[i].equal))
		{
			change = js_object_begin();
			js_object_put(&change, "from", known ? base_json(state) : js_jsonb_null());
			js_object_put(&change, "to", pms_json(state));
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
List *
js_facts_differences(JsApply *apply, JsRecord *record, JsLink *link,
					 JsRow *row)
{
	JsEntity   *entity = apply->entity;
	JsFieldFacts *facts = palloc0(sizeof(JsFieldFacts) * Max(entity->nfields, 1));
	List	   *result = NIL;
	FieldState *states;
	JsSecurity	security;

	if (link->conflict)
		mark_held(entity, link, facts);
	js_owner_begin(&security, entity->owner);
	states = gather(entity, record, link, row, facts);
	for (int i = 0; i < entity->nfields; i++)
	{
		JsDifference *difference;

		if (!facts[i].pms_present || facts[i].equal ||
			!(facts[i].local_changed || facts[i].pms_changed))
			continue;
		difference = palloc0(sizeof(JsDifference));
		difference->field = &entity->fields[i];
		difference->base = base_json(&states[i]);
		difference->local = js_value_to_json(&entity->fields[i].column,
											 states[i].local);
		difference->pms = pms_json(&states[i]);
		difference->local_changed = facts[i].local_changed;
		difference->pms_changed = facts[i].pms_changed;
		difference->held = facts[i].held;
		result = lappend(result, difference);
	}
	js_owner_end(&security);
	return result;
}

/* The finished object, or NULL if it has no members. */
static Jsonb *
end_or_null(JsonbParseState *state)
{
	return state ? js_object_end(state) : NULL;
}
