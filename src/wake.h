/*-------------------------------------------------------------------------
 *
 * wake.h
 *	  Waking the background worker when a transaction commits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_WAKE_H
#define JS_WAKE_H

extern void js_wake_init(void);
extern void js_wake_set_pid(int pid);
extern void js_wake_at_commit(void);
extern void js_wake_schedule(void);

#endif							/* JS_WAKE_H */
