/*-------------------------------------------------------------------------
 *
 * apply.h
 *	  Bringing one record in line with the PMS.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_APPLY_H
#define JS_APPLY_H

#include "nodes/pg_list.h"

#include "fold.h"
#include "journal.h"
#include "link.h"
#include "recordtree.h"
#include "row.h"
#include "secure.h"

/* What preview() shows of one field. */
typedef struct JsPreview
{
	char	   *external_id;
	char	   *field;
	Jsonb	   *base;
	Jsonb	   *local;
	Jsonb	   *pms;
	Jsonb	   *resolved;
	const char *strategy;
	const char *outcome;
} JsPreview;

typedef struct JsOpenErrors JsOpenErrors;

/* One application of records: from one stream, or plain. */
typedef struct JsApply
{
	char	   *entity_name;
	JsEntity   *entity;
	JsStream   *stream;			/* NULL: none */
	bool		plain;			/* records have plain field names */
	bool		skip_locked;	/* never wait for a user's lock */
	bool		rethrow;		/* serialization failures end it all */
	JsRun	   *run;			/* NULL: none is kept */
	int64		tick;			/* when the page was requested; 0: just now */
	bool		retrying;		/* records that were stored */
	bool		look_closely;	/* at every record, whatever its hash */
	bool		open_errors;	/* there are rows in sync_error: */
	JsOpenErrors *open;			/* for which records (openerrors.c) */
	bool		defer_deletes;	/* gather them until the pull is complete */
	bool		pending_deletes;	/* some are gathered or held */
	bool		open_creates;	/* new records are on their way to the PMS */
	bool		expect_new;		/* all records are new: indexes say if not */
	Bitmapset  *suspects;		/* fields of a constraint that was broken */
	char	   *constraint;		/* its name */
	JsCounts	counts;
	int64		regressed;		/* records older than what we know */
	int64		advanced;		/* and newer ones */
	JsTreeReader *reader;		/* the page is of trees; NULL: of Jsonb */
	bool		spans;			/* the page is of spans: texts of records */
	bool		whole;			/* and has to be parsed as a whole */
	bool		lazy;			/* only pages are applied: see log */
	JsFoldLog  *log;			/* local changes to be taken up with records */
	bool		previewing;
	List	   *previews;		/* JsPreview */
	MemoryContext mcxt;			/* for what outlives a record */
	int			guc_level;
	JsSecurity	saved_user;
} JsApply;

/* What became of one record. */
typedef struct JsApplied
{
	JsLink	   *link;
	JsRow		row;
	bool		row_found;
	Jsonb	   *pending;		/* fields whose values are to be pushed */
	bool		overtaken;		/* a newer version waits for another try */
} JsApplied;

extern void js_apply_begin(JsApply *apply, const char *entity,
						   JsStream *stream, bool plain);
extern void js_apply_end(JsApply *apply);
extern bool js_apply_record(JsApply *apply, Jsonb *raw, const char *version,
							JsApplied *applied);
extern TimestampTz js_apply_latest(JsApply *apply);
extern bool js_apply_opened(JsApply *apply, JsRecord *record,
							const char *version, JsApplied *applied);
extern bool js_apply_local(JsApply *apply, int64 record_id,
						   JsApplied *applied);
extern bool js_apply_lock_row(JsApply *apply, JsRecord *record,
							  JsApplied *applied);
extern bool js_apply_insert(JsApply *apply, JsRecord *record, JsLink *link,
							JsApplied *applied);
extern JsSubject js_apply_subject(JsApply *apply, JsLink *link);
extern int32 js_apply_stream_id(JsApply *apply);

#endif							/* JS_APPLY_H */
