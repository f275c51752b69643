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

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "fold.h"
#include "foldlog.h"
#include "heap.h"
#include "jacksync.h"
#include "jsonb.h"
#include "link.h"
#include "row.h"
#include "secure.h"
#include "statement.h"

#define BUCKETS 4096			/* of the rows of one fold */

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

/* The rows of one fold. */
typedef struct ChangeList
{
	RowChanges *first;
	RowChanges *buckets[BUCKETS];
} ChangeList;

static int	fold_log(JsFoldLog *log, JsEntity *entity, int32 stream_id);
static int	take(JsFoldLog *log, JsEntity *entity, int32 stream_id, int most);
static void add_change(RowChanges *changes, JsEntity *entity,
					   JsChange *change);
static RowChanges *new_row(JsEntity *entity, const char *local_id);
static RowChanges *changes_of(ChangeList *list, JsEntity *entity,
							  const char *local_id);
static void rename_row(ChangeList *list, RowChanges *changes,
					   char *local_id);
static void note_columns(RowChanges *changes, JsEntity *entity,
						 JsChange *change);
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
 * Take up the changes of an entity that are committed, at most JS_FOLD_LIMIT.
 * New rows are to go out through stream_id (0: through none).  Returns how
 * many changes were taken.  SPI is connected, the settings are pinned, and
 * the caller is inside js_internal_user().
 */
int
js_fold(JsEntity *entity, int32 stream_id)
{
	return fold_log(js_log_read(entity), entity, stream_id);
}

