/*-------------------------------------------------------------------------
 *
 * wake.c
 *	  Waking the background worker when a transaction commits.
 *
 * The worker's process id stands in jacksync.worker and is known here since
 * the configuration was read (a new worker invalidates it).  So no shared
 * memory is needed, and nothing has to be preloaded.  Should the process id
 * be out of date, a latch is set in vain, which harms nobody.
 *
 * The latch is set when the transaction has released its locks: by then what
 * it wrote is visible and its invalidations are sent, so that the worker sees
 * both.  However many changes a transaction makes, the worker wakes once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"

#include "compat.h"
#include "jacksync.h"
#include "wake.h"

static int	worker_pid = 0;
static bool wanted = false;		/* if the transaction commits */
static bool committed = false;

static void at_end_of_transaction(XactEvent event, void *arg);
static void at_release(ResourceReleasePhase phase, bool is_commit,
					   bool is_top_level, void *arg);

/* Register the callbacks, once per process. */
void
js_wake_init(void)
{
	RegisterXactCallback(at_end_of_transaction, NULL);
	RegisterResourceReleaseCallback(at_release, NULL);
}

/* Learn which process to wake. */
void
js_wake_set_pid(int pid)
{
	worker_pid = pid;
}

/* Wake the worker when the present transaction commits, once. */
void
js_wake_at_commit(void)
{
	wanted = true;
}

/*
 * The same, and the worker looks at its whole schedule then, not only for
 * captured changes: for who changed jacksync.stream_state or marked records.
 */
void
js_wake_schedule(void)
{
	Oid			relid = get_relname_relid("stream_state",
										  get_namespace_oid(JS_SCHEMA, false));

	if (OidIsValid(relid))
		CacheInvalidateRelcacheByRelid(relid);
	js_wake_at_commit();
}

/* The transaction has committed, or not; nobody sees that yet. */
static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT)
		committed = wanted;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		wanted = false;
}

/* Everything of the transaction is visible now. */
static void
at_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level,
		   void *arg)
{
	PGPROC	   *proc;

	if (!committed || !is_top_level || phase != RESOURCE_RELEASE_AFTER_LOCKS)
		return;
	committed = false;
	proc = worker_pid != 0 ? BackendPidGetProc(worker_pid) : NULL;
	if (proc != NULL)
		SetLatch(&proc->procLatch);
}
