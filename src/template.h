/*-------------------------------------------------------------------------
 *
 * template.h
 *	  Requests made from templates in jsonb.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_TEMPLATE_H
#define JS_TEMPLATE_H

#include "utils/jsonb.h"

#include "http.h"
#include "server.h"

typedef struct JsVars JsVars;

extern JsVars *js_vars_new(MemoryContext mcxt);
extern void js_vars_set_text(JsVars *vars, const char *name,
							 const char *value);
extern void js_vars_set_int(JsVars *vars, const char *name, int64 value);
extern void js_vars_set_json(JsVars *vars, const char *name, Jsonb *value);

extern void js_template_request(MemoryContext mcxt, Jsonb *template,
								JsServer *server, JsVars *vars,
								JsHttpRequest *request);
extern Jsonb *js_template_fill(JsServer *server, JsVars *vars, Jsonb *value);
extern List *js_template_headers(JsServer *server, Jsonb *headers);
extern char *js_template_encode(const char *value);

#endif							/* JS_TEMPLATE_H */
