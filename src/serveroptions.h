/*-------------------------------------------------------------------------
 *
 * serveroptions.h
 *	  Which options servers and user mappings have, and what they may say.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SERVEROPTIONS_H
#define JS_SERVEROPTIONS_H

#include "server.h"

#define SECRET_PREFIX	"secret_"	/* of a mapping: {secret.<name>} */
#define PARAM_PREFIX	"param_"	/* of a server: {server.<name>} */

extern JsAuth js_auth_by_name(const char *name);
extern bool js_parse_period(const char *value, int64 *us);
extern bool js_parse_rate(const char *value, int *count, int64 *period_us);

#endif							/* JS_SERVEROPTIONS_H */
