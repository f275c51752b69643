/*-------------------------------------------------------------------------
 *
 * dropdb.c
 *	  DROP DATABASE does not wait for our worker.
 *
 * A database with a connected worker cannot be dropped, renamed or moved.
 * When the library is preloaded, a hook asks the worker to end first; the
 * launcher starts it again later if the database is still there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "dropdb.h"
#include "jacksync.h"
#include "secure.h"
#include "statement.h"

static ProcessUtility_hook_type next_hook = NULL;

static void utility(PlannedStmt *statement, const char *query,
					bool read_only, ProcessUtilityContext context,
					ParamListInfo params, QueryEnvironment *environment,
					DestReceiver *dest, QueryCompletion *completion);
static const char *database_of(Node *statement);
static void end_worker(const char *database);

/* Install the hook: only when the library is loaded at start. */
void
js_dropdb_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = utility;
}

/* The hook. */
static void
utility(PlannedStmt *statement, const char *query, bool read_only,
		ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *environment, DestReceiver *dest,
		QueryCompletion *completion)
{
	const char *database = database_of(statement->utilityStmt);

	if (database != NULL && context == PROCESS_UTILITY_TOPLEVEL)
		end_worker(database);
	if (next_hook)
		next_hook(statement, query, read_only, context, params, environment,
				  dest, completion);
	else
		standard_ProcessUtility(statement, query, read_only, context, params,
								environment, dest, completion);
}

/* The database that a statement wants for itself; NULL: it is none such. */
static const char *
database_of(Node *statement)
{
	ListCell   *cell;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) statement)->dbname;
		case T_RenameStmt:
			return ((RenameStmt *) statement)->renameType == OBJECT_DATABASE ?
				((RenameStmt *) statement)->subname : NULL;
		case T_AlterDatabaseStmt:
			foreach(cell, ((AlterDatabaseStmt *) statement)->options)
				if (strcmp(((DefElem *) lfirst(cell))->defname, "tablespace") == 0)
				return ((AlterDatabaseStmt *) statement)->dbname;
			return NULL;
		default:
			return NULL;
	}
}

/*
 * Ask the worker of a database to end, and wait for it for a moment; only if
 * the user may do with the database what he is about to.
 */
static void
end_worker(const char *database)
{
	static JsStatement statement = {
		"SELECT pg_catalog.pg_terminate_backend(a.pid, 2000)"
		" FROM pg_catalog.pg_stat_activity a"
		" JOIN pg_catalog.pg_database d ON d.oid = a.datid"
		" WHERE d.datname = $1 AND a.backend_type = 'jacksync worker'"
		" AND pg_catalog.pg_has_role($2, d.datdba, 'MEMBER')",
		{NAMEOID, OIDOID}
	};
	JsArgs		args = {0};
	Oid			userid;
	int			sec_context;
	int			level;

	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   sec_context | SECURITY_LOCAL_USERID_CHANGE);
	level = js_pin_settings(NULL);
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	js_arg_name(&args, database);
	js_arg(&args, ObjectIdGetDatum(userid));
	js_run(&statement, &args);
	SPI_finish();
	PopActiveSnapshot();
	js_unpin_settings(level);
	SetUserIdAndSecContext(userid, sec_context);
}
