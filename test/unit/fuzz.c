/*
 * fuzz.c
 *	  libFuzzer target for all of the pure core that reads bytes from outside:
 *	  JSON, paths, headers, lines of text; and what is done with them then.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "httpdate.h"
#include "json.h"
#include "jsonspan.h"
#include "jspath.h"
#include "mail.h"
#include "merge.h"
#include "plan.h"

/* An arena that is freed after every input. */
typedef struct Block
{
	struct Block *next;
} Block;

static Block *blocks;

static void *
allocate(void *ctx, size_t size)
{
	Block	   *block = malloc(sizeof(Block) + size);

	(void) ctx;
	block->next = blocks;
	blocks = block;
	return block + 1;
}

/* Three texts out of one input, cut at NULs. */
static void
merge_lines(const JsAllocator *allocator, const char *text, size_t size)
{
	const char *parts[3] = {NULL, NULL, NULL};
	char	   *merged;
	size_t		at = 0;

	for (int i = 0; i < 3 && at <= size; i++)
	{
		parts[i] = text + at;
		at += strlen(text + at) + 1;
	}
	merged = js_merge_lines(allocator, parts[0], parts[1], parts[2]);
	/* nothing is invented: every line was somebody's */
	if (merged != NULL && strlen(merged) > size * 2 + 2)
		abort();
	/* what both sides have alike is the result */
	merged = js_merge_lines(allocator, parts[0], parts[1], parts[1]);
	if ((merged == NULL) != (parts[1] == NULL))
		abort();
}

/* The values of an array are where the parser finds them. */
static void
find_spans(const JsAllocator *allocator, const char *text, size_t size,
		   const JsJson *array)
{
	JsJsonSpan *spans;
	JsJsonError error;
	int			n;
	bool		found = js_json_spans(text, size, allocator, &spans, &n, &error);

	if (array == NULL)
		return;
	if (!found || n != array->n)
		abort();
	for (int i = 0; i < n; i++)
		if (spans[i].start != js_json_source(array->items[i]) ||
			spans[i].len != js_json_source_len(array->items[i]))
			abort();
}

/* A mail with any subject and body: nothing ends a header or a line early. */
static void
mail(const JsAllocator *allocator, const char *text)
{
	static const char *const to[] = {"a@b.c", NULL};
	JsMail		mail = {"x@y.z", to, text, "now", "1@x", text};
	char	   *built = js_mail_build(allocator, &mail);
	size_t		line = 0;
	int			empty = 0;

	(void) js_mail_address_ok(text);
	for (char *p = built; *p; p++)
	{
		line = *p == '\n' ? 0 : line + 1;
		if ((*p == '\n') != (p > built && p[-1] == '\r') || line > 78 ||
			(unsigned char) *p > 126 || (line == 1 && *p == '.'))
			abort();
		if (strncmp(p, "\r\n\r\n", 4) == 0)
			empty++;
	}
	if (empty != 1 || strstr(built, "\r\nSubject: =?utf-8?B?") == NULL)
		abort();
}

/* Facts out of bytes: the planner takes any, and decides twice the same. */
static void
plan(const uint8_t *data, size_t size)
{
	enum
	{
		N = 5
	};
	JsRecordFacts record;
	JsFieldFacts facts[N];
	JsDecision	first[N];
	JsDecision	second[N];

	memset(&record, 0, sizeof(record));
	memset(facts, 0, sizeof(facts));
	memset(first, 0, sizeof(first));
	memset(second, 0, sizeof(second));
	if (size < 2 + 5 * N)
		return;
	record.on_local_edit = (JsLocalEdit) (data[0] & 3);
	record.pms_time_known = data[0] >> 2 & 1;
	record.pms_time = data[1] & 15;
	record.time_tolerance = data[1] >> 4;
	data += 2;
	for (int i = 0; i < N; i++, data += 5)
	{
		facts[i].strategy = (JsStrategy) (data[0] % 5);
		facts[i].push = data[0] >> 3 & 1;
		facts[i].unless_blank = data[0] >> 4 & 1;
		facts[i].group = data[1] % (N + 1) - 1;
		facts[i].base_known = data[2] & 1;
		facts[i].pms_present = data[2] >> 1 & 1;
		facts[i].pms_changed = data[2] >> 2 & 1;
		facts[i].local_changed = data[2] >> 3 & 1;
		facts[i].equal = data[2] >> 4 & 1;
		facts[i].pms_blank = data[2] >> 5 & 1;
		facts[i].local_blank = data[2] >> 6 & 1;
		facts[i].held = data[2] >> 7 & 1;
		facts[i].local_time_known = data[3] & 1;
		facts[i].local_time = data[4] & 15;
	}
	js_plan_record(&record, facts, N, first);
	js_plan_record(&record, facts, N, second);
	if (memcmp(first, second, sizeof(first)) != 0)
		abort();
	for (int i = 0; i < N; i++)
		if (first[i].action == JS_HOLD && (first[i].push || first[i].move_base))
			abort();
}

