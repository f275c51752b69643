/*-------------------------------------------------------------------------
 *
 * verdict.c
 *	  What an answer of the PMS means: success, or what to do about it.
 *
 * The stream's response_rules come first, in their order; what none of them
 * is for means what HTTP says.  A rule looks at the status, at the body by a
 * jsonpath predicate, or at both.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "compat.h"
#include "httpdate.h"
#include "json.h"
#include "jsonb.h"
#include "txn.h"
#include "value.h"
#include "verdict.h"

#define MESSAGE_BYTES	500		/* of what the PMS says */

static bool rule_matches(Jsonb *rule, JsHttpResponse *response,
						 Jsonb **document, bool *parsed);
static bool status_matches(Jsonb *wanted, long status);
static JsVerdict action_of(Jsonb *rule);
static JsVerdict by_status(long status);
static Jsonb *parse_body(JsHttpResponse *response);
static char *string_of(Jsonb *value);

/*
 * What does an answer mean?  by_rule tells whether a rule of the stream says
 * so.  Must be called outside of a transaction, because a predicate needs one.
 */
JsVerdict
js_verdict(JsStream *stream, JsHttpResponse *response, bool *by_rule)
{
	JsVerdict	verdict;
	int			n = stream != NULL && stream->response_rules != NULL ?
	JB_ROOT_COUNT(stream->response_rules) : 0;

	*by_rule = false;
	if (response->failure != JS_HTTP_OK)
		return JS_VERDICT_RETRY;
	verdict = by_status(response->status);
	if (n > 0)
	{
		Jsonb	   *document = NULL;
		bool		parsed = false;

		js_txn_begin("judging an answer");
		for (int i = 0; i < n && !*by_rule; i++)
		{
			JsonbValue *element =
			getIthJsonbValueFromContainer(&stream->response_rules->root, i);
			Jsonb	   *rule = js_jsonb_from_value(element);

			if (rule_matches(rule, response, &document, &parsed))
			{
				verdict = action_of(rule);
				*by_rule = true;
			}
		}
		js_txn_end();
	}
	return verdict;
}

/* Is a rule for this answer?  The body is parsed once for all of them. */
static bool
rule_matches(Jsonb *rule, JsHttpResponse *response, Jsonb **document,
			 bool *parsed)
{
	Jsonb	   *status = js_jsonb_member(rule, "status");
	Jsonb	   *predicate = js_jsonb_member(rule, "predicate");

	if (status != NULL && !status_matches(status, response->status))
		return false;
	if (predicate == NULL)
		return status != NULL;
	if (!*parsed)
		*document = parse_body(response);
	*parsed = true;
	return *document != NULL &&
		js_path_match(js_path_make(string_of(predicate)), *document);
}

/* Is the status the one of a rule, or one of them? */
static bool
status_matches(Jsonb *wanted, long status)
{
	if (JB_ROOT_IS_SCALAR(wanted))
		return strtol(js_jsonb_out(wanted), NULL, 10) == status;
	for (int i = 0; i < JB_ROOT_COUNT(wanted); i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(&wanted->root, i);

		if (status_matches(js_jsonb_from_value(element), status))
			return true;
	}
	return false;
}

/* The action of a rule; it was checked when the rule was written. */
static JsVerdict
action_of(Jsonb *rule)
{
	static const struct
	{
		const char *name;
		JsVerdict	verdict;
	}			actions[] = {
		{"retry", JS_VERDICT_RETRY},
		{"ignore", JS_VERDICT_IGNORE},
		{"fail_record", JS_VERDICT_FAIL_RECORD},
		{"fail", JS_VERDICT_FAIL},
		{"rate_limited", JS_VERDICT_RATE_LIMITED},
		{"refresh_token", JS_VERDICT_REFRESH_TOKEN},
	};
	char	   *name = string_of(js_jsonb_member(rule, "action"));

	for (int i = 0; name != NULL && i < lengthof(actions); i++)
		if (strcmp(actions[i].name, name) == 0)
			return actions[i].verdict;
	return JS_VERDICT_FAIL;
}

/* What HTTP says. */
static JsVerdict
by_status(long status)
{
	if (status >= 200 && status < 300)
		return JS_VERDICT_OK;
	if (status == 429)
		return JS_VERDICT_RATE_LIMITED;
	if (status == 401)
		return JS_VERDICT_REFRESH_TOKEN;
	if (status == 408 || status == 425 || status >= 500)
		return JS_VERDICT_RETRY;
	return JS_VERDICT_FAIL;
}

/* The body as a document; NULL if it is none. */
static Jsonb *
parse_body(JsHttpResponse *response)
{
	JsAllocator allocator = js_allocator();
	JsJson	   *root;
	JsJsonError error;

	if (response->body_len == 0 ||
		!js_json_parse(response->body, response->body_len,
					   &js_json_default_limits, &allocator, &root, &error) ||
		js_json_is_bad(root))
		return NULL;
	return js_jsonb_in(response->body);
}

/* How long the PMS wants to be left alone, in milliseconds; 0: not said. */
long
js_verdict_pause_ms(JsHttpResponse *response)
{
	const char *header = response->failure == JS_HTTP_OK ?
	js_http_header(response, "Retry-After") : NULL;
	long		seconds;

	if (header == NULL)
		return 0;
	seconds = js_retry_after(header, js_http_header(response, "Date"));
	return seconds > 0 ? seconds * 1000 : 0;
}

/*
 * What the body of an answer says: bounded, and without control characters.
 * Letters beyond ASCII stay where they are what they claim to be.
 */
char	   *
js_verdict_words(JsHttpResponse *response)
{
	char	   *result = palloc(MESSAGE_BYTES + 1);
	int			len = (int) Min(response->body_len, MESSAGE_BYTES);
	bool		ascii;

	len = pg_encoding_mbcliplen(PG_UTF8, response->body, len, MESSAGE_BYTES);
	ascii = GetDatabaseEncoding() != PG_UTF8 ||
		!pg_verify_mbstr(PG_UTF8, response->body, len, true);
	for (int i = 0; i < len; i++)
	{
		unsigned char c = response->body[i];

		/* C2 begins the controls of Latin-1, E2 the marks of direction */
		if (c < ' ' || c == 127 || (c > 127 && ascii))
			c = ' ';
		result[i] = c;
		if ((c == 0xC2 && i + 1 < len &&
			 (unsigned char) response->body[i + 1] < 0xA0) ||
			(c == 0xE2 && i + 2 < len &&
			 (unsigned char) response->body[i + 1] < 0x82))
		{
			int			n = c == 0xC2 ? 2 : 3;

			memset(result + i, ' ', n);
			i += n - 1;
		}
	}
	result[len] = '\0';
	return len > 0 ? result : "no message";
}

/* The text of a JSON string, else NULL. */
static char *
string_of(Jsonb *value)
{
	JsonbValue	scalar;

	if (value == NULL || !JB_ROOT_IS_SCALAR(value) ||
		!JsonbExtractScalar(&value->root, &scalar) ||
		scalar.type != jbvString)
		return NULL;
	return pnstrdup(scalar.val.string.val, scalar.val.string.len);
}
