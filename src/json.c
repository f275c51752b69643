/*-------------------------------------------------------------------------
 *
 * json.c
 *	  JSON from outside: a strict scanner, a tree, equality, writing.
 *
 * Bytes of a PMS are not to be trusted.  What breaks the structure (syntax,
 * depth, size, text behind the value) refuses the whole text.  What only
 * spoils a value (a key that comes twice, NUL, half a surrogate pair, bad
 * UTF-8, an enormous number or string) is noted at the value and at all that
 * contain it, so that the caller can put one record aside and take the rest
 * of the page.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

const JsJsonLimits js_json_default_limits = {64, 5000000, 1 << 20, 1000, 400};
const JsJsonLimits js_json_unlimited = {
	1000, (size_t) 1 << 40, (size_t) 1 << 40, (size_t) 1 << 40, 1000000000
};

/* The text and where we are in it. */
typedef struct Scanner
{
	const char *start;
	const char *at;
	const char *end;
	const JsJsonLimits *limits;
	const JsAllocator *allocator;
	size_t		elements;
	int			depth;
	JsJsonError *error;
} Scanner;

static JsJson *parse_value(Scanner *s);
static JsJson *parse_object(Scanner *s);
static JsJson *parse_array(Scanner *s);
static JsJson *parse_string(Scanner *s);
static bool scan_string(Scanner *s, const char **text, size_t *len,
						const char **problem);
static const char *skip_plain(const char *at, const char *end);
static JsJson *parse_number(Scanner *s);
static JsJson *parse_word(Scanner *s);
static bool decode_escape(Scanner *s, JsBuffer *out, const char **problem);
static bool hex4(Scanner *s, unsigned *code);
static void append_utf8(JsBuffer *out, unsigned code);
static int	utf8_length(const unsigned char *p, const unsigned char *end);
static void check_keys(Scanner *s, JsJson *object);
static uint64_t key_bit(const JsMember *member);
static bool same_key(const JsMember *a, const JsMember *b);
static void *fail(Scanner *s, const char *message);
static void skip_space(Scanner *s);

/*
 * Parse a text.  False, with the error, if its structure is broken.
 */
bool
js_json_parse(const char *s, size_t len, const JsJsonLimits *limits,
			  const JsAllocator *allocator, JsJson **root, JsJsonError *error)
{
	Scanner		scanner = {s, s, s + len, limits, allocator, 0, 0, error};

	error->offset = 0;
	error->message = NULL;
	skip_space(&scanner);
	*root = parse_value(&scanner);
	if (*root == NULL)
		return false;
	skip_space(&scanner);
	if (scanner.at < scanner.end)
	{
		*root = fail(&scanner, "unexpected text behind the value");
		return false;
	}
	return true;
}

/* Note an error at the present place. */
static void *
fail(Scanner *s, const char *message)
{
	if (s->error->message == NULL)
	{
		s->error->offset = s->at - s->start;
		s->error->message = message;
	}
	return NULL;
}

static void
skip_space(Scanner *s)
{
	while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' ||
							  *s->at == '\n' || *s->at == '\r'))
		s->at++;
}

/* A value without children. */
JsJson	   *
js_json_make(const JsAllocator *allocator, JsJsonType type)
{
	JsJson	   *json = allocator->alloc(allocator->ctx, sizeof(JsJson));

	memset(json, 0, sizeof(JsJson));
	json->type = type;
	return json;
}

/* A string of bytes that stay where they are. */
JsJson	   *
js_json_make_string(const JsAllocator *allocator, const char *s, size_t len)
{
	JsJson	   *json = js_json_make(allocator, JS_JSON_STRING);

	json->text = s;
	json->len = len;
	return json;
}

/* Any value; at is at its first byte. */
static JsJson *
parse_value(Scanner *s)
{
	const char *source = s->at;
	JsJson	   *json;

	if (s->at >= s->end)
		return fail(s, "unexpected end");
	if (++s->elements > s->limits->elements)
		return fail(s, "too many values");
	switch (*s->at)
	{
		case '{':
			json = parse_object(s);
			break;
		case '[':
			json = parse_array(s);
			break;
		case '"':
			json = parse_string(s);
			break;
		case 't':
		case 'f':
		case 'n':
			json = parse_word(s);
			break;
		default:
			json = parse_number(s);
			break;
	}
	if (json != NULL)
	{
		json->source = source;
		json->source_len = s->at - source;
	}
	return json;
}

