/*-------------------------------------------------------------------------
 *
 * faultpoint.h
 *	  Places where a test lets something go wrong.
 *
 * Compiled in with -DJACKSYNC_FAULTS only, for test/t/160_crash.pl: in any
 * other build nothing of it is left.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_FAULTPOINT_H
#define JS_FAULTPOINT_H

#ifdef JACKSYNC_FAULTS
extern void js_fault(const char *name);
#define JS_FAULT(name)	js_fault(name)
#else
#define JS_FAULT(name)	((void) 0)
#endif

#endif							/* JS_FAULTPOINT_H */
