/*-------------------------------------------------------------------------
 *
 * jspath.c
 *	  The simple paths of jsonpath, evaluated on a JSON tree.
 *
 * $, .key, ."quoted key", .*, [*] and [n], with the lax rules of jsonpath:
 * a member is looked up in the elements of an array, and [*] takes a value
 * that is no array for an array of one.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "jspath.h"

typedef enum StepType
{
	STEP_KEY,
	STEP_ANY_KEY,
	STEP_ANY_ELEMENT,
	STEP_ELEMENT
} StepType;

typedef struct Step
{
	StepType	type;
	const char *key;
	size_t		keylen;
	long		index;
} Step;

struct JsPath
{
	int			n;
	Step	   *steps;
};

struct JsPredicate
{
	JsPath	   *path;
	JsJson	   *constant;
};

/* A list of values that a step found. */
typedef struct Found
{
	const JsAllocator *allocator;
	JsJson	  **items;
	int			n;
	int			room;
} Found;

static bool parse_step(const char **p, Step *step,
					   const JsAllocator *allocator);
static bool is_word(char c);
static void add(Found *found, JsJson *item);
static void eval_step(const Step *step, JsJson *item, Found *found);

/*
 * Parse a path.  NULL if it is not a simple one; whether it is valid at all
 * is not said then.
 */
JsPath	   *
js_path_parse(const char *text, const JsAllocator *allocator)
{
	JsPath	   *path = allocator->alloc(allocator->ctx, sizeof(JsPath));
	size_t		most = strlen(text) + 1;
	const char *p = text;

	path->n = 0;
	path->steps = allocator->alloc(allocator->ctx, most * sizeof(Step));
	while (*p == ' ')
		p++;
	if (*p++ != '$' || is_word(*p))
		return NULL;
	while (*p != '\0')
	{
		if (!parse_step(&p, &path->steps[path->n], allocator))
			return NULL;
		path->n++;
	}
	return path;
}

static bool
is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
		(c >= '0' && c <= '9');
}

/* One step: .key .* [*] [n] */
static bool
parse_step(const char **p, Step *step, const JsAllocator *allocator)
{
	const char *q = *p;

	memset(step, 0, sizeof(Step));
	if (q[0] == '[' && q[1] == '*' && q[2] == ']')
	{
		step->type = STEP_ANY_ELEMENT;
		*p = q + 3;
		return true;
	}
	if (q[0] == '[' && q[1] >= '0' && q[1] <= '9')
	{
		char	   *end;

		step->type = STEP_ELEMENT;
		step->index = strtol(q + 1, &end, 10);
		*p = end + 1;
		return *end == ']';
	}
	if (*q++ != '.')
		return false;
	if (*q == '*')
	{
		step->type = STEP_ANY_KEY;
		*p = q + 1;
		return q[1] != '*' && q[1] != '{';
	}
	step->type = STEP_KEY;
	if (*q == '"')
	{
		JsJsonError error;
		JsJson	   *key;
		const char *end = q + 1;

		while (*end != '\0' && *end != '"')
			end += end[0] == '\\' && end[1] != '\0' ? 2 : 1;
		if (*end != '"' ||
			!js_json_parse(q, end + 1 - q, &js_json_unlimited, allocator,
						   &key, &error) || js_json_is_bad(key))
			return false;
		step->key = key->text;
		step->keylen = key->len;
		*p = end + 1;
		return true;
	}
	step->key = q;
	while (is_word(*q))
		q++;
	step->keylen = q - step->key;
	*p = q;
	/* behind a name a parenthesis would make it a method */
	return step->keylen > 0 && (*q == '\0' || *q == '.' || *q == '[');
}

static void
add(Found *found, JsJson *item)
{
	if (found->n == found->room)
	{
		int			room = found->room == 0 ? 16 : found->room * 2;
		JsJson	  **items = found->allocator->alloc(found->allocator->ctx,
													room * sizeof(JsJson *));

		if (found->n > 0)
			memcpy(items, found->items, found->n * sizeof(JsJson *));
		found->items = items;
		found->room = room;
	}
	found->items[found->n++] = item;
}

