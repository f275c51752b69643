/*-------------------------------------------------------------------------
 *
 * credential.c
 *	  Putting what stands in a user mapping into a request.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/base64.h"
#include "utils/builtins.h"

#include "compat.h"
#include "credential.h"
#include "jacksync.h"
#include "jsonb.h"
#include "template.h"

/* A credential that the mapping must have. */
void
js_credential_need(JsServer *server, const char *name, const char *value)
{
	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFIG),
				 errmsg("user mapping of server \"%s\" has no option \"%s\"",
						server->name, name),
				 errhint("ALTER USER MAPPING ... OPTIONS (ADD %s '...');",
						 name)));
}

/* Add a header; a secret with odd characters is not shown. */
void
js_credential_header(JsHttpRequest *request, const char *name,
					 const char *value)
{
	if (!js_http_check_header_value(value))
		ereport(ERROR,
				(errcode(ERRCODE_JS_CONFIG),
				 errmsg("the credential for header \"%s\" has characters that cannot be sent",
						name)));
	request->headers = lappend(request->headers,
							   psprintf("%s: %s", name, value));
}

/*
 * Add the headers that every request of the server has.  One that a request
 * has already is not sent twice.
 */
void
js_credential_headers(JsServer *server, JsHttpRequest *request)
{
	const char *headers = js_server_option(server, "headers");
	List	   *more;
	ListCell   *cell;

	request->headers = list_copy(request->headers);
	if (headers == NULL)
		return;
	more = js_template_headers(server, js_jsonb_in(headers));
	foreach(cell, more)
	{
		char	   *header = lfirst(cell);
		size_t		len = strcspn(header, ":");
		ListCell   *other;
		bool		known = false;

		foreach(other, request->headers)
			known = known || pg_strncasecmp(lfirst(other), header, len + 1) == 0;
		if (!known)
			request->headers = lappend(request->headers, header);
	}
}

/* Base64, as Basic credentials want it. */
char	   *
js_credential_base64(const char *text)
{
	int			size = pg_b64_enc_len(strlen(text));
	char	   *result = palloc(size + 1);
	int			n;

#if PG_VERSION_NUM >= 180000
	n = pg_b64_encode((const uint8 *) text, strlen(text), result, size);
#else
	n = pg_b64_encode(text, strlen(text), result, size);
#endif
	result[Max(n, 0)] = '\0';
	return result;
}
