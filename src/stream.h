/*-------------------------------------------------------------------------
 *
 * stream.h
 *	  A row of jacksync.stream with its state, as a struct.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STREAM_H
#define JS_STREAM_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "jspath.h"
#include "live.h"

/* A jsonpath of the configuration: a simple one, or one for the server. */
typedef struct JsJsonPath
{
	char	   *text;
	Datum		jsonpath;
	JsPath	   *simple;			/* NULL: outside of the subset */
	JsPath	   *head;			/* what is simple before a filter; or NULL */
	struct JsJsonPath *rest;	/* what follows, from there; NULL: nothing */
} JsJsonPath;

/*
 * Members that a record gets from us where its id, its parent's values and
 * those of the list are not in what the PMS sent of it.
 */
#define JS_KEY		"_key"
#define JS_PARENT	"_parent"
#define JS_LISTED	"_list"
#define JS_GONE		"_gone"		/* its detail is not there any more */
typedef struct JsFieldSpec JsFieldSpec;

typedef struct JsStream
{
	int32		stream_id;
	char	   *entity;
	char	   *server;
	Oid			serverid;		/* InvalidOid: the server is gone */
	bool		enabled;
	char	   *sync_mode;
	Jsonb	   *request;
	Jsonb	   *full_request;	/* NULL: as request */
	bool		initial_known;
	TimestampTz initial_value;
	JsJsonPath	record_path;
	JsJsonPath *parent_path;	/* NULL: records have no parents */
	JsJsonPath *success_path;	/* NULL: none */
	JsJsonPath	primary_key;
	char	   *key_template;	/* NULL: primary_key is the id */
	JsJsonPath *cursor_path;
	JsJsonPath *deleted_path;
	bool		newest_first;	/* row_order */
	Jsonb	   *fields;
	JsFieldSpec *specs;			/* of fields, prepared (coerce.c) */
	bool		specs_ready;
	List	   *unknown_codes;	/* char *: that no map knew in this run */
	Jsonb	   *paginator;
	char	   *datetime_format;
	char	   *datetime_zone;
	int64		granularity;	/* microseconds */
	int64		lookback;
	int64		step;			/* 0: none */
	Jsonb	   *detail;
	Jsonb	   *push;
	Jsonb	   *response_rules;
	char	   *property_value;
	int64		poll_interval;
	int64		reconcile_interval;
	uint64		seed;
	bool		keyed;			/* records carry JS_KEY */

	/* state */
	bool		paused;
	bool		initial_done;
	bool		watermark_known;
	TimestampTz watermark;
	Jsonb	   *progress;
	int32		failure_count;
	bool		full_wanted;
	int64		skew;			/* microseconds: its clock minus ours */
	int64		skew_error;		/* how far off that may be; 0: not measured */
	bool		synced;			/* it was, once */
	TimestampTz last_sync;
	JsStreamTimes stored;		/* as the table has them */
} JsStream;

extern JsStream *js_stream_load(int32 stream_id);
extern JsStream *js_stream_find(const char *entity, const char *server);
extern int	js_stream_count(const char *entity);
extern bool js_stream_reads_one(JsStream *stream);
extern bool js_stream_pushes(JsStream *stream, const char *field);
extern Jsonb *js_path_first(JsJsonPath *path, Jsonb *document);
extern bool js_path_match(JsJsonPath *path, Jsonb *document);
extern Jsonb *js_path_all(JsJsonPath *path, Jsonb *document);
extern JsJsonPath *js_path_make(const char *text);

#endif							/* JS_STREAM_H */
