/*-------------------------------------------------------------------------
 *
 * answer.c
 *	  Requests about one record, and what their answers say.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "compat.h"
#include "jacksync.h"
#include "jsonb.h"
#include "outbound.h"
#include "page.h"
#include "txn.h"
#include "value.h"

/* A request that is to be made. */
typedef struct Making
{
	JsCycle    *cycle;
	JsMakeRequest make;
	JsHttpRequest *request;
} Making;

static Jsonb *typed_id(JsCycle *cycle, const char *external_id);
static void make_it(void *arg);
static JsStream shape_of_one(JsStream *stream, Jsonb *read);
static char *last_segment(const char *location);

/* Variables for a request about one record; intent may be NULL. */
JsVars	   *
js_record_vars(JsCycle *cycle, const char *external_id, JsIntent *intent)
{
	JsVars	   *vars = js_cycle_vars(cycle);
	JsEntity   *entity;

	if (intent != NULL && intent->row_values != NULL)
	{
		entity = js_entity_by_name(cycle->stream->entity, false);
		for (int i = 0; i < entity->nfields; i++)
		{
			JsField    *field = &entity->fields[i];
			Jsonb	   *value = js_jsonb_member(intent->row_values,
												field->name);

			if (value != NULL)
				js_vars_set_json(vars, psprintf("record.%s", field->name),
								 js_record_push_value(cycle->stream, field,
													  value));
		}
	}
	if (intent != NULL)
		js_vars_set_text(vars, "record.reference", intent->idempotency_key);
	if (external_id != NULL)
		js_vars_set_json(vars, "record.id", typed_id(cycle, external_id));
	return vars;
}

/* An id as the PMS gave it, a number or a text, if the record was read. */
static Jsonb *
typed_id(JsCycle *cycle, const char *external_id)
{
	Jsonb	   *id = cycle->remote ?
	js_path_first(&cycle->stream->primary_key, cycle->remote) : NULL;

	if (id != NULL && JB_ROOT_IS_SCALAR(id) &&
		strcmp(js_option_text(id, NULL) ? js_option_text(id, NULL) :
			   js_jsonb_out(id), external_id) == 0)
		return id;
	return js_jsonb_string(external_id);
}

/*
 * Make a request in a transaction of its own.  Returns what is wrong with the
 * record, if a value of it cannot be sent, else NULL.  Other errors are those
 * of the configuration.
 */
