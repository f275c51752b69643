/*-------------------------------------------------------------------------
 *
 * row.h
 *	  Reading and writing rows of a bound table.
 *
 * The caller has pinned the settings and become the owner of the table
 * (secure.h), and SPI is connected.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_ROW_H
#define JS_ROW_H

#include "rowkey.h"

/* A row of the table, as the local sweep meets it. */
typedef struct JsRowKey
{
	char	   *local_id;
	bool		known;			/* it has an id of the PMS */
} JsRowKey;

extern JsRowState js_row_lock(JsEntity *entity, const char *local_id,
							  bool skip_locked, JsRow *row);
extern JsRowState js_row_take(JsEntity *entity, const char *local_id,
							  ItemPointer hint, bool skip_locked, JsRow *row);
extern JsRowState js_row_lock_external(JsEntity *entity,
									   const char *external_id,
									   const char *property,
									   bool skip_locked, JsRow *row);
extern JsRowState js_row_read(JsEntity *entity, const char *local_id,
							  JsRow *row);
extern List *js_row_scan(JsEntity *entity, const char *after, int limit);
extern bool js_row_update(JsEntity *entity, JsRow *row, const bool *write,
						  const JsValue *values, const char *external_id);
extern bool js_row_insert(JsEntity *entity, const char *external_id,
						  const char *property, const bool *write,
						  const JsValue *values, JsRow *row);
extern void js_row_mark(JsEntity *entity, JsRow *row, bool deleted);
extern bool js_row_delete(JsEntity *entity, JsRow *row);

extern Jsonb *js_row_values(JsEntity *entity, JsRow *row);
extern bool js_row_condition(JsEntity *entity, const char *condition,
							 Oid rowtype, Datum old, bool old_isnull,
							 Datum new);
extern bool js_row_being_written(Oid relid);
extern bool js_row_write_active(void);

#endif							/* JS_ROW_H */
