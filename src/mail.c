/*-------------------------------------------------------------------------
 *
 * mail.c
 *	  Mails as they go over the wire.
 *
 * Everything that comes from outside is encoded: the subject as encoded words
 * (RFC 2047), the body in base64 (RFC 2045), so that no line can end a header,
 * none is too long, none begins with a dot, and none ends with a bare LF.
 * Addresses are checked, because libcurl hands what it is given to the mail
 * server, line breaks included.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "mail.h"

#define WORD_BYTES		39		/* of text in one encoded word: 52 of base64 */
#define LINE_BYTES		57		/* of the body in one line: 76 of base64 */
#define SUBJECT_BYTES	180

static void append(JsBuffer *buffer, const char *text);
static void append_base64(JsBuffer *buffer, const unsigned char *data,
						  size_t len);
static void append_subject(JsBuffer *buffer, const char *subject);
static size_t whole_characters(const char *text, size_t len);

/*
 * May an address go into a mail?  A plain one only: visible ASCII, one @, no
 * brackets, quotes, commas, semicolons or colons.
 */
bool
js_mail_address_ok(const char *address)
{
	const char *at = strchr(address, '@');
	size_t		len = strlen(address);

	if (at == NULL || at == address || at[1] == '\0' ||
		strchr(at + 1, '@') != NULL || len > 254)
		return false;
	for (size_t i = 0; i < len; i++)
		if (address[i] <= ' ' || address[i] > '~' ||
			strchr("<>()[]\\,;:\"", address[i]) != NULL)
			return false;
	return true;
}

/*
 * The mail as text with CRLF line ends; NULL if an address, the date or the
 * message id cannot be sent.
 */
char	   *
js_mail_build(const JsAllocator *allocator, const JsMail *mail)
{
	JsBuffer	buffer;
	size_t		left = strlen(mail->body);
	const char *body = mail->body;

	if (!js_mail_address_ok(mail->from) ||
		!js_mail_address_ok(mail->message_id) || mail->to[0] == NULL ||
		strpbrk(mail->date, "\r\n") != NULL)
		return NULL;
	for (int i = 0; mail->to[i] != NULL; i++)
		if (!js_mail_address_ok(mail->to[i]))
			return NULL;

	js_buffer_init(&buffer, allocator);
	append(&buffer, "Date: ");
	append(&buffer, mail->date);
	append(&buffer, "\r\nFrom: jacksync <");
	append(&buffer, mail->from);
	append(&buffer, ">\r\nTo: ");
	for (int i = 0; mail->to[i] != NULL; i++)
	{
		append(&buffer, i > 0 ? ",\r\n <" : "<");
		append(&buffer, mail->to[i]);
		append(&buffer, ">");
	}
	append(&buffer, "\r\nMessage-ID: <");
	append(&buffer, mail->message_id);
	append(&buffer, ">\r\nSubject: ");
	append_subject(&buffer, mail->subject);
	append(&buffer, "\r\nMIME-Version: 1.0\r\n"
		   "Content-Type: text/plain; charset=utf-8\r\n"
		   "Content-Transfer-Encoding: base64\r\n"
		   "Auto-Submitted: auto-generated\r\n\r\n");
	while (left > 0)
	{
		size_t		n = left < LINE_BYTES ? left : LINE_BYTES;

		append_base64(&buffer, (const unsigned char *) body, n);
		append(&buffer, "\r\n");
		body += n;
		left -= n;
	}
	return buffer.data;
}

static void
append(JsBuffer *buffer, const char *text)
{
	js_buffer_append(buffer, text, strlen(text));
}

/* The subject as encoded words; control characters become spaces. */
static void
append_subject(JsBuffer *buffer, const char *subject)
{
	char		line[SUBJECT_BYTES + 1];
	size_t		len = whole_characters(subject, SUBJECT_BYTES);
	size_t		at = 0;

	for (size_t i = 0; i < len; i++)
		line[i] = (unsigned char) subject[i] < ' ' || subject[i] == 127 ?
			' ' : subject[i];
	line[len] = '\0';
	do
	{
		size_t		n = whole_characters(line + at, len - at < WORD_BYTES ?
										 len - at : WORD_BYTES);

		if (n == 0)
			n = len - at < WORD_BYTES ? len - at : WORD_BYTES;
		append(buffer, at > 0 ? "\r\n =?utf-8?B?" : "=?utf-8?B?");
		append_base64(buffer, (const unsigned char *) line + at, n);
		append(buffer, "?=");
		at += n;
	} while (at < len);
}

/* How many of at most len bytes are whole characters of UTF-8. */
static size_t
whole_characters(const char *text, size_t len)
{
	size_t		n = 0;

	while (n < len && text[n] != '\0')
		n++;
	if (n < len || text[n] == '\0')
		return n;
	/* back to where a character begins */
	while (n > 0 && ((unsigned char) text[n] & 0xC0) == 0x80)
		n--;
	return n;
}

static void
append_base64(JsBuffer *buffer, const unsigned char *data, size_t len)
{
	static const char digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3)
	{
		/* NOLINTNEXTLINE(clang-analyzer-core.*): callers give len bytes */
		unsigned	bits = data[i] << 16;
		char		four[4];

		if (i + 1 < len)
			/* NOLINTNEXTLINE(clang-analyzer-core.*): the same */
			bits |= data[i + 1] << 8;
		if (i + 2 < len)
			/* NOLINTNEXTLINE(clang-analyzer-core.*): the same */
			bits |= data[i + 2];
		four[0] = digits[bits >> 18];
		four[1] = digits[bits >> 12 & 63];
		four[2] = i + 1 < len ? digits[bits >> 6 & 63] : '=';
		four[3] = i + 2 < len ? digits[bits & 63] : '=';
		js_buffer_append(buffer, four, 4);
	}
}