/* { "key": value, ... } */
static JsJson *
parse_object(Scanner *s)
{
	JsJson	   *object = js_json_make(s->allocator, JS_JSON_OBJECT);
	int			room = 0;

	if (++s->depth > s->limits->depth)
		return fail(s, "nested too deeply");
	s->at++;
	skip_space(s);
	if (s->at < s->end && *s->at == '}')
	{
		s->at++;
		s->depth--;
		return object;
	}
	for (;;)
	{
		JsMember	member;
		const char *problem;

		if (s->at >= s->end || *s->at != '"')
			return fail(s, "expected a key in quotes");
		if (!scan_string(s, &member.key, &member.keylen, &problem))
			return NULL;
		skip_space(s);
		if (s->at >= s->end || *s->at != ':')
			return fail(s, "expected a colon");
		s->at++;
		skip_space(s);
		if (object->n == room)
		{
			room = room == 0 ? 8 : room * 2;
			object->members = js_grow(s->allocator, object->members,
									  object->n * sizeof(JsMember),
									  room * sizeof(JsMember));
		}
		member.value = parse_value(s);
		if (member.value == NULL)
			return NULL;
		object->members[object->n++] = member;
		if (object->problem == NULL)
			object->problem = problem ? problem : member.value->problem;
		skip_space(s);
		if (s->at < s->end && *s->at == ',')
		{
			s->at++;
			skip_space(s);
			continue;
		}
		if (s->at >= s->end || *s->at != '}')
			return fail(s, "expected a comma or a closing brace");
		s->at++;
		s->depth--;
		check_keys(s, object);
		return object;
	}
}

/* A key that comes twice: parsers disagree on what it means. */
static void
check_keys(Scanner *s, JsJson *object)
{
	JsMember   *sorted;
	uint64_t	seen = 0;

	if (object->n < 2 || object->problem != NULL)
		return;
	if (object->n <= 16)
	{
		for (int i = 0; i < object->n; i++)
		{
			uint64_t	bit = key_bit(&object->members[i]);

			/* only keys with the same bit can be the same */
			for (int j = 0; j < i && (seen & bit) != 0; j++)
				if (same_key(&object->members[i], &object->members[j]))
					object->problem = "a key comes twice in an object";
			seen |= bit;
		}
		return;
	}
	sorted = js_grow(s->allocator, object->members,
					 object->n * sizeof(JsMember), object->n * sizeof(JsMember));
	qsort(sorted, object->n, sizeof(JsMember), js_member_compare);
	for (int i = 1; i < object->n; i++)
		if (same_key(&sorted[i - 1], &sorted[i]))
			object->problem = "a key comes twice in an object";
}

/* One of 64 bits, by a key's length and ends. */
static uint64_t
key_bit(const JsMember *member)
{
	unsigned	hash = member->keylen;

	if (member->keylen > 0)
		hash += (unsigned char) member->key[0] * 5 +
			(unsigned char) member->key[member->keylen - 1] * 11;
	return UINT64_C(1) << (hash & 63);
}

/* Are the keys of two members the same? */
static bool
same_key(const JsMember *a, const JsMember *b)
{
	return a->keylen == b->keylen && memcmp(a->key, b->key, a->keylen) == 0;
}

/* [ value, ... ] */
static JsJson *
parse_array(Scanner *s)
{
	JsJson	   *array = js_json_make(s->allocator, JS_JSON_ARRAY);
	int			room = 0;

	if (++s->depth > s->limits->depth)
		return fail(s, "nested too deeply");
	s->at++;
	skip_space(s);
	if (s->at < s->end && *s->at == ']')
	{
		s->at++;
		s->depth--;
		return array;
	}
	for (;;)
	{
		JsJson	   *item = parse_value(s);

		if (item == NULL)
			return NULL;
		if (array->n == room)
		{
			room = room == 0 ? 8 : room * 2;
			array->items = js_grow(s->allocator, array->items,
								   array->n * sizeof(JsJson *),
								   room * sizeof(JsJson *));
		}
		array->items[array->n++] = item;
		if (array->problem == NULL)
			array->problem = item->problem;
		skip_space(s);
		if (s->at < s->end && *s->at == ',')
		{
			s->at++;
			skip_space(s);
			continue;
		}
		if (s->at >= s->end || *s->at != ']')
			return fail(s, "expected a comma or a closing bracket");
		s->at++;
		s->depth--;
		return array;
	}
}

