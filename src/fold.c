/*-------------------------------------------------------------------------
 *
 * fold.c
 *	  Taking up captured changes: from jacksync.change into jacksync.link.
 *
 * Changes are consumed by presence: every committed row of the log is taken,
 * whatever its number or time, and deleted in the same transaction in which
 * its record is marked.  A transaction that commits late is thus never
 * skipped.  The log is only a signal: values are read from the row itself,
 * under its lock, when they are needed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "fold.h"
#include "heap.h"
#include "jacksync.h"
#include "jsonb.h"
#include "link.h"
#include "row.h"
#include "secure.h"
#include "statement.h"

#define FOLD_LIMIT 5000			/* changes in one transaction */

/* What happened to one row. */
typedef struct RowChanges
{
	char	   *first_id;		/* its key at the last fold */
	char	   *local_id;		/* its key now */
	bool		inserted;
	bool		deleted;		/* the last thing that happened */
	bool		waiting;
	TimestampTz at;
	TimestampTz *field_at;		/* per field; 0: not changed */
	uint32		hash;			/* of its key now */
	struct RowChanges *bucket;	/* the next one of the same bucket */
	struct RowChanges *next;
} RowChanges;

#define BUCKETS 4096

/* The rows of one fold. */
typedef struct ChangeList
{
	RowChanges *first;
	RowChanges *buckets[BUCKETS];
} ChangeList;

static RowChanges *read_changes(JsEntity *entity, int *n);
static RowChanges *changes_of(ChangeList *list, JsEntity *entity,
							  const char *local_id);
static void rename_row(ChangeList *list, RowChanges *changes,
					   char *local_id);
static uint32 hash_key(const char *local_id);
static void note_columns(RowChanges *changes, JsEntity *entity,
						 uint64 row, TimestampTz at);
static void mark_record(JsEntity *entity, int32 stream_id,
						RowChanges *changes);
static void mark_new_row(JsEntity *entity, int32 stream_id,
						 RowChanges *changes);
static int32 stream_of(JsEntity *entity, JsRow *row);
static void follow_row(JsEntity *entity, JsRow *row, RowChanges *changes);
static void mark_changed(JsEntity *entity, JsLink *link,
						 RowChanges *changes);
static Jsonb *merge_times(JsEntity *entity, Jsonb *times,
						  RowChanges *changes);

/*
 * Take up the changes of an entity that are committed, at most FOLD_LIMIT.
 * New rows are to go out through stream_id (0: through none).  Returns how
 * many changes were taken.  SPI is connected, the settings are pinned, and
 * the caller is inside js_internal_user().
 */
int
js_fold(JsEntity *entity, int32 stream_id)
{
	int			n;
	RowChanges *changes = read_changes(entity, &n);
	JsHeapPage	page;

	if (n == 0)
		return 0;
	js_heap_page_begin(&page);
	PG_TRY();
	{
		for (; changes != NULL; changes = changes->next)
			mark_record(entity, stream_id, changes);
	}
	PG_CATCH();
	{
		js_heap_page_abort(&page);
		PG_RE_THROW();
	}
	PG_END_TRY();
	js_heap_page_end(&page);
	return n;
}

/* Delete the changes from the log, and sum them up by row. */
static RowChanges *
read_changes(JsEntity *entity, int *n)
{
	static JsStatement statement = {
		"WITH d AS (DELETE FROM jacksync.change WHERE ctid = ANY (ARRAY("
		"  SELECT ctid FROM jacksync.change WHERE entity_id = $1"
		"  ORDER BY change_id LIMIT $2 FOR UPDATE SKIP LOCKED))"
		" RETURNING *)"
		" SELECT changed_at, op::text, waiting, local_id, old_local_id, columns"
		" FROM d ORDER BY change_id",
		{INT4OID, INT8OID}
	};
	JsArgs		args = {0};
	ChangeList *list;

	js_arg(&args, Int32GetDatum(entity->entity_id));
	js_arg(&args, Int64GetDatum(FOLD_LIMIT));
	*n = (int) js_run(&statement, &args);
	if (*n == 0)
		return NULL;
	list = palloc0(sizeof(ChangeList));
	for (int i = 0; i < *n; i++)
	{
		TimestampTz at = js_get_int8(i, 1);
		char		op = js_get_text(i, 2)[0];
		char	   *local_id = js_get_text(i, 4);
		char	   *old_local_id = js_get_text(i, 5);
		RowChanges *changes = changes_of(list, entity,
										 old_local_id ? old_local_id : local_id);

		if (old_local_id != NULL)
			rename_row(list, changes, local_id);
		changes->at = Max(changes->at, at);
		changes->deleted = op == 'd';
		changes->inserted = changes->inserted || op == 'i';
		changes->waiting = changes->waiting || js_get_bool(i, 3);
		if (op != 'd')
			note_columns(changes, entity, i, at);
	}
	return list->first;
}

