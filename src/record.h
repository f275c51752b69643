/*-------------------------------------------------------------------------
 *
 * record.h
 *	  One record as the PMS sent it, in terms of the entity's fields.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_RECORD_H
#define JS_RECORD_H

#include "coerce.h"
#include "config.h"
#include "link.h"
#include "stream.h"

typedef struct JsRecord
{
	Jsonb	   *raw;			/* as it came; js_record_raw() */
	const char *text;			/* the same as text, where it came so */
	size_t		text_len;
	const JsJson *tree;			/* the text, parsed (recordtree.c) */
	char	   *external_id;
	bool		time_known;
	TimestampTz time;			/* when the PMS changed it, its clock */
	bool		deleted;
	bool		remembered;		/* made of its link: not what the PMS has now */
	char	   *version;		/* ETag, if it came with one */
	Jsonb	  **fields;			/* of the entity; NULL: not in the record */
	JsonbValue *items;			/* instead of fields, where not NULL: those of */
	bool	   *known;			/* the entity, and which of them are there */
	uint64		hash;
	uint64		place;			/* see js_link_prefetch(); 0: not known */
	bool		looked;			/* its link was looked for: */
	JsLink	   *link;			/* NULL: it has none */
} JsRecord;

extern bool js_record_learn(JsEntity *entity, JsStream *stream, Jsonb *raw);
extern JsRecord *js_record_read(JsEntity *entity, JsStream *stream,
								bool plain, Jsonb *raw);
extern JsRecord *js_record_open(JsEntity *entity, JsStream *stream,
								bool plain, Jsonb *raw);
extern void js_record_finish(JsEntity *entity, JsStream *stream, bool plain,
							 JsRecord *record);
extern Jsonb *js_record_raw(JsRecord *record);
extern Jsonb *js_record_field(JsRecord *record, int field);
extern bool js_record_same_keys(Jsonb *a, Jsonb *b);
extern bool js_record_time(JsStream *stream, Jsonb *raw, TimestampTz *time);
extern char *js_record_time_text(JsStream *stream, Jsonb *raw);
extern char *js_record_id(JsStream *stream, bool plain, Jsonb *raw);

#endif							/* JS_RECORD_H */
