/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  The local sweep: changes of bound tables that no trigger saw.
 *
 * Row triggers do not fire for replicated rows, under
 * session_replication_role = replica, or while they are disabled.  So every
 * cycle also looks at some rows, such that all are looked at within a day: a
 * row that differs from what it held at the last sync, a row that is gone, a
 * row that nobody has heard of.  Nothing is locked or written unless
 * something is found; what is found is marked as if the trigger had told of
 * it, but for the time of the change, which nobody knows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "notes.h"
#include "secure.h"
#include "statement.h"
#include "sweep.h"

#define MIN_ROWS 200			/* looked at in one cycle */
#define MAX_ROWS 5000
#define DAY_US (INT64CONST(86400) * USECS_PER_SEC)

/* Where the sweep of a stream is. */
typedef struct Place
{
	int64		record_id;
	char	   *key;			/* NULL: before the first row */
	int64		found;
	TimestampTz done_at;		/* when one was last complete; 0: not known */
} Place;

/* Where it is in a process that writes that down only once in a while. */
typedef struct Kept
{
	int32		stream_id;
	Place		stored;			/* what the table has */
	Place		now;
	struct Kept *next;
} Kept;

static Kept *kept = NULL;

static bool read_place(JsApply *apply, Place *place);
static void write_place(JsApply *apply, Place *place);
static void keep_place(JsApply *apply, const Place *stored,
					   const Place *place);
static void complete(JsApply *apply, Place *place);
static Kept *kept_of(int32 stream_id);
static void copy_place(Place *to, const Place *from);
static bool same_place(const Place *a, const Place *b);
static int	rows_at_once(JsApply *apply);
static int	sweep_links(JsApply *apply, Place *place, int limit);
static int	sweep_rows(JsApply *apply, Place *place, int limit);
static bool look_at(JsApply *apply, JsLink *link);
static bool is_captured(JsApply *apply, const char *local_id);
static bool counts(JsEntity *entity, JsField *field);
static bool any_counts(JsEntity *entity, Jsonb *changes);
static void mark_uncaptured(JsApply *apply, JsLink *link, Jsonb *changes);
static void log_row(JsApply *apply, char op, const char *local_id,
					const char *external_id);

/*
 * Look at the next rows of the entity.  Called inside js_apply_begin(), which
 * has taken up what was captured.  quiet: where it is need not be written if
 * nothing else is; what is looked at twice after a crash does no harm.
 */
void
js_sweep(JsApply *apply, bool quiet)
{
	Place		stored = {0};
	Place		place;
	Kept	   *mine;
	bool		known;
	int			limit;

	if (apply->stream == NULL)
		return;
	limit = rows_at_once(apply);
	known = read_place(apply, &stored);
	mine = kept_of(js_apply_stream_id(apply));
	place = mine != NULL && same_place(&mine->stored, &stored) ? mine->now :
		stored;
	if (sweep_links(apply, &place, limit) < limit &&
		sweep_rows(apply, &place, limit) < limit)
		complete(apply, &place);
	if (known && quiet && !TransactionIdIsValid(GetTopTransactionIdIfAny()))
		keep_place(apply, &stored, &place);
	else
		write_place(apply, &place);
}

/* All were looked at: tell what was found, and begin anew. */
static void
complete(JsApply *apply, Place *place)
{
	static JsStatement tell = {
		"SELECT jacksync.alert_drift('uncaptured', $1, $2, $3)",
		{TEXTOID, NAMEOID, INT8OID}
	};
	JsArgs		args = {0};

	js_arg_text(&args, apply->entity->name);
	js_arg_name(&args, apply->stream->server);
	js_arg(&args, Int64GetDatum(place->found));
	js_run(&tell, &args);
	memset(place, 0, sizeof(Place));
	place->done_at = GetCurrentTimestamp();
}

/* So many rows a cycle that all are looked at in a day. */
static int
rows_at_once(JsApply *apply)
{
	static JsStatement statement = {
		"SELECT greatest(c.reltuples, (SELECT sum(p.reltuples)"
		"  FROM pg_catalog.pg_partition_tree(c.oid) t"
		"  JOIN pg_catalog.pg_class p ON p.oid = t.relid WHERE t.isleaf))::float8"
		" FROM pg_catalog.pg_class c WHERE c.oid = $1",
		{OIDOID}
	};
	JsArgs		args = {0};
	double		rows = 0;
	bool		isnull;

	js_arg(&args, ObjectIdGetDatum(apply->entity->relid));
	if (js_run(&statement, &args) > 0)
	{
		Datum		value = js_get(0, 1, &isnull);

		if (!isnull)
			rows = DatumGetFloat8(value);
	}
	/* twice as fast as needed: cycles are late or fail sometimes */
	rows = rows * 2 * apply->stream->poll_interval / DAY_US;
	rows = Max(MIN_ROWS, Min(rows, MAX_ROWS));
	return (int) rows / 100 * 100;	/* few different plans */
}