/* The entry of a row in the list, by its present key. */
static RowChanges *
changes_of(ChangeList *list, JsEntity *entity, const char *local_id)
{
	uint32		hash = hash_key(local_id);
	RowChanges *changes;

	for (changes = list->buckets[hash % BUCKETS]; changes != NULL;
		 changes = changes->bucket)
		if (changes->hash == hash && strcmp(changes->local_id, local_id) == 0)
			return changes;
	changes = palloc0(sizeof(RowChanges));
	changes->first_id = changes->local_id = pstrdup(local_id);
	changes->at = DT_NOBEGIN;
	changes->field_at = palloc0(sizeof(TimestampTz) * Max(entity->nfields, 1));
	changes->hash = hash;
	changes->bucket = list->buckets[hash % BUCKETS];
	list->buckets[hash % BUCKETS] = changes;
	changes->next = list->first;
	list->first = changes;
	return changes;
}

/* A row has got another key. */
static void
rename_row(ChangeList *list, RowChanges *changes, char *local_id)
{
	RowChanges **place = &list->buckets[changes->hash % BUCKETS];

	while (*place != changes)
		place = &(*place)->bucket;
	*place = changes->bucket;
	changes->local_id = local_id;
	changes->hash = hash_key(local_id);
	changes->bucket = list->buckets[changes->hash % BUCKETS];
	list->buckets[changes->hash % BUCKETS] = changes;
}

/* The hash of a key. */
static uint32
hash_key(const char *local_id)
{
	return hash_bytes((const unsigned char *) local_id, strlen(local_id));
}

/* Note the time of the fields that a change touched: none named, all. */
static void
note_columns(RowChanges *changes, JsEntity *entity, uint64 row, TimestampTz at)
{
	bool		isnull;
	Datum		value = js_get(row, 6, &isnull);
	bytea	   *bits = isnull ? NULL : DatumGetByteaPP(value);

	for (int i = 0; i < entity->nfields; i++)
	{
		int			attnum = entity->fields[i].column.attnum;

		if (isnull || (attnum / 8 < VARSIZE_ANY_EXHDR(bits) &&
					   VARDATA_ANY(bits)[attnum / 8] & (1 << attnum % 8)))
			changes->field_at[i] = Max(changes->field_at[i], at);
	}
}

/* Mark the record of a changed row. */
static void
mark_record(JsEntity *entity, int32 stream_id, RowChanges *changes)
{
	JsLink	   *link = js_link_lock_local(entity->entity_id,
										  changes->first_id);

	if (link == NULL)
	{
		if (!changes->deleted)
			mark_new_row(entity, stream_id, changes);
		return;
	}

	if (link->state == JS_TOMBSTONE && (changes->deleted || changes->inserted))
	{
		/* the row that was kept is gone: its key is another row's, or nobody's */
		link->local_id = NULL;
		js_link_update(link);
		if (!changes->deleted)
			mark_new_row(entity, stream_id, changes);
		return;
	}
	link->local_id = changes->local_id;
	mark_changed(entity, link, changes);
	if (changes->deleted && link->state == JS_LINKED)
	{
		link->state = JS_DELETED_HERE;
		link->push_failures = 0;	/* of its changes; this is another matter */
	}
	else if (!changes->deleted && link->state == JS_DELETED_HERE)
		link->state = JS_LINKED;
	if (changes->deleted && link->state == JS_NEW_HERE &&
		link->intent_id == 0 && !link->failed)
	{
		static JsStatement statement = {
			"DELETE FROM jacksync.link WHERE record_id = $1",
			{INT8OID}
		};
		JsArgs		args = {0};

		/* came and went before the PMS ever heard of it */
		js_arg(&args, Int64GetDatum(link->record_id));
		js_run(&statement, &args);
		return;
	}
	js_link_update(link);
}

/*
 * A row that is not linked: if the PMS does not know it yet, it is to be
 * created there.  One that carries an external id waits for its record.
 */