/* true, false, null */
static JsJson *
parse_word(Scanner *s)
{
	static const struct
	{
		const char *word;
		JsJsonType	type;
		bool		boolean;
	}			words[] = {
		{"true", JS_JSON_BOOL, true},
		{"false", JS_JSON_BOOL, false},
		{"null", JS_JSON_NULL, false},
	};

	for (int i = 0; i < 3; i++)
	{
		size_t		len = strlen(words[i].word);

		if ((size_t) (s->end - s->at) >= len &&
			memcmp(s->at, words[i].word, len) == 0)
		{
			JsJson	   *json = js_json_make(s->allocator, words[i].type);

			json->boolean = words[i].boolean;
			s->at += len;
			return json;
		}
	}
	return fail(s, "unexpected word");
}

static bool
is_digit(Scanner *s)
{
	return s->at < s->end && *s->at >= '0' && *s->at <= '9';
}

/* -12.5e+3: kept as it was written. */
static JsJson *
parse_number(Scanner *s)
{
	const char *start = s->at;
	JsJson	   *json;
	long		exponent = 0;
	size_t		digits;

	if (*s->at == '-')
		s->at++;
	if (!is_digit(s))
		return fail(s, "unexpected character");
	if (*s->at == '0')
		s->at++;
	else
		while (is_digit(s))
			s->at++;
	if (is_digit(s))
		return fail(s, "number with a leading zero");
	if (s->at < s->end && *s->at == '.')
	{
		s->at++;
		if (!is_digit(s))
			return fail(s, "digit expected behind the point");
		while (is_digit(s))
			s->at++;
	}
	digits = s->at - start;
	if (s->at < s->end && (*s->at == 'e' || *s->at == 'E'))
	{
		s->at++;
		if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
			s->at++;
		if (!is_digit(s))
			return fail(s, "digit expected in the exponent");
		while (is_digit(s))
		{
			if (exponent < 1000000000)
				exponent = exponent * 10 + (*s->at - '0');
			s->at++;
		}
	}
	json = js_json_make(s->allocator, JS_JSON_NUMBER);
	json->text = start;
	json->len = s->at - start;
	if (digits > s->limits->number_digits || exponent > s->limits->exponent)
		json->problem = "a number has too many digits";
	return json;
}

/* "text", decoded. */
static JsJson *
parse_string(Scanner *s)
{
	JsJson	   *json = js_json_make(s->allocator, JS_JSON_STRING);

	return scan_string(s, &json->text, &json->len, &json->problem) ?
		json : NULL;
}

/* The same, without a value for it.  False: the text is refused. */
static bool
scan_string(Scanner *s, const char **text, size_t *len, const char **problem)
{
	const char *start = ++s->at;
	JsBuffer	out;

	*problem = NULL;
	/* most strings need no decoding */
	s->at = skip_plain(s->at, s->end);
	if (s->at < s->end && *s->at == '"')
	{
		*text = start;
		*len = s->at - start;
	}
	else
	{
		js_buffer_init(&out, s->allocator);
		js_buffer_append(&out, start, s->at - start);
		while (s->at < s->end && *s->at != '"')
		{
			unsigned char c = *s->at;

			if (c < ' ')
				return fail(s, "control character in a string") != NULL;
			if (c == '\\')
			{
				if (!decode_escape(s, &out, problem))
					return false;
			}
			else
			{
				int			n = utf8_length((const unsigned char *) s->at,
											(const unsigned char *) s->end);

				if (n == 0)
				{
					*problem = "text is not valid UTF-8";
					append_utf8(&out, 0xFFFD);
					s->at++;
				}
				else
				{
					js_buffer_append(&out, s->at, n);
					s->at += n;
				}
			}
		}
		if (s->at >= s->end)
			return fail(s, "unexpected end in a string") != NULL;
		*text = out.data;
		*len = out.len;
	}
	s->at++;
	if (*problem == NULL && *len > s->limits->string_bytes)
		*problem = "a text is too long";
	return true;
}

/*
 * The first byte of a string that is not plain ASCII: its end, an escape, a
 * control character, or one of several bytes.  Eight bytes are looked at
 * together: a byte has its high bit set in one of the terms if it is 128 or
 * more, less than a blank, a quote or a backslash (a borrow can only make a
 * byte behind such a one look like one).
 */
