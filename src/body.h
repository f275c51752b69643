/*-------------------------------------------------------------------------
 *
 * body.h
 *	  Requests that write: the body that an operation asks for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_BODY_H
#define JS_BODY_H

#include "config.h"
#include "operation.h"
#include "stream.h"
#include "template.h"

/* What a request is made of. */
typedef struct JsBody
{
	JsServer   *server;
	JsVars	   *vars;
	JsStream   *stream;
	JsEntity   *entity;
	JsOperation *operation;
	const char *kind;			/* update, create or delete */
	Jsonb	   *changes;		/* field to value */
	Jsonb	   *base;			/* what the PMS had; NULL: not known */
	Jsonb	   *remote;			/* the record as it was read, or NULL */
} JsBody;

extern void js_body_request(MemoryContext mcxt, JsBody *body,
							JsHttpRequest *request);
extern bool js_body_needs_record(JsOperation *operation);
extern bool js_body_needs_id(JsOperation *operation);

#endif							/* JS_BODY_H */
