/*-------------------------------------------------------------------------
 *
 * template.c
 *	  Requests made from templates in jsonb.
 *
 * A template has method, path, query, headers and body.  Placeholders in
 * braces are replaced; any other brace is literal.  One that is the whole of
 * a string keeps its JSON type in a body.  Values in a path or a query are
 * percent-encoded.  An empty placeholder drops the key that it stands in, and
 * what holds nothing else any more.  A query's value may be JSON, written as
 * such or as a string: then it is filled like a body.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "jacksync.h"
#include "json.h"
#include "jsonb.h"
#include "template.h"
#include "value.h"

/* A variable: its value as JSON. */
typedef struct Variable
{
	char	   *name;
	Jsonb	   *value;
	struct Variable *next;
} Variable;

struct JsVars
{
	MemoryContext mcxt;
	Variable   *first;
};

/* What replaces placeholders. */
typedef struct Filling
{
	JsServer   *server;
	JsVars	   *vars;
} Filling;

static bool find_placeholder(const char *text, size_t *len);
static bool is_placeholder(const char *text);
static Jsonb *value_of(Filling *filling, const char *name, size_t len);
static Jsonb *variable(JsVars *vars, const char *name);
static Jsonb *member_at(Jsonb *value, const char *path);
static bool is_empty(Jsonb *value);
static char *text_of(Jsonb *value);
static char *expand(Filling *filling, const char *text, bool *empty);
static void add_path(StringInfo url, Filling *filling, const char *path);
static void check_segments(const char *path);
static void add_query(StringInfo url, Filling *filling, Jsonb *query);
static void add_value(StringInfo url, Filling *filling, const char *name,
					  Jsonb *value);
static Jsonb *embedded_json(const char *text);
static void add_form(StringInfo form, const char *name, Jsonb *value);
static void add_parameter(StringInfo url, const char *name,
						  const char *value);
static List *make_headers(Filling *filling, Jsonb *headers);
static bool has_header(List *headers, const char *name);
static void make_body(Filling *filling, Jsonb *template,
					  JsHttpRequest *request);
static Jsonb *fill_body(Filling *filling, Jsonb *value, bool *drop);
static Jsonb *fill_text(Filling *filling, Jsonb *value, bool *drop);
static Jsonb *fill_array(Filling *filling, Jsonb *value, bool *drop);
static Jsonb *fill_object(Filling *filling, Jsonb *value, bool *drop);
static char *member_text(Jsonb *object, const char *name);

/* No variables yet. */
JsVars	   *
js_vars_new(MemoryContext mcxt)
{
	JsVars	   *vars = MemoryContextAllocZero(mcxt, sizeof(JsVars));

	vars->mcxt = mcxt;
	return vars;
}

/* Set a variable to a JSON value. */
void
js_vars_set_json(JsVars *vars, const char *name, Jsonb *value)
{
	Variable   *var = MemoryContextAllocZero(vars->mcxt, sizeof(Variable));

	var->name = MemoryContextStrdup(vars->mcxt, name);
	var->value = value;
	var->next = vars->first;
	vars->first = var;
}

/* Set a variable to a text. */
void
js_vars_set_text(JsVars *vars, const char *name, const char *value)
{
	js_vars_set_json(vars, name, js_jsonb_string(value));
}

/* Set a variable to a number. */
void
js_vars_set_int(JsVars *vars, const char *name, int64 value)
{
	js_vars_set_json(vars, name, js_jsonb_in(psprintf(INT64_FORMAT, value)));
}

