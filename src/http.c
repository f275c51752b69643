/*-------------------------------------------------------------------------
 *
 * http.c
 *	  Requests that can be waited for together and cancelled at once: HTTP,
 *	  and mails by SMTP.
 *
 * libcurl's callbacks must not throw: memory for them is malloc'ed with a
 * limit, and too much is a short count.
 *
 * Rules that are not configurable: no redirects, no proxies from the
 * environment, no cookies, no .netrc, verified TLS; plain http to loopback
 * only, unless the server says otherwise; it is the resolved address that
 * counts, so that a name cannot be made to point inside later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/socket.h>
#include <unistd.h>

#include <curl/curl.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "http.h"
#include "httpaddress.h"
#include "jacksync.h"

#define MAX_HEADER_BYTES	(256 * 1024)
#define SLOW_BYTES			1000	/* a second, once a body has begun, ... */
#define SLOW_SECONDS		15	/* ... over so long, is too slow */

/* Bytes that came; never more than limit. */
typedef struct Received
{
	char	   *data;			/* malloc'ed; NULL: nothing yet */
	size_t		len;
	size_t		size;
	size_t		limit;
	bool		overflow;
} Received;

struct JsHttpCall
{
	JsHttpEnd	end;			/* first: CURLOPT_PRIVATE points to it */
	CURL	   *easy;
	JsHttpPool *pool;
	bool		added;			/* the pool has it */
	uint32		group;
	struct curl_slist *headers;
	struct curl_slist *recipients;
	char	   *upload;			/* what is still to be sent */
	size_t		upload_len;
	const char *peer;
	char		errors[CURL_ERROR_SIZE];
	Received	body;
	Received	head;
	bool		allow_http;
	bool		allow_private;
	bool		alone;			/* its connection is its own */
	bool		plain;			/* the URL is http: */
	bool		refused;		/* the address is not allowed */
	bool		no_socket;		/* too many are open */
	bool		slow;
	TimestampTz window_start;	/* of the watch for slowness; 0: no body yet */
	curl_off_t	window_bytes;
	TimestampTz sent_at;
	MemoryContext mcxt;
	MemoryContextCallback callback;
	struct JsHttpCall *next;
};

static JsHttpCall *calls = NULL;

static bool only_reads(const JsHttpRequest *request);
static bool must_be_alone(const JsHttpRequest *request);
static void set_options(JsHttpCall *call, const JsHttpRequest *request);
static void set_http(JsHttpCall *call, const JsHttpRequest *request);
static void set_body(JsHttpCall *call, const JsHttpRequest *request);
static void set_mail(JsHttpCall *call, const JsHttpRequest *request);
static void keep_upload(JsHttpCall *call, const JsHttpRequest *request);
static void forget_call(void *arg);
static size_t on_read(char *data, size_t size, size_t n, void *arg);
static size_t on_body(char *data, size_t size, size_t n, void *arg);
static size_t on_header(char *data, size_t size, size_t n, void *arg);
static int	on_progress(void *arg, curl_off_t download_total,
						curl_off_t download_now, curl_off_t upload_total,
						curl_off_t upload_now);
static curl_socket_t on_open(void *arg, curlsocktype purpose,
							 struct curl_sockaddr *address);
static int	on_close(void *arg, curl_socket_t socket);
static size_t receive(Received *received, const char *data, size_t len);
static JsHttpFailure failure_of(JsHttpCall *call);
static char *describe(JsHttpCall *call, JsHttpFailure failure);

/*
 * Start a request.  It lives until js_http_close(), or until mcxt goes away.
 */
