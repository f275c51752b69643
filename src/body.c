/*-------------------------------------------------------------------------
 *
 * body.c
 *	  Requests that write: the body that an operation asks for.
 *
 * Every change goes to its path: that of the operation, else the one at which
 * the stream reads the field, else the field's name.  Paths are written as
 * guest.name, $.guest.name, rooms[0].id or /guest/name.  What users typed is
 * only ever put into a body as a value; placeholders are looked for in the
 * configuration alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "body.h"
#include "coerce.h"
#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "record.h"

/* One step of a path: a member, or an element of an array. */
typedef struct Step
{
	char	   *name;
	int			index;			/* -1: a member */
} Step;

static Jsonb *without_body(Jsonb *spec);
static Jsonb *changes_of(JsBody *body);
static Jsonb *record_of(JsBody *body);
static Jsonb *write_fields(JsBody *body, Jsonb *target, List *below);
static Jsonb *write_constants(JsBody *body, Jsonb *target);
static Jsonb *patch_of(JsBody *body);
static void add_operation(JsonbParseState **state, List *steps, Jsonb *value,
						  bool exists);
static bool is_written(JsBody *body, JsField *field, Jsonb **value);
static List *path_of(JsBody *body, JsField *field);
static List *parse_path(const char *path);
static Step *step_of(const char *text, size_t len, bool number_is_index);
static List *path_below(List *path, List *above);
static Jsonb *get_at(Jsonb *target, List *steps);
static Jsonb *set_at(Jsonb *target, List *steps, Jsonb *value);
static Jsonb *set_member(Jsonb *target, const char *name, List *rest,
						 Jsonb *value);
static Jsonb *set_element(Jsonb *target, int index, List *rest, Jsonb *value);
static void flatten(StringInfo form, const char *name, Jsonb *value);
static void set_content(JsBody *body, JsHttpRequest *request, Jsonb *content);
static bool has_header(List *headers, const char *name);
static bool is_empty(Jsonb *value);
static bool mentions(JsOperation *operation, const char *placeholder);

/*
 * Make the request of an operation.  Its memory is mcxt's.  Errors are those
 * of js_template_request().
 */
void
js_body_request(MemoryContext mcxt, JsBody *body, JsHttpRequest *request)
{
	JsOperation *operation = body->operation;
	Jsonb	   *envelope = js_jsonb_member(operation->spec, "body");
	Jsonb	   *changes = changes_of(body);
	Jsonb	   *content = changes;
	MemoryContext old;

	js_vars_set_json(body->vars, "changes", changes);
	js_vars_set_json(body->vars, "record", record_of(body));
	js_template_request(mcxt, without_body(operation->spec), body->server,
						body->vars, request);
	if (envelope != NULL)
		content = js_template_fill(body->server, body->vars, envelope);
	else if (is_empty(changes))
		content = NULL;			/* an action without parameters */

	old = MemoryContextSwitchTo(mcxt);
	if (content != NULL)
		set_content(body, request, content);
	if (js_option_text(operation->spec, "method") == NULL)
		request->method =
			strcmp(body->kind, "delete") == 0 ? "DELETE" :
			strcmp(body->kind, "create") == 0 ? "POST" :
			operation->when != NULL ? "POST" :
			operation->style == JS_BODY_REPLACE ||
			operation->style == JS_BODY_FORM ? "PUT" : "PATCH";
	MemoryContextSwitchTo(old);
}

/* Write the body in the operation's style. */
static void
set_content(JsBody *body, JsHttpRequest *request, Jsonb *content)
{
	const char *type = "application/json";

	if (body->operation->style == JS_BODY_FORM)
	{
		StringInfoData form;

		initStringInfo(&form);
		flatten(&form, NULL, content);
		request->body = form.data;
		type = "application/x-www-form-urlencoded";
	}
	else
	{
		request->body = js_jsonb_out(content);
		if (body->operation->style == JS_BODY_JSON_PATCH)
			type = "application/json-patch+json";
	}
	request->body_len = strlen(request->body);
	if (!has_header(request->headers, "Content-Type"))
		request->headers = lappend(request->headers,
								   psprintf("Content-Type: %s", type));
}