/* Does a placeholder begin at text (at the brace)?  How long is it? */
static bool
find_placeholder(const char *text, size_t *len)
{
	static const char *const plain[] = {
		"since", "until", "cursor", "page", "offset", "limit", "changes",
		"record"
	};
	static const char *const prefixes[] = {
		"parent.", "record.", "secret.", "server."
	};
	const char *end = strchr(text, '}');
	size_t		n;

	if (end == NULL)
		return false;
	n = end - text - 1;

	*len = n + 2;
	for (int i = 0; i < lengthof(plain); i++)
		if (strlen(plain[i]) == n && strncmp(text + 1, plain[i], n) == 0)
			return true;
	for (int i = 0; i < lengthof(prefixes); i++)
		if (n > strlen(prefixes[i]) &&
			strncmp(text + 1, prefixes[i], strlen(prefixes[i])) == 0 &&
			strspn(text + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n)
			return true;
	return false;
}

/* Is a text one placeholder and nothing else? */
static bool
is_placeholder(const char *text)
{
	size_t		len;

	return text[0] == '{' && find_placeholder(text, &len) && text[len] == '\0';
}

/* The value of a placeholder; NULL if it has none. */
static Jsonb *
value_of(Filling *filling, const char *name, size_t len)
{
	char	   *copy = pnstrdup(name, len);
	const char *text = NULL;
	Jsonb	   *value = variable(filling->vars, copy);

	if (value != NULL)
		return js_jsonb_is_null(value) ? NULL : value;
	if (strncmp(copy, "secret.", 7) == 0)
	{
		text = js_server_secret(filling->server, copy + 7);

		if (text == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_JS_CONFIG),
					 errmsg("server \"%s\" has no secret \"%s\"",
							filling->server->name, copy + 7),
					 errhint("ALTER USER MAPPING ... OPTIONS (ADD secret_%s '...');",
							 copy + 7)));
	}
	else if (strncmp(copy, "server.", 7) == 0)
		text = js_server_option(filling->server, copy + 7);
	return text ? js_jsonb_string(text) : NULL;
}

/* A variable: the one of that name, or a member of record or parent. */
static Jsonb *
variable(JsVars *vars, const char *name)
{
	for (Variable *var = vars ? vars->first : NULL; var; var = var->next)
		if (strcmp(var->name, name) == 0)
			return var->value;
	for (Variable *var = vars ? vars->first : NULL; var; var = var->next)
	{
		size_t		len = strlen(var->name);

		if (strncmp(var->name, name, len) == 0 && name[len] == '.' &&
			JB_ROOT_IS_OBJECT(var->value))
			return member_at(var->value, name + len + 1);
	}
	return NULL;
}

/* The member of a value at a path of names with dots; NULL: none. */
static Jsonb *
member_at(Jsonb *value, const char *path)
{
	while (value != NULL && path != NULL)
	{
		const char *dot = strchr(path, '.');

		if (!JB_ROOT_IS_OBJECT(value))
			return NULL;
		value = js_jsonb_member(value, dot ? pnstrdup(path, dot - path) :
								path);
		path = dot ? dot + 1 : NULL;
	}
	return value;
}

/* Has a placeholder with this value nothing to say? */
static bool
is_empty(Jsonb *value)
{
	return value == NULL || js_jsonb_is_null(value) ||
		text_of(value)[0] == '\0';
}

/* A value as text. */
static char *
text_of(Jsonb *value)
{
	JsonbValue	scalar;

	if (value == NULL)
		return pstrdup("");
	if (JB_ROOT_IS_SCALAR(value) &&
		JsonbExtractScalar(&value->root, &scalar) && scalar.type == jbvString)
		return pnstrdup(scalar.val.string.val, scalar.val.string.len);
	return js_jsonb_out(value);
}

/*
 * Replace the placeholders of a text.  empty tells whether one of them has no
 * value: half a text says something else than was meant.
 */
static char *
expand(Filling *filling, const char *text, bool *empty)
{
	StringInfoData buf;

	*empty = false;
	initStringInfo(&buf);
	while (*text != '\0')
	{
		size_t		len;
		Jsonb	   *value;

		if (*text != '{' || !find_placeholder(text, &len))
		{
			appendStringInfoChar(&buf, *text++);
			continue;
		}
		value = value_of(filling, text + 1, len - 2);
		if (is_empty(value))
			*empty = true;
		else
			appendStringInfoString(&buf, text_of(value));
		text += len;
	}
	return buf.data;
}

