/*-------------------------------------------------------------------------
 *
 * push.h
 *	  Local changes on their way out: claim, and what became of it.
 *
 * These are the transactions around a push; the requests are sent by
 * outbound.c, sending.c and lookup.c between them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_PUSH_H
#define JS_PUSH_H

#include "apply.h"
#include "operation.h"

/* What is about to be told to the PMS: committed before it is sent. */
typedef struct JsIntent
{
	int64		intent_id;
	int64		record_id;
	char	   *kind;			/* update, create or delete */
	int			place;			/* of its operation in the list */
	char	   *external_id;	/* NULL: not known yet */
	char	   *local_id;
	Jsonb	   *changes;		/* field to value */
	Jsonb	   *row_values;		/* of all fields, when it was claimed */
	Jsonb	   *base;			/* what the PMS had; NULL: not read */
	char	   *if_match;		/* NULL: none known */
	char	   *idempotency_key;
	int32		attempts;
	int			accepted;		/* status with which the PMS took it; or 0 */
	char	   *taken_version;	/* and the version that this made; or NULL */
	bool		read_later;		/* others may have written since it was taken */
	bool		lookup_only;	/* never to be sent again */
	bool		key_valid;		/* young enough for its key to be known */
	bool		more;			/* other changes of the record wait */
	bool		divisible;		/* several fields that could go alone */
} JsIntent;

/* in push.c */
extern List *js_push_candidates(JsApply *apply, int limit,
								int64 after_record_id);
extern JsIntent *js_push_claim(JsApply *apply, int64 record_id);
extern JsIntent *js_push_copy(MemoryContext mcxt, JsIntent *intent);
extern List *js_push_unknown(JsStream *stream);
extern bool js_push_creating(int32 stream_id);
extern void js_push_durable(void);

/* in outcome.c */
extern void js_push_accepted(JsApply *apply, JsIntent *intent,
							 Jsonb *answer, const char *version);
extern bool js_push_holds(JsApply *apply, JsIntent *intent, Jsonb *raw);
extern bool js_push_looked_up(JsApply *apply, JsIntent *intent,
							  Jsonb *record, const char *version);
extern void js_push_deleted(JsApply *apply, JsIntent *intent, int status,
							Jsonb *answer);
extern void js_push_gone(JsApply *apply, JsIntent *intent, int status);
extern void js_push_not_sent(JsApply *apply, JsIntent *intent);
extern void js_push_outdated(JsApply *apply, JsIntent *intent, int status);
extern void js_push_rejected(JsApply *apply, JsIntent *intent, int status,
							 const char *message);
extern void js_push_mark_unknown(JsIntent *intent, const char *message,
								 bool count);
extern void js_push_mark_accepted(JsIntent *intent, int status,
								  const char *external_id);
extern void js_push_again(JsIntent *intent);
extern bool js_push_adopt(JsApply *apply, JsRecord *record);

/* in refusal.c */
extern Jsonb *js_refused(int64 record_id, bool *alone);
extern void js_refuse(int64 record_id, Jsonb *changes);
extern void js_refused_keep(int64 record_id, Jsonb *refused, bool alone);
extern void js_refuse_alone(int64 record_id);

#endif							/* JS_PUSH_H */
