/*-------------------------------------------------------------------------
 *
 * bases.c
 *	  After a decision: the bases move, and what waits to be pushed is found.
 *
 * What both bases are, see fieldstate.c.  Where a value of the PMS went into
 * the row, what the row made of it becomes its base; where one was kept here,
 * the base of the PMS moves on alone, and the value waits to be pushed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/datum.h"

#include "bases.h"
#include "equal.h"
#include "jsonb.h"
#include "secure.h"

static bool is_untouched(JsColumn *column, JsFieldState *state,
						 JsDecision *decision, JsValue now);
static void put_json(JsonbParseState **object, const char *name, Jsonb *json);
static Jsonb *end_or_null(JsonbParseState *state);

/*
 * Move the bases, find what waits to be pushed, and write the link.
 */
void
js_bases_update(JsApply *apply, JsRecord *record, JsApplied *applied,
				JsFieldState *states, JsDecision *decisions, JsRow *after)
{
	JsEntity   *entity = apply->entity;
	JsLink	   *link = applied->link;
	const char **names = palloc(sizeof(char *) * Max(entity->nfields, 1));
	JsonbValue **items = palloc(sizeof(JsonbValue *) * Max(entity->nfields, 1));
	int			n = 0;			/* of the snapshot */
	JsonbParseState *local_base = NULL;
	JsonbParseState *times = NULL;
	JsonbParseState *pending = NULL;
	JsonbParseState *decided_fields = NULL;
	JsSecurity	security;
	bool		held = false;

	js_casts_begin(&security, entity);
	for (int k = 0; k < entity->nfields; k++)
	{
		int			i = entity->key_order[k];
		JsField    *field = &entity->fields[i];
		JsColumn   *column = &field->column;
		JsFieldState *state = &states[i];
		JsonbValue *base_item = state->base_known ? &state->base_item : NULL;
		JsValue		now = after->values[i];
		JsValue		base;
		JsValue		synced;
		bool		decided = state->decided;
		bool		changed;

		if (is_untouched(column, state, &decisions[i], now))
		{
			names[n] = field->name;
			items[n++] = base_item;
			continue;
		}
		base = js_field_base(column, state);
		synced = js_field_local_base(column, state);

		/* the PMS has moved on, or both agree: what was chosen is over */
		if (decided && ((decisions[i].move_base && state->pms_known &&
						 !state->pms_same) ||
						decisions[i].release))
			decided = false;
		if (decisions[i].move_base && state->pms_known)
		{
			base_item = &state->pms_item;
			base = js_field_pms(column, state);
			synced = base;
		}
		/* the row's value came from the PMS, through cast and triggers */
		if (decisions[i].action == JS_TAKE_PMS && base_item != NULL)
			synced = now;
		held = held || decisions[i].action == JS_HOLD;

		if (base_item != NULL)
		{
			names[n] = field->name;
			items[n++] = base_item;
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
	js_casts_end(&security, entity);

	link->snapshot = js_jsonb_object(names, items, n);
	link->local_base = end_or_null(local_base);
	link->local_times = end_or_null(times);
	link->decided = end_or_null(decided_fields);
	applied->pending = end_or_null(pending);

	link->waiting = applied->pending != NULL || link->state == JS_NEW_HERE;
	/* without a stream nobody asks; one that comes takes what waits */
	link->dirty = link->stream_id != 0 &&
		(link->waiting || (link->must_pull && link->dirty &&
						   (record == NULL || record->remembered)));
	/* what was refused may be over now */
	if (link->push_failures > 0)
		link->dirty = true;
	link->conflict = held;
	link->row_at = after->root;
	if (record != NULL)
	{
		link->pms_time_known = record->time_known;
		link->pms_updated_at = record->time;
		link->hash = (int64) record->hash;
		link->hash_known = link->hash_known || !record->remembered;
		link->failed = link->push_failures > 0;
		link->must_pull = link->must_pull && record->remembered;
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
is_untouched(JsColumn *column, JsFieldState *state, JsDecision *decision,
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

/* Add a value to an object, which is begun if need be. */
static void
put_json(JsonbParseState **object, const char *name, Jsonb *json)
{
	if (*object == NULL)
		*object = js_object_begin();
	js_object_put(object, name, json);
}

/* The finished object, or NULL if it has no members. */
static Jsonb *
end_or_null(JsonbParseState *state)
{
	return state ? js_object_end(state) : NULL;
}
