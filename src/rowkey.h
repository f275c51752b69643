/*-------------------------------------------------------------------------
 *
 * rowkey.h
 *	  A row of a bound table, and its primary key as text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_ROWKEY_H
#define JS_ROWKEY_H

#include "storage/itemptr.h"

#include "config.h"

typedef enum JsRowState
{
	JS_ROW_FOUND,
	JS_ROW_MISSING,
	JS_ROW_LOCKED,				/* somebody else holds it */
	JS_ROW_AMBIGUOUS			/* several rows have the external id */
} JsRowState;

typedef struct JsRow
{
	char	   *local_id;		/* the primary key as text */
	JsValue    *keys;
	JsValue		external;
	JsValue		property;		/* if the entity names a column for it */
	JsValue		urgency;		/* likewise */
	JsValue    *values;			/* of the entity's fields */
	bool		direct;			/* it was read at tid, and is locked */
	ItemPointerData tid;
	ItemPointerData root;		/* where an index finds it, if that is known */
} JsRow;

extern char *js_row_id_from_values(JsEntity *entity, const JsValue *keys);
extern JsValue *js_row_parse_id(JsEntity *entity, const char *local_id);

#endif							/* JS_ROWKEY_H */
