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
 * SQLSTATEs of our own: class JS.  They are listed in the README.
 */
#define ERRCODE_JS_STALE_DATA			MAKE_SQLSTATE('J','S','0','0','1')
#define ERRCODE_JS_CONFIG				MAKE_SQLSTATE('J','S','0','0','2')
#define ERRCODE_JS_CONFLICT_STATE		MAKE_SQLSTATE('J','S','0','0','3')
#define ERRCODE_JS_REMOTE				MAKE_SQLSTATE('J','S','0','0','4')
#define ERRCODE_JS_LOCAL_EDIT			MAKE_SQLSTATE('J','S','0','0','5')
#define ERRCODE_JS_OTHER_CLUSTER		MAKE_SQLSTATE('J','S','0','0','6')
#define ERRCODE_JS_BAD_RECORD			MAKE_SQLSTATE('J','S','0','0','7')

#endif							/* JACKSYNC_H */
