/*-------------------------------------------------------------------------
 *
 * entity.h
 *	  An entity: its rules, and what they mean for its table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_ENTITY_H
#define JS_ENTITY_H

#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"

#include "value.h"

typedef enum JsDeletePolicy
{
	JS_DELETE_KEEP,				/* on_pms_delete */
	JS_DELETE_DELETE,
	JS_DELETE_MARK,
	JS_DELETE_RESTORE,			/* on_local_delete */
	JS_DELETE_PUSH,
	JS_DELETE_IGNORE
} JsDeletePolicy;

/* A field of an entity: its column and its rule. */
typedef struct JsField
{
	char	   *name;
	int			namelen;
	JsColumn	column;
	JsStrategy	strategy;
	bool		push;
	bool		unless_blank;
	int			group;			/* -1: none */
	char	   *group_name;
} JsField;

/* A guard: a write that is an operation (jacksync.operation_guard). */
typedef struct JsGuard
{
	char	   *operation;
	List	   *columns;		/* JsColumn */
	char	   *condition;		/* NULL: none */
} JsGuard;

typedef struct JsEntity
{
	int32		entity_id;
	char	   *name;
	Oid			relid;
	Oid			owner;
	Oid			change_relid;	/* jacksync.change */
	bool		partitioned;
	bool		enabled;
	JsLocalEdit on_local_edit;
	JsDeletePolicy on_pms_delete;
	JsDeletePolicy on_local_delete;
	int			nkeys;
	JsColumn   *keys;			/* of the primary key */
	JsColumn	external;		/* the external id */
	JsColumn   *property;		/* NULL: none */
	JsColumn   *deleted;		/* NULL: none; marks what the PMS deleted */
	JsColumn   *urgency;		/* NULL: none; orders open conflicts */
	int			nfields;
	JsField    *fields;
	int		   *key_order;		/* fields in the order of keys in jsonb */
	bool		user_code;		/* types of users are among their columns */
	Bitmapset  *synced;			/* attribute numbers of fields */
	Bitmapset  *waiting;		/* of those whose change is pushed or undone */
	List	   *guards;			/* JsGuard */
	JsField		wildcard;		/* rule of fields without one */
	uint64		seed;			/* of the hash gate: depends on all of this */
	bool		path_known;		/* obstacle has been looked for (rowheap.c) */
	const char *obstacle;		/* why rows are not written directly, or NULL */
	char	   *problem;		/* why it can't be synchronised now, or NULL */
	MemoryContext mcxt;
} JsEntity;

extern void js_entity_bind(JsEntity *entity);
extern JsField *js_entity_field(JsEntity *entity, const char *field);
extern AttrNumber js_entity_column_for(JsEntity *entity, const char *key);
extern void js_entity_split(JsEntity *entity, Jsonb *object,
							JsonbValue *items, bool *known);
extern void js_entity_check(JsEntity *entity);
extern char *js_entity_snake_case(const char *field);

#endif							/* JS_ENTITY_H */
