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

extern int	js_fold(JsEntity *entity, int32 stream_id);

#endif							/* JS_FOLD_H */
