/*-------------------------------------------------------------------------
 *
 * installation.h
 *	  The guard against copies of a database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_INSTALLATION_H
#define JS_INSTALLATION_H

extern void js_installation_check(void);
extern void js_installation_version(void);

#endif							/* JS_INSTALLATION_H */