/* Apply a step to one value. */
static void
eval_step(const Step *step, JsJson *item, Found *found)
{
	if ((step->type == STEP_KEY || step->type == STEP_ANY_KEY) &&
		item->type == JS_JSON_ARRAY)
	{
		for (int i = 0; i < item->n; i++)
			if (item->items[i]->type == JS_JSON_OBJECT)
				eval_step(step, item->items[i], found);
		return;
	}
	switch (step->type)
	{
		case STEP_KEY:
			{
				JsJson	   *value = js_json_get(item, step->key, step->keylen);

				if (value != NULL)
					add(found, value);
				break;
			}
		case STEP_ANY_KEY:
			if (item->type == JS_JSON_OBJECT)
				for (int i = 0; i < item->n; i++)
					add(found, item->members[i].value);
			break;
		case STEP_ANY_ELEMENT:
			if (item->type != JS_JSON_ARRAY)
				add(found, item);
			else
				for (int i = 0; i < item->n; i++)
					add(found, item->items[i]);
			break;
		case STEP_ELEMENT:
			if (item->type != JS_JSON_ARRAY)
			{
				if (step->index == 0)
					add(found, item);
			}
			else if (step->index < item->n)
				add(found, item->items[step->index]);
			break;
	}
}

/*
 * Evaluate a path.  missing tells whether the value that a last [*] or .*
 * applies to (or, without one, the value itself) is not there: an empty list
 * is no missing list, and what lies below its elements is not missed.
 */
void
js_path_eval(const JsPath *path, const JsJson *root, const JsAllocator *allocator,
			 JsJson ***items, int *nitems, bool *missing)
{
	Found		now = {allocator, NULL, 0, 0};

	add(&now, (JsJson *) root);
	*missing = false;
	for (int i = 0; i < path->n; i++)
	{
		Found		next = {allocator, NULL, 0, 0};
		StepType	type = path->steps[i].type;

		for (int j = 0; j < now.n; j++)
			eval_step(&path->steps[i], now.items[j], &next);
		if (next.n == 0)
		{
			*missing = now.n == 0 ||
				(type != STEP_ANY_ELEMENT && type != STEP_ANY_KEY);
			now = next;
			break;
		}
		now = next;
	}
	*items = now.items;
	*nitems = now.n;
}

/* The first value at a path; NULL: there is none. */
const JsJson *
js_path_one(const JsPath *path, const JsJson *root,
			const JsAllocator *allocator)
{
	JsJson	  **items;
	int			n;
	bool		missing;

	/* most paths are members of objects only */
	for (int i = 0; i < path->n; i++)
	{
		if (path->steps[i].type != STEP_KEY || root->type == JS_JSON_ARRAY)
		{
			JsPath		rest = {path->n - i, path->steps + i};

			js_path_eval(&rest, root, allocator, &items, &n, &missing);
			return n > 0 ? items[0] : NULL;
		}
		root = js_json_get(root, path->steps[i].key, path->steps[i].keylen);
		if (root == NULL)
			return NULL;
	}
	return root;
}

/* The key of a path that is one member of the root; NULL for any other. */
const char *
js_path_key(const JsPath *path, size_t *keylen)
{
	if (path->n != 1 || path->steps[0].type != STEP_KEY)
		return NULL;
	*keylen = path->steps[0].keylen;
	return path->steps[0].key;
}

/*
 * Parse a predicate as jsonpath writes it: ($."deleted" == true).  NULL if it
 * is any other than a simple path that is compared with a constant.
 */
JsPredicate *
js_predicate_parse(const char *text, const JsAllocator *allocator)
{
	JsPredicate *predicate = allocator->alloc(allocator->ctx,
											  sizeof(JsPredicate));
	size_t		len = strlen(text);
	JsJsonError error;
	char	   *copy;
	char	   *at;

	if (len < 2 || text[0] != '(' || text[len - 1] != ')')
		return NULL;
	copy = allocator->alloc(allocator->ctx, len);
	memcpy(copy, text + 1, len - 2);
	copy[len - 2] = '\0';
	/* a path that contains it in a key is not parsed then */
	at = strstr(copy, " == ");
	if (at == NULL)
		return NULL;
	*at = '\0';
	predicate->path = js_path_parse(copy, allocator);
	if (predicate->path == NULL ||
		!js_json_parse(at + 4, strlen(at + 4), &js_json_unlimited, allocator,
					   &predicate->constant, &error) ||
		js_json_is_bad(predicate->constant) ||
		predicate->constant->type == JS_JSON_ARRAY ||
		predicate->constant->type == JS_JSON_OBJECT)
		return NULL;
	return predicate;
}

/* Does it hold for any value at the path?  Arrays are taken apart. */
bool
js_predicate_holds(const JsPredicate *predicate, const JsJson *root,
				   const JsAllocator *allocator)
{
	JsJson	  **items;
	int			n;
	bool		missing;

	js_path_eval(predicate->path, root, allocator, &items, &n, &missing);
	for (int i = 0; i < n; i++)
	{
		if (items[i]->type != JS_JSON_ARRAY)
		{
			if (js_json_equal(items[i], predicate->constant))
				return true;
			continue;
		}
		for (int j = 0; j < items[i]->n; j++)
			if (js_json_equal(items[i]->items[j], predicate->constant))
				return true;
	}
	return false;
}
