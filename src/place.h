/*-------------------------------------------------------------------------
 *
 * place.h
 *	  Where links were found lately, in the memory of this process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_PLACE_H
#define JS_PLACE_H

#include "storage/itemptr.h"

extern void js_place_define_settings(void);
extern void js_place_prefetch(uint64 key);
extern bool js_place_get(uint64 key, ItemPointer at);
extern bool js_place_room(void);
extern void js_place_put(uint64 key, ItemPointer at);

#endif							/* JS_PLACE_H */
