/*-------------------------------------------------------------------------
 *
 * detail.h
 *	  Second requests, for records of which a list has ids or summaries only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_DETAIL_H
#define JS_DETAIL_H

#include "apply.h"
#include "cycle.h"

typedef struct JsDetails JsDetails;
typedef void (*JsThen) (JsCycle *cycle);

extern List *js_details_want(JsCycle *cycle, JsApply *apply,
							 JsStream *source, List *records, bool always);
extern void js_details_start(JsCycle *cycle, JsThen then);

#endif							/* JS_DETAIL_H */
