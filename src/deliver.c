/*-------------------------------------------------------------------------
 *
 * deliver.c
 *	  Alerts on their way out: the outbox jacksync.alert_delivery.
 *
 * A message is claimed in a transaction, sent in none, and its outcome is
 * recorded in another; the next try is already noted by the claim, so that a
 * crash means a second message and never a lost one.  What is said, and to
 * whom, SQL decides (sql/parts/56_delivery.sql); this file speaks SMTP and
 * HTTP.  Messages share the event loop with the cycles, and delay none.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "auth.h"
#include "compat.h"
#include "deliver.h"
#include "faultpoint.h"
#include "http.h"
#include "jacksync.h"
#include "mail.h"
#include "secure.h"
#include "server.h"
#include "statement.h"
#include "txn.h"
#include "value.h"

#define MAX_MESSAGES	4		/* at once */
#define LOOK_AGAIN_MS	60000	/* at the outbox, if nothing says when */

/* A message under way. */
typedef struct Message
{
	MemoryContext mcxt;
	char	   *channel;
	char	   *type;
	char	   *alerts;			/* the alerts in it: text of a bigint[] */
	Oid			serverid;
	Oid			owner;
	char	   *sender;
	List	   *recipients;
	char	   *webhook_secret;
	char	   *subject;
	char	   *body;
	char	   *payload;
	JsServer   *server;
	JsHttpCall *call;
	struct Message *next;
} Message;

static Message *messages = NULL;
static TimestampTz look_at = 0;

static Message *claim(void);
static List *texts_of(int column);
static void send_message(Message *message);
static void make_mail(Message *message, JsHttpRequest *request);
static void make_post(Message *message, JsHttpRequest *request);
static char *webhook_url(Message *message);
static void sign(Message *message, JsHttpRequest *request);
static void outcome(Message *message);
static void record(Message *message, const char *error, bool permanent);
static void unlink_message(Message *message);
static int	count_messages(void);

/* There may be something to send: look at the next turn. */
void
js_deliver_soon(void)
{
	look_at = 0;
}

/* When to look at the outbox again. */
TimestampTz
js_deliver_due(void)
{
	return look_at;
}

/* Claim and send what is due.  Called in no transaction. */
bool
js_deliver_start(void)
{
	while (GetCurrentTimestamp() >= look_at && count_messages() < MAX_MESSAGES)
	{
		Message    *message = claim();

		if (message == NULL)
			break;
		message->next = messages;
		messages = message;
		send_message(message);
	}
	return true;
}

/* Record the outcome of what has been answered. */
bool
js_deliver_finish(void)
{
	Message    *next;

	for (Message *message = messages; message != NULL; message = next)
	{
		next = message->next;
		if (message->call != NULL && js_http_done(message->call))
			outcome(message);
	}
	return true;
}

/*
 * An error was thrown: it ends the message that was being made.  Called in no
 * transaction, after the error was cleaned up.
 */
void
js_deliver_fail(const char *error)
{
	for (Message *message = messages; message != NULL; message = message->next)
		if (message->call == NULL)
		{
			/* gone from the list first: recording may fail as well */
			unlink_message(message);
			record(message, error, false);
			MemoryContextDelete(message->mcxt);
			return;
		}
}

static int
count_messages(void)
{
	int			n = 0;

	for (Message *message = messages; message != NULL; message = message->next)
		n++;
	return n;
}

/* Claim the next message; NULL if none is due. */
static Message *
claim(void)
{
	static JsStatement statement = {
		"SELECT channel, type, alerts::text, server_oid::int8, owner_oid::int8,"
		" sender, recipients, webhook_secret, subject, body, payload::text"
		" FROM jacksync.delivery_claim()",
		{InvalidOid}
	};
	static JsStatement next_due = {
		"SELECT jacksync.delivery_due()",
		{InvalidOid}
	};
	MemoryContext mcxt = AllocSetContextCreate(TopMemoryContext,
											   "jacksync message",
											   ALLOCSET_SMALL_SIZES);
	Message    *message = NULL;
	JsSecurity	security;
	MemoryContext old;

	js_txn_begin("looking for alerts to deliver");
	js_internal_begin(&security);
	js_run(&statement, NULL);
	old = MemoryContextSwitchTo(mcxt);
	if (js_get_text(0, 1) != NULL)
	{
		message = palloc0(sizeof(Message));
		message->mcxt = mcxt;
		message->channel = js_get_text(0, 1);
		message->type = js_get_text(0, 2);
		message->alerts = js_get_text(0, 3);
		message->serverid = (Oid) js_get_int8(0, 4);
		message->owner = (Oid) js_get_int8(0, 5);
		message->sender = js_get_text(0, 6);
		message->recipients = texts_of(7);
		message->webhook_secret = js_get_text(0, 8);
		message->subject = js_get_text(0, 9);
		message->body = js_get_text(0, 10);
		message->payload = js_get_text(0, 11);
	}
	MemoryContextSwitchTo(old);
	if (message == NULL)
	{
		bool		isnull;

		js_run(&next_due, NULL);
		look_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											  LOOK_AGAIN_MS);
		(void) js_get(0, 1, &isnull);
		if (!isnull)
			look_at = Min(look_at, Max(js_get_int8(0, 1),
									   TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 200)));
	}
	js_internal_end(&security);
	js_txn_end();
	if (message == NULL)
		MemoryContextDelete(mcxt);
	return message;
}