/* Percent-encode everything but the unreserved characters of RFC 3986. */
char	   *
js_template_encode(const char *value)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (const char *p = value; *p; p++)
	{
		unsigned char c = *p;

		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
			(c >= 'A' && c <= 'Z') || strchr("-._~", c) != NULL)
			appendStringInfoChar(&buf, c);
		else
			appendStringInfo(&buf, "%%%02X", c);
	}
	return buf.data;
}

/*
 * Make a request from a template.  Its memory is mcxt's.  Errors: JS002 for
 * a secret that is not there, JS007 for a value that cannot be sent.
 */
void
js_template_request(MemoryContext mcxt, Jsonb *template, JsServer *server,
					JsVars *vars, JsHttpRequest *request)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	Filling		filling = {server, vars};
	StringInfoData url;
	char	   *path = member_text(template, "path");
	Jsonb	   *query = js_jsonb_member(template, "query");

	initStringInfo(&url);
	appendStringInfoString(&url, server->base_url);
	if (path != NULL)
	{
		/* one slash between them */
		if (path[0] == '/' && url.len > 0 && url.data[url.len - 1] == '/')
			url.data[--url.len] = '\0';
		add_path(&url, &filling, path);
	}
	if (query != NULL)
		add_query(&url, &filling, query);
	request->url = url.data;
	request->headers = list_concat(request->headers,
								   make_headers(&filling,
												js_jsonb_member(template, "headers")));
	request->method = member_text(template, "method");
	make_body(&filling, template, request);
	if (request->method == NULL)
		request->method = request->body ? "POST" : "GET";
	if (!has_header(request->headers, "Accept"))
		request->headers = lappend(request->headers,
								   "Accept: application/json");
	MemoryContextSwitchTo(old);
}

/* A value with its placeholders replaced; NULL if nothing is left of it. */
Jsonb	   *
js_template_fill(JsServer *server, JsVars *vars, Jsonb *value)
{
	Filling		filling = {server, vars};
	bool		drop;
	Jsonb	   *result = fill_body(&filling, value, &drop);

	return drop ? NULL : result;
}

/* The body, and what it is. */
static void
make_body(Filling *filling, Jsonb *template, JsHttpRequest *request)
{
	char	   *style = member_text(template, "body_style");
	Jsonb	   *body = js_jsonb_member(template, "body");
	const char *type = "application/json";
	bool		drop;

	if (body == NULL)
		return;
	body = fill_body(filling, body, &drop);
	if (style != NULL && strcmp(style, "form") == 0)
	{
		StringInfoData form;

		initStringInfo(&form);
		add_form(&form, "", body);
		request->body = form.len > 0 ? form.data + 1 : "";
		type = "application/x-www-form-urlencoded";
	}
	else
		request->body = drop ? "{}" : js_jsonb_out(body);
	request->body_len = strlen(request->body);
	if (!has_header(request->headers, "Content-Type"))
		request->headers = lappend(request->headers,
								   psprintf("Content-Type: %s", type));
}

/* The path; a value may not climb to another one. */
static void
add_path(StringInfo url, Filling *filling, const char *path)
{
	int			start = url->len;

	while (*path != '\0')
	{
		size_t		len;
		char	   *value;

		if (*path != '{' || !find_placeholder(path, &len))
		{
			appendStringInfoChar(url, *path++);
			continue;
		}
		value = text_of(value_of(filling, path + 1, len - 2));
		if (value[0] == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_JS_BAD_RECORD),
					 errmsg("placeholder %s of a path has no value",
							pnstrdup(path, len))));
		appendStringInfoString(url, js_template_encode(value));
		path += len;
	}
	check_segments(url->data + start);
}

/* Segments that lead elsewhere are refused. */
static void
check_segments(const char *path)
{
	while (*path != '\0')
	{
		size_t		len = strcspn(path, "/");

		if ((len == 1 && path[0] == '.') ||
			(len == 2 && path[0] == '.' && path[1] == '.'))
			ereport(ERROR,
					(errcode(ERRCODE_JS_BAD_RECORD),
					 errmsg("value \"%s\" cannot be part of a path",
							pnstrdup(path, len))));
		path += len + (path[len] == '/');
	}
}

