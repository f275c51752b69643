/*-------------------------------------------------------------------------
 *
 * httploop.h
 *	  The event loop of requests, and the connections that they use.
 *
 * Handles of libcurl are plain pointers here, so that its header stays where
 * it is needed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTPLOOP_H
#define JS_HTTPLOOP_H

#include "datatype/timestamp.h"

/* Connections that may be used again by requests of the same credentials. */
typedef struct JsHttpPool JsHttpPool;

/* How a transfer ended; what CURLOPT_PRIVATE of its easy handle points to. */
typedef struct JsHttpEnd
{
	bool		done;
	int			result;			/* CURLcode */
	TimestampTz at;
} JsHttpEnd;

extern JsHttpPool *js_http_pool(uint64 key);
extern void js_http_pool_add(JsHttpPool *pool, void *easy);
extern void js_http_pool_remove(JsHttpPool *pool, void *easy);
extern bool js_http_socket_acquire(void);
extern void js_http_socket_release(void);
extern void js_http_wait(long timeout_ms, bool *latch_set);

#endif							/* JS_HTTPLOOP_H */