JsHttpCall *
js_http_start(MemoryContext mcxt, const JsHttpRequest *request)
{
	JsHttpCall *call;

	mcxt = AllocSetContextCreate(mcxt, "jacksync request",
								 ALLOCSET_SMALL_SIZES);
	call = MemoryContextAllocZero(mcxt, sizeof(JsHttpCall));
	call->mcxt = mcxt;
	call->alone = must_be_alone(request);
	call->pool = js_http_pool(call->alone ? ~request->pool : request->pool);
	call->group = request->group;
	call->allow_http = request->allow_http;
	call->allow_private = request->allow_private;
	call->plain = pg_strncasecmp(request->url, "http:", 5) == 0;
	call->peer = MemoryContextStrdup(mcxt, request->peer ? request->peer : "the PMS");
	call->head.limit = MAX_HEADER_BYTES;
	call->body.limit = request->max_response > 0 ?
		(size_t) request->max_response : 32 * 1024 * 1024;
	call->callback.func = forget_call;
	call->callback.arg = call;
	MemoryContextRegisterResetCallback(mcxt, &call->callback);

	call->easy = curl_easy_init();
	if (call->easy == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	call->next = calls;
	calls = call;
	if (request->mail_from != NULL)
		set_mail(call, request);
	else
		set_http(call, request);
	set_options(call, request);

	call->sent_at = GetCurrentTimestamp();
	call->added = true;
	js_http_pool_add(call->pool, call->easy);
	return call;
}

/* Options of an HTTP request. */
static void
set_http(JsHttpCall *call, const JsHttpRequest *request)
{
	CURL	   *easy = call->easy;
	ListCell   *cell;

	foreach(cell, request->headers)
		call->headers = curl_slist_append(call->headers,
										  (char *) lfirst(cell));
	/* no "Expect: 100-continue": it costs a round trip and surprises */
	call->headers = curl_slist_append(call->headers, "Expect:");
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST,
					 request->method ? request->method : "GET");

	set_body(call, request);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "jacksync/" JACKSYNC_VERSION);
	curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
	if (request->username != NULL)
		curl_easy_setopt(easy, CURLOPT_HTTPAUTH, request->digest ?
						 CURLAUTH_DIGEST : CURLAUTH_BASIC);
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "https");
#else
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS,
					 (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
	curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS, (long) CURLPROTO_HTTPS);
#endif
}

/* Does it only read, so that it may be sent twice? */
static bool
only_reads(const JsHttpRequest *request)
{
	return request->repeatable || request->method == NULL ||
		strcmp(request->method, "GET") == 0;
}

/*
 * libcurl repeats a request by itself if a connection that it used again
 * breaks without an answer.  That is welcome for one that only reads.  One
 * that writes must never be sent twice behind our back: its body is handed
 * out once and cannot be had again, so that libcurl has to give up; without a
 * body, or where digest needs it twice, it gets a connection of its own.
 *
 * Such a one is in another pool than all that may share: over HTTP/2 another
 * request could be sent along with it, and then libcurl takes the connection
 * for one that was used again.
 */
static bool
must_be_alone(const JsHttpRequest *request)
{
	return request->mail_from == NULL && !only_reads(request) &&
		(request->body == NULL || request->body_len == 0 || request->digest);
}

/* The body, and which connection may carry the request. */
static void
set_body(JsHttpCall *call, const JsHttpRequest *request)
{
	CURL	   *easy = call->easy;

	if (request->body != NULL)
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
						 (curl_off_t) request->body_len);
	if (call->alone)
	{
		curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
		curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	}
	else if (!only_reads(request))
	{
		keep_upload(call, request);
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		return;
	}
	if (request->body != NULL)
		curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->body);
}

/* What is to be sent, for on_read(). */
static void
keep_upload(JsHttpCall *call, const JsHttpRequest *request)
{
	call->upload = MemoryContextAlloc(call->mcxt, request->body_len + 1);
	memcpy(call->upload, request->body, request->body_len);
	call->upload_len = request->body_len;
	curl_easy_setopt(call->easy, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(call->easy, CURLOPT_READDATA, call);
}

/*
 * Options of a mail.  Without TLS (smtps, or STARTTLS) only to this machine,
 * unless the server says otherwise: passwords and guests' data are in it.
 */
static void
set_mail(JsHttpCall *call, const JsHttpRequest *request)
{
	CURL	   *easy = call->easy;
	bool		tls_needed = !request->allow_http &&
	!js_http_is_loopback(request->url);
	ListCell   *cell;

	keep_upload(call, request);
	foreach(cell, request->mail_to)
		call->recipients = curl_slist_append(call->recipients,
											 psprintf("<%s>", (char *) lfirst(cell)));
	curl_easy_setopt(easy, CURLOPT_MAIL_FROM,
					 psprintf("<%s>", request->mail_from));
	curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, call->recipients);
	curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE,
					 (curl_off_t) request->body_len);
	curl_easy_setopt(easy, CURLOPT_USE_SSL, tls_needed ?
					 (long) CURLUSESSL_ALL : (long) CURLUSESSL_TRY);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
#else
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS,
					 (long) (CURLPROTO_SMTP | CURLPROTO_SMTPS));
#endif
}

/* curl wants the next bytes of a body or mail. */
static size_t
on_read(char *data, size_t size, size_t n, void *arg)
{
	JsHttpCall *call = (JsHttpCall *) arg;
	size_t		len = Min(size * n, call->upload_len);

	memcpy(data, call->upload, len);
	call->upload += len;
	call->upload_len -= len;
	return len;
}

