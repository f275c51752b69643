/*-------------------------------------------------------------------------
 *
 * deliver.h
 *	  Alerts on their way out: the outbox jacksync.alert_delivery.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_DELIVER_H
#define JS_DELIVER_H

#include "datatype/timestamp.h"

extern void js_deliver_soon(void);
extern bool js_deliver_start(void);
extern bool js_deliver_finish(void);
extern TimestampTz js_deliver_due(void);
extern void js_deliver_fail(const char *error);

#endif							/* JS_DELIVER_H */