/* The parameters. */
static void
add_query(StringInfo url, Filling *filling, Jsonb *query)
{
	JsonbIterator *iterator = JsonbIteratorInit(&query->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char	   *name;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		add_value(url, filling, name, js_jsonb_member(query, name));
	}
}

/*
 * A parameter.  An array of scalars is a repeated one; objects, and arrays
 * that hold some, are JSON.
 */
static void
add_value(StringInfo url, Filling *filling, const char *name, Jsonb *value)
{
	bool		drop = false;
	Jsonb	   *json = NULL;

	if (JB_ROOT_IS_SCALAR(value))
	{
		json = embedded_json(text_of(value));
		if (json == NULL && is_placeholder(text_of(value)))
			value = fill_body(filling, value, &drop);
		else if (json == NULL)
			value = js_jsonb_string(expand(filling, text_of(value), &drop));
		else
			value = fill_body(filling, json, &drop);
	}
	else
		value = fill_body(filling, value, &drop);
	if (drop || js_jsonb_is_null(value))
		return;
	if (JB_ROOT_IS_SCALAR(value) || JB_ROOT_IS_OBJECT(value) || json != NULL)
	{
		add_parameter(url, name, text_of(value));
		return;
	}
	for (int i = 0; i < JB_ROOT_COUNT(value); i++)
		if (getIthJsonbValueFromContainer(&value->root, i)->type == jbvBinary)
		{
			add_parameter(url, name, text_of(value));
			return;
		}
	for (int i = 0; i < JB_ROOT_COUNT(value); i++)
	{
		Jsonb	   *element =
		js_jsonb_from_value(getIthJsonbValueFromContainer(&value->root, i));

		if (!js_jsonb_is_null(element))
			add_parameter(url, name, text_of(element));
	}
}

/* A text that is a JSON array or object; NULL if it is none. */
static Jsonb *
embedded_json(const char *text)
{
	JsAllocator allocator = js_allocator();
	JsJson	   *root;
	JsJsonError error;

	if ((text[0] != '[' && text[0] != '{') || is_placeholder(text) ||
		!js_json_parse(text, strlen(text), &js_json_default_limits,
					   &allocator, &root, &error) || js_json_is_bad(root))
		return NULL;
	return js_jsonb_in(text);
}

/*
 * A form: members of members have their names in brackets, a[b]; so have
 * elements that are objects, a[0][b]; an array of scalars is a repeated name.
 */
static void
add_form(StringInfo form, const char *name, Jsonb *value)
{
	if (JB_ROOT_IS_SCALAR(value))
	{
		if (name[0] != '\0')
			add_parameter(form, name, js_jsonb_is_null(value) ? "" :
						  text_of(value));
	}
	else if (JB_ROOT_IS_ARRAY(value))
		for (int i = 0; i < JB_ROOT_COUNT(value); i++)
		{
			Jsonb	   *element =
			js_jsonb_from_value(getIthJsonbValueFromContainer(&value->root, i));

			add_form(form, JB_ROOT_IS_SCALAR(element) ? name :
					 psprintf("%s[%d]", name, i), element);
		}
	else
	{
		JsonbIterator *iterator = JsonbIteratorInit(&value->root);
		JsonbIteratorToken token;
		JsonbValue	key;

		while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
		{
			char	   *member;

			if (token != WJB_KEY)
				continue;
			member = pnstrdup(key.val.string.val, key.val.string.len);
			add_form(form, name[0] == '\0' ? member :
					 psprintf("%s[%s]", name, member),
					 js_jsonb_member(value, member));
		}
	}
}

/* One parameter, encoded. */
static void
add_parameter(StringInfo url, const char *name, const char *value)
{
	appendStringInfo(url, "%c%s=%s", strchr(url->data, '?') ? '&' : '?',
					 js_template_encode(name), js_template_encode(value));
}

