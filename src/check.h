/*-------------------------------------------------------------------------
 *
 * check.h
 *	  What does the PMS promise of writes?  It is tried out.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_CHECK_H
#define JS_CHECK_H

#include "cycle.h"

typedef struct JsCheck
{
	MemoryContext mcxt;			/* of the results */
	const char *external_id;	/* the record to try it with; NULL: any */

	/* results */
	char	   *measured;		/* the tier; NULL: it could not be measured */
	char	   *message;

	/* on the way */
	Jsonb	   *changes;		/* a value that the PMS has already */
	char	   *version;		/* before, NULL: not known */
	char	   *changed_version;	/* after the first write */
	char	   *if_match;		/* of the probe under way */
	char	   *key;
	bool		matches;		/* If-Match is honoured */
} JsCheck;

extern void js_check_start(JsCycle *cycle);

#endif							/* JS_CHECK_H */
