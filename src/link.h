/*-------------------------------------------------------------------------
 *
 * link.h
 *	  The state of one record: rows of jacksync.link.
 *
 * The caller is inside js_internal_user().
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_LINK_H
#define JS_LINK_H

#include "utils/jsonb.h"
#include "storage/itemptr.h"
#include "utils/timestamp.h"

#define JS_LINKED		'l'
#define JS_NEW_HERE		'n'		/* not yet at the PMS */
#define JS_DELETED_HERE 'd'
#define JS_TOMBSTONE	't'		/* gone on both sides, or at the PMS */
#define JS_FORGOTTEN	'f'		/* by forget(): nothing of it is kept */

/* Columns of jacksync.change, in their order. */
enum
{
	JS_CHANGE_ID,
	JS_CHANGE_AT,
	JS_CHANGE_ENTITY,
	JS_CHANGE_OP,
	JS_CHANGE_WAITING,
	JS_CHANGE_LOCAL_ID,
	JS_CHANGE_OLD_LOCAL_ID,
	JS_CHANGE_COLUMNS,
	JS_CHANGE_NATTS
};

typedef struct JsLink
{
	int64		record_id;		/* 0: not inserted yet */
	int32		entity_id;
	int32		stream_id;
	char	   *external_id;
	char	   *local_id;
	char		state;
	ItemPointerData row_at;		/* where the row was last, if that is known */
	bool		dirty;
	bool		waiting;
	bool		conflict;
	bool		failed;
	bool		must_pull;
	int64		intent_id;		/* 0: none */
	int64		finalized_tick;
	int32		push_failures;
	bool		local_time_known;
	TimestampTz local_updated_at;
	Jsonb	   *local_times;	/* NULL: none */
	Jsonb	   *local_base;
	Jsonb	   *decided;		/* fields whose value here a person chose */
	char	   *version;
	Jsonb	   *snapshot;
	bool		pms_time_known;
	TimestampTz pms_updated_at;
	bool		hash_known;
	int64		hash;

	/* for link.c */
	bool		postponed;		/* next_push_at is known */
	TimestampTz next_push_at;
	uint64		place;			/* what its place is remembered by; 0: not
								 * known */
	ItemPointerData tid;		/* of the version that was read */
	bool		untouched;		/* nobody locked or changed that version */
	bool		locked;			/* we have locked it */
	Size		space;			/* free on its page when it was read; 0:
								 * unknown */
	int			ntaken;			/* rows of the log that go when it is written: */
	ItemPointerData *taken;		/* what they told is in here */
} JsLink;

extern JsLink *js_link_by_external(int32 entity_id, int32 stream_id,
								   const char *external_id);
extern List *js_links_by_external(int32 entity_id, const char *external_id);
extern void js_link_prefetch(int32 entity_id, int32 stream_id,
							 const char *const *external_ids,
							 uint64 *places, int n);
extern bool js_link_gate(int32 entity_id, int32 stream_id,
						 const char *external_id, uint64 place, int64 hash,
						 JsLink **link, char **local_id);
extern JsLink *js_link_by_local(int32 entity_id, const char *local_id);
extern JsLink *js_link_lock(int64 record_id, bool skip_locked);
extern JsLink *js_link_lock_local(int32 entity_id, const char *local_id);
extern void js_link_take(const ItemPointerData *tids, int n);
extern void js_link_insert(JsLink *link);
extern void js_link_insert_many(JsLink *links, int n);
extern void js_link_update(JsLink *link);

#endif							/* JS_LINK_H */