/* Options that all requests have. */
static void
set_options(JsHttpCall *call, const JsHttpRequest *request)
{
	CURL	   *easy = call->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	curl_easy_setopt(easy, CURLOPT_URL, request->url);
	if (request->username != NULL)
	{
		curl_easy_setopt(easy, CURLOPT_USERNAME, request->username);
		curl_easy_setopt(easy, CURLOPT_PASSWORD,
						 request->password ? request->password : "");
	}

	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->errors);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, call);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, NULL);

	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
					 (long) request->connect_timeout_ms);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) request->timeout_ms);

	/* on_progress() judges the speed; the limit makes curl call it */
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME,
					 (long) request->timeout_ms / 1000 + 60);
	curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(easy, CURLOPT_XFERINFODATA, call);
	curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, 600L);
#if LIBCURL_VERSION_NUM >= 0x075700
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif

	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (request->ca_file != NULL)
		curl_easy_setopt(easy, CURLOPT_CAINFO, request->ca_file);
}

/* Keep bytes that came; a short count makes curl give up. */
static size_t
receive(Received *received, const char *data, size_t len)
{
	if (received->len + len > received->limit)
	{
		received->overflow = true;
		return 0;
	}
	if (received->len + len + 1 > received->size)
	{
		size_t		size = Max(received->size * 2, 16384);
		char	   *data_new;

		while (size < received->len + len + 1)
			size *= 2;
		data_new = realloc(received->data, size);
		if (data_new == NULL)
			return 0;
		received->data = data_new;
		received->size = size;
	}
	memcpy(received->data + received->len, data, len);
	received->len += len;
	received->data[received->len] = '\0';
	return len;
}

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	return receive(&((JsHttpCall *) arg)->body, data, size * n);
}

static size_t
on_header(char *data, size_t size, size_t n, void *arg)
{
	JsHttpCall *call = (JsHttpCall *) arg;

	/* of several heads (100 Continue, digest) the last one counts */
	if (size * n > 5 && strncmp(data, "HTTP/", 5) == 0)
	{
		call->head.len = 0;
		call->body.len = 0;
	}
	return receive(&call->head, data, size * n);
}

/*
 * Called about once a second.  A server may think as long as the time-out
 * allows; but once the body has begun, it must come with some speed.
 */
static int
on_progress(void *arg, curl_off_t download_total, curl_off_t download_now,
			curl_off_t upload_total, curl_off_t upload_now)
{
	JsHttpCall *call = (JsHttpCall *) arg;
	TimestampTz now;

	if (download_now <= 0)
		return 0;
	now = GetCurrentTimestamp();
	if (call->window_start != 0 &&
		now - call->window_start < SLOW_SECONDS * USECS_PER_SEC)
		return 0;
	call->slow = call->window_start != 0 &&
		download_now - call->window_bytes < SLOW_BYTES * SLOW_SECONDS;
	call->window_start = now;
	call->window_bytes = download_now;
	return call->slow ? 1 : 0;
}

/* curl opens a socket: to an address that is allowed? */
static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	JsHttpCall *call = (JsHttpCall *) arg;

	curl_socket_t result;

	if (purpose != CURLSOCKTYPE_IPCXN ||
		!js_http_address_allowed(&address->addr, call->plain,
								 call->allow_http, call->allow_private))
	{
		call->refused = true;
		return CURL_SOCKET_BAD;
	}
	if (!js_http_socket_acquire())
	{
		call->no_socket = true;
		return CURL_SOCKET_BAD;
	}
	result = socket(address->family, address->socktype | SOCK_CLOEXEC,
					address->protocol);
	if (result == CURL_SOCKET_BAD)
		js_http_socket_release();
	return result;
}

/* curl closes a socket that it got from on_open(). */
static int
on_close(void *arg, curl_socket_t socket)
{
	js_http_socket_release();
	return close(socket);
}

/* Has a request ended? */
bool
js_http_done(JsHttpCall *call)
{
	return call->end.done;
}

/* Its outcome, in the current memory context. */
JsHttpResponse *
js_http_response(JsHttpCall *call)
{
	JsHttpResponse *response = palloc0(sizeof(JsHttpResponse));
	long		connected = 0;

	Assert(call->end.done);
	response->failure = failure_of(call);
	response->sent_at = call->sent_at;
	response->received_at = call->end.at;
	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &response->status);
	curl_easy_getinfo(call->easy, CURLINFO_REQUEST_SIZE, &connected);
	response->sent = connected > 0;
	response->body = pnstrdup(call->body.data ? call->body.data : "",
							  call->body.len);
	response->body_len = call->body.len;
	response->headers = pnstrdup(call->head.data ? call->head.data : "",
								 call->head.len);
	if (response->failure != JS_HTTP_OK)
		response->error = describe(call, response->failure);
	return response;
}

