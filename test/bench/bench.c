/*-------------------------------------------------------------------------
 *
 * bench.c
 *	  What "make bench" needs of the server: CPU time, an empty trigger, and
 *	  memory that is there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>

#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_cpu);
PG_FUNCTION_INFO_V1(bench_empty);
PG_FUNCTION_INFO_V1(bench_touch);

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

/*
 * Read a byte of every page of the shared buffers, so that the kernel makes
 * them now: a server that has run for a while has them all, and who comes
 * first would pay for it.  Returns their sum, lest it is optimized away.
 */
Datum
bench_touch(PG_FUNCTION_ARGS)
{
	int64		sum = 0;

	for (Size at = 0; at < (Size) NBuffers * BLCKSZ; at += 4096)
		sum += BufferBlocks[at];
	PG_RETURN_INT64(sum);
}
