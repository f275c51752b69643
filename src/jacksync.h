/*-------------------------------------------------------------------------
 *
 * jacksync.h
 *	  Names that the whole extension shares.  No grab-bag of includes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JACKSYNC_H
#define JACKSYNC_H

#include "utils/elog.h"

#define JS_NAME			"jacksync"
#define JS_SCHEMA		"jacksync"

/*
 * SQLSTATEs of our own: class JS.  They are listed in doc/reference.md.
 */
/* the data is too old for the operation */
#define ERRCODE_JS_STALE_DATA			MAKE_SQLSTATE('J','S','0','0','1')
/* a row of the configuration is wrong */
#define ERRCODE_JS_CONFIG				MAKE_SQLSTATE('J','S','0','0','2')
/* the conflict is decided already */
#define ERRCODE_JS_CONFLICT_STATE		MAKE_SQLSTATE('J','S','0','0','3')
/* the PMS refused, or could not be asked */
#define ERRCODE_JS_REMOTE				MAKE_SQLSTATE('J','S','0','0','4')
/* the field belongs to the PMS: the local edit is refused */
#define ERRCODE_JS_LOCAL_EDIT			MAKE_SQLSTATE('J','S','0','0','5')
/* the database is a copy that was not adopted */
#define ERRCODE_JS_OTHER_CLUSTER		MAKE_SQLSTATE('J','S','0','0','6')
/* a record of the PMS cannot be used */
#define ERRCODE_JS_BAD_RECORD			MAKE_SQLSTATE('J','S','0','0','7')

#endif							/* JACKSYNC_H */
