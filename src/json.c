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
static JsJson *parse_number(Scanner *s);
static JsJson *parse_word(Scanner *s);
static bool decode_escape(Scanner *s, JsBuffer *out, const char **problem);
static bool hex4(Scanner *s, unsigned *code);
static void append_utf8(JsBuffer *out, unsigned code);
static int	utf8_length(const unsigned char *p, const unsigned char *end);
static void check_keys(Scanner *s, JsJson *object);
static int	compare_members(const void *a, const void *b);
static void *fail(Scanner *s, const char *message);
static void skip_space(Scanner *s);
static void *grow(const JsAllocator *allocator, void *old, size_t used,
				  size_t wanted);
static int	compare_numbers(const JsJson *a, const JsJson *b);
static int	compare_objects(const JsJson *a, const JsJson *b);
static const JsMember *next_member(const JsJson *object,
								   const JsMember *after);
static int	compare_bytes(const char *a, size_t alen, const char *b,
						  size_t blen);
static void write_string(const char *s, size_t len, JsBuffer *buffer);

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
JsJson *
js_json_make(const JsAllocator *allocator, JsJsonType type)
{
	JsJson	   *json = allocator->alloc(allocator->ctx, sizeof(JsJson));

	memset(json, 0, sizeof(JsJson));
	json->type = type;
	return json;
}

/* A string of bytes that stay where they are. */
JsJson *
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

/* Memory for more elements: at least doubled. */
static void *
grow(const JsAllocator *allocator, void *old, size_t used, size_t wanted)
{
	void	   *new = allocator->alloc(allocator->ctx, wanted);

	if (used > 0)
		memcpy(new, old, used);
	return new;
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
		JsJson	   *key;
		JsMember   *member;

		if (s->at >= s->end || *s->at != '"')
			return fail(s, "expected a key in quotes");
		key = parse_string(s);
		if (key == NULL)
			return NULL;
		skip_space(s);
		if (s->at >= s->end || *s->at != ':')
			return fail(s, "expected a colon");
		s->at++;
		skip_space(s);
		if (object->n == room)
		{
			room = room == 0 ? 8 : room * 2;
			object->members = grow(s->allocator, object->members,
								   object->n * sizeof(JsMember),
								   room * sizeof(JsMember));
		}
		member = &object->members[object->n];
		member->key = key->text;
		member->keylen = key->len;
		member->value = parse_value(s);
		if (member->value == NULL)
			return NULL;
		object->n++;
		if (object->problem == NULL)
			object->problem = key->problem ? key->problem :
				member->value->problem;
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

	if (object->n < 2 || object->problem != NULL)
		return;
	if (object->n <= 16)
	{
		for (int i = 1; i < object->n; i++)
			for (int j = 0; j < i; j++)
				if (compare_members(&object->members[i],
									&object->members[j]) == 0)
					object->problem = "a key comes twice in an object";
		return;
	}
	sorted = grow(s->allocator, object->members,
				  object->n * sizeof(JsMember), object->n * sizeof(JsMember));
	qsort(sorted, object->n, sizeof(JsMember), compare_members);
	for (int i = 1; i < object->n; i++)
		if (compare_members(&sorted[i - 1], &sorted[i]) == 0)
			object->problem = "a key comes twice in an object";
}

static int
compare_members(const void *a, const void *b)
{
	const JsMember *ma = a;
	const JsMember *mb = b;

	return compare_bytes(ma->key, ma->keylen, mb->key, mb->keylen);
}

