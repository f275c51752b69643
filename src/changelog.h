/*-------------------------------------------------------------------------
 *
 * changelog.h
 *	  Writing jacksync.change, the log of captured changes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CHANGELOG_H
#define JS_CHANGELOG_H

#include "nodes/bitmapset.h"

#include "entity.h"

extern void js_changelog_init(void);
extern void js_changelog_add(JsEntity *entity, char op, bool derived,
							 bool waiting, const char *local_id,
							 const char *old_local_id, Bitmapset *columns);
extern bool js_changelog_flush(void);

#endif							/* JS_CHANGELOG_H */
