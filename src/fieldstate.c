/*-------------------------------------------------------------------------
 *
 * fieldstate.c
 *	  The three values of every field, and what changed among them.
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
#include "utils/fmgrprotos.h"

#include "compat.h"
#include "equal.h"
#include "fieldstate.h"
#include "journal.h"
#include "jsonb.h"
#include "secure.h"

static void gather_items(JsEntity *entity, JsRecord *record, JsLink *link,
						 JsFieldState *states);
static void gather_field(JsField *field, JsLink *link, JsFieldState *state,
						 JsFieldFacts *facts);
static bool local_unchanged(JsColumn *column, JsFieldState *state);

/* Establish the facts of all fields. */
JsFieldState *
js_field_gather(JsEntity *entity, JsRecord *record, JsLink *link, JsRow *row,
				JsFieldFacts *facts)
{
	int			n = Max(entity->nfields, 1);
	JsFieldState *states = palloc0(sizeof(JsFieldState) * n);

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
			 JsFieldState *states)
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
				js_field_take_item(record->fields[i], &states[i].pms_item);
}

/* A JSON value as an item; false if there is none. */
bool
js_field_take_item(Jsonb *json, JsonbValue *item)
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
gather_field(JsField *field, JsLink *link, JsFieldState *state,
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
			!js_value_equal(column, js_field_pms(column, state),
							js_field_base(column, state));
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
			js_value_equal(column, state->local, js_field_pms(column, state));
	if (field->unless_blank || field->group >= 0)
	{
		facts->pms_blank = js_value_blank(column, js_field_pms(column, state));
		facts->local_blank = js_value_blank(column, state->local);
	}
}

/* Does the row still hold what it held at the last sync? */
static bool
local_unchanged(JsColumn *column, JsFieldState *state)
{
	if (!state->local_base_known &&
		js_value_is_item(column, state->local, &state->base_item))
	{
		/* it is the cast of the base, too */
		state->base = state->local_base = state->local;
		state->base_cast = state->local_base_cast = true;
		return true;
	}
	return js_value_equal(column, state->local,
						  js_field_local_base(column, state));
}

/* The base, cast to the type of the column. */
JsValue
js_field_base(JsColumn *column, JsFieldState *state)
{
	if (!state->base_cast)
		state->base = js_value_from_item(column, &state->base_item);
	state->base_cast = true;
	return state->base;
}

/* What the row held at the last sync. */
JsValue
js_field_local_base(JsColumn *column, JsFieldState *state)
{
	if (!state->local_base_cast)
		state->local_base = state->local_base_known ?
			js_value_from_item(column, &state->local_base_item) :
			js_field_base(column, state);
	state->local_base_cast = true;
	return state->local_base;
}

/* What the PMS says; the base, if it says nothing new. */
JsValue
js_field_pms(JsColumn *column, JsFieldState *state)
{
	if (!state->pms_cast)
		state->pms = state->pms_known && !state->pms_same ?
			js_value_from_item(column, &state->pms_item) :
			js_field_base(column, state);
	state->pms_cast = true;
	return state->pms;
}

/* The base as JSON; NULL: unknown. */
Jsonb	   *
js_field_base_json(JsFieldState *state)
{
	return state->base_known ? js_jsonb_from_value(&state->base_item) : NULL;
}

/* What the record says as JSON; NULL: nothing. */
Jsonb	   *
js_field_pms_json(JsFieldState *state)
{
	return state->pms_known ? js_jsonb_from_value(&state->pms_item) : NULL;
}

/* Casts of users' types run as the owner of the table; ours need not. */
void
js_casts_begin(JsSecurity *security, JsEntity *entity)
{
	if (entity->user_code)
		js_owner_begin(security, entity->owner);
}

/* The end of it. */
void
js_casts_end(JsSecurity *security, JsEntity *entity)
{
	if (entity->user_code)
		js_owner_end(security);
}

/* Mark the fields that are held for a person. */
void
js_field_mark_held(JsEntity *entity, JsLink *link, JsFieldFacts *facts)
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