static void
mark_new_row(JsEntity *entity, int32 stream_id, RowChanges *changes)
{
	JsLink		link = {0};
	JsRow		row;
	JsRowState	state;
	JsSecurity	security;

	js_owner_begin(&security, entity->owner);
	state = js_row_read(entity, changes->local_id, &row);
	js_owner_end(&security);
	if (state != JS_ROW_FOUND)
		return;
	if (!row.external.isnull)
	{
		follow_row(entity, &row, changes);
		return;
	}

	link.entity_id = entity->entity_id;
	link.stream_id = entity->property ? stream_of(entity, &row) : stream_id;
	link.local_id = changes->local_id;
	link.state = JS_NEW_HERE;
	link.dirty = true;
	link.waiting = true;
	link.local_time_known = true;
	link.local_updated_at = changes->at;
	js_link_insert(&link);
}

/*
 * The stream of a new row where the servers of an entity are told apart by a
 * column: the one with its value.  0 if there is none: the row waits for it.
 */
static int32
stream_of(JsEntity *entity, JsRow *row)
{
	static JsStatement statement = {
		"SELECT stream_id FROM jacksync.stream"
		" WHERE entity = $1 AND property_value = $2",
		{TEXTOID, TEXTOID}
	};
	JsSecurity	security;
	JsArgs		args = {0};
	char	   *value;

	if (row->property.isnull)
		return 0;
	js_owner_begin(&security, entity->owner);
	value = js_value_to_key(entity->property, row->property);
	js_owner_end(&security);
	js_arg_text(&args, entity->name);
	js_arg_text(&args, value);
	return js_run(&statement, &args) > 0 ? js_get_int4(0, 1) : 0;
}

/*
 * A row came with the id of a record whose own row is gone: it was deleted and
 * inserted again, or moved to another partition, which comes as both.  The
 * record follows it.
 */
static void
follow_row(JsEntity *entity, JsRow *row, RowChanges *changes)
{
	static JsStatement statement = {
		"SELECT record_id FROM jacksync.link WHERE entity_id = $1"
		" AND external_id = $2 AND state NOT IN ('t', 'f') ORDER BY record_id",
		{INT4OID, TEXTOID}
	};
	JsArgs		args = {0};
	List	   *ids = NIL;
	ListCell   *cell;
	uint64		rows;

	js_arg(&args, Int32GetDatum(entity->entity_id));
	js_arg_text(&args, js_value_to_key(&entity->external, row->external));
	rows = js_run(&statement, &args);
	for (uint64 i = 0; i < rows; i++)
	{
		int64	   *id = palloc(sizeof(int64));

		*id = js_get_int8(i, 1);
		ids = lappend(ids, id);
	}
	foreach(cell, ids)
	{
		JsLink	   *link = js_link_lock(*(int64 *) lfirst(cell), false);
		JsRow		old;
		JsSecurity	security;
		bool		gone = true;

		if (link == NULL)
			continue;
		if (link->local_id != NULL)
		{
			js_owner_begin(&security, entity->owner);
			gone = js_row_read(entity, link->local_id, &old) == JS_ROW_MISSING;
			js_owner_end(&security);
		}
		if (!gone)
			continue;
		link->local_id = changes->local_id;
		link->state = JS_LINKED;
		mark_changed(entity, link, changes);
		js_link_update(link);
		return;
	}
}

/* What every change does to the state of its record. */
static void
mark_changed(JsEntity *entity, JsLink *link, RowChanges *changes)
{
	if (!TIMESTAMP_NOT_FINITE(changes->at))
	{
		link->local_updated_at = Max(changes->at, link->local_updated_at);
		link->local_time_known = true;
	}
	link->dirty = true;
	link->waiting = link->waiting || changes->waiting;
	link->hash_known = false;
	link->local_times = merge_times(entity, link->local_times, changes);
}

/* The times per field, with those of new changes. */
static Jsonb *
merge_times(JsEntity *entity, Jsonb *times, RowChanges *changes)
{
	JsonbParseState *state = js_object_begin();

	for (int i = 0; i < entity->nfields; i++)
	{
		const char *name = entity->fields[i].name;
		Jsonb	   *old = js_jsonb_member(times, name);

		if (changes->field_at[i] != 0)
			js_object_put(&state, name, js_jsonb_int8(changes->field_at[i]));
		else if (old != NULL)
			js_object_put(&state, name, old);
	}
	return js_object_end(state);
}
