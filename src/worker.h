/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  The background worker of a database, and the launcher of workers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_WORKER_H
#define JS_WORKER_H

#include "postmaster/bgworker.h"

extern void js_launcher_init(void);
extern void js_worker_describe(BackgroundWorker *worker, Oid database);
extern bool js_worker_lock(bool wait);

#endif							/* JS_WORKER_H */
