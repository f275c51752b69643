/*-------------------------------------------------------------------------
 *
 * json.h
 *	  JSON from outside: a strict scanner, a tree, equality, writing.
 *
 * Pure: no PostgreSQL, no I/O.  Memory comes from the caller's allocator and
 * is never freed piece by piece.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_JSON_H
#define JS_JSON_H

#include <stdbool.h>
#include <stddef.h>

/* Where memory comes from; alloc must not return NULL. */
typedef struct JsAllocator
{
	void	   *(*alloc) (void *ctx, size_t size);
	void	   *ctx;
} JsAllocator;

typedef enum JsJsonType
{
	JS_JSON_NULL,
	JS_JSON_BOOL,
	JS_JSON_NUMBER,
	JS_JSON_STRING,
	JS_JSON_ARRAY,
	JS_JSON_OBJECT
} JsJsonType;

typedef struct JsJson JsJson;

/* A member of an object. */
typedef struct JsMember
{
	const char *key;			/* decoded, ends with a NUL that is not
								 * counted */
	size_t		keylen;
	JsJson	   *value;
} JsMember;

struct JsJson
{
	JsJsonType	type:8;			/* all of it is one line of the cache */
	bool		boolean;
	int			n;				/* elements or members */
	const char *problem;		/* why it cannot be stored; NULL: it can */
	const char *source;			/* its text in the input; NULL: was made */
	size_t		source_len;
	const char *text;			/* number: verbatim; string: decoded */
	size_t		len;
	JsJson	  **items;			/* of an array */
	JsMember   *members;		/* of an object, in their order */
};

/* What is accepted.  Beyond depth and elements the whole text is refused. */
typedef struct JsJsonLimits
{
	int			depth;
	size_t		elements;		/* values in all */
	size_t		string_bytes;	/* beyond: the value has a problem */
	size_t		number_digits;
	int			exponent;
} JsJsonLimits;

typedef struct JsJsonError
{
	size_t		offset;
	const char *message;
} JsJsonError;

/* A growing text; data always ends with a NUL. */
typedef struct JsBuffer
{
	const JsAllocator *allocator;
	char	   *data;
	size_t		len;
	size_t		size;
} JsBuffer;

extern const JsJsonLimits js_json_default_limits;
extern const JsJsonLimits js_json_unlimited;

extern bool js_json_parse(const char *s, size_t len,
						  const JsJsonLimits *limits,
						  const JsAllocator *allocator,
						  JsJson **root, JsJsonError *error);
extern bool js_json_is_bad(const JsJson *json);
extern const char *js_json_problem(const JsJson *json);
extern const char *js_json_source(const JsJson *json);
extern size_t js_json_source_len(const JsJson *json);
extern JsJson *js_json_get(const JsJson *object, const char *key,
						   size_t keylen);
extern int	js_json_compare(const JsJson *a, const JsJson *b);
extern bool js_json_equal(const JsJson *a, const JsJson *b);
extern bool js_json_blank(const JsJson *json);

/* for json.c and merge.c */
extern void *js_grow(const JsAllocator *allocator, void *old, size_t used,
					 size_t wanted);
extern int	js_member_compare(const void *a, const void *b);

extern JsJson *js_json_make(const JsAllocator *allocator, JsJsonType type);
extern JsJson *js_json_make_string(const JsAllocator *allocator,
								   const char *s, size_t len);

extern void js_buffer_init(JsBuffer *buffer, const JsAllocator *allocator);
extern void js_buffer_append(JsBuffer *buffer, const char *s, size_t len);
extern void js_json_write(const JsJson *json, JsBuffer *buffer);

#endif							/* JS_JSON_H */
