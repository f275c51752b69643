/*-------------------------------------------------------------------------
 *
 * entity.c
 *	  What an entity's rules mean for its table: columns, key, guards.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "entity.h"
#include "jacksync.h"
#include "jsonb.h"
#include "statement.h"

static void bind_column(JsEntity *entity, Relation rel, JsColumn *column,
						const char *role);
static void sort_fields(JsEntity *entity);
static int	compare_key(const char *key, int len, const char *name,
						int namelen);
static void load_keys(JsEntity *entity, Relation rel);
static void load_guards(JsEntity *entity, Relation rel);
static AttrNumber find_column(JsEntity *entity, const char *column);
static void note_problem(JsEntity *entity, const char *format,...)
			pg_attribute_printf(2, 3);

/*
 * Find the columns.  What is missing is a problem of the entity, not an
 * error: the capture trigger must not fail because of it.
 */
void
js_entity_bind(JsEntity *entity)
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

	bind_column(entity, rel, &entity->external, "external id");
	if (entity->property != NULL)
		bind_column(entity, rel, entity->property, "property");
	if (entity->deleted != NULL)
		bind_column(entity, rel, entity->deleted, "deleted");
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

/* Find a column without which the entity is of no use. */
static void
bind_column(JsEntity *entity, Relation rel, JsColumn *column, const char *role)
{
	AttrNumber	attnum = get_attnum(entity->relid, column->name);

	if (attnum > 0)
		js_column_init(column, rel, attnum, entity->mcxt);
	else
		note_problem(entity, "column \"%s\" of table \"%s\" (%s) does not exist",
					 column->name, RelationGetRelationName(rel), role);
}

/* Order the fields as jsonb orders its keys: by length, then by bytes. */
static void
sort_fields(JsEntity *entity)
{
	int			n = entity->nfields;

	entity->key_order = palloc(sizeof(int) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		JsField    *field = &entity->fields[i];
		int			at = i;

		field->namelen = strlen(field->name);
		while (at > 0)
		{
			JsField    *other = &entity->fields[entity->key_order[at - 1]];

			if (compare_key(field->name, field->namelen, other->name,
							other->namelen) > 0)
				break;
			entity->key_order[at] = entity->key_order[at - 1];
			at--;
		}
		entity->key_order[at] = i;
		if (field->column.user_code)
			entity->user_code = true;
	}
}

/* Compare a key with a name as jsonb does. */
static int
compare_key(const char *key, int len, const char *name, int namelen)
{
	return len != namelen ? (len > namelen ? 1 : -1) : memcmp(key, name, len);
}

/* The members of an object (NULL: none) that are fields of an entity. */
void
js_entity_split(JsEntity *entity, Jsonb *object, JsonbValue *items,
				bool *known)
{
	JsObjectWalk walk;
	const char *key;
	uint32		keylen;
	JsonbValue	value;
	int			at = 0;

	memset(known, false, sizeof(bool) * entity->nfields);
	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return;
	js_object_walk(&walk, object);
	while (at < entity->nfields &&
		   js_object_next(&walk, &key, &keylen, &value))
	{
		int			field = entity->key_order[at];
		int			difference;

		while ((difference = compare_key(key, keylen,
										 entity->fields[field].name,
										 entity->fields[field].namelen)) > 0 &&
			   ++at < entity->nfields)
			field = entity->key_order[at];
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

/* The field of that name, or NULL. */
JsField    *
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

	return attnum > 0 ? attnum : find_column(entity, js_entity_snake_case(key));
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
 * checkInDate becomes check_in_date: an underscore between a small letter or
 * digit and a capital, and before a capital that begins a word behind others;
 * whatever is no letter, digit or underscore becomes one.  Only ASCII letters
 * have case here.  (jacksync.snake_case() is the same in SQL.)
 */
char	   *
js_entity_snake_case(const char *field)
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
