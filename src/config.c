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

#include <ctype.h>

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
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
#include "utils/syscache.h"

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

static void relcache_callback(Datum arg, Oid relid);
static void count_transactions(XactEvent event, void *arg);
static void refresh(void);
static JsEntity *load(JsStatement *statement, JsArgs *args);
static void read_worker(void);
static void load_rules(JsEntity *entity);
static void load_columns(JsEntity *entity);
static void sort_fields(JsEntity *entity);
static int	compare_key(const char *key, int len, const char *name);
static void load_keys(JsEntity *entity, Relation rel);
static void load_guards(JsEntity *entity, Relation rel);
static void read_rule(JsField *field, uint64 row);
static void group_fields(JsEntity *entity);
static void watch(Oid relid);
static char *snake_case(const char *field);
static AttrNumber find_column(JsEntity *entity, const char *column);
static void note_problem(JsEntity *entity, const char *format,...)
			pg_attribute_printf(2, 3);

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
		stale = true;
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
	stale = true;

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
JsEntity *
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
JsEntity *
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
		load_columns(entity);
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
		watch(get_relname_relid(tables[i],
								get_namespace_oid(JS_SCHEMA, false)));
	watch(entity->relid);
	entity->change_relid =
		get_relname_relid("change", get_namespace_oid(JS_SCHEMA, false));
	entity->change_seq =
		get_relname_relid("change_seq", get_namespace_oid(JS_SCHEMA, false));

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
			field->column.name = snake_case(name);
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

/*
 * Find the columns.  What is missing is a problem of the entity, not an
 * error: the capture trigger must not fail because of it.
 */
static void
load_columns(JsEntity *entity)
{
	Relation	rel = try_relation_open(entity->relid, AccessShareLock);
	AttrNumber	attnum;
	int			kept = 0;

	if (rel == NULL)
	{
		note_problem(entity, "its table with OID %u does not exist",
					 entity->relid);
		entity->nfields = 0;
		sort_fields(entity);
		return;
	}
	entity->owner = rel->rd_rel->relowner;
	entity->partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	load_keys(entity, rel);

	attnum = get_attnum(entity->relid, entity->external.name);
	if (attnum > 0)
		js_column_init(&entity->external, rel, attnum, entity->mcxt);
	else
		note_problem(entity, "column \"%s\" of table \"%s\" (external id) does not exist",
					 entity->external.name, RelationGetRelationName(rel));
	if (entity->property != NULL)
	{
		attnum = get_attnum(entity->relid, entity->property->name);
		if (attnum > 0)
			js_column_init(entity->property, rel, attnum, entity->mcxt);
		else
			note_problem(entity, "column \"%s\" of table \"%s\" (property) does not exist",
						 entity->property->name, RelationGetRelationName(rel));
	}

	if (entity->deleted != NULL)
	{
		attnum = get_attnum(entity->relid, entity->deleted->name);
		if (attnum > 0)
			js_column_init(entity->deleted, rel, attnum, entity->mcxt);
		else
			note_problem(entity, "column \"%s\" of table \"%s\" (deleted) does not exist",
						 entity->deleted->name, RelationGetRelationName(rel));
	}
	if (entity->urgency != NULL)
	{
		attnum = get_attnum(entity->relid, entity->urgency->name);
		if (attnum > 0)
			js_column_init(entity->urgency, rel, attnum, entity->mcxt);
		else
			entity->urgency = NULL; /* conflicts are merely not ordered */
	}

	for (int i = 0; i < entity->nfields; i++)
	{
		JsField    *field = &entity->fields[i];

		attnum = get_attnum(entity->relid, field->column.name);
		if (attnum <= 0)
		{
			note_problem(entity, "column \"%s\" of table \"%s\" (field \"%s\") does not exist",
						 field->column.name, RelationGetRelationName(rel),
						 field->name);
			continue;
		}
		js_column_init(&field->column, rel, attnum, entity->mcxt);
		entity->synced = bms_add_member(entity->synced, attnum);
		if (field->push || (field->strategy == JS_PMS_WINS &&
							entity->on_local_edit != JS_EDIT_KEEP))
			entity->waiting = bms_add_member(entity->waiting, attnum);
		entity->fields[kept++] = *field;
	}
	entity->nfields = kept;
	sort_fields(entity);
	/* a record may hold a member that a new column is there for */
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		if (!att->attisdropped)
			entity->seed = hash_bytes_extended((unsigned char *) NameStr(att->attname),
											   strlen(NameStr(att->attname)),
											   entity->seed);
	}
	load_guards(entity, rel);
	table_close(rel, AccessShareLock);
}

