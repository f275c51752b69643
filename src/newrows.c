/*-------------------------------------------------------------------------
 *
 * newrows.c
 *	  Records that are all new, many at a time.
 *
 * What an initial load consists of.  Nothing is to be decided about a record
 * without row and link: its values are the row, and what the PMS said of it is
 * the base.  So rows and links are written in batches, as COPY writes them.
 * An index that knows one of them already is an error of the page, which is
 * applied with a look at every record then (applypage.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "jsonb.h"
#include "newrows.h"
#include "rowheap.h"
#include "value.h"

#define BATCH 64				/* rows in memory at a time */
#define BATCH_BYTES (256 * 1024)	/* kept for them from batch to batch */

static void apply_batch(JsApply *apply, List *trees, int from, int to);
static void take_new(JsApply *apply, JsRecord *record, int number,
					 JsLink *link);
static Jsonb *snapshot_of(JsEntity *entity, JsRecord *record);

/* Can it be done for this table, within a page? */
bool
js_newrows_usable(JsApply *apply)
{
	return apply->reader != NULL &&
		js_rowheap_usable(apply->entity) && js_rowheap_bulk(apply->entity);
}

/* Apply trees of records that nobody knows yet. */
void
js_newrows_apply(JsApply *apply, List *trees)
{
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext,
												"jacksync new rows",
												BATCH_BYTES, BATCH_BYTES,
												4 * BATCH_BYTES);
	MemoryContext old = MemoryContextSwitchTo(batch);
	int			n = list_length(trees);

	for (int from = 0; from < n; from += BATCH)
	{
		CHECK_FOR_INTERRUPTS();
		apply_batch(apply, trees, from, Min(from + BATCH, n));
		MemoryContextReset(batch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(batch);
}

/* Some of them. */
static void
apply_batch(JsApply *apply, List *trees, int from, int to)
{
	JsEntity   *entity = apply->entity;
	JsLink	   *links = palloc0(sizeof(JsLink) * BATCH);
	ItemPointerData *tids = palloc(sizeof(ItemPointerData) * BATCH);
	JsSecurity	security;
	int			n = 0;

	js_owner_begin(&security, entity->owner);
	if (apply->reader->unread)
		js_tree_batch(apply->reader, trees, from, to);
	for (int i = from; i < to; i++)
	{
		JsRecord   *record = js_tree_open(apply->reader, entity,
										  list_nth(trees, i));

		apply->counts.processed++;
		js_tree_finish(apply->reader, entity, record);
		if (record->deleted)
			apply->counts.unchanged++;
		else
		{
			take_new(apply, record, n, &links[n]);
			n++;
		}
	}
	if (n > 0)
		js_rowheap_insert_many(entity, n, tids);
	js_owner_end(&security);
	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		links[i].row_at = tids[i];
	js_link_insert_many(links, n);
	apply->counts.created += n;
}

/* Make row and link of a record. */
static void
take_new(JsApply *apply, JsRecord *record, int number, JsLink *link)
{
	JsEntity   *entity = apply->entity;
	JsValue    *values = palloc(sizeof(JsValue) * Max(entity->nfields, 1));

	for (int i = 0; i < entity->nfields; i++)
		if (record->known[i])
			values[i] = js_value_from_item(&entity->fields[i].column,
										   &record->items[i]);
	link->entity_id = entity->entity_id;
	link->stream_id = js_apply_stream_id(apply);
	link->external_id = record->external_id;
	link->local_id = js_rowheap_add(entity, number, record->external_id,
									apply->stream ?
									apply->stream->property_value : NULL,
									record->known, values);
	link->state = JS_LINKED;
	link->version = record->version;
	link->snapshot = snapshot_of(entity, record);
	link->pms_time_known = record->time_known;
	link->pms_updated_at = record->time;
	link->hash = (int64) record->hash;
	link->hash_known = true;
}

/* What the PMS says of the fields: the base of every later decision. */
static Jsonb *
snapshot_of(JsEntity *entity, JsRecord *record)
{
	const char **names = palloc(sizeof(char *) * Max(entity->nfields, 1));
	JsonbValue **items = palloc(sizeof(JsonbValue *) * Max(entity->nfields, 1));
	int			n = 0;

	for (int k = 0; k < entity->nfields; k++)
	{
		int			i = entity->key_order[k];

		if (!record->known[i])
			continue;
		names[n] = entity->fields[i].name;
		items[n++] = &record->items[i];
	}
	return js_jsonb_object(names, items, n);
}
