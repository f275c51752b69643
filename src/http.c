/*-------------------------------------------------------------------------
 *
 * http.c
 *	  Requests that can be waited for together and cancelled at once: HTTP,
 *	  and mails by SMTP.
 *
 * One curl multi handle per process, driven by curl_multi_socket_action().
 * We wait with a WaitEventSet for curl's sockets, our latch and the death of
 * the postmaster, so that cancel, terminate, barriers and SetLatch() all work
 * while requests hang.  The set is built anew for every wait; what curl wants
 * is kept in a list of sockets.
 *
 * libcurl's callbacks must not throw: memory for them is malloc'ed with a
 * limit, and too much is a short count.  Signals are blocked while curl runs,
 * because its resolver threads inherit the mask.
 *
 * Rules that are not configurable: no redirects, no proxies from the
 * environment, no cookies, no .netrc, verified TLS; plain http to loopback
 * only, unless the server says otherwise; it is the resolved address that
 * counts, so that a name cannot be made to point inside later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <curl/curl.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "http.h"
#include "jacksync.h"

#define MAX_HEADER_BYTES	(64 * 1024)
#define LOW_SPEED_BYTES		1L	/* per second, over */
#define LOW_SPEED_SECONDS	30L
#define MAX_EVENTS			16

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
	CURL	   *easy;
	struct curl_slist *headers;
	struct curl_slist *recipients;
	char	   *mail;			/* what is still to be sent of it */
	size_t		mail_len;
	const char *peer;
	char		errors[CURL_ERROR_SIZE];
	Received	body;
	Received	head;
	bool		allow_http;
	bool		allow_private;
	bool		plain;			/* the URL is http: */
	bool		refused;		/* the address is not allowed */
	bool		done;
	CURLcode	result;
	TimestampTz sent_at;
	TimestampTz received_at;
	MemoryContext mcxt;
	MemoryContextCallback callback;
	struct JsHttpCall *next;
};

/* A socket that curl wants to be watched. */
typedef struct Watched
{
	curl_socket_t socket;
	int			events;
	struct Watched *next;
} Watched;

static CURLM *multi = NULL;
static pid_t multi_pid = 0;
static JsHttpCall *calls = NULL;
static Watched *watched = NULL;
static TimestampTz timer_at = 0;	/* curl wants to be called then; 0: never */

static void start_curl(void);
static void set_options(JsHttpCall *call, const JsHttpRequest *request);
static void set_http(JsHttpCall *call, const JsHttpRequest *request);
static void set_mail(JsHttpCall *call, const JsHttpRequest *request);
static bool is_loopback_name(const char *url);
static size_t on_read(char *data, size_t size, size_t n, void *arg);
static void check_finished(void);
static void forget_call(void *arg);
static void free_call(JsHttpCall *call);
static int	on_socket(CURL *easy, curl_socket_t socket, int what, void *data,
					  void *socket_data);
static int	on_timer(CURLM *multi_handle, long timeout_ms, void *data);
static size_t on_body(char *data, size_t size, size_t n, void *arg);
static size_t on_header(char *data, size_t size, size_t n, void *arg);
static curl_socket_t on_open(void *arg, curlsocktype purpose,
							 struct curl_sockaddr *address);
static bool address_allowed(JsHttpCall *call, const struct sockaddr *address);
static bool ipv4_allowed(JsHttpCall *call, uint32 address, bool *loopback);
static size_t receive(Received *received, const char *data, size_t len);
static void act(curl_socket_t socket, int events);
static JsHttpFailure failure_of(JsHttpCall *call);
static char *describe(JsHttpCall *call, JsHttpFailure failure);

/* Initialise curl, once per process; never in the postmaster. */
static void
start_curl(void)
{
	if (multi != NULL && multi_pid == MyProcPid)
		return;
	if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not initialize libcurl")));
	multi = curl_multi_init();
	if (multi == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	multi_pid = MyProcPid;
	calls = NULL;
	watched = NULL;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 64L);
}

