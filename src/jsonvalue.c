/*-------------------------------------------------------------------------
 *
 * jsonvalue.c
 *	  What can be done with a JSON tree: compare it, write it.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "json.h"

static int	compare_bytes(const char *a, size_t alen, const char *b,
						  size_t blen);
static int	compare_numbers(const JsJson *a, const JsJson *b);
static int	compare_objects(const JsJson *a, const JsJson *b);
static const JsMember *next_member(const JsJson *object,
								   const JsMember *after);
static void write_string(const char *s, size_t len, JsBuffer *buffer);

/* Memory for more elements: at least doubled. */
void	   *
js_grow(const JsAllocator *allocator, void *old, size_t used, size_t wanted)
{
	void	   *new = allocator->alloc(allocator->ctx, wanted);

	if (used > 0)
		memcpy(new, old, used);
	return new;
}

/* The order of members by their keys. */
int
js_member_compare(const void *a, const void *b)
{
	const JsMember *ma = a;
	const JsMember *mb = b;

	return compare_bytes(ma->key, ma->keylen, mb->key, mb->keylen);
}

/* Bytes in the order of memcmp(); of two that begin alike the shorter first. */
static int
compare_bytes(const char *a, size_t alen, const char *b, size_t blen)
{
	int			result = memcmp(a, b, alen < blen ? alen : blen);

	if (result != 0)
		return result;
	return alen < blen ? -1 : alen > blen;
}

/* The member of an object; NULL if there is none, or if it is no object. */
JsJson	   *
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
		result = js_member_compare(ma, mb);
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

		if (after != NULL && js_member_compare(m, after) <= 0)
			continue;
		if (best == NULL || js_member_compare(m, best) < 0)
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
		buffer->data = js_grow(buffer->allocator, buffer->data, buffer->len,
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
