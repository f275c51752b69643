/*-------------------------------------------------------------------------
 *
 * statement.h
 *	  Statements on the tables of jacksync, planned once per session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STATEMENT_H
#define JS_STATEMENT_H

#include "executor/spi.h"

#define JS_MAX_ARGS 24

typedef struct JsStatement
{
	const char *sql;
	Oid			types[JS_MAX_ARGS]; /* ends with InvalidOid */
	SPIPlanPtr	plan;
	bool		generic;		/* one plan whatever the arguments are */
} JsStatement;

/* Arguments, built up in order. */
typedef struct JsArgs
{
	int			n;
	Datum		values[JS_MAX_ARGS];
	char		nulls[JS_MAX_ARGS];
} JsArgs;

extern void js_arg(JsArgs *args, Datum value);
extern void js_arg_null(JsArgs *args);
extern void js_arg_text(JsArgs *args, const char *text);	/* NULL: null */
extern void js_arg_name(JsArgs *args, const char *name);
extern void js_arg_jsonb(JsArgs *args, const void *jsonb);
extern void js_arg_time(JsArgs *args, int64 time, bool known);

extern uint64 js_run(JsStatement *statement, JsArgs *args);
extern uint64 js_run_limit(JsStatement *statement, JsArgs *args, long limit);

extern uint64 js_run_latest(JsStatement *statement, JsArgs *args);

/* Columns of the rows that the last statement gave; numbered from 1. */
extern Datum js_get(uint64 row, int column, bool *isnull);
extern char *js_get_text(uint64 row, int column);	/* NULL: null */
extern int64 js_get_int8(uint64 row, int column);
extern int32 js_get_int4(uint64 row, int column);
extern bool js_get_bool(uint64 row, int column);
extern void *js_get_jsonb(uint64 row, int column);	/* a copy, or NULL */

#endif							/* JS_STATEMENT_H */