/*
 * Start a request.  It lives until js_http_close(), or until mcxt goes away.
 */
JsHttpCall *
js_http_start(MemoryContext mcxt, const JsHttpRequest *request)
{
	JsHttpCall *call;

	start_curl();
	mcxt = AllocSetContextCreate(mcxt, "jacksync request",
								 ALLOCSET_SMALL_SIZES);
	call = MemoryContextAllocZero(mcxt, sizeof(JsHttpCall));
	call->mcxt = mcxt;
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
	if (curl_multi_add_handle(multi, call->easy) != CURLM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not start an HTTP request")));
	act(CURL_SOCKET_TIMEOUT, 0);
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

	/*
	 * libcurl repeats a request by itself if a connection that it used again
	 * breaks without an answer.  What writes must never be sent twice behind
	 * our back, so it gets a connection of its own.
	 */
	if (request->method != NULL && strcmp(request->method, "GET") != 0)
		curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	if (request->body != NULL)
	{
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
						 (curl_off_t) request->body_len);
		curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->body);
	}
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "jacksync/" JACKSYNC_VERSION);
	curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
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

/*
 * Options of a mail.  Without TLS (smtps, or STARTTLS) only to this machine,
 * unless the server says otherwise: passwords and guests' data are in it.
 */
static void
set_mail(JsHttpCall *call, const JsHttpRequest *request)
{
	CURL	   *easy = call->easy;
	bool		tls_needed = !request->allow_http &&
		!is_loopback_name(request->url);
	ListCell   *cell;

	call->mail = MemoryContextAlloc(call->mcxt, request->body_len + 1);
	memcpy(call->mail, request->body, request->body_len);
	call->mail_len = request->body_len;
	foreach(cell, request->mail_to)
		call->recipients = curl_slist_append(call->recipients,
											 psprintf("<%s>", (char *) lfirst(cell)));
	curl_easy_setopt(easy, CURLOPT_MAIL_FROM,
					 psprintf("<%s>", request->mail_from));
	curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, call->recipients);
	curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(easy, CURLOPT_READDATA, call);
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

/* Does a URL name this machine? */
static bool
is_loopback_name(const char *url)
{
	CURLU	   *parts = curl_url();
	char	   *host = NULL;
	bool		result = false;

	if (parts != NULL && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
		curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK)
		result = pg_strcasecmp(host, "localhost") == 0 ||
			strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0;
	curl_free(host);
	curl_url_cleanup(parts);
	return result;
}

/* curl wants the next bytes of a mail. */
static size_t
on_read(char *data, size_t size, size_t n, void *arg)
{
	JsHttpCall *call = (JsHttpCall *) arg;
	size_t		len = Min(size * n, call->mail_len);

	memcpy(data, call->mail, len);
	call->mail += len;
	call->mail_len -= len;
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

	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
					 (long) request->connect_timeout_ms);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) request->timeout_ms);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, LOW_SPEED_BYTES);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, LOW_SPEED_SECONDS);
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

/* Let curl work, with signals blocked. */
static void
act(curl_socket_t socket, int events)
{
	sigset_t	saved;
	int			running;

	sigprocmask(SIG_SETMASK, &BlockSig, &saved);
	(void) curl_multi_socket_action(multi, socket, events, &running);
	sigprocmask(SIG_SETMASK, &saved, NULL);
	check_finished();
}

/* Note which requests have ended. */
static void
check_finished(void)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		JsHttpCall *call;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE,
						  (char **) &call);
		call->done = true;
		call->result = message->data.result;
		call->received_at = GetCurrentTimestamp();
	}
}

/* How many requests are under way. */
int
js_http_active(void)
{
	int			n = 0;

	for (JsHttpCall *call = calls; call != NULL; call = call->next)
		if (!call->done)
			n++;
	return n;
}

/*
 * One turn of the event loop: wait for the network, our latch, or timeout_ms
 * (-1: for ever).  Tells whether the latch was set.  Returns how many requests
 * are still under way.
 */