char	   *
js_make_request(JsCycle *cycle, JsMakeRequest make, JsHttpRequest *request)
{
	Making		making = {cycle, make, request};
	ErrorData  *error;

	js_txn_begin("making a request");
	error = js_txn_try(make_it, &making);
	if (error != NULL && error->sqlerrcode != ERRCODE_JS_BAD_RECORD &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
		ReThrowError(error);
	js_txn_end();
	return error ? error->message : NULL;
}

/* The part of it that may fail. */
static void
make_it(void *arg)
{
	Making	   *making = arg;

	js_server_request(making->cycle->server, making->request);
	making->make(making->cycle, making->request);
}

/* What an answer means for the cycle: rules of the stream come first. */
JsAnswer
js_answer_kind(JsCycle *cycle, JsHttpResponse *response)
{
	if (response->failure != JS_HTTP_OK)
		return JS_ANSWER_STOP;
	if (cycle->verdict == JS_VERDICT_OK || cycle->verdict == JS_VERDICT_IGNORE)
		return JS_ANSWER_OK;
	if (cycle->by_rule)
		return cycle->verdict == JS_VERDICT_FAIL_RECORD ?
			JS_ANSWER_REFUSED : JS_ANSWER_STOP;
	if (response->status == 404 || response->status == 410)
		return JS_ANSWER_GONE;
	if (response->status < 400 || cycle->verdict != JS_VERDICT_FAIL)
		return JS_ANSWER_STOP;
	return JS_ANSWER_REFUSED;
}

/* The body of an answer; NULL if there is none, or none that can be kept. */
Jsonb	   *
js_answer_document(JsHttpResponse *response)
{
	JsAllocator allocator = js_allocator();
	JsJsonLimits limits = js_json_default_limits;
	JsJsonError error;
	JsJson	   *root;

	if (response->body_len == 0 ||
		!js_json_parse(response->body, response->body_len, &limits,
					   &allocator, &root, &error) ||
		js_json_is_bad(root))
		return NULL;
	return js_jsonb_in(response->body);
}

/* The records in an answer, by the paths of a template, or else the stream's. */
List	   *
js_answer_records(JsCycle *cycle, JsHttpResponse *response, Jsonb *template)
{
	char	   *path = js_option_text(template, "record_path");
	char	   *key = js_option_text(template, "primary_key");
	JsStream	shape = *cycle->stream;
	JsPage	   *page;
	char	   *problem;

	if (path != NULL)
	{
		shape.record_path = *js_path_make(path);
		shape.parent_path = NULL;
	}
	if (key != NULL)
		shape.primary_key = *js_path_make(key);
	shape.success_path = NULL;
	page = js_page_read(&shape, response, &problem);
	return page ? page->records : NIL;
}

/*
 * The stream as it reads one record: its id may be elsewhere than in a list,
 * or in an event.
 */
static JsStream
shape_of_one(JsStream *stream, Jsonb *read)
{
	JsStream	shape = *stream;
	char	   *key = js_option_text(read, "primary_key");

	if (key == NULL && stream->detail != NULL)
		key = js_option_text(stream->detail, "primary_key");
	if (key != NULL)
	{
		shape.primary_key = *js_path_make(key);
		shape.keyed = false;
		shape.key_template = NULL;
	}
	return shape;
}

/*
 * The record in an answer, if the answer is one: it must have the id that we
 * asked for (NULL: any).
 */
Jsonb	   *
js_answer_record(JsCycle *cycle, JsHttpResponse *response,
				 const char *external_id)
{
	Jsonb	   *read = js_jsonb_member(cycle->stream->push, "read");
	bool		has_path = js_jsonb_member(read, "record_path") != NULL;
	JsStream	shape = shape_of_one(cycle->stream, read);

	/* where push.read has it, or the answer itself */
	for (int i = has_path ? 0 : 1; i < 2; i++)
	{
		List	   *records = js_answer_records(cycle, response, i == 0 ? read :
												js_jsonb_in("{\"record_path\": \"$\"}"));
		Jsonb	   *record;
		char	   *id;

		if (list_length(records) != 1 || !JB_ROOT_IS_OBJECT((Jsonb *) linitial(records)))
			continue;
		record = linitial(records);
		id = js_record_id(&shape, false, record);
		if (id == NULL || (external_id != NULL && strcmp(id, external_id) != 0))
			continue;
		return cycle->stream->keyed && shape.key_template == NULL ?
			js_record_with(record, JS_KEY, js_jsonb_string(id)) : record;
	}
	return NULL;
}

/*
 * The id that the PMS gave a new record: at id_path, which is a jsonpath into
 * the body or the name of a header; else in the record that was answered;
 * else at the end of the address in Location.  NULL: it did not say.
 */
char	   *
js_answer_new_id(JsCycle *cycle, JsOperation *operation,
				 JsHttpResponse *response, Jsonb *document)
{
	char	   *path = js_option_text(operation->spec, "id_path");
	Jsonb	   *value;
	const char *header;

	if (path != NULL && path[0] != '$')
	{
		header = js_http_header(response, path);
		return header ? last_segment(header) : NULL;
	}
	if (path != NULL)
	{
		value = document ? js_path_first(js_path_make(path), document) : NULL;
		if (value == NULL || !JB_ROOT_IS_SCALAR(value) || js_jsonb_is_null(value))
			return NULL;
		return js_option_text(value, NULL) ? js_option_text(value, NULL) :
			js_jsonb_out(value);
	}
	value = js_answer_record(cycle, response, NULL);
	if (value != NULL)
		return js_record_id(cycle->stream, false, value);
	header = js_http_header(response, "Location");
	return header ? last_segment(header) : NULL;
}

/* What is behind the last slash of an address; NULL: nothing. */
static char *
last_segment(const char *location)
{
	size_t		len = strcspn(location, "?#");
	const char *start;

	while (len > 0 && location[len - 1] == '/')
		len--;
	start = location + len;
	while (start > location && start[-1] != '/')
		start--;
	len -= start - location;
	return len > 0 ? pnstrdup(start, len) : NULL;
}

/*
 * Does an answer tell what became of the changes?  One that has none of the
 * fields that were sent is of another shape than the record.
 */
bool
js_answer_tells(JsApply *apply, JsIntent *intent, Jsonb *raw)
{
	JsRecord   *record = js_record_read(apply->entity, apply->stream, false,
										raw);

	for (int i = 0; i < apply->entity->nfields; i++)
		if (record->fields[i] != NULL &&
			js_jsonb_member(intent->changes, apply->entity->fields[i].name) != NULL)
			return true;
	return false;
}

/* What the PMS said, without our secrets. */
char	   *
js_answer_words(JsCycle *cycle, const char *text)
{
	return js_server_redact(cycle->server, text);
}