static const char *
skip_plain(const char *at, const char *end)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	const uint64_t high = ones << 7;

	while (end - at >= (ptrdiff_t) sizeof(uint64_t))
	{
		uint64_t	bytes;

		memcpy(&bytes, at, sizeof(bytes));
		if (((bytes | (bytes - ones * ' ') |
			  ((bytes ^ ones * '"') - ones) |
			  ((bytes ^ ones * '\\') - ones)) & high) != 0)
			break;
		at += sizeof(bytes);
	}
	while (at < end && *at != '"' && *at != '\\' &&
		   (unsigned char) *at >= ' ' && (unsigned char) *at < 128)
		at++;
	return at;
}

/* One escape sequence. */
static bool
decode_escape(Scanner *s, JsBuffer *out, const char **problem)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	const char *found;
	unsigned	code;

	s->at++;
	if (s->at >= s->end)
		return fail(s, "unexpected end in a string") != NULL;
	if (*s->at != 'u')
	{
		found = *s->at ? strchr(from, *s->at) : NULL;
		if (found == NULL)
			return fail(s, "invalid escape sequence") != NULL;
		js_buffer_append(out, to + (found - from), 1);
		s->at++;
		return true;
	}
	s->at++;
	if (!hex4(s, &code))
		return false;
	if (code >= 0xD800 && code <= 0xDBFF && s->end - s->at >= 6 &&
		s->at[0] == '\\' && s->at[1] == 'u')
	{
		const char *here = s->at;
		unsigned	low;

		s->at += 2;
		if (!hex4(s, &low))
			return false;
		if (low >= 0xDC00 && low <= 0xDFFF)
			code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
		else
			s->at = here;
	}
	if (code == 0)
	{
		*problem = "text contains a NUL character";
		code = 0xFFFD;
	}
	if (code >= 0xD800 && code <= 0xDFFF)
	{
		*problem = "text contains half of a surrogate pair";
		code = 0xFFFD;
	}
	append_utf8(out, code);
	return true;
}

static bool
hex4(Scanner *s, unsigned *code)
{
	*code = 0;
	for (int i = 0; i < 4; i++, s->at++)
	{
		char		c = s->at < s->end ? *s->at : 0;
		int			digit;

		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if (c >= 'a' && c <= 'f')
			digit = c - 'a' + 10;
		else if (c >= 'A' && c <= 'F')
			digit = c - 'A' + 10;
		else
			return fail(s, "four hexadecimal digits expected") != NULL;
		*code = *code * 16 + digit;
	}
	return true;
}

static void
append_utf8(JsBuffer *out, unsigned code)
{
	char		bytes[4];
	int			n;

	if (code < 0x80)
	{
		bytes[0] = code;
		n = 1;
	}
	else if (code < 0x800)
	{
		bytes[0] = 0xC0 | (code >> 6);
		bytes[1] = 0x80 | (code & 0x3F);
		n = 2;
	}
	else if (code < 0x10000)
	{
		bytes[0] = 0xE0 | (code >> 12);
		bytes[1] = 0x80 | ((code >> 6) & 0x3F);
		bytes[2] = 0x80 | (code & 0x3F);
		n = 3;
	}
	else
	{
		bytes[0] = 0xF0 | (code >> 18);
		bytes[1] = 0x80 | ((code >> 12) & 0x3F);
		bytes[2] = 0x80 | ((code >> 6) & 0x3F);
		bytes[3] = 0x80 | (code & 0x3F);
		n = 4;
	}
	js_buffer_append(out, bytes, n);
}

/* Bytes of the UTF-8 character at p; 0 if it is none (RFC 3629). */
static int
utf8_length(const unsigned char *p, const unsigned char *end)
{
	int			n;

	if (*p < 0x80)
		return 1;
	n = *p >= 0xF0 ? 4 : *p >= 0xE0 ? 3 : 2;
	if (*p < 0xC2 || *p > 0xF4 || end - p < n)
		return 0;
	for (int i = 1; i < n; i++)
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	if ((*p == 0xE0 && p[1] < 0xA0) || (*p == 0xED && p[1] > 0x9F) ||
		(*p == 0xF0 && p[1] < 0x90) || (*p == 0xF4 && p[1] > 0x8F))
		return 0;
	return n;
}

/* Can a value not be stored? */
bool
js_json_is_bad(const JsJson *json)
{
	return json->problem != NULL;
}

/* Why; NULL if it can. */
const char *
js_json_problem(const JsJson *json)
{
	return json->problem;
}

/* The text of a value in the input. */
const char *
js_json_source(const JsJson *json)
{
	return json->source;
}

size_t
js_json_source_len(const JsJson *json)
{
	return json->source_len;
}
