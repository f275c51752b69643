/*-------------------------------------------------------------------------
 *
 * config.c
 *	  The configuration tables as structs, kept until they change.
 *
 * A statement trigger on every configuration table (config_changed) sends a
 * relcache invalidation of that table, which reaches every process at commit;
 * so does DDL on a bound table.  The callback only sets a flag.  Entries that
 * are out of date are freed in a later transaction, because the present one
 * may still hold pointers to them (a capture trigger can fire inside apply).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "config.h"
#include "jacksync.h"
#include "secure.h"
#include "statement.h"
#include "wake.h"

JS_FUNCTION(jacksync_config_changed);

static List *entities = NIL;	/* JsEntity, in CacheMemoryContext */
static List *retired = NIL;		/* their contexts, to be freed later */
static uint64 retired_in = 0;	/* counter of the transaction that retired */
static uint64 transactions = 0;
static List *watched = NIL;		/* OIDs of the tables that matter */
static bool stale = true;
static uint64 version = 0;		/* another one: something may have changed */

static void relcache_callback(Datum arg, Oid relid);
static void out_of_date(void);
static void count_transactions(XactEvent event, void *arg);
static void refresh(void);
static JsEntity *load(JsStatement *statement, JsArgs *args);
static void read_worker(void);
static void load_rules(JsEntity *entity);
static void read_rule(JsField *field, uint64 row);
static void group_fields(JsEntity *entity);
static void watch(Oid relid);

/* Register callbacks, once per process. */
void
js_config_init(void)
{
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
	RegisterXactCallback(count_transactions, NULL);
}

/* A table changed: perhaps one of ours.  InvalidOid means any. */
static void
relcache_callback(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || list_member_oid(watched, relid))
		out_of_date();
}

/* Whatever was read is to be read again. */
static void
out_of_date(void)
{
	stale = true;
	version++;
}

/*
 * The version of what this process may have read of the configuration: as long
 * as it is the same, nothing was committed since that it has heard of.
 */
uint64
js_config_version(void)
{
	return version;
}

/* Let changes of a table of the configuration count, from now on. */
Oid
js_config_watch(const char *table)
{
	Oid			relid = get_relname_relid(table,
										  get_namespace_oid(JS_SCHEMA, false));

	watch(relid);
	return relid;
}

/* Tell transactions apart, to know when pointers have died. */
static void
count_transactions(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		transactions++;
}

/*
 * config_changed() trigger: tells every process that a configuration table
 * has new contents.
 */
Datum
jacksync_config_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("config_changed() must be called as a trigger")));
	CacheInvalidateRelcache(trigger->tg_relation);
	out_of_date();

	/* the worker need not wait for its next look either */
	SPI_connect();
	js_config_read_worker();
	SPI_finish();
	js_wake_at_commit();
	return PointerGetDatum(NULL);
}

/* Drop what is out of date. */
static void
refresh(void)
{
	ListCell   *cell;

	if (retired != NIL && retired_in != transactions)
	{
		foreach(cell, retired)
			MemoryContextDelete((MemoryContext) lfirst(cell));
		list_free(retired);
		retired = NIL;
	}
	if (stale)
	{
		MemoryContext old = MemoryContextSwitchTo(CacheMemoryContext);

		foreach(cell, entities)
			retired = lappend(retired, ((JsEntity *) lfirst(cell))->mcxt);
		retired_in = transactions;
		list_free(entities);
		entities = NIL;
		MemoryContextSwitchTo(old);
		js_secure_forget();
		stale = false;
	}
}

/*
 * Look an entity up.  Unless missing_ok, an unknown one is an error that
 * lists those that exist.
 */
JsEntity   *
js_entity_by_name(const char *name, bool missing_ok)
{
	static JsStatement statement = {
		"SELECT e.entity_id, e.entity, e.local_table::pg_catalog.oid, e.external_id_column,"
		" e.property_column, e.enabled, e.on_local_edit, e.on_pms_delete,"
		" e.on_local_delete, e::text, e.urgency_column, e.deleted_column FROM jacksync.entity e WHERE e.entity = $1",
		{TEXTOID}
	};
	JsArgs		args = {0};
	JsEntity   *entity;
	ListCell   *cell;

	refresh();
	foreach(cell, entities)
		if (strcmp(((JsEntity *) lfirst(cell))->name, name) == 0)
		return (JsEntity *) lfirst(cell);

	js_arg_text(&args, name);
	entity = load(&statement, &args);
	if (entity == NULL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("entity \"%s\" does not exist", name),
				 errhint("SELECT entity FROM jacksync.entity lists the entities; INSERT there to bind a table.")));
	return entity;
}

