/*-------------------------------------------------------------------------
 *
 * mail.h
 *	  Mails as they go over the wire.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_MAIL_H
#define JS_MAIL_H

#include <stdbool.h>

#include "json.h"

typedef struct JsMail
{
	const char *from;			/* plain addresses: user@host */
	const char *const *to;		/* ends with NULL */
	const char *subject;		/* UTF-8; one line is made of it */
	const char *date;			/* as in RFC 5322 */
	const char *message_id;		/* without brackets */
	const char *body;			/* UTF-8 */
} JsMail;

extern bool js_mail_address_ok(const char *address);
extern char *js_mail_build(const JsAllocator *allocator, const JsMail *mail);

#endif							/* JS_MAIL_H */