/* A pause that a server asks for: one, or none, with any date beside it. */
static void
retry_after(const char *text)
{
	long		pause = js_retry_after(text, "Sun, 06 Nov 1994 08:49:37 GMT");
	long long	seconds;

	(void) js_retry_after("120", text);
	(void) js_retry_after(text, text);
	(void) js_retry_after(text, NULL);
	if (pause < -1)
		abort();
	/* what is a date is one in four digits of years */
	if (js_http_date(text, &seconds) &&
		(seconds < -62167219200LL || seconds > 253402300799LL))
		abort();
}

/*
 * Three versions of a value: what both sides have alike comes out, whatever
 * was agreed on, and a merge with itself changes nothing.
 */
static void
merge_values(const JsAllocator *allocator, JsJson *base, JsJson *a, JsJson *b)
{
	JsJson	   *merged = js_merge(allocator, base, a, a, JS_NEWER_UNKNOWN);

	if (!js_json_equal(merged, a) && a->type != JS_JSON_ARRAY &&
		a->type != JS_JSON_OBJECT)
		abort();
	(void) js_merge(allocator, a, b, base, JS_NEWER_LOCAL);
	(void) js_merge(allocator, b, a, base, JS_NEWER_PMS);
	(void) js_merge(allocator, base, a, b, JS_NEWER_UNKNOWN);
}

/* Three JSON texts out of one input, cut at NULs. */
static void
merge_texts(const JsAllocator *allocator, char *text, size_t size)
{
	JsJson	   *values[3];
	JsJsonError error;
	size_t		at = 0;

	for (int i = 0; i < 3; i++)
	{
		size_t		len = at <= size ? strlen(text + at) : 0;

		if (at > size ||
			!js_json_parse(text + at, len, &js_json_default_limits,
						   allocator, &values[i], &error) ||
			js_json_is_bad(values[i]))
			return;
		at += len + 1;
	}
	merge_values(allocator, values[0], values[1], values[2]);
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	JsAllocator allocator = {allocate, NULL};
	JsJson	   *root;
	JsJson	   *again;
	JsJsonError error;
	char	   *text = malloc(size + 1);
	long long	seconds;

	memcpy(text, data, size);
	text[size] = '\0';
	if (js_json_parse(text, size, &js_json_default_limits, &allocator, &root,
					  &error))
	{
		JsBuffer	buffer;

		js_buffer_init(&buffer, &allocator);
		js_json_write(root, &buffer);
		/* what we write, we read, and it is the same */
		if (!js_json_parse(buffer.data, buffer.len, &js_json_unlimited,
						   &allocator, &again, &error))
			abort();
		if (!js_json_is_bad(root) && !js_json_equal(root, again))
			abort();
		(void) js_merge(&allocator, NULL, root, again, JS_NEWER_UNKNOWN);
		(void) js_merge(&allocator, root, root, again, JS_NEWER_PMS);
		if (root->type == JS_JSON_ARRAY)
			find_spans(&allocator, text, size, root);
	}
	else
		find_spans(&allocator, text, size, NULL);
	(void) js_path_parse(text, &allocator);
	(void) js_http_date(text, &seconds);
	retry_after(text);
	merge_lines(&allocator, text, size);
	merge_texts(&allocator, text, size);
	plan(data, size);
	mail(&allocator, text);
	while (blocks != NULL)
	{
		Block	   *next = blocks->next;

		free(blocks);
		blocks = next;
	}
	free(text);
	return 0;
}