/* Is a header of that name among them? */
static bool
has_header(List *headers, const char *name)
{
	ListCell   *cell;
	size_t		len = strlen(name);

	foreach(cell, headers)
	{
		const char *header = lfirst(cell);

		if (pg_strncasecmp(header, name, len) == 0 && header[len] == ':')
			return true;
	}
	return false;
}

/* An operation without its body, for path, query and headers. */
static Jsonb *
without_body(Jsonb *spec)
{
	JsonbParseState *state = js_object_begin();
	ListCell   *cell;

	foreach(cell, js_object_keys(spec))
		if (strcmp(lfirst(cell), "body") != 0 &&
			strcmp(lfirst(cell), "body_style") != 0)
		js_object_put(&state, lfirst(cell), js_jsonb_member(spec, lfirst(cell)));
	return js_object_end(state);
}

/* {changes}, in the style of the operation. */
static Jsonb *
changes_of(JsBody *body)
{
	char	   *at = js_option_text(body->operation->spec, "replace_at");
	List	   *above = at ? parse_path(at) : NIL;
	Jsonb	   *part;

	switch (body->operation->style)
	{
		case JS_BODY_JSON_PATCH:
			return patch_of(body);
		case JS_BODY_REPLACE:
			part = body->remote ? get_at(body->remote, above) : NULL;
			return write_constants(body, write_fields(body, part, above));
		case JS_BODY_MERGE:
		case JS_BODY_FORM:
			break;
	}
	part = NULL;
	if (at != NULL)
		part = set_at(NULL, above,
					  write_fields(body, body->remote ?
								   get_at(body->remote, above) : NULL, above));
	else
		part = write_fields(body, write_constants(body, NULL), NIL);
	return at != NULL ? write_constants(body, part) : part;
}

/* {record}: the whole of it, with the changes. */
static Jsonb *
record_of(JsBody *body)
{
	Jsonb	   *record = write_fields(body, body->remote, NIL);

	return write_constants(body, record);
}

/*
 * Put all changes at their paths into target (NULL: a new object), which is
 * the part of the record that is below that path.
 */
static Jsonb *
write_fields(JsBody *body, Jsonb *target, List *above)
{
	if (target == NULL)
		target = js_object_end(js_object_begin());
	for (int i = 0; i < body->entity->nfields; i++)
	{
		JsField    *field = &body->entity->fields[i];
		Jsonb	   *value;

		if (!is_written(body, field, &value))
			continue;
		if (value == NULL && body->operation->style != JS_BODY_REPLACE)
			continue;			/* left out */
		target = set_at(target, path_below(path_of(body, field), above),
						value);
	}
	return target;
}

/* Put the constants into target. */
static Jsonb *
write_constants(JsBody *body, Jsonb *target)
{
	Jsonb	   *constants = js_jsonb_member(body->operation->spec, "constants");
	ListCell   *cell;

	if (target == NULL)
		target = js_object_end(js_object_begin());
	if (constants == NULL || js_jsonb_is_null(constants))
		return target;
	constants = js_template_fill(body->server, body->vars, constants);
	foreach(cell, js_object_keys(constants))
	{
		Step		step = {lfirst(cell), -1};

		target = set_at(target, list_make1(&step),
						js_jsonb_member(constants, lfirst(cell)));
	}
	return target;
}

