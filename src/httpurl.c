/*-------------------------------------------------------------------------
 *
 * httpurl.c
 *	  Addresses and headers of HTTP: taken apart, compared, checked.
 *
 * Addresses are parsed by libcurl, which is also who asks them: two parsers
 * that disagree are a hole.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>

#include "utils/memutils.h"

#include "compat.h"
#include "http.h"

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
char	   *
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
char	   *
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

/* The host that an address names; NULL if it names none. */
char	   *
js_http_host(MemoryContext mcxt, const char *url)
{
	CURLU	   *parts = curl_url();
	char	   *host = NULL;
	char	   *result = NULL;

	if (parts != NULL && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
		curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK)
		result = MemoryContextStrdup(mcxt, host);
	curl_free(host);
	curl_url_cleanup(parts);
	return result;
}

/* Does an address name this machine? */
bool
js_http_is_loopback(const char *url)
{
	char	   *host = js_http_host(CurrentMemoryContext, url);

	return host != NULL &&
		(pg_strcasecmp(host, "localhost") == 0 ||
		 strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0);
}
