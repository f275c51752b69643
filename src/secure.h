/*-------------------------------------------------------------------------
 *
 * secure.h
 *	  Under whose rights a piece of work runs.
 *
 * Tables of jacksync are touched as the owner of the extension, tables of
 * users as their owners in a security-restricted operation.  An error needs
 * no clean-up: the end of the (sub)transaction restores user and settings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SECURE_H
#define JS_SECURE_H

typedef struct JsSecurity
{
	Oid			userid;
	int			sec_context;
	int			guc_level;		/* 0: no settings were pinned */
} JsSecurity;

extern bool js_extension_present(void);
extern Oid	js_extension_owner(void);
extern void js_secure_forget(void);

extern void js_internal_begin(JsSecurity *saved);
extern void js_internal_begin_secret(JsSecurity *saved);
extern void js_internal_user(JsSecurity *saved);
extern void js_internal_end(JsSecurity *saved);
extern void js_owner_begin(JsSecurity *saved, Oid owner);
extern void js_owner_end(JsSecurity *saved);
extern int	js_pin_settings(const char *zone);
extern void js_unpin_settings(int level);
extern void js_fire_deferred(void);

#endif							/* JS_SECURE_H */
