/*-------------------------------------------------------------------------
 *
 * capture.c
 *	  The row trigger that captures local changes.
 *
 * It runs in the transaction of whoever writes, and does as little as can
 * be: compare the synchronised columns, append one row to jacksync.change
 * (changelog.c), ask for a wake-up at commit.  Every role that may write the
 * table may do so without grants on jacksync.  Nothing here waits for anybody.
 *
 * What apply() writes is not captured (js_row_being_written); what users'
 * triggers do meanwhile is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "changelog.h"
#include "compat.h"
#include "config.h"
#include "faultpoint.h"
#include "jacksync.h"
#include "row.h"
#include "secure.h"
#include "statement.h"
#include "wake.h"

JS_FUNCTION(jacksync_capture);
JS_FUNCTION(jacksync_refuse_truncate);

static bool may_have_changed(TriggerData *trigger, AttrNumber attnum);
static Bitmapset *changed_columns(JsEntity *entity, TriggerData *trigger);
static bool key_changed(JsEntity *entity, TriggerData *trigger);
static void check_local_edit(JsEntity *entity, Bitmapset *changed);
static void check_guards(JsEntity *entity, TriggerData *trigger);
static bool touches(JsEntity *entity, TriggerData *trigger, JsGuard *guard);
static bool satisfies(JsEntity *entity, TriggerData *trigger, JsGuard *guard);
static void require_fresh(JsEntity *entity, TriggerData *trigger,
						  JsGuard *guard);
static char *key_of(JsEntity *entity, TriggerData *trigger,
					TupleTableSlot *slot);
static AttrNumber attnum_in(JsEntity *entity, TriggerData *trigger,
							const JsColumn *column);

/*
 * capture(entity_id) trigger, AFTER INSERT OR UPDATE OR DELETE FOR EACH ROW.
 */
Datum
jacksync_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	JsEntity   *entity;
	Bitmapset  *changed = NULL;
	char	   *key;
	char	   *old_key = NULL;
	char		op;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		trigger->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("capture() must be fired by the triggers that jacksync made")));

	entity = js_entity_by_id(pg_strtoint32(trigger->tg_trigger->tgargs[0]));
	if (entity == NULL || entity->nkeys == 0 ||
		js_row_being_written(entity->relid))
		return PointerGetDatum(NULL);
	if (entity->guards != NIL && !js_row_write_active() &&
		!TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		check_guards(entity, trigger);

	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		op = 'u';
		changed = changed_columns(entity, trigger);
		if (key_changed(entity, trigger))
			old_key = key_of(entity, trigger, trigger->tg_trigslot);
		else if (bms_is_empty(changed))
			return PointerGetDatum(NULL);
		key = key_of(entity, trigger, trigger->tg_newslot);
		if (old_key != NULL && strcmp(key, old_key) == 0)
			old_key = NULL;
		if (bms_is_empty(changed) && old_key == NULL)
			return PointerGetDatum(NULL);
		if (!js_row_write_active())
			check_local_edit(entity, changed);
	}
	else
	{
		op = TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? 'i' : 'd';
		key = key_of(entity, trigger, trigger->tg_trigslot);
	}

	js_changelog_add(entity, op, op == 'u' && js_row_write_active(),
					 op != 'u' || bms_overlap(changed, entity->waiting),
					 key, old_key, changed);
	JS_FAULT("cp01");
	js_wake_at_commit();
	return PointerGetDatum(NULL);
}

/* refuse_truncate() trigger, BEFORE TRUNCATE. */
Datum
jacksync_refuse_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("refuse_truncate() must be called as a trigger")));
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot truncate table \"%s\" because it is synchronized by jacksync",
					RelationGetRelationName(trigger->tg_relation)),
			 errhint("Use DELETE, or unbind the table first: DELETE FROM jacksync.entity.")));
	return PointerGetDatum(NULL);
}

/*
 * May an UPDATE have changed a column?  Not if it does not set it and no
 * BEFORE trigger could have.
 */