/* The headers; values that could smuggle another one are refused. */
static List *
make_headers(Filling *filling, Jsonb *headers)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	List	   *result = NIL;

	if (headers == NULL)
		return NIL;
	iterator = JsonbIteratorInit(&headers->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char	   *name;
		char	   *text;
		bool		empty;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		text = expand(filling, text_of(js_jsonb_member(headers, name)),
					  &empty);

		if (empty)
			continue;
		if (!js_http_check_header_value(text) ||
			!js_http_check_header_value(name))
			ereport(ERROR,
					(errcode(ERRCODE_JS_BAD_RECORD),
					 errmsg("value of header \"%s\" cannot be sent", name),
					 errdetail("Headers take visible ASCII characters only.")));
		result = lappend(result, psprintf("%s: %s", name, text));
	}
	return result;
}

/* The headers that all requests of a server have. */
List	   *
js_template_headers(JsServer *server, Jsonb *headers)
{
	Filling		filling = {server, NULL};

	return make_headers(&filling, headers);
}

/* Is there a header of that name? */
static bool
has_header(List *headers, const char *name)
{
	size_t		len = strlen(name);
	ListCell   *cell;

	foreach(cell, headers)
	{
		const char *header = lfirst(cell);

		if (pg_strncasecmp(header, name, len) == 0 && header[len] == ':')
			return true;
	}
	return false;
}

/* The body, with placeholders replaced; drop: leave its key out. */
static Jsonb *
fill_body(Filling *filling, Jsonb *value, bool *drop)
{
	*drop = false;
	if (JB_ROOT_IS_SCALAR(value))
		return fill_text(filling, value, drop);
	if (JB_ROOT_IS_ARRAY(value))
		return fill_array(filling, value, drop);
	return fill_object(filling, value, drop);
}

/* A string, whose placeholder may become a value of any type. */
static Jsonb *
fill_text(Filling *filling, Jsonb *value, bool *drop)
{
	JsonbValue	scalar;
	char	   *text;

	JsonbExtractScalar(&value->root, &scalar);
	if (scalar.type != jbvString)
		return value;
	text = text_of(value);

	if (is_placeholder(text))
	{
		Jsonb	   *replacement = value_of(filling, text + 1, strlen(text) - 2);

		*drop = is_empty(replacement);
		return *drop ? js_jsonb_null() : replacement;
	}
	return js_jsonb_string(expand(filling, text, drop));
}

/* An array; it goes too if all that it had goes. */
static Jsonb *
fill_array(Filling *filling, Jsonb *value, bool *drop)
{
	JsonbParseState *state = NULL;
	int			left = 0;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < JB_ROOT_COUNT(value); i++)
	{
		bool		leave_out;
		Jsonb	   *element;

		element = fill_body(filling,
							js_jsonb_from_value(getIthJsonbValueFromContainer(&value->root, i)),
							&leave_out);
		if (leave_out)
			continue;
		js_array_push(&state, element);
		left++;
	}
	*drop = left == 0 && JB_ROOT_COUNT(value) > 0;
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* An object; the same. */
static Jsonb *
fill_object(Filling *filling, Jsonb *value, bool *drop)
{
	JsonbParseState *state = js_object_begin();
	JsonbIterator *iterator = JsonbIteratorInit(&value->root);
	JsonbIteratorToken token;
	JsonbValue	key;
	int			left = 0;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		char	   *name;
		bool		leave_out;
		Jsonb	   *element;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(key.val.string.val, key.val.string.len);
		element = fill_body(filling, js_jsonb_member(value, name),
							&leave_out);
		if (leave_out)
			continue;
		js_object_put(&state, name, element);
		left++;
	}
	*drop = left == 0 && JB_ROOT_COUNT(value) > 0;
	return js_object_end(state);
}

/* A member as text; NULL if it is not there. */
static char *
member_text(Jsonb *object, const char *name)
{
	Jsonb	   *value = js_jsonb_member(object, name);

	return value ? text_of(value) : NULL;
}
