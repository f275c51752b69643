/*-------------------------------------------------------------------------
 *
 * installation.c
 *	  The guard against copies of a database.
 *
 * A copy of the production database that is started for a test must not
 * write to the hotel's PMS.  The first cycle writes down in which cluster and
 * database it runs; elsewhere nothing is sent until adopt() is called.
 *
 * A failover or a point-in-time recovery begins a new timeline.  What was
 * committed last may be lost, and what is open may long have been sent: it is
 * looked up, and the PMS is asked again for what it told in the last hour.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "compat.h"
#include "installation.h"
#include "jacksync.h"
#include "secure.h"
#include "statement.h"

JS_FUNCTION(jacksync_adopt);

static void take_possession(void);
static void distrust(void);

/*
 * Is this the cluster and database that may talk to the PMS?  Else JS006.
 * SPI is connected and the caller is inside js_internal_begin().
 */
void
js_installation_check(void)
{
	static JsStatement statement = {
		"SELECT system_identifier = $1 AND database_oid = $2,"
		" timeline IS NOT DISTINCT FROM $3 FROM jacksync.installation",
		{INT8OID, OIDOID, INT8OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int64GetDatum((int64) GetSystemIdentifier()));
	js_arg(&args, ObjectIdGetDatum(MyDatabaseId));
	js_arg(&args, Int64GetDatum((int64) GetWALInsertionTimeLine()));
	if (js_run(&statement, &args) == 0)
		take_possession();
	else if (!js_get_bool(0, 1))
		ereport(ERROR,
				(errcode(ERRCODE_JS_OTHER_CLUSTER),
				 errmsg("this database was copied from another cluster or database"),
				 errdetail("Nothing is sent to the PMS, which belongs to the original."),
				 errhint("If this is the original now, run SELECT jacksync.adopt().")));
	else if (!js_get_bool(0, 2))
	{
		distrust();
		take_possession();
	}
}

/* Are the objects those of this library?  If not, nobody knows what they mean. */
void
js_installation_version(void)
{
	static JsStatement statement = {
		"SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'jacksync'",
		{InvalidOid}
	};
	char	   *version = js_run(&statement, NULL) > 0 ? js_get_text(0, 1) : NULL;

	if (version != NULL && strcmp(version, JACKSYNC_VERSION) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFIG),
				 errmsg("the extension has version %s, the library %s",
						version, JACKSYNC_VERSION),
				 errhint("Run ALTER EXTENSION jacksync UPDATE, or restart the server to load the new library.")));
}

/* Nothing that is open may be sent again without a look. */
static void
distrust(void)
{
	static JsStatement intents = {
		"UPDATE jacksync.intent SET state = 'unknown', lookup_only = true"
		" WHERE state IN ('claimed', 'unknown')",
		{InvalidOid}
	};
	static JsStatement watermarks = {
		"UPDATE jacksync.stream_state SET watermark = watermark - '1 hour'::interval"
		" WHERE watermark IS NOT NULL",
		{InvalidOid}
	};

	ereport(LOG,
			(errmsg("the timeline of the cluster has changed: open pushes are looked up, and the PMS is read again from an hour before")));
	js_run(&intents, NULL);
	js_run(&watermarks, NULL);
}

/* Write down where we are. */
static void
take_possession(void)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.installation (system_identifier, database_oid, timeline)"
		" VALUES ($1, $2, $3) ON CONFLICT (singleton) DO UPDATE"
		" SET system_identifier = excluded.system_identifier,"
		" database_oid = excluded.database_oid, timeline = excluded.timeline",
		{INT8OID, OIDOID, INT8OID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int64GetDatum((int64) GetSystemIdentifier()));
	js_arg(&args, ObjectIdGetDatum(MyDatabaseId));
	js_arg(&args, Int64GetDatum((int64) GetWALInsertionTimeLine()));
	js_run(&statement, &args);
}

/* adopt(): from now on this database is the original. */
Datum
jacksync_adopt(PG_FUNCTION_ARGS)
{
	JsSecurity	security;

	SPI_connect();
	js_internal_begin(&security);
	distrust();
	take_possession();
	js_internal_end(&security);
	SPI_finish();
	PG_RETURN_VOID();
}
