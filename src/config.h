/*-------------------------------------------------------------------------
 *
 * config.h
 *	  The configuration tables as structs, kept until they change.
 *
 * A pointer is good until the end of the transaction in which it was got.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CONFIG_H
#define JS_CONFIG_H

#include "entity.h"

extern void js_config_init(void);
extern JsEntity *js_entity_by_name(const char *name, bool missing_ok);
extern JsEntity *js_entity_by_id(int32 entity_id);
extern void js_entity_learn_field(JsEntity *entity, const char *field);
extern uint64 js_config_version(void);
extern Oid	js_config_watch(const char *table);
extern void js_config_read_worker(void);

#endif							/* JS_CONFIG_H */