/* The elements of a text[] of the present result. */
static List *
texts_of(int column)
{
	bool		isnull;
	Datum		array = js_get(0, column, &isnull);
	Datum	   *elements;
	List	   *result = NIL;
	int			n;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		result = lappend(result, TextDatumGetCString(elements[i]));
	return result;
}

/* Make the request of a message, and send it. */
static void
send_message(Message *message)
{
	JsHttpRequest request = {0};
	MemoryContext old;

	js_txn_begin("making a message");
	old = MemoryContextSwitchTo(message->mcxt);
	message->server = js_server_load(message->mcxt, message->serverid,
									 message->owner);
	js_server_request(message->server, &request);
	request.peer = strcmp(message->type, "email") == 0 ? "the mail server" :
		"the webhook";
	if (strcmp(message->type, "email") == 0)
		make_mail(message, &request);
	else
		make_post(message, &request);
	MemoryContextSwitchTo(old);
	js_txn_end();
	message->call = js_http_start(message->mcxt, &request);
}

/* A mail. */
static void
make_mail(Message *message, JsHttpRequest *request)
{
	JsAllocator allocator = js_allocator();
	pg_time_t	now = (pg_time_t) time(NULL);
	char		date[64];
	JsMail		mail = {0};
	const char **to = palloc0(sizeof(char *) *
							  (list_length(message->recipients) + 1));
	ListCell   *cell;
	int			n = 0;
	char	   *text;

	pg_strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000",
				pg_gmtime(&now));
	foreach(cell, message->recipients)
		to[n++] = lfirst(cell);
	mail.from = message->sender ? message->sender : "";
	mail.to = to;
	mail.subject = message->subject;
	mail.body = message->body;
	mail.date = date;
	mail.message_id = psprintf("%lld.%d.%s", (long long) GetCurrentTimestamp(),
							   MyProcPid, mail.from);
	text = js_mail_build(&allocator, &mail);

	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFIG),
				 errmsg("sender or recipients of alert channel \"%s\" are no mail addresses",
						message->channel)));
	request->url = js_server_option(message->server, "base_url");
	request->mail_from = mail.from;
	request->mail_to = message->recipients;
	request->body = text;

	request->body_len = strlen(text);
	if (message->server->auth == JS_AUTH_BASIC)
	{
		request->username = js_server_secret(message->server, "username");
		request->password = js_server_secret(message->server, "password");
	}
}

/* A message to Slack, or to any webhook. */
static void
make_post(Message *message, JsHttpRequest *request)
{
	char	   *problem;
	long		wait;

	request->method = "POST";
	request->url = webhook_url(message);
	request->body = message->payload;
	request->body_len = strlen(message->payload);
	request->headers = list_make1(pstrdup("Content-Type: application/json"));
	if (js_token_used(message->server))
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFIG),
				 errmsg("server \"%s\" of alert channel \"%s\" hands out tokens, which channels do not support",
						message->server->name, message->channel),
				 errhint("Use auth none, bearer, basic, digest or api_key.")));
	(void) js_auth_apply(message->server, request, false, &wait, &problem);
	if (strcmp(message->type, "webhook") == 0)
		sign(message, request);
}

/*
 * The address: the secret that the channel names (all of it, or what comes
 * after base_url), else base_url.  A secret never leads to another origin.
 */
