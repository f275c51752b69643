/*-------------------------------------------------------------------------
 *
 * foldlog.h
 *	  The log of changes of one entity, as it is read to be taken up.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_FOLDLOG_H
#define JS_FOLDLOG_H

#include "storage/itemptr.h"

#include "fold.h"

#define JS_FOLD_LIMIT 5000		/* changes in one transaction */
#define JS_FILTER_BYTES 8192

/* A row of the log. */
typedef struct JsChange
{
	ItemPointerData tid;
	char		op;
	bool		waiting;
	bool		taken;
	uint32		hash;			/* of the key that the row had before */
	int64		id;
	TimestampTz at;
	char	   *local_id;
	char	   *old_local_id;	/* NULL: the same */
	bytea	   *columns;		/* NULL: any */
	struct JsChange *next;		/* of the same bucket */
} JsChange;

/* The log of one entity as it was read. */
struct JsFoldLog
{
	JsChange   *changes;
	int			n;
	int			room;
	bool		more;			/* those behind JS_FOLD_LIMIT + 1 were left
								 * out */
	JsChange  **buckets;
	uint8		filter[JS_FILTER_BYTES];	/* bits of the hashes that are
											 * there */
};

extern JsFoldLog *js_log_read(JsEntity *entity);
extern void js_log_index(JsFoldLog *log);
extern JsChange *js_log_find(JsFoldLog *log, const char *local_id,
							 uint32 hash);
extern bool js_log_about(JsChange *change, const char *local_id,
						 uint32 hash);
extern uint32 js_log_hash(const char *local_id);

#endif							/* JS_FOLDLOG_H */