/* The changes as a patch of RFC 6902. */
static Jsonb *
patch_of(JsBody *body)
{
	char	   *at = js_option_text(body->operation->spec, "replace_at");
	List	   *above = at ? parse_path(at) : NIL;
	Jsonb	   *constants = js_jsonb_member(body->operation->spec, "constants");
	Jsonb	   *part = body->remote ? get_at(body->remote, above) : NULL;
	JsonbParseState *state = NULL;
	ListCell   *cell;
	bool		changed = false;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	constants = constants ? js_template_fill(body->server, body->vars,
											 constants) : NULL;
	foreach(cell, js_object_keys(constants))
	{
		Step		step = {lfirst(cell), -1};

		add_operation(&state, list_make1(&step),
					  js_jsonb_member(constants, lfirst(cell)), false);
	}
	for (int i = 0; i < body->entity->nfields; i++)
	{
		JsField    *field = &body->entity->fields[i];
		List	   *path;
		List	   *below;
		Jsonb	   *value;
		Jsonb	   *base;
		bool		exists;

		if (!is_written(body, field, &value))
			continue;
		path = path_of(body, field);
		below = path_below(path, above);
		if (at != NULL && below != path)
		{
			/* it is replaced as a part of what is around it */
			part = set_at(part, below, value);
			changed = true;
			continue;
		}
		base = js_jsonb_member(body->base, field->name);
		/* by the base, which stays: the same request must be the same bytes */
		exists = base != NULL ? !js_jsonb_is_null(base) :
			body->remote != NULL && get_at(body->remote, path) != NULL;
		if (value == NULL || js_jsonb_is_null(value))
			value = NULL;
		if (value != NULL || exists)
			add_operation(&state, path, value, exists);
	}
	if (changed)
		add_operation(&state, above, part,
					  body->remote && get_at(body->remote, above) != NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* Add one operation of a patch: remove, replace or add. */
static void
add_operation(JsonbParseState **state, List *steps, Jsonb *value, bool exists)
{
	JsonbParseState *operation = js_object_begin();
	StringInfoData path;
	ListCell   *cell;

	initStringInfo(&path);
	foreach(cell, steps)
	{
		Step	   *step = lfirst(cell);

		appendStringInfoChar(&path, '/');
		if (step->index >= 0)
		{
			appendStringInfo(&path, "%d", step->index);
			continue;
		}
		for (char *p = step->name; *p; p++)
		{
			if (*p == '~')
				appendStringInfoString(&path, "~0");
			else if (*p == '/')
				appendStringInfoString(&path, "~1");
			else
				appendStringInfoChar(&path, *p);
		}
	}
	js_object_put(&operation, "op",
				  js_jsonb_string(value == NULL ? "remove" :
								  exists ? "replace" : "add"));
	js_object_put(&operation, "path", js_jsonb_string(path.data));
	if (value != NULL)
		js_object_put(&operation, "value", value);
	js_array_push(state, js_object_end(operation));
}

/*
 * Is a field written by the operation?  value is set to what the PMS is to
 * get; NULL: nothing, it is left out.
 */
static bool
is_written(JsBody *body, JsField *field, Jsonb **value)
{
	JsOperation *operation = body->operation;
	char	   *wrap = js_option_text(operation->spec, "wrap");

	*value = js_jsonb_member(body->changes, field->name);
	if (*value == NULL)
		return false;
	/* the fields that chose an action are said by the action itself */
	if ((operation->fields != NULL || operation->when != NULL) &&
		js_jsonb_member(operation->fields, field->name) == NULL)
		return false;
	if (js_jsonb_is_null(*value) && operation->nulls == JS_NULLS_OMIT)
	{
		*value = NULL;
		return true;
	}
	*value = js_record_push_value(body->stream, field, *value);
	if (wrap != NULL)
	{
		JsonbParseState *wrapped = js_object_begin();

		js_object_put(&wrapped, wrap, *value);
		*value = js_object_end(wrapped);
	}
	return true;
}

/* Where a field is written. */
static List *
path_of(JsBody *body, JsField *field)
{
	char	   *path = js_option_text(body->operation->fields, field->name);
	Jsonb	   *spec = js_jsonb_member(body->stream->fields, field->name);
	Step	   *step;

	if (path == NULL && spec != NULL)
	{
		path = js_option_text(spec, JB_ROOT_IS_SCALAR(spec) ? NULL : "path");
		/* filters and wildcards say where to look, not where to write */
		if (path != NULL && strpbrk(path, "*?()@ ") != NULL)
			path = NULL;
	}
	if (path != NULL)
		return parse_path(path);
	step = palloc(sizeof(Step));
	step->name = field->name;
	step->index = -1;
	return list_make1(step);
}

/* Take a path apart. */
static List *
parse_path(const char *path)
{
	List	   *steps = NIL;

	if (*path == '/')
	{
		while (*path == '/')
		{
			size_t		len = strcspn(++path, "/");

			steps = lappend(steps, step_of(path, len, true));
			path += len;
		}
		return steps;
	}
	if (*path == '$')
		path++;
	while (*path != '\0')
	{
		size_t		len;

		if (*path == '[')
		{
			len = strcspn(++path, "]");
			steps = lappend(steps, step_of(path, len, true));
			path += len + (path[len] == ']');
			continue;
		}
		if (*path == '.')
			path++;
		len = *path == '"' ? strcspn(path + 1, "\"") + 2 :
			strcspn(path, ".[");
		if (len > 0)
			steps = lappend(steps, step_of(path, Min(len, strlen(path)), false));
		path += Min(len, strlen(path));
	}
	return steps;
}

/* One step, without quotes and the escapes of a JSON pointer. */
static Step *
step_of(const char *text, size_t len, bool number_is_index)
{
	Step	   *step = palloc(sizeof(Step));
	StringInfoData name;

	if (len >= 2 && (text[0] == '"' || text[0] == '\'') &&
		text[len - 1] == text[0])
	{
		text++;

		len -= 2;
		number_is_index = false;
	}
	initStringInfo(&name);
	for (size_t i = 0; i < len; i++)
	{
		if (number_is_index && text[i] == '~' && i + 1 < len &&
			(text[i + 1] == '0' || text[i + 1] == '1'))
			appendStringInfoChar(&name, text[++i] == '0' ? '~' : '/');
		else
			appendStringInfoChar(&name, text[i]);
	}
	step->name = name.data;
	step->index = number_is_index && name.len > 0 && name.len < 6 &&
		strspn(name.data, "0123456789") == name.len ? atoi(name.data) : -1;
	return step;
}

/* What is left of a path below another one; the path itself if it is not. */
static List *
path_below(List *path, List *above)
{
	ListCell   *a;
	ListCell   *b;

	if (list_length(path) <= list_length(above) || above == NIL)
		return path;
	forboth(a, path, b, above)
	{
		Step	   *x = lfirst(a);
		Step	   *y = lfirst(b);

		if (x->index != y->index || strcmp(x->name, y->name) != 0)
			return path;
	}
	return list_copy_tail(path, list_length(above));
}

/* The value at a path; NULL: none. */
static Jsonb *
get_at(Jsonb *target, List *steps)
{
	ListCell   *cell;

	foreach(cell, steps)
	{
		Step	   *step = lfirst(cell);

		if (target == NULL)
			return NULL;
		if (JB_ROOT_IS_OBJECT(target))
			target = js_jsonb_member(target, step->name);
		else if (JB_ROOT_IS_ARRAY(target) && !JB_ROOT_IS_SCALAR(target) &&
				 step->index >= 0 && step->index < JB_ROOT_COUNT(target))
			target = js_jsonb_from_value(getIthJsonbValueFromContainer(&target->root,
																	   step->index));
		else
			return NULL;
	}
	return target;
}

/* A copy of target with a value at a path; NULL takes a member away. */
static Jsonb *
set_at(Jsonb *target, List *steps, Jsonb *value)
{
	Step	   *step;
	List	   *rest;

	if (steps == NIL)
		return value;
	step = linitial(steps);
	rest = list_copy_tail(steps, 1);
	if (step->index >= 0 && (target == NULL || !JB_ROOT_IS_OBJECT(target)))
		return set_element(target, step->index, rest, value);
	return set_member(target, step->name, rest, value);
}

/* The same for a member of an object. */
static Jsonb *
set_member(Jsonb *target, const char *name, List *rest, Jsonb *value)
{
	JsonbParseState *state = js_object_begin();
	Jsonb	   *old = js_jsonb_member(target, name);
	Jsonb	   *member = set_at(old, rest, value);
	ListCell   *cell;

	foreach(cell, js_object_keys(target))
		if (strcmp(lfirst(cell), name) != 0)
		js_object_put(&state, lfirst(cell), js_jsonb_member(target, lfirst(cell)));
	if (member != NULL)
		js_object_put(&state, name, member);
	return js_object_end(state);
}

/* The same for an element of an array, which is made long enough. */
static Jsonb *
set_element(Jsonb *target, int index, List *rest, Jsonb *value)
{
	JsonbParseState *state = NULL;
	bool		is_array = target != NULL && JB_ROOT_IS_ARRAY(target) &&
	!JB_ROOT_IS_SCALAR(target);
	int			n = is_array ? JB_ROOT_COUNT(target) : 0;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < Max(n, index + 1); i++)
	{
		Jsonb	   *element = i < n ?
		js_jsonb_from_value(getIthJsonbValueFromContainer(&target->root, i)) : NULL;

		if (i == index)
			element = set_at(element, rest, value);
		js_array_push(&state, element ? element : js_jsonb_null());
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* Write a value as parameters of a form: a[b][0]=v. */
static void
flatten(StringInfo form, const char *name, Jsonb *value)
{
	if (JB_ROOT_IS_OBJECT(value))
	{
		ListCell   *cell;

		foreach(cell, js_object_keys(value))
			flatten(form, name ? psprintf("%s[%s]", name, (char *) lfirst(cell)) :
					lfirst(cell), js_jsonb_member(value, lfirst(cell)));
		return;
	}
	if (!JB_ROOT_IS_SCALAR(value))
	{
		for (int i = 0; i < JB_ROOT_COUNT(value); i++)
			flatten(form, psprintf("%s[%d]", name ? name : "", i),
					js_jsonb_from_value(getIthJsonbValueFromContainer(&value->root, i)));
		return;
	}
	if (form->len > 0)
		appendStringInfoChar(form, '&');
	appendStringInfo(form, "%s=", js_template_encode(name ? name : ""));
	if (!js_jsonb_is_null(value))
	{
		char	   *text = js_option_text(value, NULL);

		appendStringInfoString(form, js_template_encode(text ? text :
														js_jsonb_out(value)));
	}
}

/* An object or array without anything in it. */
static bool
is_empty(Jsonb *value)
{
	return !JB_ROOT_IS_SCALAR(value) && JB_ROOT_COUNT(value) == 0;
}

/* Must the record be read before this operation can be sent? */
bool
js_body_needs_record(JsOperation *operation)
{
	return operation->style == JS_BODY_REPLACE ||
		js_jsonb_member(operation->spec, "replace_at") != NULL ||
		mentions(operation, "\"{record}\"");
}

/* Does its body have the id of the record, whose JSON type then matters? */
bool
js_body_needs_id(JsOperation *operation)
{
	return mentions(operation, "\"{record.id}\"");
}

/* Does the body of an operation, or a constant, have a placeholder? */
static bool
mentions(JsOperation *operation, const char *placeholder)
{
	static const char *const members[] = {"body", "constants"};

	for (int i = 0; i < lengthof(members); i++)
	{
		Jsonb	   *member = js_jsonb_member(operation->spec, members[i]);

		if (member != NULL && strstr(js_jsonb_out(member), placeholder) != NULL)
			return true;
	}
	return false;
}
