/*-------------------------------------------------------------------------
 *
 * http.h
 *	  Requests that can be waited for together and cancelled at once: HTTP,
 *	  and mails by SMTP.
 *
 * Knows no table and no PMS.  What goes wrong on the network is a result,
 * never an error.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_HTTP_H
#define JS_HTTP_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#include "httploop.h"

typedef enum JsHttpFailure
{
	JS_HTTP_OK,
	JS_HTTP_CONNECT,
	JS_HTTP_DNS,
	JS_HTTP_TLS,
	JS_HTTP_TIMEOUT,
	JS_HTTP_RESET,
	JS_HTTP_TOO_LARGE,
	JS_HTTP_REFUSED,			/* by our own rules */
	JS_HTTP_PROTOCOL
} JsHttpFailure;

typedef struct JsHttpRequest
{
	const char *method;
	const char *url;
	List	   *headers;		/* char *: "Name: value" */
	const char *body;			/* NULL: none */
	size_t		body_len;
	const char *username;		/* NULL: none */
	const char *password;
	bool		digest;			/* else basic */
	const char *ca_file;
	bool		allow_http;
	bool		allow_private;
	int			connect_timeout_ms;
	int			timeout_ms;
	int64		max_response;	/* decoded bytes */
	const char *peer;			/* for messages; NULL: the PMS */
	uint64		pool;			/* shares connections only with its like */
	uint32		group;			/* see js_http_group_active() */
	bool		repeatable;		/* it only reads, whatever its method is */
	const char *mail_from;		/* a mail (the body): its sender */
	List	   *mail_to;		/* char *: its recipients */
} JsHttpRequest;

typedef struct JsHttpResponse
{
	JsHttpFailure failure;
	bool		sent;			/* false: no byte of the request left */
	long		status;
	char	   *body;			/* ends with a NUL */
	size_t		body_len;
	char	   *headers;		/* as they came */
	char	   *error;			/* for people, if failure is set */
	TimestampTz sent_at;
	TimestampTz received_at;
} JsHttpResponse;

typedef struct JsHttpCall JsHttpCall;

extern JsHttpCall *js_http_start(MemoryContext mcxt,
								 const JsHttpRequest *request);
extern bool js_http_done(JsHttpCall *call);
extern JsHttpResponse *js_http_response(JsHttpCall *call);
extern void js_http_close(JsHttpCall *call);
extern int	js_http_group_active(uint32 group);

extern const char *js_http_header(JsHttpResponse *response, const char *name);
extern char *js_http_next_link(JsHttpResponse *response);
extern char *js_http_same_origin(MemoryContext mcxt, const char *url,
								 const char *next);
extern char *js_http_host(MemoryContext mcxt, const char *url);
extern bool js_http_is_loopback(const char *url);
extern bool js_http_check_header_value(const char *value);

#endif							/* JS_HTTP_H */
