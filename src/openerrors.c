/*-------------------------------------------------------------------------
 *
 * openerrors.c
 *	  Which records have an error that is not settled.
 *
 * Whatever becomes of such a record, its row of sync_error is to be looked at.
 * There may be a dead letter for years: that must not cost every other record
 * a query.  So whoever asks for many records gets them from a list that is
 * read once; it may be older than what other sessions did since.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/hsearch.h"

#include "openerrors.h"
#include "statement.h"

#define FEW			16			/* that are asked for: no list is read */
#define MOST_KEPT	1000		/* errors in the list; with more, all have one */

#define EXTERNAL	1			/* kinds of keys */
#define LOCAL		2

struct JsOpenErrors
{
	int			asked;
	bool		all;
	HTAB	   *keys;			/* hashes of ids; NULL: not read */
};

static JsOpenErrors *list_of(JsApply *apply);
static void read_list(JsApply *apply, JsOpenErrors *open);
static bool has(JsOpenErrors *open, int kind, const char *id);
static void put(JsOpenErrors *open, int kind, const char *id);
static uint64 key_of(int kind, const char *id);

/* Are there any for the entity?  SPI is connected. */
void
js_open_errors_look(JsApply *apply)
{
	static JsStatement statement = {
		"SELECT EXISTS (SELECT FROM jacksync.sync_error WHERE entity = $1"
		" AND state IN ('waiting', 'retry', 'dead'))",
		{TEXTOID}
	};
	JsArgs		args = {0};

	js_arg_text(&args, apply->entity_name);
	js_run(&statement, &args);
	apply->open_errors = js_get_bool(0, 1);
}

/* So many records will be asked for. */
void
js_open_errors_expect(JsApply *apply, int n)
{
	if (apply->open_errors)
		list_of(apply)->asked += n;
}

/* Has a record perhaps one, by either of its ids (NULL: none)? */
bool
js_open_error(JsApply *apply, const char *external_id, const char *local_id)
{
	JsOpenErrors *open;

	if (!apply->open_errors)
		return false;
	open = list_of(apply);
	if (++open->asked <= FEW)
		return true;
	if (open->keys == NULL)
		read_list(apply, open);
	return open->all || has(open, EXTERNAL, external_id) ||
		has(open, LOCAL, local_id);
}

/* It has one now. */
void
js_open_error_add(JsApply *apply, const char *external_id,
				  const char *local_id)
{
	apply->open_errors = true;
	if (apply->open == NULL || apply->open->keys == NULL)
		return;
	put(apply->open, EXTERNAL, external_id);
	put(apply->open, LOCAL, local_id);
}

/* The list, which need not have been read. */
static JsOpenErrors *
list_of(JsApply *apply)
{
	if (apply->open == NULL)
		apply->open = MemoryContextAllocZero(apply->mcxt,
											 sizeof(JsOpenErrors));
	return apply->open;
}

/* Read it. */
static void
read_list(JsApply *apply, JsOpenErrors *open)
{
	static JsStatement statement = {
		"SELECT external_id, local_id FROM jacksync.sync_error"
		" WHERE entity = $1 AND state IN ('waiting', 'retry', 'dead') LIMIT $2",
		{TEXTOID, INT8OID}
	};
	HASHCTL		control = {.keysize = sizeof(uint64),
	.entrysize = sizeof(uint64),.hcxt = apply->mcxt};
	JsArgs		args = {0};
	uint64		rows;

	open->keys = hash_create("jacksync open errors", 64, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	js_arg_text(&args, apply->entity_name);
	js_arg(&args, Int64GetDatum(MOST_KEPT + 1));
	rows = js_run(&statement, &args);
	open->all = rows > MOST_KEPT;
	for (uint64 row = 0; row < rows && !open->all; row++)
	{
		put(open, EXTERNAL, js_get_text(row, 1));
		put(open, LOCAL, js_get_text(row, 2));
	}
}

/* Is an id in the list? */
static bool
has(JsOpenErrors *open, int kind, const char *id)
{
	uint64		key;

	if (id == NULL)
		return false;
	key = key_of(kind, id);
	return hash_search(open->keys, &key, HASH_FIND, NULL) != NULL;
}

/* Put one into it. */
static void
put(JsOpenErrors *open, int kind, const char *id)
{
	uint64		key;

	if (id == NULL)
		return;
	key = key_of(kind, id);
	(void) hash_search(open->keys, &key, HASH_ENTER, NULL);
}

/* What an id is known by. */
static uint64
key_of(int kind, const char *id)
{
	return hash_bytes_extended((const unsigned char *) id, strlen(id), kind);
}
