/*-------------------------------------------------------------------------
 *
 * faultpoint.c
 *	  Places where a test lets something go wrong.
 *
 * The file jacksync.faults in the data directory has lines "name action
 * count".  A point that is reached looks for its name, counts down, and does
 * what the line says.  The file outlives crashes, so a point strikes as often
 * as it was told to and no more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "faultpoint.h"

#ifdef JACKSYNC_FAULTS

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"

#define FAULT_FILE		"jacksync.faults"
#define MAX_FAULTS		32
#define SLEEP_SECONDS	60

typedef struct Fault
{
	char		name[32];
	char		action[32];
	int			count;
}			Fault;

static bool strikes(const char *name, char *action);
static void strike(const char *name, const char *action);

/* A fault point was reached. */
void
js_fault(const char *name)
{
	char		action[32];

	if (access(FAULT_FILE, F_OK) == 0 && strikes(name, action))
		strike(name, action);
}

/* Is something to happen at this point?  Then it happens once less. */
static bool
strikes(const char *name, char *action)
{
	Fault		faults[MAX_FAULTS];
	FILE	   *file = AllocateFile(FAULT_FILE, "r");
	bool		found = false;
	int			n = 0;

	if (file == NULL)
		return false;
	while (n < MAX_FAULTS &&
		   fscanf(file, "%31s %31s %d", faults[n].name, faults[n].action,
				  &faults[n].count) == 3)
		n++;
	FreeFile(file);
	for (int i = 0; i < n && !found; i++)
		if (faults[i].count > 0 && strcmp(faults[i].name, name) == 0)
		{
			found = true;
			faults[i].count--;
			strlcpy(action, faults[i].action, sizeof(faults[i].action));
		}
	if (!found)
		return false;

	/* a file of its own name first: nobody may read half of it */
	file = AllocateFile(FAULT_FILE ".new", "w");
	if (file == NULL)
		return false;
	for (int i = 0; i < n; i++)
		fprintf(file, "%s %s %d\n", faults[i].name, faults[i].action,
				faults[i].count);
	FreeFile(file);
	return rename(FAULT_FILE ".new", FAULT_FILE) == 0;
}

/* Let it happen. */
static void
strike(const char *name, const char *action)
{
	ereport(LOG, (errmsg("fault point %s: %s", name, action)));
	if (strcmp(action, "kill") == 0)
		kill(getpid(), SIGKILL);
	else if (strcmp(action, "postmaster") == 0)
	{
		kill(PostmasterPid, SIGKILL);
		/* and whoever is left of the cluster goes on */
	}
	else if (strcmp(action, "exit") == 0)
		_exit(1);
	else if (strcmp(action, "error") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("fault point %s", name)));
	else if (strcmp(action, "fatal") == 0)
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("fault point %s", name)));
	else if (strcmp(action, "sleep") == 0)
		for (int i = 0; i < SLEEP_SECONDS * 100; i++)
		{
			pg_usleep(10000);
			CHECK_FOR_INTERRUPTS();
		}
	else
		ereport(FATAL, (errmsg("fault point %s: unknown action %s", name, action)));
}

#endif							/* JACKSYNC_FAULTS */