int
js_http_wait(long timeout_ms, bool *latch_set)
{
	static uint32 wait_event = 0;
	WaitEventSet *set;
	WaitEvent	events[MAX_EVENTS];
	int			sockets = 0;
	int			n;

	*latch_set = false;
	if (wait_event == 0)
		wait_event = js_wait_event_new("JacksyncHttp");
	for (Watched *w = watched; multi != NULL && w != NULL; w = w->next)
		sockets++;
	if (multi != NULL && timer_at != 0)
	{
		long		due = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
														  timer_at);

		if (timeout_ms < 0 || due < timeout_ms)
			timeout_ms = due;
	}

	set = js_create_wait_event_set(sockets + 2);
	PG_TRY();
	{
		AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL,
						  NULL);
		for (Watched *w = watched; sockets > 0 && w != NULL; w = w->next)
			AddWaitEventToSet(set,
							  (w->events & CURL_POLL_IN ? WL_SOCKET_READABLE : 0) |
							  (w->events & CURL_POLL_OUT ? WL_SOCKET_WRITEABLE : 0),
							  w->socket, NULL, NULL);
		n = WaitEventSetWait(set, timeout_ms, events, MAX_EVENTS, wait_event);
	}
	PG_FINALLY();
	{
		FreeWaitEventSet(set);
	}
	PG_END_TRY();

	for (int i = 0; i < n; i++)
	{
		if (events[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			*latch_set = true;
		}
		else if (events[i].events & (WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE))
			act(events[i].fd,
				(events[i].events & WL_SOCKET_READABLE ? CURL_CSELECT_IN : 0) |
				(events[i].events & WL_SOCKET_WRITEABLE ? CURL_CSELECT_OUT : 0));
	}
	if (multi != NULL && timer_at != 0 && timer_at <= GetCurrentTimestamp())
	{
		timer_at = 0;
		act(CURL_SOCKET_TIMEOUT, 0);
	}
	CHECK_FOR_INTERRUPTS();
	return js_http_active();
}

/* curl: watch this socket, or do not any more. */
static int
on_socket(CURL *easy, curl_socket_t socket, int what, void *data,
		  void *socket_data)
{
	Watched   **link;

	for (link = &watched; *link != NULL; link = &(*link)->next)
		if ((*link)->socket == socket)
			break;
	if (what == CURL_POLL_REMOVE)
	{
		Watched    *gone = *link;

		if (gone != NULL)
		{
			*link = gone->next;
			free(gone);
		}
		return 0;
	}
	if (*link == NULL)
	{
		*link = malloc(sizeof(Watched));
		if (*link == NULL)
			return -1;
		(*link)->socket = socket;
		(*link)->next = NULL;
	}
	(*link)->events = what;
	return 0;
}

/* curl: call me after so many milliseconds. */
static int
on_timer(CURLM *multi_handle, long timeout_ms, void *data)
{
	timer_at = timeout_ms < 0 ? 0 :
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	return 0;
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

/* curl opens a socket: to an address that is allowed? */
static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	JsHttpCall *call = (JsHttpCall *) arg;

	if (purpose != CURLSOCKTYPE_IPCXN ||
		!address_allowed(call, &address->addr))
	{
		call->refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC,
				  address->protocol);
}

/* May we connect to this address? */
static bool
address_allowed(JsHttpCall *call, const struct sockaddr *address)
{
	bool		loopback = false;
	bool		allowed = false;

	if (address->sa_family == AF_INET)
		allowed = ipv4_allowed(call,
							   ntohl(((const struct sockaddr_in *) address)->sin_addr.s_addr),
							   &loopback);
	else if (address->sa_family == AF_INET6)
	{
		const struct in6_addr *in6 =
		&((const struct sockaddr_in6 *) address)->sin6_addr;
		const uint8 *b = in6->s6_addr;

		if (IN6_IS_ADDR_V4MAPPED(in6) || IN6_IS_ADDR_V4COMPAT(in6))
		{
			if (IN6_IS_ADDR_LOOPBACK(in6))
				allowed = loopback = true;
			else
				allowed = ipv4_allowed(call, (uint32) b[12] << 24 | b[13] << 16 |
									   b[14] << 8 | b[15], &loopback);
		}
		else if (IN6_IS_ADDR_LOOPBACK(in6))
			allowed = loopback = true;
		else if (IN6_IS_ADDR_UNSPECIFIED(in6) || IN6_IS_ADDR_LINKLOCAL(in6) ||
				 IN6_IS_ADDR_MULTICAST(in6))
			allowed = false;
		else if ((b[0] & 0xFE) == 0xFC || IN6_IS_ADDR_SITELOCAL(in6))
			allowed = call->allow_private;
		else
			allowed = true;
	}
	if (call->plain && !loopback && !call->allow_http)
		return false;
	return allowed;
}

