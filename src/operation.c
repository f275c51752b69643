/*-------------------------------------------------------------------------
 *
 * operation.c
 *	  The operations of stream.push: which of them carries which field.
 *
 * push.update, push.create and push.delete are one operation or a list of
 * them.  An operation with "fields" carries those fields.  One with "when"
 * is an action of the PMS, such as the cancellation of a reservation: it is
 * chosen by the values of fields, and carries these.  One with neither
 * carries every field that no other operation of its list names.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "jsonb.h"
#include "operation.h"

static JsOperation *read_operation(Jsonb *spec, int place, const char *kind);
static bool names(JsOperation *operation, const char *field);
static bool matches(Jsonb *wanted, Jsonb *value);
static bool same_scalar(Jsonb *wanted, Jsonb *value);

/* The operations of a kind, in their order. */
List	   *
js_operations(Jsonb *push, const char *kind)
{
	Jsonb	   *specs = push ? js_jsonb_member(push, kind) : NULL;
	List	   *result = NIL;

	if (specs == NULL || js_jsonb_is_null(specs))
		return NIL;
	if (!JB_ROOT_IS_ARRAY(specs))
		return list_make1(read_operation(specs, 0, kind));
	for (int i = 0; i < JB_ROOT_COUNT(specs); i++)
		result = lappend(result,
						 read_operation(js_jsonb_from_value(getIthJsonbValueFromContainer(&specs->root, i)),
										i, kind));
	return result;
}

/* The operation at a place of its list; NULL if there is none any more. */
JsOperation *
js_operation_at(Jsonb *push, const char *kind, int place)
{
	List	   *operations = js_operations(push, kind);

	return place < list_length(operations) ? list_nth(operations, place) : NULL;
}

/* Take the description of an operation apart. */
static JsOperation *
read_operation(Jsonb *spec, int place, const char *kind)
{
	JsOperation *operation = palloc0(sizeof(JsOperation));
	char	   *style = js_option_text(spec, "body_style");
	char	   *nulls = js_option_text(spec, "nulls");

	operation->place = place;
	operation->spec = spec;
	operation->fields = js_jsonb_member(spec, "fields");
	operation->when = js_jsonb_member(spec, "when");
	operation->style = style == NULL ? JS_BODY_MERGE :
		strcmp(style, "json_patch") == 0 ? JS_BODY_JSON_PATCH :
		strcmp(style, "replace") == 0 ? JS_BODY_REPLACE :
		strcmp(style, "form") == 0 ? JS_BODY_FORM : JS_BODY_MERGE;
	/* a new record has no value that could be cleared */
	if (nulls == NULL)
		operation->nulls = strcmp(kind, "create") == 0 ?
			JS_NULLS_OMIT : JS_NULLS_SEND;
	else
		operation->nulls = strcmp(nulls, "omit") == 0 ? JS_NULLS_OMIT :
			strcmp(nulls, "refuse") == 0 ? JS_NULLS_REFUSE : JS_NULLS_SEND;
	return operation;
}

/* Does an operation name a field? */
static bool
names(JsOperation *operation, const char *field)
{
	return js_jsonb_member(operation->fields, field) != NULL ||
		js_jsonb_member(operation->when, field) != NULL;
}

/* Can an operation carry a field, whatever its value? */
bool
js_operation_covers(JsOperation *operation, List *operations,
					const char *field)
{
	ListCell   *cell;

	if (operation->fields != NULL || operation->when != NULL)
		return names(operation, field);
	foreach(cell, operations)
		if (names((JsOperation *) lfirst(cell), field))
		return false;
	return true;
}

/* Do the values of a record, or of a change, choose this operation? */
bool
js_operation_selected(JsOperation *operation, Jsonb *values)
{
	ListCell   *cell;

	foreach(cell, js_object_keys(operation->when))
	{
		char	   *field = lfirst(cell);
		Jsonb	   *value = js_jsonb_member(values, field);

		if (value == NULL ||
			!matches(js_jsonb_member(operation->when, field), value))
			return false;
	}
	return true;
}

/*
 * Does an operation carry this change of a field?  A value that chooses an
 * action goes by that action and by no other operation.
 */
bool
js_operation_takes(JsOperation *operation, List *operations,
				   const char *field, Jsonb *values)
{
	ListCell   *cell;

	if (!js_operation_covers(operation, operations, field) ||
		!js_operation_selected(operation, values))
		return false;
	if (js_jsonb_member(operation->when, field) != NULL)
		return true;
	foreach(cell, operations)
	{
		JsOperation *other = lfirst(cell);

		if (js_jsonb_member(other->when, field) != NULL &&
			js_operation_selected(other, values))
			return false;
	}
	return true;
}

/* Is a value the one that is wanted, or one of several? */
static bool
matches(Jsonb *wanted, Jsonb *value)
{
	if (!JB_ROOT_IS_ARRAY(wanted) || JB_ROOT_IS_SCALAR(wanted))
		return same_scalar(wanted, value);
	for (int i = 0; i < JB_ROOT_COUNT(wanted); i++)
		if (same_scalar(js_jsonb_from_value(getIthJsonbValueFromContainer(&wanted->root, i)),
						value))
			return true;
	return false;
}

/* The same value; a number and its text are. */
static bool
same_scalar(Jsonb *wanted, Jsonb *value)
{
	JsonbValue	a;
	JsonbValue	b;

	if (js_jsonb_same(wanted, value))
		return true;
	if (!JB_ROOT_IS_SCALAR(wanted) || !JB_ROOT_IS_SCALAR(value) ||
		js_jsonb_is_null(wanted) || js_jsonb_is_null(value) ||
		!JsonbExtractScalar(&wanted->root, &a) ||
		!JsonbExtractScalar(&value->root, &b) || a.type == b.type)
		return false;
	if (a.type == jbvString)
		return strcmp(js_option_text(wanted, NULL), js_jsonb_out(value)) == 0;
	return b.type == jbvString &&
		strcmp(js_option_text(value, NULL), js_jsonb_out(wanted)) == 0;
}

/* A text of the configuration, or NULL; without a name the value itself. */
char	   *
js_option_text(Jsonb *options, const char *name)
{
	Jsonb	   *value = name ? js_jsonb_member(options, name) : options;
	JsonbValue	scalar;

	if (value == NULL || !JB_ROOT_IS_SCALAR(value) ||
		!JsonbExtractScalar(&value->root, &scalar) ||
		scalar.type != jbvString)
		return NULL;
	return pnstrdup(scalar.val.string.val, scalar.val.string.len);
}

/* A boolean of the configuration. */
bool
js_option_true(Jsonb *options, const char *name)
{
	Jsonb	   *value = js_jsonb_member(options, name);
	JsonbValue	scalar;

	return value != NULL && JB_ROOT_IS_SCALAR(value) &&
		JsonbExtractScalar(&value->root, &scalar) &&
		scalar.type == jbvBool && scalar.val.boolean;
}

/* The keys of an object: char *.  NULL has none. */
List	   *
js_object_keys(Jsonb *object)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	List	   *keys = NIL;

	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return NIL;
	iterator = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
		if (token == WJB_KEY)
			keys = lappend(keys, pnstrdup(value.val.string.val,
										  value.val.string.len));
	return keys;
}
