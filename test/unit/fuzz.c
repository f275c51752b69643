/*
 * fuzz.c
 *	  libFuzzer target for what reads bytes from outside: JSON, headers, and
 *	  what is done with the values then.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "httpdate.h"
#include "json.h"
#include "jspath.h"
#include "merge.h"

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
	}
	(void) js_path_parse(text, &allocator);
	(void) js_http_date(text, &seconds);
	(void) js_retry_after(text, "Sun, 06 Nov 1994 08:49:37 GMT");
	while (blocks != NULL)
	{
		Block	   *next = blocks->next;

		free(blocks);
		blocks = next;
	}
	free(text);
	return 0;
}