/* Where the sweep is, by the table; false if that does not tell. */
static bool
read_place(JsApply *apply, Place *place)
{
	static JsStatement statement = {
		"SELECT sweep_record, sweep_key, sweep_found FROM jacksync.reconcile_state"
		" WHERE stream_id = $1",
		{INT4OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	if (js_run(&statement, &args) == 0)
		return false;
	place->record_id = js_get_int8(0, 1);
	place->key = js_get_text(0, 2);
	place->found = js_get_int8(0, 3);
	return true;
}

/* Keep in memory where it is. */
static void
keep_place(JsApply *apply, const Place *stored, const Place *place)
{
	int32		stream_id = js_apply_stream_id(apply);
	Kept	   *mine = kept_of(stream_id);

	if (mine == NULL)
	{
		mine = MemoryContextAllocZero(TopMemoryContext, sizeof(Kept));
		mine->stream_id = stream_id;
		mine->next = kept;
		kept = mine;
	}
	copy_place(&mine->stored, stored);
	copy_place(&mine->now, place);
}

/* What is kept of a stream; NULL: nothing. */
static Kept *
kept_of(int32 stream_id)
{
	Kept	   *mine = kept;

	while (mine != NULL && mine->stream_id != stream_id)
		mine = mine->next;
	return mine;
}

/* Copy a place into one that is kept. */
static void
copy_place(Place *to, const Place *from)
{
	char	   *key = from->key ?
	MemoryContextStrdup(TopMemoryContext, from->key) : NULL;
	TimestampTz done_at = Max(to->done_at, from->done_at);

	if (to->key != NULL)
		pfree(to->key);
	*to = *from;
	to->key = key;
	to->done_at = done_at;
}

/* Is it the same place? */
static bool
same_place(const Place *a, const Place *b)
{
	return a->record_id == b->record_id && a->found == b->found &&
		(a->key == NULL ? b->key == NULL :
		 b->key != NULL && strcmp(a->key, b->key) == 0);
}

/* Write down where it is. */
static void
write_place(JsApply *apply, Place *place)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.reconcile_state AS r (stream_id, sweep_record,"
		" sweep_key, sweep_found, sweep_done_at)"
		" VALUES ($1, $2, $3, $4, $5)"
		" ON CONFLICT (stream_id) DO UPDATE SET sweep_record = excluded.sweep_record,"
		" sweep_key = excluded.sweep_key, sweep_found = excluded.sweep_found,"
		" sweep_done_at = coalesce(excluded.sweep_done_at, r.sweep_done_at)",
		{INT4OID, INT8OID, TEXTOID, INT8OID, TIMESTAMPTZOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	js_arg(&args, Int64GetDatum(place->record_id));
	js_arg_text(&args, place->key);
	js_arg(&args, Int64GetDatum(place->found));
	js_arg_time(&args, place->done_at, place->done_at != 0);
	js_run(&statement, &args);
}

/* Look at the rows of the next records.  Returns how many there were. */
static int
sweep_links(JsApply *apply, Place *place, int limit)
{
	static JsStatement statement = {
		"SELECT record_id, external_id FROM jacksync.link"
		" WHERE entity_id = $1 AND stream_id = $2 AND record_id > $3"
		" AND state = 'l' AND NOT dirty AND NOT waiting AND NOT conflict AND NOT failed"
		" AND intent_id IS NULL AND external_id IS NOT NULL AND local_id IS NOT NULL"
		" ORDER BY record_id LIMIT $4",
		{INT4OID, INT4OID, INT8OID, INT8OID}
	};
	JsArgs		args = {0};
	int64	   *ids;
	char	  **names;
	int			n;

	js_arg(&args, Int32GetDatum(apply->entity->entity_id));
	js_arg(&args, Int32GetDatum(js_apply_stream_id(apply)));
	js_arg(&args, Int64GetDatum(place->record_id));
	js_arg(&args, Int64GetDatum(limit));
	n = (int) js_run(&statement, &args);
	ids = palloc(sizeof(int64) * Max(n, 1));
	names = palloc(sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		ids[i] = js_get_int8(i, 1);
		names[i] = js_get_text(i, 2);
	}
	for (int i = 0; i < n; i++)
	{
		JsLink	   *link = js_link_by_external(apply->entity->entity_id,
											   js_apply_stream_id(apply),
											   names[i]);

		CHECK_FOR_INTERRUPTS();
		if (link != NULL && look_at(apply, link))
			place->found++;
		place->record_id = ids[i];
	}
	return n;
}

/* Look at the row of a record; true if it was changed past the trigger. */
static bool
look_at(JsApply *apply, JsLink *link)
{
	JsEntity   *entity = apply->entity;
	JsSecurity	security;
	JsRowState	state;
	JsRow		row;
	Jsonb	   *local = NULL;
	Jsonb	   *pms;

	js_owner_begin(&security, entity->owner);
	state = js_row_read(entity, link->local_id, &row);
	js_owner_end(&security);
	if (state == JS_ROW_FOUND)
	{
		js_facts_compare(entity, NULL, link, &row, &local, &pms);
		if (!any_counts(entity, local))
			return false;
	}
	else if (state != JS_ROW_MISSING)
		return false;

	/* what came meanwhile by the ordinary way is none of our business */
	if (is_captured(apply, link->local_id))
		return false;
	link = js_link_lock(link->record_id, true);
	if (link == NULL || link->dirty || link->intent_id != 0 ||
		link->state != JS_LINKED)
		return false;
	if (state == JS_ROW_MISSING)
	{
		log_row(apply, 'd', link->local_id, link->external_id);
		return true;
	}
	mark_uncaptured(apply, link, local);
	return true;
}

/* Is there a captured change of a row that is not taken up yet? */
static bool
is_captured(JsApply *apply, const char *local_id)
{
	static JsStatement statement = {
		"SELECT EXISTS (SELECT FROM jacksync.change"
		" WHERE entity_id = $1 AND local_id = $2)",
		{INT4OID, TEXTOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(apply->entity->entity_id));
	js_arg_text(&args, local_id);
	js_run(&statement, &args);
	return js_get_bool(0, 1);
}

/*
 * Is a difference in this field a change that waits for something?  A local
 * winner, or one that was not blank, differs for good.
 */
static bool
counts(JsEntity *entity, JsField *field)
{
	return bms_is_member(field->column.attnum, entity->waiting) &&
		!field->unless_blank;
}

/* Is any of these changes one? */
static bool
any_counts(JsEntity *entity, Jsonb *changes)
{
	for (int i = 0; i < entity->nfields; i++)
		if (counts(entity, &entity->fields[i]) &&
			js_jsonb_member(changes, entity->fields[i].name) != NULL)
			return true;
	return false;
}

/* The row differs in these fields from what it held at the last sync. */
static void
mark_uncaptured(JsApply *apply, JsLink *link, Jsonb *changes)
{
	JsEntity   *entity = apply->entity;

	for (int i = 0; i < entity->nfields; i++)
	{
		JsField    *field = &entity->fields[i];
		Jsonb	   *change = js_jsonb_member(changes, field->name);
		JsDrift		drift = {0};

		if (change == NULL || !counts(entity, field))
			continue;
		drift.local_id = link->local_id;
		drift.external_id = link->external_id;
		drift.field = field->name;
		drift.base = js_jsonb_member(link->snapshot, field->name);
		drift.local = js_jsonb_member(change, "to");
		drift.reason = "uncaptured";
		drift.repaired = true;
		js_drift_record(apply, &drift);
	}
	link->dirty = link->waiting = true;
	link->hash_known = false;
	js_link_update(link);
}

/*
 * Look at the next rows of the table for one that has no record: it was
 * inserted past the trigger.  Returns how many there were.
 */
static int
sweep_rows(JsApply *apply, Place *place, int limit)
{
	JsEntity   *entity = apply->entity;
	JsSecurity	security;
	List	   *rows;
	ListCell   *cell;

	js_owner_begin(&security, entity->owner);
	rows = js_row_scan(entity, place->key, limit);
	js_owner_end(&security);
	foreach(cell, rows)
	{
		JsRowKey   *key = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		place->key = key->local_id;
		if (key->known ||
			js_link_by_local(entity->entity_id, key->local_id) != NULL ||
			is_captured(apply, key->local_id))
			continue;
		log_row(apply, 'i', key->local_id, NULL);
		place->found++;
	}
	return list_length(rows);
}

/* Log what the trigger should have logged: a row that came, or went. */
static void
log_row(JsApply *apply, char op, const char *local_id, const char *external_id)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.change (changed_at, entity_id, op, waiting,"
		" local_id)"
		" VALUES (pg_catalog.now(), $1, $2, true, $3)",
		{INT4OID, CHAROID, TEXTOID}
	};
	JsArgs		args = {0};
	JsDrift		drift = {0};

	js_arg(&args, Int32GetDatum(apply->entity->entity_id));
	js_arg(&args, CharGetDatum(op));
	js_arg_text(&args, local_id);
	js_run(&statement, &args);

	drift.local_id = local_id;
	drift.external_id = external_id;
	drift.reason = "uncaptured";
	drift.repaired = true;
	js_drift_record(apply, &drift);
}

/* Write down a difference. */
void
js_drift_record(JsApply *apply, const JsDrift *drift)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.drift (entity, server, local_id, external_id,"
		" field, base_value, local_value, pms_value, reason, repaired, run_id)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		{TEXTOID, NAMEOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID,
		JSONBOID, TEXTOID, BOOLOID, INT8OID}
	};
	JsArgs		args = {0};

	js_arg_text(&args, apply->entity->name);
	js_arg_name(&args, apply->stream ? apply->stream->server : NULL);
	js_arg_text(&args, drift->local_id);
	js_arg_text(&args, drift->external_id);
	js_arg_text(&args, drift->field);
	js_arg_jsonb(&args, drift->base);
	js_arg_jsonb(&args, drift->local);
	js_arg_jsonb(&args, drift->pms);
	js_arg_text(&args, drift->reason);
	js_arg(&args, BoolGetDatum(drift->repaired));
	if (apply->run != NULL)
		js_arg(&args, Int64GetDatum(js_run_number(apply->run)));
	else
		js_arg_null(&args);
	js_run(&statement, &args);
}
