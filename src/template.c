/*-------------------------------------------------------------------------
 *
 * template.c
 *	  Requests made from templates in jsonb.
 *
 * A template has method, path, query, headers and body.  Placeholders in
 * braces are replaced; any other brace is literal.  One that is the whole of
 * a string keeps its JSON type in a body.  Values in a path or a query are
 * percent-encoded.  An empty placeholder drops the key that it stands for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "jacksync.h"
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
static Jsonb *value_of(Filling *filling, const char *name, size_t len);
static char *text_of(Jsonb *value);
static char *expand(Filling *filling, const char *text, bool encode,
					bool *empty);
static void add_path(StringInfo url, Filling *filling, const char *path);
static void add_query(StringInfo url, Filling *filling, Jsonb *query);
static void add_parameter(StringInfo url, const char *name,
						  const char *value);
static List *make_headers(Filling *filling, Jsonb *headers);
static Jsonb *fill_body(Filling *filling, Jsonb *value, bool *drop);
static char *member_text(Jsonb *object, const char *name);

/* No variables yet. */
JsVars *
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

/* The value of a placeholder; NULL if it has none. */
static Jsonb *
value_of(Filling *filling, const char *name, size_t len)
{
	char	   *copy = pnstrdup(name, len);
	const char *text = NULL;

	for (Variable *var = filling->vars ? filling->vars->first : NULL; var;
		 var = var->next)
		if (strcmp(var->name, copy) == 0)
			return js_jsonb_is_null(var->value) ? NULL : var->value;
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
 * Replace the placeholders of a text.  empty tells whether it consisted of
 * placeholders without values only.
 */
static char *
expand(Filling *filling, const char *text, bool encode, bool *empty)
{
	StringInfoData buf;
	bool		literal = false;
	bool		any = false;

	initStringInfo(&buf);
	while (*text != '\0')
	{
		size_t		len;
		char	   *value;

		if (*text != '{' || !find_placeholder(text, &len))
		{
			appendStringInfoChar(&buf, *text++);
			literal = true;
			continue;
		}
		value = text_of(value_of(filling, text + 1, len - 2));
		appendStringInfoString(&buf, encode ? js_template_encode(value) : value);
		any = true;
		text += len;
	}
	*empty = any && !literal && buf.len == 0;
	return buf.data;
}

/* Percent-encode everything but the unreserved characters of RFC 3986. */
char *
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
	char	   *style = member_text(template, "body_style");
	Jsonb	   *query = js_jsonb_member(template, "query");
	Jsonb	   *body = js_jsonb_member(template, "body");
	bool		drop = false;

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
	if (body != NULL)
	{
		body = fill_body(&filling, body, &drop);
		if (style != NULL && strcmp(style, "form") == 0)
		{
			StringInfoData form;

			initStringInfo(&form);
			add_query(&form, &filling, body);
			request->body = form.len > 0 ? form.data + 1 : "";
			request->headers = lappend(request->headers,
									   "Content-Type: application/x-www-form-urlencoded");
		}
		else
		{
			request->body = drop ? "{}" : js_jsonb_out(body);
			request->headers = lappend(request->headers,
									   "Content-Type: application/json");
		}
		request->body_len = strlen(request->body);
	}
	if (request->method == NULL)
		request->method = body ? "POST" : "GET";
	request->headers = lappend(request->headers,
							   "Accept: application/json");
	MemoryContextSwitchTo(old);
}

/* A value with its placeholders replaced; NULL if nothing is left of it. */
Jsonb *
js_template_fill(JsServer *server, JsVars *vars, Jsonb *value)
{
	Filling		filling = {server, vars};
	bool		drop;
	Jsonb	   *result = fill_body(&filling, value, &drop);

	return drop ? NULL : result;
}

/* The path; a value may not climb to another one. */
static void
add_path(StringInfo url, Filling *filling, const char *path)
{
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
		if (value[0] == '\0' || strcmp(value, ".") == 0 ||
			strcmp(value, "..") == 0)
			ereport(ERROR,
					(errcode(ERRCODE_JS_BAD_RECORD),
					 errmsg("value \"%s\" cannot be part of a path", value)));
		appendStringInfoString(url, js_template_encode(value));
		path += len;
	}
}

/* The parameters; an array is a repeated one. */
static void
add_query(StringInfo url, Filling *filling, Jsonb *query)
{
	JsonbIterator *iterator = JsonbIteratorInit(&query->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		char	   *name;
		Jsonb	   *content;
		int			n;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		content = js_jsonb_member(query, name);
		n = JB_ROOT_IS_ARRAY(content) && !JB_ROOT_IS_SCALAR(content) ?
			JB_ROOT_COUNT(content) : -1;
		for (int i = 0; n != 0 && i < Max(n, 1); i++)
		{
			Jsonb	   *element = n < 0 ? content :
			js_jsonb_from_value(getIthJsonbValueFromContainer(&content->root, i));
			bool		empty;
			char	   *text = expand(filling, text_of(element), false, &empty);

			if (!empty && !js_jsonb_is_null(element))
				add_parameter(url, name, text);
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
		text = expand(filling, text_of(js_jsonb_member(headers, name)), false,
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

/* The body, with placeholders replaced; drop: leave its key out. */
static Jsonb *
fill_body(Filling *filling, Jsonb *value, bool *drop)
{
	*drop = false;
	if (JB_ROOT_IS_SCALAR(value))
	{
		char	   *text;
		size_t		len;
		JsonbValue	scalar;

		JsonbExtractScalar(&value->root, &scalar);
		if (scalar.type != jbvString)
			return value;
		text = text_of(value);
		if (text[0] == '{' && find_placeholder(text, &len) &&
			text[len] == '\0')
		{
			Jsonb	   *replacement = value_of(filling, text + 1, len - 2);

			*drop = replacement == NULL || text_of(replacement)[0] == '\0';
			return replacement ? replacement : js_jsonb_null();
		}
		text = expand(filling, text, false, drop);
		return js_jsonb_string(text);
	}
	if (JB_ROOT_IS_ARRAY(value))
	{
		JsonbParseState *state = NULL;

		pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		for (int i = 0; i < JB_ROOT_COUNT(value); i++)
		{
			bool		leave_out;
			Jsonb	   *element;

			element = fill_body(filling,
								js_jsonb_from_value(getIthJsonbValueFromContainer(&value->root, i)),
								&leave_out);
			if (!leave_out)
				js_array_push(&state, element);
		}
		return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
	}
	else
	{
		JsonbParseState *state = js_object_begin();
		JsonbIterator *iterator = JsonbIteratorInit(&value->root);
		JsonbIteratorToken token;
		JsonbValue	key;

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
			if (!leave_out)
				js_object_put(&state, name, element);
		}
		return js_object_end(state);
	}
}

/* A member as text; NULL if it is not there. */
static char *
member_text(Jsonb *object, const char *name)
{
	Jsonb	   *value = js_jsonb_member(object, name);

	return value ? text_of(value) : NULL;
}