/* Order the fields as jsonb orders its keys: by length, then by bytes. */
static void
sort_fields(JsEntity *entity)
{
	int			n = entity->nfields;

	entity->key_order = palloc(sizeof(int) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		const char *name = entity->fields[i].name;
		int			at = i;

		while (at > 0)
		{
			const char *other = entity->fields[entity->key_order[at - 1]].name;

			if (compare_key(name, strlen(name), other) > 0)
				break;
			entity->key_order[at] = entity->key_order[at - 1];
			at--;
		}
		entity->key_order[at] = i;
		if (entity->fields[i].column.user_code)
			entity->user_code = true;
	}
}

/* Compare a key with a name as jsonb does. */
static int
compare_key(const char *key, int len, const char *name)
{
	int			namelen = strlen(name);

	return len != namelen ? (len > namelen ? 1 : -1) : memcmp(key, name, len);
}

/* The members of an object (NULL: none) that are fields of an entity. */
void
js_entity_split(JsEntity *entity, Jsonb *object, JsonbValue *items,
				bool *known)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	int			at = 0;

	memset(known, false, sizeof(bool) * entity->nfields);
	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return;
	iterator = JsonbIteratorInit(&object->root);
	while (at < entity->nfields &&
		   (token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		int			field = entity->key_order[at];
		int			difference;

		if (token != WJB_KEY)
			continue;
		while ((difference = compare_key(value.val.string.val,
										 value.val.string.len,
										 entity->fields[field].name)) > 0 &&
			   ++at < entity->nfields)
			field = entity->key_order[at];
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (difference != 0 || at >= entity->nfields)
			continue;
		items[field] = value;
		known[field] = true;
		at++;
	}
}

/* Find the columns of the primary key. */
static void
load_keys(JsEntity *entity, Relation rel)
{
	Oid			index = js_primary_key_index(rel);
	HeapTuple	tuple;
	Form_pg_index form;

	if (!OidIsValid(index))
	{
		note_problem(entity, "table \"%s\" has no primary key",
					 RelationGetRelationName(rel));
		return;
	}
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", index);
	form = (Form_pg_index) GETSTRUCT(tuple);
	entity->nkeys = form->indnkeyatts;
	entity->keys = palloc0(sizeof(JsColumn) * entity->nkeys);
	for (int i = 0; i < entity->nkeys; i++)
		js_column_init(&entity->keys[i], rel, form->indkey.values[i],
					   entity->mcxt);
	ReleaseSysCache(tuple);
}

/*
 * Read the guards.  Columns that are gone are left out; a guard without any
 * is none.
 */
static void
load_guards(JsEntity *entity, Relation rel)
{
	static JsStatement statement = {
		"SELECT g.operation, g.condition, c.column_name FROM jacksync.operation_guard g,"
		" pg_catalog.unnest(g.columns) AS c (column_name)"
		" WHERE g.entity = $1 ORDER BY g.operation",
		{TEXTOID}
	};
	JsArgs		args = {0};
	JsGuard    *guard = NULL;
	uint64		rows;

	js_arg_text(&args, entity->name);
	rows = js_run_latest(&statement, &args);
	for (uint64 row = 0; row < rows; row++)
	{
		char	   *operation = js_get_text(row, 1);
		AttrNumber	attnum = get_attnum(entity->relid, js_get_text(row, 3));
		JsColumn   *column;

		if (attnum <= 0)
			continue;
		if (guard == NULL || strcmp(guard->operation, operation) != 0)
		{
			guard = palloc0(sizeof(JsGuard));
			guard->operation = operation;
			guard->condition = js_get_text(row, 2);
			entity->guards = lappend(entity->guards, guard);
		}
		column = palloc(sizeof(JsColumn));
		js_column_init(column, rel, attnum, entity->mcxt);
		guard->columns = lappend(guard->columns, column);
	}
}

