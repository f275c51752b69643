/*-------------------------------------------------------------------------
 *
 * txn.h
 *	  Transactions of a cycle, in the worker and in a session alike.
 *
 * Between js_txn_end() and the next js_txn_begin() nothing is held: no
 * snapshot, no lock, and in the worker no transaction either.  That is where
 * HTTP happens.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_TXN_H
#define JS_TXN_H

/* A piece of work that may fail. */
typedef void (*JsWork) (void *arg);

/* Called at the end of a transaction that has written something. */
typedef void (*JsWritten) (void *arg);

extern void js_txn_use_session(bool session);
extern bool js_txn_use_caller(bool caller);
extern void js_txn_begin(const char *activity);
extern void js_txn_end(void);
extern void js_txn_abort(void);
extern bool js_txn_active(void);
extern void js_txn_on_write(JsWritten written, void *arg);
extern ErrorData *js_txn_try(JsWork work, void *arg);
extern void js_txn_define_settings(void);
extern void js_watchdog(bool on);

#endif							/* JS_TXN_H */
