/*-------------------------------------------------------------------------
 *
 * jsonspan.c
 *	  The values of an array of JSON, without a look into them.
 *
 * Where each value begins and ends follows from brackets and quotes alone.
 * What is found so is as valid as the value that it is compared with; the
 * caller parses the others (json.c), and finds what is wrong with them.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "jsonspan.h"

/* The text and where we are in it. */
typedef struct Scanner
{
	const char *start;
	const char *at;
	const char *end;
	JsJsonError *error;
} Scanner;

static bool skip_value(Scanner *s, JsJsonSpan *span);
static bool skip_member(Scanner *s, JsJsonSpan *span, bool *seen);
static bool skip_container(Scanner *s);
static bool skip_string(Scanner *s);
static void skip_scalar(Scanner *s);
static void note_id(JsJsonSpan *span, const char *from, const char *to);
static void skip_space(Scanner *s);
static bool fail(Scanner *s, const char *message);

/*
 * Find the values of an array.  False, with the error, if the text is none, or
 * has no structure to go by.
 */
bool
js_json_spans(const char *s, size_t len, const JsAllocator *allocator,
			  JsJsonSpan **spans, int *n, JsJsonError *error)
{
	Scanner		scanner = {s, s, s + len, error};
	int			room = 0;

	error->offset = 0;
	error->message = NULL;
	*spans = NULL;
	*n = 0;
	skip_space(&scanner);
	if (scanner.at >= scanner.end || *scanner.at != '[')
		return fail(&scanner, "not an array");
	scanner.at++;
	skip_space(&scanner);
	if (scanner.at < scanner.end && *scanner.at == ']')
		scanner.at++;
	else
		for (;;)
		{
			if (*n == room)
			{
				room = room == 0 ? 64 : room * 2;
				*spans = js_grow(allocator, *spans, *n * sizeof(JsJsonSpan),
								 room * sizeof(JsJsonSpan));
			}
			if (!skip_value(&scanner, &(*spans)[*n]))
				return false;
			(*n)++;
			skip_space(&scanner);
			if (scanner.at >= scanner.end ||
				(*scanner.at != ',' && *scanner.at != ']'))
				return fail(&scanner, "expected a comma or a closing bracket");
			if (*scanner.at++ == ']')
				break;
			skip_space(&scanner);
		}
	skip_space(&scanner);
	if (scanner.at < scanner.end)
		return fail(&scanner, "unexpected text behind the value");
	return true;
}

/* Note an error at the present place. */
static bool
fail(Scanner *s, const char *message)
{
	s->error->offset = s->at - s->start;
	s->error->message = message;
	return false;
}

static void
skip_space(Scanner *s)
{
	while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' ||
							  *s->at == '\n' || *s->at == '\r'))
		s->at++;
}

/* One value of the array: of an object, see to its id. */
static bool
skip_value(Scanner *s, JsJsonSpan *span)
{
	bool		seen = false;

	span->start = s->at;
	span->id = NULL;
	span->id_len = 0;
	if (s->at < s->end && *s->at == '{')
	{
		s->at++;
		for (;;)
		{
			skip_space(s);
			if (s->at >= s->end)
				return fail(s, "unexpected end");
			if (*s->at == '}')
				break;
			if (*s->at == ',')
				s->at++;
			else if (!skip_member(s, span, &seen))
				return false;
		}
		s->at++;
	}
	else if (s->at < s->end && *s->at == '[')
	{
		if (!skip_container(s))
			return false;
	}
	else if (s->at < s->end && *s->at == '"')
	{
		if (!skip_string(s))
			return false;
	}
	else
		skip_scalar(s);
	span->len = s->at - span->start;
	if (span->len == 0)
		return fail(s, "unexpected character");
	return true;
}

/* One member of an object that is a value of the array. */
static bool
skip_member(Scanner *s, JsJsonSpan *span, bool *seen)
{
	const char *key = s->at;
	const char *value;
	bool		is_id;

	if (*s->at != '"')
		return fail(s, "expected a key in quotes");
	if (!skip_string(s))
		return false;
	is_id = s->at - key == 4 && memcmp(key, "\"id\"", 4) == 0;
	skip_space(s);
	if (s->at >= s->end || *s->at != ':')
		return fail(s, "expected a colon");
	s->at++;
	skip_space(s);
	if (s->at >= s->end)
		return fail(s, "unexpected end");
	value = s->at;
	if (*s->at == '"')
	{
		if (!skip_string(s))
			return false;
	}
	else if (*s->at == '{' || *s->at == '[')
	{
		if (!skip_container(s))
			return false;
	}
	else
		skip_scalar(s);
	if (s->at == value)
		return fail(s, "unexpected character");
	if (is_id)
	{
		/* of two ids it is not for us to choose */
		if (*seen)
			span->id = NULL;
		else
			note_id(span, value, s->at);
		*seen = true;
	}
	return true;
}

/* An id that needs no decoding: a plain string, or a whole number. */
static void
note_id(JsJsonSpan *span, const char *from, const char *to)
{
	bool		string = *from == '"';

	if (string)
	{
		from++;
		to--;
	}
	if (from == to)
		return;
	for (const char *p = from; p < to; p++)
		if (string ? *p == '\\' || (unsigned char) *p < ' ' ||
			(unsigned char) *p >= 128 : *p < '0' || *p > '9')
			return;
	span->id = from;
	span->id_len = to - from;
}

/* An object or an array, by its brackets. */
static bool
skip_container(Scanner *s)
{
	int			depth = 0;

	while (s->at < s->end)
	{
		switch (*s->at)
		{
			case '"':
				if (!skip_string(s))
					return false;
				continue;
			case '{':
			case '[':
				depth++;
				break;
			case '}':
			case ']':
				if (--depth == 0)
				{
					s->at++;
					return true;
				}
				break;
		}
		s->at++;
	}
	return fail(s, "unexpected end");
}

/* A string, in its quotes. */
static bool
skip_string(Scanner *s)
{
	s->at++;
	while (s->at < s->end && *s->at != '"')
		s->at += *s->at == '\\' ? 2 : 1;
	if (s->at >= s->end)
	{
		s->at = s->end;
		return fail(s, "unexpected end in a string");
	}
	s->at++;
	return true;
}

/* A number or a word: as far as nothing else begins. */
static void
skip_scalar(Scanner *s)
{
	while (s->at < s->end && *s->at != ',' && *s->at != '}' &&
		   *s->at != ']' && *s->at != ' ' && *s->at != '\t' &&
		   *s->at != '\n' && *s->at != '\r')
		s->at++;
}