/* Take up the changes of a log that was read. */
static int
fold_log(JsFoldLog *log, JsEntity *entity, int32 stream_id)
{
	JsHeapPage	page;
	int			n = 0;

	if (log->n == 0)
		return 0;
	js_heap_page_begin(&page);
	PG_TRY();
	{
		n = take(log, entity, stream_id, Min(log->n, JS_FOLD_LIMIT));
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

/*
 * The same for who is going to look at some records: their changes need not be
 * written into their links before they are decided, and the others can wait.
 * Takes up what is more than a change of values, and everything if there is
 * too much of it.  Returns the rest; NULL: there is none.
 */
JsFoldLog  *
js_fold_begin(JsEntity *entity, int32 stream_id)
{
	JsFoldLog  *log = js_log_read(entity);
	bool		all = log->n > JS_FOLD_LIMIT;

	if (log->n == 0)
		return NULL;
	for (int i = 0; i < log->n && !all; i++)
		all = log->changes[i].op != 'u' || log->changes[i].old_local_id != NULL;
	if (all)
	{
		(void) fold_log(log, entity, stream_id);
		return NULL;
	}
	js_log_index(log);
	return log;
}

/* Is there anything about a row that is not taken up yet? */
bool
js_fold_has(JsFoldLog *log, const char *local_id)
{
	return log != NULL && local_id != NULL &&
		js_log_find(log, local_id, js_log_hash(local_id)) != NULL;
}

/*
 * Take up the changes of one record, in memory.  They leave the log when the
 * link is written; if it never is, they stay.
 */
void
js_fold_link(JsFoldLog *log, JsEntity *entity, JsLink *link)
{
	RowChanges *changes;
	int			n = 0;

	if (!js_fold_has(log, link->local_id))
		return;
	changes = new_row(entity, link->local_id);
	for (JsChange *change = js_log_find(log, link->local_id, changes->hash);
		 change != NULL; change = change->next)
		if (js_log_about(change, link->local_id, changes->hash))
		{
			add_change(changes, entity, change);
			n++;
		}
	link->taken = palloc(sizeof(ItemPointerData) * n);
	for (JsChange *change = js_log_find(log, link->local_id, changes->hash);
		 change != NULL; change = change->next)
		if (js_log_about(change, link->local_id, changes->hash))
		{
			link->taken[link->ntaken++] = change->tid;
			change->taken = true;
		}
	mark_changed(entity, link, changes);
	if (link->state == JS_DELETED_HERE)
		link->state = JS_LINKED;
}

/*
 * Take up some of what nobody asked for, so that changes of records that the
 * PMS never sends do not stay for ever.  Tables are kept open.
 */
void
js_fold_some(JsFoldLog *log, JsEntity *entity, int32 stream_id, int most)
{
	(void) take(log, entity, stream_id, most);
}

/*
 * Delete the first changes of a log, at most so many, sum them up by row, and
 * mark their records.  Leaves to others what they are taking.
 */
static int
take(JsFoldLog *log, JsEntity *entity, int32 stream_id, int most)
{
	JsHeap	   *heap = js_heap_open(entity->change_relid);
	ChangeList *list = palloc0(sizeof(ChangeList));
	int			n = 0;

	for (int i = 0; i < log->n && n < most; i++)
	{
		JsChange   *change = &log->changes[i];
		RowChanges *changes;

		if (change->taken)
			continue;
		change->taken = true;
		if (js_heap_delete(heap, &change->tid) != JS_HEAP_OK)
			continue;
		n++;
		changes = changes_of(list, entity, change->old_local_id ?
							 change->old_local_id : change->local_id);
		if (change->old_local_id != NULL)
			rename_row(list, changes, change->local_id);
		add_change(changes, entity, change);
	}
	js_heap_close(heap);
	CommandCounterIncrement();
	for (RowChanges *changes = list->first; changes != NULL;
		 changes = changes->next)
		mark_record(entity, stream_id, changes);
	return n;
}

/* Add a change to what is known of its row. */
static void
add_change(RowChanges *changes, JsEntity *entity, JsChange *change)
{
	changes->at = Max(changes->at, change->at);
	changes->deleted = change->op == 'd';
	changes->inserted = changes->inserted || change->op == 'i';
	changes->waiting = changes->waiting || change->waiting;
	if (change->op != 'd')
		note_columns(changes, entity, change);
}

/* The entry of a row in the list, by its present key. */
static RowChanges *
changes_of(ChangeList *list, JsEntity *entity, const char *local_id)
{
	uint32		hash = js_log_hash(local_id);
	RowChanges *changes;

	for (changes = list->buckets[hash % BUCKETS]; changes != NULL;
		 changes = changes->bucket)
		if (changes->hash == hash && strcmp(changes->local_id, local_id) == 0)
			return changes;
	changes = new_row(entity, local_id);
	changes->bucket = list->buckets[hash % BUCKETS];
	list->buckets[hash % BUCKETS] = changes;
	changes->next = list->first;
	list->first = changes;
	return changes;
}

/* What is known of a row before anything is. */
static RowChanges *
new_row(JsEntity *entity, const char *local_id)
{
	RowChanges *changes = palloc0(sizeof(RowChanges));

	changes->first_id = changes->local_id = pstrdup(local_id);
	changes->at = DT_NOBEGIN;
	changes->field_at = palloc0(sizeof(TimestampTz) * Max(entity->nfields, 1));
	changes->hash = js_log_hash(local_id);
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
	changes->hash = js_log_hash(local_id);
	changes->bucket = list->buckets[changes->hash % BUCKETS];
	list->buckets[changes->hash % BUCKETS] = changes;
}

/* Note the time of the fields that a change touched: none named, all. */
static void
note_columns(RowChanges *changes, JsEntity *entity, JsChange *change)
{
	bytea	   *bits = change->columns;

	for (int i = 0; i < entity->nfields; i++)
	{
		int			attnum = entity->fields[i].column.attnum;

		if (bits == NULL || (attnum / 8 < VARSIZE_ANY_EXHDR(bits) &&
							 VARDATA_ANY(bits)[attnum / 8] & (1 << attnum % 8)))
			changes->field_at[i] = Max(changes->field_at[i], change->at);
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
		/*
		 * the row that was kept is gone: its key is another row's, or
		 * nobody's
		 */
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
	ListCell   *cell;

	foreach(cell, js_links_by_external(entity->entity_id,
									   js_value_to_key(&entity->external,
													   row->external)))
	{
		JsLink	   *link = lfirst(cell);
		JsRow		old;
		JsSecurity	security;
		bool		gone = true;

		if (link->state == JS_TOMBSTONE || link->state == JS_FORGOTTEN)
			continue;
		link = js_link_lock(link->record_id, false);
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
	link->dirty = link->stream_id != 0;
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
