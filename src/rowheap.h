/*-------------------------------------------------------------------------
 *
 * rowheap.h
 *	  Rows of plain tables, without statements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_ROWHEAP_H
#define JS_ROWHEAP_H

#include "rowkey.h"

extern void js_rowheap_define_settings(void);
extern const char *js_rowheap_obstacle(JsEntity *entity);
extern bool js_rowheap_usable(JsEntity *entity);
extern bool js_rowheap_quiet(JsEntity *entity);
extern bool js_rowheap_unique(JsEntity *entity, const char *property);
extern JsRowState js_rowheap_lock(JsEntity *entity, const char *local_id,
								  ItemPointer hint, bool skip_locked,
								  bool unlocked, JsRow *row);
extern bool js_rowheap_lock_external(JsEntity *entity,
									 const char *external_id,
									 const char *property, bool skip_locked,
									 JsRow *row, JsRowState *state);
extern void js_rowheap_prefetch(JsEntity *entity,
								const ItemPointerData *hints, int n);
extern bool js_rowheap_has(JsEntity *entity, JsRow *row);
extern bool js_rowheap_update(JsEntity *entity, JsRow *row, const bool *write,
							  const JsValue *values, const char *external_id);
extern bool js_rowheap_insert(JsEntity *entity, const char *external_id,
							  const char *property, const bool *write,
							  const JsValue *values, JsRow *row);
extern bool js_rowheap_bulk(JsEntity *entity);
extern char *js_rowheap_add(JsEntity *entity, int number,
							const char *external_id, const char *property,
							const bool *write, const JsValue *values);
extern void js_rowheap_insert_many(JsEntity *entity, int n,
								   ItemPointerData *tids);

#endif							/* JS_ROWHEAP_H */