/* The same by number; NULL if there is none. */
JsEntity   *
js_entity_by_id(int32 entity_id)
{
	static JsStatement statement = {
		"SELECT e.entity_id, e.entity, e.local_table::pg_catalog.oid, e.external_id_column,"
		" e.property_column, e.enabled, e.on_local_edit, e.on_pms_delete,"
		" e.on_local_delete, e::text, e.urgency_column, e.deleted_column FROM jacksync.entity e WHERE e.entity_id = $1",
		{INT4OID}
	};
	JsArgs		args = {0};
	ListCell   *cell;

	refresh();
	foreach(cell, entities)
		if (((JsEntity *) lfirst(cell))->entity_id == entity_id)
		return (JsEntity *) lfirst(cell);

	js_arg(&args, Int32GetDatum(entity_id));
	return load(&statement, &args);
}

/* Read an entity with its rules; NULL if there is none. */
static JsEntity *
load(JsStatement *statement, JsArgs *args)
{
	JsSecurity	security;
	MemoryContext mcxt;
	MemoryContext old;
	JsEntity   *entity = NULL;

	mcxt = AllocSetContextCreate(CurrentMemoryContext, "jacksync entity",
								 ALLOCSET_SMALL_SIZES);
	SPI_connect();
	js_internal_begin(&security);
	if (js_run_latest(statement, args) > 0)
	{
		char	   *text;

		old = MemoryContextSwitchTo(mcxt);
		entity = palloc0(sizeof(JsEntity));
		entity->mcxt = mcxt;
		entity->entity_id = js_get_int4(0, 1);
		entity->name = js_get_text(0, 2);
		entity->relid = DatumGetObjectId(js_get_int4(0, 3));
		entity->external.name = js_get_text(0, 4);
		text = js_get_text(0, 5);

		if (text != NULL)
		{
			entity->property = palloc0(sizeof(JsColumn));
			entity->property->name = text;
		}
		entity->enabled = js_get_bool(0, 6);
		text = js_get_text(0, 7);

		entity->on_local_edit = strcmp(text, "keep") == 0 ? JS_EDIT_KEEP :
			strcmp(text, "warn") == 0 ? JS_EDIT_WARN :
			strcmp(text, "reject") == 0 ? JS_EDIT_REJECT : JS_EDIT_REVERT;
		text = js_get_text(0, 8);

		entity->on_pms_delete = strcmp(text, "delete") == 0 ? JS_DELETE_DELETE :
			strcmp(text, "mark") == 0 ? JS_DELETE_MARK : JS_DELETE_KEEP;
		text = js_get_text(0, 9);

		entity->on_local_delete = strcmp(text, "push") == 0 ? JS_DELETE_PUSH :
			strcmp(text, "ignore") == 0 ? JS_DELETE_IGNORE : JS_DELETE_RESTORE;
		text = js_get_text(0, 10);

		entity->seed = hash_bytes_extended((unsigned char *) text,
										   strlen(text), 0);
		text = js_get_text(0, 11);

		if (text != NULL)
		{
			entity->urgency = palloc0(sizeof(JsColumn));
			entity->urgency->name = text;
		}
		text = js_get_text(0, 12);

		if (text != NULL)
		{
			entity->deleted = palloc0(sizeof(JsColumn));
			entity->deleted->name = text;
		}
		load_rules(entity);
		js_entity_bind(entity);
		MemoryContextSwitchTo(old);
		read_worker();
	}
	js_internal_end(&security);
	SPI_finish();

	if (entity == NULL)
	{
		MemoryContextDelete(mcxt);
		return NULL;
	}
	MemoryContextSetParent(mcxt, CacheMemoryContext);
	old = MemoryContextSwitchTo(CacheMemoryContext);
	entities = lappend(entities, entity);
	MemoryContextSwitchTo(old);
	return entity;
}

/* Learn which process to wake. */
static void
read_worker(void)
{
	static JsStatement statement = {
		"SELECT pid FROM jacksync.worker ORDER BY heartbeat DESC LIMIT 1",
		{InvalidOid}
	};

	js_wake_set_pid(js_run_latest(&statement, NULL) > 0 ?
					js_get_int4(0, 1) : 0);
}

/* The same for callers that need no entity.  SPI is connected. */
void
js_config_read_worker(void)
{
	JsSecurity	security;

	js_internal_begin(&security);
	read_worker();
	js_internal_end(&security);
}

