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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#include "compat.h"
#include "wake.h"

static int	worker_pid = 0;
static bool wanted = false;

static void at_end_of_transaction(XactEvent event, void *arg);

/* Register the callback, once per process. */
void
js_wake_init(void)
{
	RegisterXactCallback(at_end_of_transaction, NULL);
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

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && wanted && worker_pid != 0)
	{
		PGPROC	   *proc = BackendPidGetProc(worker_pid);

		if (proc != NULL)
			SetLatch(&proc->procLatch);
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		wanted = false;
}
