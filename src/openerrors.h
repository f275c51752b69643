/*-------------------------------------------------------------------------
 *
 * openerrors.h
 *	  Which records have an error that is not settled.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_OPENERRORS_H
#define JS_OPENERRORS_H

#include "apply.h"

extern void js_open_errors_look(JsApply *apply);
extern void js_open_errors_expect(JsApply *apply, int n);
extern bool js_open_error(JsApply *apply, const char *external_id,
						  const char *local_id);
extern void js_open_error_add(JsApply *apply, const char *external_id,
							  const char *local_id);

#endif							/* JS_OPENERRORS_H */
