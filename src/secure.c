/*-------------------------------------------------------------------------
 *
 * secure.c
 *	  Under whose rights a piece of work runs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"

#include "compat.h"
#include "jacksync.h"
#include "secure.h"

static Oid	known_owner = InvalidOid;

static Oid	look_up_owner(void);

/* Is the extension there, in this database?  Needs a transaction. */
bool
js_extension_present(void)
{
	return OidIsValid(get_extension_oid(JS_NAME, true));
}

/*
 * The owner of the extension, and so of its tables.  Remembered until the
 * configuration changes.
 */
Oid
js_extension_owner(void)
{
	if (!OidIsValid(known_owner))
		known_owner = look_up_owner();
	return known_owner;
}

/* Forget what is remembered: DROP EXTENSION, or a new owner. */
void
js_secure_forget(void)
{
	known_owner = InvalidOid;
}

/* Read pg_extension, which has no system cache. */
static Oid
look_up_owner(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			owner = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum(JS_NAME));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" does not exist", JS_NAME),
				 errhint("Run CREATE EXTENSION %s in this database.",
						 JS_NAME)));
	return owner;
}

/*
 * Work on our own tables: as their owner, whoever calls, with nothing in the
 * search path that a user could have written to.
 */
void
js_internal_begin(JsSecurity *saved)
{
	Oid			owner = js_extension_owner();

	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	SetUserIdAndSecContext(owner,
						   saved->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
	saved->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
}

/*
 * The same for statements that have secrets among their values: nothing that
 * writes plans or values of statements into the log may see these.
 */
void
js_internal_begin_secret(JsSecurity *saved)
{
	static const struct
	{
		const char *name;
		const char *value;
	}			silent[] = {
		{"auto_explain.log_min_duration", "-1"},
		{"pgaudit.log", "none"},
		{"debug_print_parse", "off"},
		{"debug_print_rewritten", "off"},
		{"debug_print_plan", "off"},
	};

	js_internal_begin(saved);
	for (int i = 0; i < lengthof(silent); i++)
		if (GetConfigOption(silent[i].name, true, false) != NULL)
			(void) set_config_option(silent[i].name, silent[i].value,
									 PGC_SUSET, PGC_S_SESSION,
									 GUC_ACTION_SAVE, true, 0, false);
}

/* The same inside of js_pin_settings(), which made the search path safe. */
void
js_internal_user(JsSecurity *saved)
{
	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	SetUserIdAndSecContext(js_extension_owner(),
						   saved->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
	saved->guc_level = 0;
}

/* The end of it. */
void
js_internal_end(JsSecurity *saved)
{
	if (saved->guc_level > 0)
		AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->userid, saved->sec_context);
}

/*
 * Work on a table of a user: as its owner, in a security-restricted
 * operation, so that the owner's triggers and functions gain nothing from
 * us.  The settings were pinned by js_pin_settings(); what user code sets
 * meanwhile ends with it.  A search path that stayed would be the one that
 * our own statements are planned with, as the owner of the extension.
 */
void
js_owner_begin(JsSecurity *saved, Oid owner)
{
	GetUserIdAndSecContext(&saved->userid, &saved->sec_context);
	SetUserIdAndSecContext(owner,
						   saved->sec_context | SECURITY_RESTRICTED_OPERATION);
	saved->guc_level = NewGUCNestLevel();
}

/* The end of it. */
void
js_owner_end(JsSecurity *saved)
{
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->userid, saved->sec_context);
}

/*
 * Pin the settings under which values are cast and rows are written, so that
 * worker and sessions decide alike: zone is that of times without one.
 */
int
js_pin_settings(const char *zone)
{
	static const struct
	{
		const char *name;
		const char *value;
	}			pinned[] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"row_security", "off"},
		{"DateStyle", "ISO, YMD"},
		{"IntervalStyle", "postgres"},
		{"extra_float_digits", "1"},
		{"bytea_output", "hex"},
		{"xmloption", "content"},
	};
	int			level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(pinned); i++)
		(void) set_config_option(pinned[i].name, pinned[i].value,
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
	(void) set_config_option("TimeZone", zone ? zone : "UTC",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	return level;
}

/* Back to the settings of the session. */
void
js_unpin_settings(int level)
{
	AtEOXact_GUC(false, level);
}

/*
 * Make every deferred constraint immediate for the rest of the transaction.
 * A deferred trigger of a user would otherwise run at commit, outside of the
 * restricted operation, with our rights.
 */
void
js_fire_deferred(void)
{
	ConstraintsSetStmt *stmt = makeNode(ConstraintsSetStmt);

	stmt->constraints = NIL;
	stmt->deferred = false;
	AfterTriggerSetState(stmt);
}
