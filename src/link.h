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

typedef struct JsLink
{
	int64		record_id;		/* 0: not inserted yet */
	int32		entity_id;
	int32		stream_id;
	char	   *external_id;
	char	   *local_id;
	char		state;
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
	ItemPointerData tid;		/* of the version that was read */
	bool		untouched;		/* nobody locked or changed that version */
	bool		locked;			/* we have locked it */
} JsLink;

extern JsLink *js_link_by_external(int32 entity_id, int32 stream_id,
								   const char *external_id);
extern bool js_link_gate(int32 entity_id, int32 stream_id,
						 const char *external_id, int64 hash, JsLink **link);
extern JsLink *js_link_by_local(int32 entity_id, const char *local_id);
extern JsLink *js_link_lock(int64 record_id, bool skip_locked);
extern JsLink *js_link_lock_local(int32 entity_id, const char *local_id);
extern void js_link_insert(JsLink *link);
extern void js_link_update(JsLink *link);

#endif							/* JS_LINK_H */