static bool
may_have_changed(TriggerData *trigger, AttrNumber attnum)
{
	return trigger->tg_updatedcols == NULL ||
		trigger->tg_relation->trigdesc->trig_update_before_row ||
		bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber,
					  trigger->tg_updatedcols);
}

/* Which synchronised columns did an UPDATE change? */
static Bitmapset *
changed_columns(JsEntity *entity, TriggerData *trigger)
{
	Bitmapset  *changed = NULL;

	for (int i = 0; i < entity->nfields; i++)
	{
		JsColumn   *column = &entity->fields[i].column;
		AttrNumber	attnum = attnum_in(entity, trigger, column);
		bool		old_null;
		bool		new_null;
		Datum		old_value;
		Datum		new_value;

		if (!may_have_changed(trigger, attnum))
			continue;
		old_value = slot_getattr(trigger->tg_trigslot, attnum, &old_null);
		new_value = slot_getattr(trigger->tg_newslot, attnum, &new_null);
		if (old_null && new_null)
			continue;
		if (old_null != new_null ||
			!datum_image_eq(old_value, new_value, column->byval, column->len))
			changed = bms_add_member(changed, column->attnum);
	}
	return changed;
}

/* Did an UPDATE write another primary key? */
static bool
key_changed(JsEntity *entity, TriggerData *trigger)
{
	for (int i = 0; i < entity->nkeys; i++)
	{
		JsColumn   *column = &entity->keys[i];
		AttrNumber	attnum = attnum_in(entity, trigger, column);
		bool		isnull;

		if (may_have_changed(trigger, attnum) &&
			!datum_image_eq(slot_getattr(trigger->tg_trigslot, attnum, &isnull),
							slot_getattr(trigger->tg_newslot, attnum, &isnull),
							column->byval, column->len))
			return true;
	}
	return false;
}

/*
 * A local edit of a field that the PMS owns: allowed, warned about, or
 * refused, as the entity says.
 */
static void
check_local_edit(JsEntity *entity, Bitmapset *changed)
{
	if (entity->on_local_edit != JS_EDIT_REJECT &&
		entity->on_local_edit != JS_EDIT_WARN)
		return;
	for (int i = 0; i < entity->nfields; i++)
	{
		JsField    *field = &entity->fields[i];

		if (field->strategy != JS_PMS_WINS ||
			!bms_is_member(field->column.attnum, changed))
			continue;
		if (entity->on_local_edit == JS_EDIT_REJECT)
			ereport(ERROR,
					(errcode(ERRCODE_JS_LOCAL_EDIT),
					 errmsg("column \"%s\" of \"%s\" is owned by the PMS",
							field->column.name, entity->name),
					 errhint("Change it in the PMS, or change its rule in jacksync.authority.")));
		ereport(WARNING,
				(errcode(ERRCODE_JS_LOCAL_EDIT),
				 errmsg("column \"%s\" of \"%s\" is owned by the PMS",
						field->column.name, entity->name),
				 errdetail("The change will be undone at the next synchronization.")));
	}
}

/*
 * Refuse the write if it is an operation that critically stale data forbids.
 * What sync writes itself is none.
 */
static void
check_guards(JsEntity *entity, TriggerData *trigger)
{
	ListCell   *cell;

	foreach(cell, entity->guards)
	{
		JsGuard    *guard = (JsGuard *) lfirst(cell);

		if (touches(entity, trigger, guard) &&
			(guard->condition == NULL || satisfies(entity, trigger, guard)))
			require_fresh(entity, trigger, guard);
	}
}

/*
 * Does the write touch a column of a guard: an UPDATE that changes it, or an
 * INSERT that gives it a value?
 */
static bool
touches(JsEntity *entity, TriggerData *trigger, JsGuard *guard)
{
	ListCell   *cell;

	foreach(cell, guard->columns)
	{
		JsColumn   *column = (JsColumn *) lfirst(cell);
		AttrNumber	attnum = attnum_in(entity, trigger, column);
		bool		old_null;
		bool		new_null;
		Datum		old_value;
		Datum		new_value;

		old_value = slot_getattr(trigger->tg_trigslot, attnum, &old_null);
		if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		{
			if (!old_null)
				return true;
			continue;
		}
		new_value = slot_getattr(trigger->tg_newslot, attnum, &new_null);
		if (old_null != new_null ||
			(!old_null && !datum_image_eq(old_value, new_value, column->byval,
										  column->len)))
			return true;
	}
	return false;
}

