/*-------------------------------------------------------------------------
 *
 * streamtree.h
 *	  Records of a stream that are read from the tree of their page.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STREAMTREE_H
#define JS_STREAMTREE_H

#include "recordtree.h"

extern bool js_streamtree_usable(JsStream *stream, JsEntity *entity);
extern JsTreeReader *js_streamtree_reader(JsStream *stream, bool unread);
extern char *js_streamtree_id(JsStream *stream, const JsJson *item);
extern char *js_streamtree_time(JsStream *stream, const JsJson *item);

#endif							/* JS_STREAMTREE_H */