/* Read the rules and the known fields of an entity. */
static void
load_rules(JsEntity *entity)
{
	static JsStatement rules = {
		"SELECT f.field, a.strategy::text, a.column_name, a.push, a.unless_blank,"
		" a.field_group, a::text"
		" FROM (SELECT field FROM jacksync.field WHERE entity_id = $1"
		"       UNION SELECT field FROM jacksync.authority WHERE entity = $2) f"
		" LEFT JOIN jacksync.authority a ON a.entity = $2 AND a.field = f.field"
		" ORDER BY f.field",
		{INT4OID, TEXTOID}
	};
	static const char *const tables[] = {
		"entity", "authority", "stream", "field", "operation_guard",
		"worker"
	};
	JsArgs		args = {0};
	uint64		rows;

	for (int i = 0; i < lengthof(tables); i++)
		(void) js_config_watch(tables[i]);
	watch(entity->relid);
	entity->change_relid =
		get_relname_relid("change", get_namespace_oid(JS_SCHEMA, false));

	entity->wildcard.strategy = JS_PMS_WINS;
	entity->wildcard.group = -1;
	js_arg(&args, Int32GetDatum(entity->entity_id));
	js_arg_text(&args, entity->name);
	rows = js_run_latest(&rules, &args);
	entity->fields = palloc0(sizeof(JsField) * Max(rows, 1));
	for (uint64 row = 0; row < rows; row++)
	{
		char	   *name = js_get_text(row, 1);
		char	   *text = js_get_text(row, 7);
		JsField    *field;

		entity->seed = hash_bytes_extended((unsigned char *) name,
										   strlen(name), entity->seed);
		if (text != NULL)
			entity->seed = hash_bytes_extended((unsigned char *) text,
											   strlen(text), entity->seed);
		if (strcmp(name, "*") == 0)
		{
			read_rule(&entity->wildcard, row);
			continue;
		}
		field = &entity->fields[entity->nfields++];
		field->name = name;
		field->column.name = js_get_text(row, 3);
		if (field->column.name == NULL)
			field->column.name = js_entity_snake_case(name);
		field->group = js_get_text(row, 2) ? -1 : -2;	/* -2: no own rule */
		if (field->group == -1)
			read_rule(field, row);
	}
	for (int i = 0; i < entity->nfields; i++)
	{
		JsField    *field = &entity->fields[i];

		if (field->group != -2)
			continue;
		field->strategy = entity->wildcard.strategy;
		field->push = entity->wildcard.push;
		field->unless_blank = entity->wildcard.unless_blank;
		field->group = -1;
	}
	group_fields(entity);
}

/* Read one rule of the present result. */
static void
read_rule(JsField *field, uint64 row)
{
	static const char *const names[] = {
		"pms_wins", "local_wins", "merge", "latest_wins", "manual"
	};
	char	   *strategy = js_get_text(row, 2);
	bool		isnull;

	for (int i = 0; i < lengthof(names); i++)
		if (strcmp(strategy, names[i]) == 0)
			field->strategy = (JsStrategy) i;
	(void) js_get(row, 4, &isnull);
	field->push = isnull ? field->strategy >= JS_MERGE : js_get_bool(row, 4);
	field->unless_blank = js_get_bool(row, 5);
	field->group_name = js_get_text(row, 6);
	field->group = -1;
}

/* Number the groups: by the position of their first field. */
static void
group_fields(JsEntity *entity)
{
	for (int i = 0; i < entity->nfields; i++)
	{
		JsField    *field = &entity->fields[i];

		if (field->group_name == NULL)
			continue;
		field->group = i;
		for (int j = 0; j < i; j++)
			if (entity->fields[j].group_name &&
				strcmp(entity->fields[j].group_name, field->group_name) == 0)
			{
				field->group = entity->fields[j].group;
				break;
			}
	}
}

/* Let invalidations of a table reach us. */
static void
watch(Oid relid)
{
	MemoryContext old = MemoryContextSwitchTo(CacheMemoryContext);

	watched = list_append_unique_oid(watched, relid);
	MemoryContextSwitchTo(old);
}

/*
 * A record brought a field that a column is there for: from now on it is one
 * of the entity.  SPI must be connected.
 */
void
js_entity_learn_field(JsEntity *entity, const char *field)
{
	static JsStatement statement = {
		"INSERT INTO jacksync.field (entity_id, field) VALUES ($1, $2)"
		" ON CONFLICT DO NOTHING",
		{INT4OID, TEXTOID}
	};
	JsArgs		args = {0};

	js_arg(&args, Int32GetDatum(entity->entity_id));
	js_arg_text(&args, field);
	js_run(&statement, &args);
	out_of_date();
}
