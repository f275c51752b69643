/*-------------------------------------------------------------------------
 *
 * httpaddress.h
 *	  Which addresses may be connected to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTPADDRESS_H
#define JS_HTTPADDRESS_H

#include <sys/socket.h>

extern bool js_http_address_allowed(const struct sockaddr *address,
									bool plain, bool allow_http,
									bool allow_private);

#endif							/* JS_HTTPADDRESS_H */
