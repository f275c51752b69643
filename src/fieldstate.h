/*-------------------------------------------------------------------------
 *
 * fieldstate.h
 *	  The three values of every field, and what changed among them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_FIELDSTATE_H
#define JS_FIELDSTATE_H

#include "config.h"
#include "link.h"
#include "plan.h"
#include "record.h"
#include "row.h"
#include "secure.h"

/*
 * The values of one field on their way through a decision.  Most fields are
 * the same on both sides, and are never cast; js_field_base() and the like
 * cast those that must be.
 */
typedef struct JsFieldState
{
	JsonbValue	base_item;		/* of the snapshot */
	JsonbValue	local_base_item;
	JsonbValue	pms_item;
	bool		base_known;
	bool		local_base_known;	/* else what the row held is the base */
	bool		pms_known;		/* the record has the field */
	bool		pms_same;		/* as JSON, the PMS says what it said */
	bool		base_cast;
	bool		local_base_cast;
	bool		pms_cast;
	JsValue		base;
	JsValue		local_base;		/* what the row held at the last sync */
	JsValue		pms;
	JsValue		local;			/* the row's value before */
	JsValue		result;			/* what the row is to hold */
	bool		write;
	bool		broken;			/* held because of apply->constraint */
	bool		decided;		/* a person chose the value */
	bool		time_known;
	TimestampTz time;			/* of the local change */
} JsFieldState;

extern JsFieldState *js_field_gather(JsEntity *entity, JsRecord *record,
									 JsLink *link, JsRow *row,
									 JsFieldFacts *facts);
extern bool js_field_take_item(Jsonb *json, JsonbValue *item);
extern JsValue js_field_base(JsColumn *column, JsFieldState *state);
extern JsValue js_field_local_base(JsColumn *column, JsFieldState *state);
extern JsValue js_field_pms(JsColumn *column, JsFieldState *state);
extern Jsonb *js_field_base_json(JsFieldState *state);
extern Jsonb *js_field_pms_json(JsFieldState *state);
extern void js_field_mark_held(JsEntity *entity, JsLink *link,
							   JsFieldFacts *facts);
extern void js_casts_begin(JsSecurity *security, JsEntity *entity);
extern void js_casts_end(JsSecurity *security, JsEntity *entity);

#endif							/* JS_FIELDSTATE_H */
