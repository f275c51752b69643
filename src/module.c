/*-------------------------------------------------------------------------
 *
 * module.c
 *	  The module: what happens when the library is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "compat.h"
#include "config.h"
#include "jacksync.h"
#include "wake.h"
#include "worker.h"

JS_MODULE_MAGIC("jacksync", JACKSYNC_VERSION);

PGDLLEXPORT void _PG_init(void);

static char *override_reason;

/* Called once in every process that loads the library. */
void
_PG_init(void)
{
	DefineCustomStringVariable("jacksync.override",
							   "Reason for which operations are allowed on critically stale data.",
							   "Only operators may use it; it is written to the audit log.",
							   &override_reason,
							   "",
							   PGC_USERSET,
							   0,
							   NULL, NULL, NULL);
	js_config_init();
	js_wake_init();
	js_launcher_init();
	MarkGUCPrefixReserved("jacksync");
}
