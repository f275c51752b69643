/*-------------------------------------------------------------------------
 *
 * module.c
 *	  The module: what happens when the library is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "utils/guc.h"

#include "changelog.h"
#include "compat.h"
#include "config.h"
#include "dropdb.h"
#include "jacksync.h"
#include "place.h"
#include "reconcile.h"
#include "rowheap.h"
#include "shelf.h"
#include "txn.h"
#include "wake.h"
#include "worker.h"

JS_MODULE_MAGIC("jacksync", JACKSYNC_VERSION);

PGDLLEXPORT void _PG_init(void);

static char *override_reason;
static int	audit_retention;
static int	run_retention;

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
	DefineCustomIntVariable("jacksync.audit_retention",
							"How long entries of the audit log are kept.",
							"0: for ever.  The worker deletes older ones in small batches.",
							&audit_retention,
							365 * 24 * 60, 0, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MIN,
							NULL, NULL, NULL);
	DefineCustomIntVariable("jacksync.run_retention",
							"How long runs, errors and alerts that are over are kept.",
							"0: for ever.  The worker deletes older ones in small batches.",
							&run_retention,
							30 * 24 * 60, 0, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MIN,
							NULL, NULL, NULL);
	js_rowheap_define_settings();
	js_place_define_settings();
	js_shelf_define_settings();
	js_txn_define_settings();
	js_reconcile_define_settings();
	js_config_init();
	js_changelog_init();
	js_wake_init();
	js_launcher_init();
	js_dropdb_init();
	MarkGUCPrefixReserved("jacksync");
}