static char *
webhook_url(Message *message)
{
	const char *base = js_server_option(message->server, "base_url");
	const char *secret;
	char	   *url;

	if (message->webhook_secret == NULL)
		return pstrdup(base);
	secret = js_server_secret(message->server, message->webhook_secret);
	if (secret == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFIG),
				 errmsg("user mapping of server \"%s\" has no option \"secret_%s\"",
						message->server->name, message->webhook_secret),
				 errhint("ALTER USER MAPPING ... OPTIONS (ADD secret_%s '...');",
						 message->webhook_secret)));
	if (secret[0] == '/')
		return psprintf("%s%s", base, secret);
	url = js_http_same_origin(message->mcxt, base, secret);
	if (url == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFIG),
				 errmsg("option \"secret_%s\" of the user mapping of server \"%s\" is not at the server's base_url",
						message->webhook_secret, message->server->name)));
	/* what comes after the host is shown by servers that say what they got */
	if (strstr(url, "://") != NULL &&
		strchr(strstr(url, "://") + 3, '/') != NULL)
		js_server_hide(message->server, strchr(strstr(url, "://") + 3, '/'));
	return url;
}

/*
 * Sign a webhook, if there is a key: HMAC-SHA256 over the time, a dot and the
 * body, in hex.  The receiver checks both, and that the time is recent.
 */
static void
sign(Message *message, JsHttpRequest *request)
{
	const char *key = js_server_secret(message->server, "signing_key");
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char		hex[PG_SHA256_DIGEST_LENGTH * 2 + 1];
	char	   *stamp = psprintf("%lld.", (long long) time(NULL));
	pg_hmac_ctx *ctx;

	if (key == NULL)
		return;
	ctx = pg_hmac_create(PG_SHA256);
	if (ctx == NULL || pg_hmac_init(ctx, (const uint8 *) key, strlen(key)) < 0 ||
		pg_hmac_update(ctx, (const uint8 *) stamp, strlen(stamp)) < 0 ||
		pg_hmac_update(ctx, (const uint8 *) request->body, request->body_len) < 0 ||
		pg_hmac_final(ctx, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not sign a message");
	pg_hmac_free(ctx);
	for (int i = 0; i < PG_SHA256_DIGEST_LENGTH; i++)
		sprintf(hex + 2 * i, "%02x", digest[i]);
	request->headers = lappend(request->headers,
							   psprintf("X-Jacksync-Timestamp: %.*s",
										(int) strlen(stamp) - 1, stamp));
	request->headers = lappend(request->headers,
							   psprintf("X-Jacksync-Signature: sha256=%s", hex));
}

/* What became of a message. */
static void
outcome(Message *message)
{
	MemoryContext old = MemoryContextSwitchTo(message->mcxt);
	JsHttpResponse *response = js_http_response(message->call);
	bool		mail = strcmp(message->type, "email") == 0;
	char	   *error = NULL;
	bool		permanent = false;

	JS_FAULT("cp14");
	if (response->failure != JS_HTTP_OK)
	{
		error = response->error;
		/* 5yz of SMTP is for good; the network is not */
		permanent = mail && response->status >= 500 && response->status < 600;
		if (mail && response->status >= 400)
			error = psprintf("%s (SMTP %ld)", error, response->status);
	}
	else if (!mail && (response->status < 200 || response->status >= 300))
	{
		error = psprintf("the webhook answered HTTP %ld: %.200s",
						 response->status, response->body);
		permanent = response->status >= 400 && response->status < 500 &&
			response->status != 408 && response->status != 425 &&
			response->status != 429;
	}
	MemoryContextSwitchTo(old);
	record(message, error, permanent);
	unlink_message(message);
	MemoryContextDelete(message->mcxt);
	js_deliver_soon();
}

/* Record it. */
static void
record(Message *message, const char *error, bool permanent)
{
	static JsStatement statement = {
		"SELECT jacksync.delivery_done($1, $2::bigint[], $3, $4)",
		{TEXTOID, TEXTOID, TEXTOID, BOOLOID}
	};
	JsSecurity	security;
	JsArgs		args = {0};

	if (error != NULL && message->server != NULL)
		error = js_server_redact(message->server, error);
	js_txn_begin("recording the outcome of a message");
	js_internal_begin(&security);
	js_arg_text(&args, message->channel);
	js_arg_text(&args, message->alerts);
	js_arg_text(&args, error);
	js_arg(&args, BoolGetDatum(permanent));
	js_run(&statement, &args);
	js_internal_end(&security);
	js_txn_end();
}

/* Take a message off the list. */
static void
unlink_message(Message *message)
{
	Message   **link;

	for (link = &messages; *link != message; link = &(*link)->next)
		;
	*link = message->next;
}