/* The same for IPv4, in host byte order. */
static bool
ipv4_allowed(JsHttpCall *call, uint32 a, bool *loopback)
{
	if ((a >> 24) == 127)
	{
		*loopback = true;
		return true;
	}
	if ((a >> 24) == 0 || (a >> 16) == 0xA9FE || (a >> 28) >= 14)
		return false;			/* this host, link-local, multicast and up */
	if ((a >> 24) == 10 || (a >> 20) == 0xAC1 || (a >> 16) == 0xC0A8 ||
		(a >> 22) == (0x64400000 >> 22))
		return call->allow_private; /* RFC 1918 and carrier-grade NAT */
	return true;
}

/* Has a request ended? */
bool
js_http_done(JsHttpCall *call)
{
	return call->done;
}

/* Its outcome, in the current memory context. */
JsHttpResponse *
js_http_response(JsHttpCall *call)
{
	JsHttpResponse *response = palloc0(sizeof(JsHttpResponse));
	long		connected = 0;

	Assert(call->done);
	response->failure = failure_of(call);
	response->sent_at = call->sent_at;
	response->received_at = call->received_at;
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
	if (call->refused)
		return JS_HTTP_REFUSED;
	if (call->body.overflow || call->head.overflow)
		return JS_HTTP_TOO_LARGE;
	switch (call->result)
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
		case CURLE_UNSUPPORTED_PROTOCOL:
			return JS_HTTP_REFUSED;
		case CURLE_RECV_ERROR:
		case CURLE_SEND_ERROR:
		case CURLE_GOT_NOTHING:
		case CURLE_PARTIAL_FILE:
			return JS_HTTP_RESET;
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
	CURLU	   *parts = curl_url();
	char	   *phrase = psprintf(what[failure], call->peer);
	char	   *host = NULL;
	char	   *result;

	curl_easy_getinfo(call->easy, CURLINFO_EFFECTIVE_URL, &url);
	if (parts != NULL && url != NULL &&
		curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK)
		(void) curl_url_get(parts, CURLUPART_HOST, &host, 0);
	if (call->refused)
		result = psprintf("%s: host \"%s\" is plain http beyond loopback, or a private or special address",
						  phrase, host ? host : "?");
	else
		result = psprintf("%s (host \"%s\"): %s", phrase,
						  host ? host : "?",
						  call->errors[0] ? call->errors :
						  curl_easy_strerror(call->result));
	curl_free(host);
	curl_url_cleanup(parts);
	return result;
}

/* The end of a request; one under way is cancelled. */
void
js_http_close(JsHttpCall *call)
{
	MemoryContextDelete(call->mcxt);
}

/* Its memory goes away. */
static void
forget_call(void *arg)
{
	free_call((JsHttpCall *) arg);
}

/* Free what is not in the memory context; harmless the second time. */
static void
free_call(JsHttpCall *call)
{
	JsHttpCall **link;

	if (call->easy == NULL || multi_pid != MyProcPid)
		return;
	for (link = &calls; *link != NULL; link = &(*link)->next)
		if (*link == call)
		{
			*link = call->next;
			break;
		}
	curl_multi_remove_handle(multi, call->easy);
	curl_easy_cleanup(call->easy);
	call->easy = NULL;
	curl_slist_free_all(call->headers);
	curl_slist_free_all(call->recipients);
	call->headers = call->recipients = NULL;
	free(call->body.data);
	free(call->head.data);
	call->body.data = call->head.data = NULL;
}

