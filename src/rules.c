/*-------------------------------------------------------------------------
 *
 * rules.c
 *	  SQL-callable functions that try the rules on values of JSON.
 *
 * They touch no record: who writes a rule sees what it does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "jacksync.h"
#include "json.h"
#include "jsonb.h"
#include "merge.h"
#include "plan.h"
#include "value.h"

JS_FUNCTION(jacksync_changed_fields);
JS_FUNCTION(jacksync_merge);
JS_FUNCTION(jacksync_resolve);

static Jsonb *resolve_value(JsStrategy strategy, Jsonb *local, Jsonb *pms,
							Jsonb *base, JsFieldFacts *facts,
							JsRecordFacts *record);
static Jsonb *merge_json(Jsonb *base, Jsonb *local, Jsonb *pms, int newer);
static JsJson *parse(Jsonb *json, const JsAllocator *allocator);
static bool blank(Jsonb *json);

/*
 * changed_fields(current jsonb, snapshot jsonb)
 */
Datum
jacksync_changed_fields(PG_FUNCTION_ARGS)
{
	Jsonb	   *sides[2];
	JsonbParseState *result = js_object_begin();

	for (int i = 0; i < 2; i++)
	{
		sides[i] = PG_ARGISNULL(i) ? js_jsonb_in("{}") : PG_GETARG_JSONB_P(i);
		if (!JB_ROOT_IS_OBJECT(sides[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s must be a JSON object",
							i == 0 ? "current" : "snapshot")));
	}

	/* every field of the snapshot, then those that only current has */
	for (int side = 1; side >= 0; side--)
	{
		JsonbIterator *iterator = JsonbIteratorInit(&sides[side]->root);
		JsonbIteratorToken token;
		JsonbValue	value;

		while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		{
			char	   *key;
			Jsonb	   *from;
			Jsonb	   *to;
			JsonbParseState *change;

			if (token != WJB_KEY)
				continue;
			key = pnstrdup(value.val.string.val, value.val.string.len);
			from = js_jsonb_member(sides[1], key);
			to = js_jsonb_member(sides[0], key);
			/* absent from current: unchanged there, as in a record */
			if (to == NULL || (side == 0 && from != NULL) ||
				(from != NULL && js_jsonb_same(from, to)))
				continue;
			change = js_object_begin();
			js_object_put(&change, "from", from);
			js_object_put(&change, "to", to);
			js_object_put(&result, key, js_object_end(change));
		}
	}
	PG_RETURN_JSONB_P(js_object_end(result));
}

/*
 * merge(local jsonb, pms jsonb, base jsonb)
 */
Datum
jacksync_merge(PG_FUNCTION_ARGS)
{
	Jsonb	   *local = PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0);
	Jsonb	   *pms = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	Jsonb	   *base = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	Jsonb	   *result = merge_json(base, local, pms, JS_NEWER_UNKNOWN);

	if (result == NULL || (js_jsonb_is_null(result) && local == NULL &&
						   pms == NULL))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(result);
}

/*
 * resolve(strategy, local, pms, base, local_updated_at, pms_updated_at)
 */
Datum
jacksync_resolve(PG_FUNCTION_ARGS)
{
	Jsonb	   *local = PG_ARGISNULL(1) ? js_jsonb_null() : PG_GETARG_JSONB_P(1);
	Jsonb	   *pms = PG_ARGISNULL(2) ? js_jsonb_null() : PG_GETARG_JSONB_P(2);
	Jsonb	   *base = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3);
	JsFieldFacts facts = {0};
	JsRecordFacts record = {0};
	char	   *name;
	int			strategy;
	Jsonb	   *result;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("strategy must not be null")));
	name = OidOutputFunctionCall(F_ENUM_OUT, PG_GETARG_DATUM(0));
	for (strategy = JS_PMS_WINS; strategy < JS_MANUAL; strategy++)
		if (strcmp(js_strategy_name((JsStrategy) strategy), name) == 0)
			break;
	facts.local_time_known = !PG_ARGISNULL(4);
	facts.local_time = facts.local_time_known ? PG_GETARG_TIMESTAMPTZ(4) : 0;
	record.pms_time_known = !PG_ARGISNULL(5);
	record.pms_time = record.pms_time_known ? PG_GETARG_TIMESTAMPTZ(5) : 0;
	result = resolve_value((JsStrategy) strategy, local, pms, base, &facts,
						   &record);
	if (js_jsonb_is_null(result) &&
		(PG_ARGISNULL(1) || PG_ARGISNULL(2)))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(result);
}

/* The planner on one field of JSON values. */
static Jsonb *
resolve_value(JsStrategy strategy, Jsonb *local, Jsonb *pms, Jsonb *base,
			  JsFieldFacts *facts, JsRecordFacts *record)
{
	JsDecision	decision;

	facts->strategy = strategy;
	facts->group = -1;
	facts->base_known = base != NULL;
	facts->pms_present = true;
	facts->pms_changed = base == NULL || !js_jsonb_same(pms, base);
	facts->local_changed = base == NULL || !js_jsonb_same(local, base);
	facts->equal = js_jsonb_same(local, pms);
	facts->pms_blank = blank(pms);
	facts->local_blank = blank(local);
	js_plan_record(record, facts, 1, &decision);
	switch (decision.action)
	{
		case JS_TAKE_PMS:
			return pms;
		case JS_TAKE_MERGED:
			{
				int			newer = JS_NEWER_UNKNOWN;

				if (facts->local_time_known && record->pms_time_known)
					newer = record->pms_time > facts->local_time ?
						JS_NEWER_PMS : JS_NEWER_LOCAL;
				return merge_json(base, local, pms, newer);
			}
		case JS_KEEP:
		case JS_HOLD:
			break;
	}
	return local;
}

/* Three-way merge of jsonb, by the pure core. */
static Jsonb *
merge_json(Jsonb *base, Jsonb *local, Jsonb *pms, int newer)
{
	JsAllocator allocator = js_allocator();
	JsBuffer	buffer;

	js_buffer_init(&buffer, &allocator);
	js_json_write(js_merge(&allocator, parse(base, &allocator),
						   parse(local, &allocator), parse(pms, &allocator),
						   (JsMergeSide) newer),
				  &buffer);
	return js_jsonb_in(buffer.data);
}

/* A jsonb as a tree of the pure core. */
static JsJson *
parse(Jsonb *json, const JsAllocator *allocator)
{
	JsJsonLimits limits = js_json_unlimited;
	JsJsonError error;
	JsJson	   *tree;
	char	   *text;

	if (json == NULL)
		return NULL;
	text = js_jsonb_out(json);

	if (!js_json_parse(text, strlen(text), &limits, allocator, &tree, &error))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("JSON value is too complex to be merged"),
				 errdetail("At byte %zu: %s.", error.offset, error.message)));
	return tree;
}

/* Is a JSON value blank? */
static bool
blank(Jsonb *json)
{
	JsAllocator allocator = js_allocator();

	return js_json_blank(parse(json, &allocator));
}
