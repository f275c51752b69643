/*-------------------------------------------------------------------------
 *
 * httpdate.h
 *	  Times in HTTP headers.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTPDATE_H
#define JS_HTTPDATE_H

#include <stdbool.h>

extern bool js_http_date(const char *text, long long *unix_seconds);
extern long js_retry_after(const char *value, const char *date);

#endif							/* JS_HTTPDATE_H */