/* Which kind of failure a request ended with. */
static JsHttpFailure
failure_of(JsHttpCall *call)
{
	long		sent = 0;

	if (call->refused)
		return JS_HTTP_REFUSED;
	if (call->body.overflow || call->head.overflow)
		return JS_HTTP_TOO_LARGE;
	if (call->no_socket)
		return JS_HTTP_CONNECT;
	if (call->slow)
		return JS_HTTP_TIMEOUT;
	switch (call->end.result)
	{
		case CURLE_OK:
			return JS_HTTP_OK;
		case CURLE_COULDNT_RESOLVE_HOST:
			return JS_HTTP_DNS;
		case CURLE_COULDNT_CONNECT:
			return JS_HTTP_CONNECT;
		case CURLE_OPERATION_TIMEDOUT:
			return JS_HTTP_TIMEOUT;
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_ISSUER_ERROR:
			return JS_HTTP_TLS;
		case CURLE_URL_MALFORMAT:
			return JS_HTTP_REFUSED;
		case CURLE_UNSUPPORTED_PROTOCOL:
			/* of the URL; or what answers does not speak HTTP */
			curl_easy_getinfo(call->easy, CURLINFO_REQUEST_SIZE, &sent);
			return sent > 0 ? JS_HTTP_PROTOCOL : JS_HTTP_REFUSED;
		case CURLE_RECV_ERROR:
		case CURLE_SEND_ERROR:
		case CURLE_SEND_FAIL_REWIND:
		case CURLE_GOT_NOTHING:
		case CURLE_PARTIAL_FILE:
		case CURLE_HTTP2_STREAM:
			return JS_HTTP_RESET;
		case CURLE_HTTP2:
			/* also what it says if the server ends the connection */
			return call->head.len > 0 ? JS_HTTP_PROTOCOL : JS_HTTP_RESET;
		default:
			return JS_HTTP_PROTOCOL;
	}
}

/* In words, with the phase in which it happened; never the URL's query. */
static char *
describe(JsHttpCall *call, JsHttpFailure failure)
{
	static const char *const what[] = {
		"", "could not connect to %s", "could not resolve the host name of %s",
		"TLS with %s failed", "%s did not answer in time",
		"the connection to %s broke", "the answer of %s is too large",
		"the address of %s is not allowed", "the answer of %s makes no sense"
	};
	char	   *url = NULL;
	char	   *phrase = psprintf(what[failure], call->peer);
	char	   *host;
	const char *why = call->errors[0] ? call->errors :
	curl_easy_strerror(call->end.result);

	curl_easy_getinfo(call->easy, CURLINFO_EFFECTIVE_URL, &url);
	host = url ? js_http_host(CurrentMemoryContext, url) : NULL;
	if (call->refused)
		return psprintf("%s: host \"%s\" is plain http beyond loopback, or a private or special address",
						phrase, host ? host : "?");
	if (call->end.result == CURLE_PEER_FAILED_VERIFICATION)
		phrase = psprintf("%s: certificate verification failed", phrase);
	if (call->head.overflow)
		why = psprintf("more than %d bytes of headers", MAX_HEADER_BYTES);
	else if (call->body.overflow)
		why = psprintf("more than %zu bytes, which option max_response_size allows",
					   call->body.limit);
	else if (call->no_socket)
		why = "this process has too many open files";
	else if (call->end.result == CURLE_SEND_FAIL_REWIND)
		why = "it ended before the answer, and what writes is not sent twice";
	else if (call->slow)
		why = psprintf("fewer than %d bytes a second over %d seconds",
					   SLOW_BYTES, SLOW_SECONDS);
	return psprintf("%s (host \"%s\"): %s", phrase, host ? host : "?", why);
}

/* The end of a request; one under way is cancelled. */
void
js_http_close(JsHttpCall *call)
{
	MemoryContextDelete(call->mcxt);
}

/* Its memory goes away: free what is not in the memory context. */
static void
forget_call(void *arg)
{
	JsHttpCall *call = (JsHttpCall *) arg;
	JsHttpCall **link;

	if (call->easy == NULL)
		return;
	for (link = &calls; *link != NULL; link = &(*link)->next)
		if (*link == call)
		{
			*link = call->next;
			break;
		}
	if (call->added)
		js_http_pool_remove(call->pool, call->easy);
	curl_easy_cleanup(call->easy);
	call->easy = NULL;
	curl_slist_free_all(call->headers);
	curl_slist_free_all(call->recipients);
	free(call->body.data);
	free(call->head.data);
}

/* How many requests of a group are under way. */
int
js_http_group_active(uint32 group)
{
	int			n = 0;

	for (JsHttpCall *call = calls; call != NULL; call = call->next)
		if (call->group == group && !call->end.done)
			n++;
	return n;
}