/* A condition of a guard is being evaluated. */
static void
guard_context(void *arg)
{
	errcontext("condition of the guard of operation \"%s\"",
			   ((JsGuard *) arg)->operation);
}

/*
 * Does the condition of a guard hold?  It is evaluated as the owner of the
 * table, in a security-restricted operation, with settings of our own.
 */
static bool
satisfies(JsEntity *entity, TriggerData *trigger, JsGuard *guard)
{
	TupleDesc	tupdesc = RelationGetDescr(trigger->tg_relation);
	Oid			rowtype = trigger->tg_relation->rd_rel->reltype;
	bool		insert = TRIGGER_FIRED_BY_INSERT(trigger->tg_event);
	MemoryContext caller = CurrentMemoryContext;
	ErrorContextCallback context;
	JsSecurity	security;
	Datum		old = (Datum) 0;
	Datum		new;
	int			level;
	bool		result;

	if (!insert)
		old = heap_copy_tuple_as_datum(trigger->tg_trigtuple, tupdesc);
	new = heap_copy_tuple_as_datum(insert ? trigger->tg_trigtuple :
								   trigger->tg_newtuple, tupdesc);
	context.callback = guard_context;
	context.arg = guard;
	context.previous = error_context_stack;
	error_context_stack = &context;
	SPI_connect();
	MemoryContextSwitchTo(caller);
	level = js_pin_settings(NULL);
	js_owner_begin(&security, entity->owner);
	result = js_row_condition(entity, guard->condition, rowtype, old, insert,
							  new);
	js_owner_end(&security);
	js_unpin_settings(level);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	error_context_stack = context.previous;
	return result;
}

/*
 * The write is the operation: raise JS001 if the data is too old for it.  Of
 * several servers the one counts that the row belongs to.
 */
static void
require_fresh(JsEntity *entity, TriggerData *trigger, JsGuard *guard)
{
	static JsStatement statement = {
		"SELECT jacksync.require_fresh($1, $2,"
		" (SELECT s.server FROM jacksync.stream s"
		"  WHERE s.entity = $1 AND s.property_value = $3))",
		{TEXTOID, TEXTOID, TEXTOID}
	};
	TupleTableSlot *slot = TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ?
	trigger->tg_trigslot : trigger->tg_newslot;
	MemoryContext caller = CurrentMemoryContext;
	JsSecurity	security;
	JsArgs		args = {0};
	JsValue		property = {(Datum) 0, true};

	if (entity->property != NULL)
		property.value = slot_getattr(slot,
									  attnum_in(entity, trigger,
												entity->property),
									  &property.isnull);
	SPI_connect();
	MemoryContextSwitchTo(caller);
	js_internal_begin(&security);
	js_arg_text(&args, entity->name);
	js_arg_text(&args, guard->operation);
	js_arg_text(&args, property.isnull ? NULL :
				js_value_to_text(entity->property, property));
	js_run(&statement, &args);
	js_internal_end(&security);
	SPI_finish();
	MemoryContextSwitchTo(caller);
}

/* The primary key of a row as text. */
static char *
key_of(JsEntity *entity, TriggerData *trigger, TupleTableSlot *slot)
{
	JsValue    *keys = palloc(sizeof(JsValue) * entity->nkeys);

	for (int i = 0; i < entity->nkeys; i++)
		keys[i].value = slot_getattr(slot,
									 attnum_in(entity, trigger,
											   &entity->keys[i]),
									 &keys[i].isnull);
	return js_row_id_from_values(entity, keys);
}

/* The number of a column in the table that fired: perhaps a partition. */
static AttrNumber
attnum_in(JsEntity *entity, TriggerData *trigger, const JsColumn *column)
{
	Oid			relid = RelationGetRelid(trigger->tg_relation);

	if (relid == entity->relid)
		return column->attnum;
	return get_attnum(relid, column->name);
}
