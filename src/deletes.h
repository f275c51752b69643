/*-------------------------------------------------------------------------
 *
 * deletes.h
 *	  Deletes of the PMS, gathered until a pull is complete.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_DELETES_H
#define JS_DELETES_H

#include "apply.h"

extern bool js_deletes_any(int32 stream_id);
extern void js_deletes_gather(JsApply *apply, JsRecord *record);
extern bool js_deletes_newer(JsApply *apply, JsRecord *record);
extern void js_deletes_forget(JsApply *apply, const char *external_id);
extern void js_deletes_weigh(JsStream *stream);
extern bool js_deletes_apply(JsApply *apply);

#endif							/* JS_DELETES_H */
