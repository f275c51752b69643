/*-------------------------------------------------------------------------
 *
 * txn.c
 *	  Transactions of a cycle, in the worker and in a session alike.
 *
 * The worker starts and commits transactions of its own.  A session runs a
 * procedure: there is always a transaction, and SPI, connected as non-atomic,
 * commits it.  In both an internal subtransaction encloses the work, so that
 * after an error nothing of SPI, locks or users is left behind.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "compat.h"
#include "txn.h"

static bool in_session = false;
static bool in_caller = false;	/* in a function: nothing is committed */
static bool active = false;
static MemoryContext caller_context;
static MemoryContext outer_context;
static ResourceOwner outer_owner;
static int	statement_timeout;
static JsWritten written = NULL;
static void *written_arg;

/* Settings of this file. */
void
js_txn_define_settings(void)
{
	DefineCustomIntVariable("jacksync.statement_timeout",
							"How long the worker waits for triggers of a table that it writes.",
							"0: for ever.",
							&statement_timeout,
							30000, 0, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
}

/*
 * A statement of the worker that hangs in somebody's trigger is cancelled:
 * statement_timeout itself does nothing in a background worker.  On starts
 * the time anew.  Sessions have their own.
 */
void
js_watchdog(bool on)
{
	if (!AmBackgroundWorkerProcess())
		return;
	disable_timeout(STATEMENT_TIMEOUT, false);
	if (on && statement_timeout > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, statement_timeout);
}

/* Are we in a procedure of a session (else: in the worker)? */
void
js_txn_use_session(bool session)
{
	in_session = session;
}

/*
 * Are we in a function, in the transaction of its caller?  Then nothing is
 * committed here, and what is sent in between is sent with the transaction
 * open: for calls of people, never for the worker.  Returns what was.
 */
bool
js_txn_use_caller(bool caller)
{
	bool		before = in_caller;

	in_caller = caller;
	return before;
}

/* Is a transaction of ours under way? */
bool
js_txn_active(void)
{
	return active;
}

/*
 * What is to be called inside of every transaction that has written something,
 * before it is committed; NULL: nothing.  An error forgets it.
 */
void
js_txn_on_write(JsWritten callback, void *arg)
{
	written = callback;
	written_arg = arg;
}

/*
 * Begin.  SPI is connected and a snapshot is set; the current memory context
 * stays what it was.  activity is what pg_stat_activity shows in the worker.
 */
void
js_txn_begin(const char *activity)
{
	Assert(!active);
	caller_context = CurrentMemoryContext;
	if (!in_session && !in_caller)
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		SPI_connect();
		debug_query_string = activity;
		pgstat_report_activity(STATE_RUNNING, activity);
	}
	js_watchdog(true);
	PushActiveSnapshot(GetTransactionSnapshot());
	outer_context = CurrentMemoryContext;
	outer_owner = CurrentResourceOwner;
	active = true;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller_context);
}

/* Commit; the memory context is again what it was at js_txn_begin(). */
void
js_txn_end(void)
{
	Assert(active);
	if (written != NULL && TransactionIdIsValid(GetTopTransactionIdIfAny()))
		written(written_arg);
	js_watchdog(false);
	ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(outer_context);
	CurrentResourceOwner = outer_owner;
	PopActiveSnapshot();
	active = false;
	if (in_caller)
		 /* its transaction goes on */ ;
	else if (in_session)
		SPI_commit();
	else
	{
		SPI_finish();
		CommitTransactionCommand();
		pgstat_report_stat(true);
		pgstat_report_activity(STATE_IDLE, NULL);
		debug_query_string = NULL;
	}
	MemoryContextSwitchTo(caller_context);
}

/*
 * Do a piece of work in a subtransaction of its own.  Returns NULL, or the
 * error for which it was rolled back, in the current memory context: whether
 * that ends more than the piece is the caller's to say.
 */
ErrorData  *
js_txn_try(JsWork work, void *arg)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(mcxt);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
	CurrentResourceOwner = owner;
	return error;
}

/*
 * Roll back after an error.  The error has been copied and flushed by the
 * caller.  Harmless if no transaction is under way.
 */
void
js_txn_abort(void)
{
	MemoryContext caller = CurrentMemoryContext;

	written = NULL;
	if (!active)
		return;
	js_watchdog(false);
	active = false;
	if (in_session || in_caller)
	{
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(outer_context);
		CurrentResourceOwner = outer_owner;
		PopActiveSnapshot();
		if (!in_caller)
			SPI_rollback();
	}
	else
	{
		AbortOutOfAnyTransaction();
		pgstat_report_activity(STATE_IDLE, NULL);
		debug_query_string = NULL;
	}
	MemoryContextSwitchTo(caller);
}