/* Remember the first problem of an entity. */
static void
note_problem(JsEntity *entity, const char *format,...)
{
	StringInfoData buf;

	if (entity->problem != NULL)
		return;
	initStringInfo(&buf);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&buf, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&buf, needed);
	}
	entity->problem = buf.data;
}

/* Raise the problem of an entity, if it has one. */
void
js_entity_check(JsEntity *entity)
{
	if (entity->problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFIG),
				 errmsg("entity \"%s\" cannot be synchronised: %s",
						entity->name, entity->problem),
				 errhint("Mend the table or the rows of jacksync.entity, jacksync.authority and jacksync.stream.")));
}

/* Let invalidations of a table reach us. */
static void
watch(Oid relid)
{
	MemoryContext old = MemoryContextSwitchTo(CacheMemoryContext);

	watched = list_append_unique_oid(watched, relid);
	MemoryContextSwitchTo(old);
}

/* The field of that name, or NULL. */
JsField *
js_entity_field(JsEntity *entity, const char *field)
{
	for (int i = 0; i < entity->nfields; i++)
		if (strcmp(entity->fields[i].name, field) == 0)
			return &entity->fields[i];
	return NULL;
}

/*
 * The column that a key of a record names without any rule: the column of
 * that name, or of its snake_case.  0 if there is none, or if the column is
 * another field's, the external id, the property or part of the key.
 */
AttrNumber
js_entity_column_for(JsEntity *entity, const char *key)
{
	AttrNumber	attnum = find_column(entity, key);

	return attnum > 0 ? attnum : find_column(entity, snake_case(key));
}

/* A column by name, unless it is taken. */
static AttrNumber
find_column(JsEntity *entity, const char *column)
{
	AttrNumber	attnum;

	if (strlen(column) >= NAMEDATALEN)
		return 0;
	attnum = get_attnum(entity->relid, column);
	if (attnum <= 0 || bms_is_member(attnum, entity->synced) ||
		attnum == entity->external.attnum ||
		(entity->property && attnum == entity->property->attnum))
		return 0;
	for (int i = 0; i < entity->nkeys; i++)
		if (entity->keys[i].attnum == attnum)
			return 0;
	if (get_attgenerated(entity->relid, attnum))
		return 0;
	return attnum;
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
	stale = true;
}

/*
 * checkInDate becomes check_in_date: an underscore between a small letter or
 * digit and a capital, and before a capital that begins a word behind others;
 * whatever is no letter, digit or underscore becomes one.  Only ASCII letters
 * have case here.  (jacksync.snake_case() is the same in SQL.)
 */
static char *
snake_case(const char *field)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (const char *p = field; *p; p++)
	{
		bool		upper = *p >= 'A' && *p <= 'Z';
		bool		after = p > field &&
		((p[-1] >= 'a' && p[-1] <= 'z') || (p[-1] >= '0' && p[-1] <= '9'));
		bool		before = p > field && p[-1] >= 'A' && p[-1] <= 'Z' &&
		p[1] >= 'a' && p[1] <= 'z';
		bool		word = upper || (*p >= 'a' && *p <= 'z') ||
		(*p >= '0' && *p <= '9') || *p == '_' || (unsigned char) *p >= 128;

		if (!word)
		{
			if (p == field || isalnum((unsigned char) p[-1]) || p[-1] == '_' ||
				(unsigned char) p[-1] >= 128)
				appendStringInfoChar(&buf, '_');
			continue;
		}
		if (upper && (after || before))
			appendStringInfoChar(&buf, '_');
		appendStringInfoChar(&buf, upper ? *p - 'A' + 'a' : *p);
	}
	return buf.data;
}
