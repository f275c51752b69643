/*-------------------------------------------------------------------------
 *
 * fold.h
 *	  Taking up captured changes: from jacksync.change into jacksync.link.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_FOLD_H
#define JS_FOLD_H

#include "config.h"
#include "link.h"

/* Changes that are not taken up yet, by the row. */
typedef struct JsFoldLog JsFoldLog;

extern int	js_fold(JsEntity *entity, int32 stream_id);
extern JsFoldLog *js_fold_begin(JsEntity *entity, int32 stream_id);
extern bool js_fold_has(JsFoldLog *log, const char *local_id);
extern void js_fold_link(JsFoldLog *log, JsEntity *entity, JsLink *link);
extern void js_fold_some(JsFoldLog *log, JsEntity *entity, int32 stream_id,
						 int most);

#endif							/* JS_FOLD_H */
