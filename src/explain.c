/*-------------------------------------------------------------------------
 *
 * explain.c
 *	  What explain() and preview_rule() need from the engine.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "apply.h"
#include "compat.h"
#include "equal.h"
#include "jacksync.h"
#include "jsonb.h"
#include "merge.h"
#include "secure.h"
#include "statement.h"

JS_FUNCTION(jacksync_row_values);
JS_FUNCTION(jacksync_decide);

static void typed_facts(JsField *field, Jsonb **values, JsFieldFacts *facts,
						JsValue *typed);
static Jsonb *decided_value(JsField *field, JsDecision *decision,
							JsFieldFacts *facts, JsRecordFacts *record,
							JsValue *typed);

/* The three values of a field, in the order of the arguments of decide(). */
enum
{
	BASE,
	LOCAL,
	PMS
};

/*
 * row_values(entity text, local_id text) returns jsonb: the fields of a row as
 * it is now, {field: value}; NULL if there is no such row.
 */
Datum
jacksync_row_values(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *local_id = text_to_cstring(PG_GETARG_TEXT_PP(1));
	MemoryContext caller = CurrentMemoryContext;
	JsonbParseState *state = js_object_begin();
	JsEntity   *entity;
	JsRow		row;
	JsSecurity	security;
	bool		found;
	int			level;

	SPI_connect();
	MemoryContextSwitchTo(caller);
	entity = js_entity_by_name(name, false);
	js_entity_check(entity);
	level = js_pin_settings(NULL);
	js_owner_begin(&security, entity->owner);
	found = js_row_read(entity, local_id, &row) == JS_ROW_FOUND;
	for (int i = 0; found && i < entity->nfields; i++)
		js_object_put(&state, entity->fields[i].name,
					  js_value_to_json(&entity->fields[i].column,
									   row.values[i]));
	js_owner_end(&security);
	js_unpin_settings(level);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(js_object_end(state));
}

/*
 * decide(entity text, field text, strategy, unless_blank boolean,
 * base jsonb, local jsonb, pms jsonb, local_updated_at timestamptz,
 * pms_updated_at timestamptz) returns jsonb: the value that a rule would give,
 * by the type of the field's column; NULL if it would be held for a person.
 * base is NULL where it is not known.
 */
Datum
jacksync_decide(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *field_name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *strategy = OidOutputFunctionCall(F_ENUM_OUT,
												 PG_GETARG_DATUM(2));
	MemoryContext caller = CurrentMemoryContext;
	Jsonb	   *values[3];
	JsValue		typed[3] = {0};
	JsEntity   *entity;
	JsField    *field;
	JsFieldFacts facts = {0};
	JsRecordFacts record = {0};
	JsDecision	decision;
	JsSecurity	security;
	Jsonb	   *result;
	int			level;

	for (int i = BASE; i <= PMS; i++)
		values[i] = PG_ARGISNULL(4 + i) ? NULL : PG_GETARG_JSONB_P(4 + i);
	SPI_connect();
	MemoryContextSwitchTo(caller);
	entity = js_entity_by_name(name, false);
	js_entity_check(entity);
	field = js_entity_field(entity, field_name);
	if (field == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("entity \"%s\" has no field \"%s\"", name,
						field_name)));
	while (strcmp(js_strategy_name(facts.strategy), strategy) != 0)
		facts.strategy++;
	facts.push = field->push;
	facts.unless_blank = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	facts.group = -1;
	facts.local_time_known = !PG_ARGISNULL(7);
	facts.local_time = facts.local_time_known ? PG_GETARG_TIMESTAMPTZ(7) : 0;
	record.pms_time_known = !PG_ARGISNULL(8);
	record.pms_time = record.pms_time_known ? PG_GETARG_TIMESTAMPTZ(8) : 0;
	record.on_local_edit = entity->on_local_edit;

	level = js_pin_settings(NULL);
	js_owner_begin(&security, entity->owner);
	typed_facts(field, values, &facts, typed);
	js_plan_record(&record, &facts, 1, &decision);
	result = decided_value(field, &decision, &facts, &record, typed);
	js_owner_end(&security);
	js_unpin_settings(level);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	if (decision.action == JS_HOLD)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(result);
}

/* The facts of a field whose three values are given. */
static void
typed_facts(JsField *field, Jsonb **values, JsFieldFacts *facts,
			JsValue *typed)
{
	JsColumn   *column = &field->column;

	for (int i = BASE; i <= PMS; i++)
	{
		typed[i].isnull = true;
		if (values[i] != NULL)
			typed[i] = js_value_from_json(column, values[i]);
	}
	facts->base_known = values[BASE] != NULL;
	facts->pms_present = true;
	facts->pms_changed = !facts->base_known ||
		!js_value_equal(column, typed[PMS], typed[BASE]);
	facts->local_changed = !facts->base_known ||
		!js_value_equal(column, typed[LOCAL], typed[BASE]);
	facts->equal = js_value_equal(column, typed[LOCAL], typed[PMS]);
	facts->pms_blank = js_value_blank(column, typed[PMS]);
	facts->local_blank = js_value_blank(column, typed[LOCAL]);
}

/* The value that a decision gives to the row. */
static Jsonb *
decided_value(JsField *field, JsDecision *decision, JsFieldFacts *facts,
			  JsRecordFacts *record, JsValue *typed)
{
	JsValue		value = typed[LOCAL];

	if (decision->action == JS_TAKE_PMS)
		value = typed[PMS];
	else if (decision->action == JS_TAKE_MERGED)
	{
		JsMergeSide newer = JS_NEWER_UNKNOWN;

		if (record->pms_time_known && facts->local_time_known)
			newer = record->pms_time > facts->local_time ?
				JS_NEWER_PMS : JS_NEWER_LOCAL;
		value = js_value_merge(&field->column, typed[BASE], typed[LOCAL],
							   typed[PMS], facts->base_known, newer);
	}
	return js_value_to_json(&field->column, value);
}