/* The value of a header of an answer; NULL if there is none. */
const char *
js_http_header(JsHttpResponse *response, const char *name)
{
	size_t		len = strlen(name);
	const char *line = response->headers;

	while (line != NULL && *line != '\0')
	{
		if (pg_strncasecmp(line, name, len) == 0 && line[len] == ':')
		{
			const char *value = line + len + 1;
			size_t		n;

			value += strspn(value, " \t");
			n = strcspn(value, "\r\n");
			while (n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t'))
				n--;
			return pnstrdup(value, n);
		}
		line = strchr(line, '\n');
		if (line != NULL)
			line++;
	}
	return NULL;
}

/* The URL of rel="next" in the Link header; NULL if there is none. */
char *
js_http_next_link(JsHttpResponse *response)
{
	const char *header = js_http_header(response, "Link");

	while (header != NULL && (header = strchr(header, '<')) != NULL)
	{
		const char *end = strchr(header, '>');
		const char *stop;
		char	   *params;

		if (end == NULL)
			return NULL;
		stop = strchr(end, ',');
		params = stop ? pnstrdup(end, stop - end) : pstrdup(end);
		if (strstr(params, "rel=\"next\"") != NULL ||
			strstr(params, "rel=next") != NULL)
			return pnstrdup(header + 1, end - header - 1);
		header = end;
	}
	return NULL;
}

/*
 * A next page's URL, relative ones completed from url.  NULL if it is on
 * another origin: our credentials do not go there.
 */
char *
js_http_same_origin(MemoryContext mcxt, const char *url, const char *next)
{
	static const CURLUPart origin[] = {
		CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT
	};
	CURLU	   *ours = curl_url();
	CURLU	   *theirs = curl_url();
	char	   *result = NULL;
	char	   *full = NULL;
	bool		same = false;

	/* an address without scheme: host/path */
	if (strstr(next, "://") == NULL && next[0] != '/' && next[0] != '?' &&
		strchr(next, '/') != NULL && strchr(next, '.') != NULL &&
		strchr(next, '.') < strchr(next, '/'))
		next = psprintf("%.*s://%s", (int) (strchr(url, ':') - url), url,
						next);
	if (ours != NULL && theirs != NULL &&
		curl_url_set(ours, CURLUPART_URL, url, 0) == CURLUE_OK &&
		curl_url_set(theirs, CURLUPART_URL, url, 0) == CURLUE_OK &&
		curl_url_set(theirs, CURLUPART_URL, next, 0) == CURLUE_OK)
	{
		same = true;
		for (int i = 0; i < lengthof(origin); i++)
		{
			char	   *a = NULL;
			char	   *b = NULL;

			(void) curl_url_get(ours, origin[i], &a, CURLU_DEFAULT_PORT);
			(void) curl_url_get(theirs, origin[i], &b, CURLU_DEFAULT_PORT);
			if (a == NULL || b == NULL || pg_strcasecmp(a, b) != 0)
				same = false;
			curl_free(a);
			curl_free(b);
		}
		if (same && curl_url_get(theirs, CURLUPART_URL, &full, 0) == CURLUE_OK)
			result = MemoryContextStrdup(mcxt, full);
	}
	curl_free(full);
	curl_url_cleanup(ours);
	curl_url_cleanup(theirs);
	return result;
}

/*
 * May a value from outside go into a header?  Visible ASCII and inner spaces,
 * up to 1000 characters: libcurl sends what it is given, line breaks
 * included.
 */
bool
js_http_check_header_value(const char *value)
{
	size_t		len = strlen(value);

	if (len == 0 || len > 1000 || value[0] == ' ' || value[len - 1] == ' ')
		return false;
	for (size_t i = 0; i < len; i++)
		if (value[i] < ' ' || value[i] > '~')
			return false;
	return true;
}
