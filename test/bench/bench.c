/*-------------------------------------------------------------------------
 *
 * bench.c
 *	  What "make bench" needs of the server: CPU time, and an empty trigger.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>

#include "commands/trigger.h"
#include "fmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_cpu);
PG_FUNCTION_INFO_V1(bench_empty);

/* The CPU time of this backend in microseconds. */
Datum
bench_cpu(PG_FUNCTION_ARGS)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	PG_RETURN_INT64((int64) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
					usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* A row trigger that does nothing: the floor of all triggers. */
Datum
bench_empty(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(NULL);
}
