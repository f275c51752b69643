/*-------------------------------------------------------------------------
 *
 * dropdb.h
 *	  DROP DATABASE does not wait for our worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_DROPDB_H
#define JS_DROPDB_H

extern void js_dropdb_init(void);

#endif							/* JS_DROPDB_H */