static int
compare_bytes(const char *a, size_t alen, const char *b, size_t blen)
{
	int			result = memcmp(a, b, alen < blen ? alen : blen);

	if (result != 0)
		return result;
	return alen < blen ? -1 : alen > blen;
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
			array->items = grow(s->allocator, array->items,
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
	const char *start = ++s->at;
	const char *problem = NULL;
	JsBuffer	out;
	bool		plain = true;

	/* most strings need no decoding */
	while (s->at < s->end && *s->at != '"' && *s->at != '\\' &&
		   (unsigned char) *s->at >= ' ' && (unsigned char) *s->at < 128)
		s->at++;
	if (s->at < s->end && *s->at == '"')
	{
		json->text = start;
		json->len = s->at - start;
	}
	else
	{
		js_buffer_init(&out, s->allocator);
		js_buffer_append(&out, start, s->at - start);
		plain = false;
		while (s->at < s->end && *s->at != '"')
		{
			unsigned char c = *s->at;

			if (c < ' ')
				return fail(s, "control character in a string");
			if (c == '\\')
			{
				if (!decode_escape(s, &out, &problem))
					return NULL;
			}
			else
			{
				int			n = utf8_length((const unsigned char *) s->at,
											(const unsigned char *) s->end);

				if (n == 0)
				{
					problem = "text is not valid UTF-8";
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
			return fail(s, "unexpected end in a string");
	}
	s->at++;
	if (!plain)
	{
		json->text = out.data;
		json->len = out.len;
	}
	if (problem == NULL && json->len > s->limits->string_bytes)
		problem = "a text is too long";
	json->problem = problem;
	return json;
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

/* The member of an object; NULL if there is none, or if it is no object. */
JsJson *
js_json_get(const JsJson *object, const char *key, size_t keylen)
{
	if (object == NULL || object->type != JS_JSON_OBJECT)
		return NULL;
	for (int i = 0; i < object->n; i++)
		if (object->members[i].keylen == keylen &&
			memcmp(object->members[i].key, key, keylen) == 0)
			return object->members[i].value;
	return NULL;
}

/*
 * A total order of values: by kind, then by value.  0 for values that are
 * equal: numbers by what they mean, objects in any order of their members.
 */
int
js_json_compare(const JsJson *a, const JsJson *b)
{
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	switch (a->type)
	{
		case JS_JSON_NULL:
			return 0;
		case JS_JSON_BOOL:
			return (int) a->boolean - (int) b->boolean;
		case JS_JSON_NUMBER:
			return compare_numbers(a, b);
		case JS_JSON_STRING:
			return compare_bytes(a->text, a->len, b->text, b->len);
		case JS_JSON_ARRAY:
			for (int i = 0; i < a->n && i < b->n; i++)
			{
				int			result = js_json_compare(a->items[i], b->items[i]);

				if (result != 0)
					return result;
			}
			return (a->n > b->n) - (a->n < b->n);
		case JS_JSON_OBJECT:
			return compare_objects(a, b);
	}
	return 0;
}

/* Are two values the same?  NULL pointers are JSON null. */
bool
js_json_equal(const JsJson *a, const JsJson *b)
{
	if (a == NULL || b == NULL)
		return (a == NULL || a->type == JS_JSON_NULL) &&
			(b == NULL || b->type == JS_JSON_NULL);
	return js_json_compare(a, b) == 0;
}

/* By the number of members, then member by member in the order of keys. */
static int
compare_objects(const JsJson *a, const JsJson *b)
{
	const JsMember *ma = NULL;
	const JsMember *mb = NULL;

	if (a->n != b->n)
		return a->n < b->n ? -1 : 1;
	for (int i = 0; i < a->n; i++)
	{
		int			result;

		ma = next_member(a, ma);
		mb = next_member(b, mb);
		result = compare_members(ma, mb);
		if (result == 0)
			result = js_json_compare(ma->value, mb->value);
		if (result != 0)
			return result;
	}
	return 0;
}

/*
 * The member whose key comes next after that of another one (NULL: the
 * first), without memory: objects in fields of a record are small.
 */
static const JsMember *
next_member(const JsJson *object, const JsMember *after)
{
	const JsMember *best = NULL;

	for (int i = 0; i < object->n; i++)
	{
		const JsMember *m = &object->members[i];

		if (after != NULL && compare_members(m, after) <= 0)
			continue;
		if (best == NULL || compare_members(m, best) < 0)
			best = m;
	}
	/* keys that come twice were refused before; be safe all the same */
	return best ? best : &object->members[object->n - 1];
}

/* A number as sign, digits without zeros at either end, and exponent. */
typedef struct Decimal
{
	int			sign;			/* 0: zero */
	long long	exponent;		/* of the first digit */
	const char *first;
	const char *last;			/* behind the last digit that counts */
} Decimal;

static Decimal
decimal_of(const JsJson *json)
{
	Decimal		d = {0, 0, NULL, NULL};
	const char *p = json->text;
	const char *end = json->text + json->len;
	const char *point = NULL;
	const char *mantissa_end;
	long long	exponent = 0;
	bool		negative = *p == '-';

	if (negative)
		p++;
	for (mantissa_end = p; mantissa_end < end; mantissa_end++)
	{
		if (*mantissa_end == 'e' || *mantissa_end == 'E')
			break;
		if (*mantissa_end == '.')
			point = mantissa_end;
		else if (*mantissa_end != '0')
		{
			if (d.first == NULL)
				d.first = mantissa_end;
			d.last = mantissa_end + 1;
		}
	}
	if (d.first == NULL)
		return d;
	if (mantissa_end < end)
	{
		const char *q = mantissa_end + 1;
		bool		minus = *q == '-';

		if (*q == '-' || *q == '+')
			q++;
		for (; q < end; q++)
			if (exponent < 1000000000000LL)
				exponent = exponent * 10 + (*q - '0');
		if (minus)
			exponent = -exponent;
	}
	if (point == NULL)
		point = mantissa_end;
	d.exponent = exponent + (point - d.first) - (d.first > point ? 0 : 1);
	d.sign = negative ? -1 : 1;
	return d;
}

/* Numbers by their value, without a conversion that could lose digits. */
static int
compare_numbers(const JsJson *a, const JsJson *b)
{
	Decimal		da = decimal_of(a);
	Decimal		db = decimal_of(b);
	const char *pa = da.first;
	const char *pb = db.first;

	if (da.sign != db.sign || da.sign == 0)
		return (da.sign > db.sign) - (da.sign < db.sign);
	if (da.exponent != db.exponent)
		return da.exponent < db.exponent ? -da.sign : da.sign;
	for (;;)
	{
		char		ca;
		char		cb;

		if (pa < da.last && *pa == '.')
			pa++;
		if (pb < db.last && *pb == '.')
			pb++;
		if (pa >= da.last || pb >= db.last)
			return ((pa < da.last) - (pb < db.last)) * da.sign;
		ca = *pa++;
		cb = *pb++;
		if (ca != cb)
			return ca < cb ? -da.sign : da.sign;
	}
}

/* Null, only white space, or an array or object without elements? */
bool
js_json_blank(const JsJson *json)
{
	if (json == NULL || json->type == JS_JSON_NULL)
		return true;
	if (json->type == JS_JSON_ARRAY || json->type == JS_JSON_OBJECT)
		return json->n == 0;
	if (json->type != JS_JSON_STRING)
		return false;
	for (size_t i = 0; i < json->len; i++)
		if (json->text[i] == '\0' ||
			strchr(" \t\n\r\f\v", json->text[i]) == NULL)
			return false;
	return true;
}

/* An empty buffer. */
void
js_buffer_init(JsBuffer *buffer, const JsAllocator *allocator)
{
	buffer->allocator = allocator;
	buffer->size = 64;
	buffer->len = 0;
	buffer->data = allocator->alloc(allocator->ctx, buffer->size);
	buffer->data[0] = '\0';
}

/* Add bytes. */
void
js_buffer_append(JsBuffer *buffer, const char *s, size_t len)
{
	if (buffer->len + len + 1 > buffer->size)
	{
		size_t		size = buffer->size * 2;

		while (size < buffer->len + len + 1)
			size *= 2;
		buffer->data = grow(buffer->allocator, buffer->data, buffer->len,
							size);
		buffer->size = size;
	}
	if (len > 0)
		memcpy(buffer->data + buffer->len, s, len);
	buffer->len += len;
	buffer->data[buffer->len] = '\0';
}

/* Write a value, as compactly as can be. */
void
js_json_write(const JsJson *json, JsBuffer *buffer)
{
	if (json == NULL)
	{
		js_buffer_append(buffer, "null", 4);
		return;
	}
	switch (json->type)
	{
		case JS_JSON_NULL:
			js_buffer_append(buffer, "null", 4);
			break;
		case JS_JSON_BOOL:
			js_buffer_append(buffer, json->boolean ? "true" : "false",
							 json->boolean ? 4 : 5);
			break;
		case JS_JSON_NUMBER:
			js_buffer_append(buffer, json->text, json->len);
			break;
		case JS_JSON_STRING:
			write_string(json->text, json->len, buffer);
			break;
		case JS_JSON_ARRAY:
			js_buffer_append(buffer, "[", 1);
			for (int i = 0; i < json->n; i++)
			{
				if (i > 0)
					js_buffer_append(buffer, ",", 1);
				js_json_write(json->items[i], buffer);
			}
			js_buffer_append(buffer, "]", 1);
			break;
		case JS_JSON_OBJECT:
			js_buffer_append(buffer, "{", 1);
			for (int i = 0; i < json->n; i++)
			{
				if (i > 0)
					js_buffer_append(buffer, ",", 1);
				write_string(json->members[i].key, json->members[i].keylen,
							 buffer);
				js_buffer_append(buffer, ":", 1);
				js_json_write(json->members[i].value, buffer);
			}
			js_buffer_append(buffer, "}", 1);
			break;
	}
}

/* A string in quotes, with the escapes that it needs. */
static void
write_string(const char *s, size_t len, JsBuffer *buffer)
{
	static const char hex[] = "0123456789abcdef";
	size_t		done = 0;

	js_buffer_append(buffer, "\"", 1);
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = s[i];
		char		escape[6] = {'\\', 'u', '0', '0', 0, 0};

		if (c >= ' ' && c != '"' && c != '\\')
			continue;
		js_buffer_append(buffer, s + done, i - done);
		done = i + 1;
		if (c == '"' || c == '\\')
		{
			escape[1] = c;
			js_buffer_append(buffer, escape, 2);
			continue;
		}
		escape[4] = hex[c >> 4];
		escape[5] = hex[c & 15];
		js_buffer_append(buffer, escape, 6);
	}
	js_buffer_append(buffer, s + done, len - done);
	js_buffer_append(buffer, "\"", 1);
}
