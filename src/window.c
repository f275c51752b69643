/*-------------------------------------------------------------------------
 *
 * window.c
 *	  Times of the PMS: how they are read, and how they are written.
 *
 * A lower bound may be too early, never too late: what is read twice costs
 * nothing, what is not read is lost.  So times are cut, never rounded, and
 * naive ones make room for clocks that are set back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "window.h"

#define FRACTION_DIGITS 6

static bool parse_utc(const char *text, TimestampTz *time);
static bool parse_epoch(const char *text, TimestampTz *time);
static char *without_tail(const char *text);
static Timestamp local_time(const char *zone, TimestampTz time);

/* Microseconds since 1970. */
static inline int64
to_epoch(TimestampTz time)
{
	return time + ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) *
		USECS_PER_DAY;
}

/*
 * Read a time; false if it is none.  A fraction finer than a microsecond is
 * cut: timestamptz would round it, perhaps up.  A number is seconds or
 * milliseconds since 1970; a naive time is in the session's zone.
 */
bool
js_time_parse(const char *text, TimestampTz *time)
{
	char		buffer[MAXDATELEN + MAXDATEFIELDS];
	char	   *field[MAXDATEFIELDS];
	int			ftype[MAXDATEFIELDS];
	int			nf;
	int			dtype;
	struct pg_tm tm;
	fsec_t		fsec;
	int			tz;

	if (parse_utc(text, time) || parse_epoch(text, time))
		return true;
	if (ParseDateTime(without_tail(text), buffer, sizeof(buffer), field,
					  ftype, MAXDATEFIELDS, &nf) != 0 ||
		js_decode_datetime(field, ftype, nf, &dtype, &tm, &fsec, &tz) != 0 ||
		dtype != DTK_DATE)
		return false;
	return tm2timestamp(&tm, fsec, &tz, time) == 0;
}

/*
 * What most send: 2026-11-25T08:15:30.123Z.  False for what is written in
 * any other way, which need not be wrong.
 */
static bool
parse_utc(const char *text, TimestampTz *time)
{
	static const char pattern[] = "0000-00-00T00:00:00";
	int			part[6] = {0};
	int			fraction = 0;
	int			n = 0;

	for (int i = 0; pattern[i] != '\0'; i++)
	{
		if (pattern[i] != '0')
		{
			if (text[i] != pattern[i])
				return false;
			n++;
			continue;
		}
		if (text[i] < '0' || text[i] > '9')
			return false;
		part[n] = part[n] * 10 + (text[i] - '0');
	}
	text += sizeof(pattern) - 1;

	if (*text == '.')
	{
		int			unit = USECS_PER_SEC / 10;

		if (!isdigit((unsigned char) *++text))
			return false;
		/* what is finer is cut */
		for (; isdigit((unsigned char) *text); text++, unit /= 10)
			fraction += unit * (*text - '0');
	}
	if (text[0] != 'Z' || text[1] != '\0' || part[0] < 1 || part[1] < 1 ||
		part[1] > MONTHS_PER_YEAR || part[2] < 1 ||
		part[2] > day_tab[isleap(part[0])][part[1] - 1] ||
		part[3] >= HOURS_PER_DAY || part[4] >= MINS_PER_HOUR ||
		part[5] >= SECS_PER_MINUTE)
		return false;
	*time = (date2j(part[0], part[1], part[2]) - POSTGRES_EPOCH_JDATE) *
		USECS_PER_DAY +
		((part[3] * MINS_PER_HOUR + part[4]) * SECS_PER_MINUTE + part[5]) *
		USECS_PER_SEC + fraction;
	return true;
}

/* A bare number: 9 to 11 digits are seconds, 12 or 13 milliseconds. */
static bool
parse_epoch(const char *text, TimestampTz *time)
{
	size_t		digits = strspn(text, "0123456789");
	int64		number;
	int64		fraction = 0;

	if (digits < 9 || digits > 13)
		return false;
	number = strtoll(text, NULL, 10);
	if (text[digits] == '.')
	{
		int64		unit = digits < 12 ? 100000 : 100;

		for (const char *p = text + digits + 1; *p; p++, unit /= 10)
		{
			if (!isdigit((unsigned char) *p))
				return false;
			fraction += unit * (*p - '0');
		}
	}
	else if (text[digits] != '\0')
		return false;
	*time = number * (digits < 12 ? USECS_PER_SEC : 1000) + fraction -
		to_epoch(0);
	return true;
}

/* The text without the digits of a fraction that timestamptz cannot hold. */
static char *
without_tail(const char *text)
{
	char	   *copy = pstrdup(text);
	char	   *point = strpbrk(copy, ".,");
	size_t		digits;

	if (point == NULL || point == copy || !isdigit((unsigned char) point[-1]))
		return copy;
	digits = strspn(point + 1, "0123456789");
	if (digits > FRACTION_DIGITS)
		memmove(point + 1 + FRACTION_DIGITS, point + 1 + digits,
				strlen(point + 1 + digits) + 1);
	return copy;
}

/* The smallest step between two times that the PMS can tell apart. */
int64
js_time_grain(JsStream *stream)
{
	return stream->granularity > 0 ? stream->granularity : USECS_PER_SEC;
}

/* A time cut to the granularity of the stream. */
TimestampTz
js_time_floor(JsStream *stream, TimestampTz time)
{
	int64		rest;

	if (stream->granularity <= 0)
		return time;
	rest = time % stream->granularity;
	return time - (rest < 0 ? rest + stream->granularity : rest);
}

/*
 * A lower bound that is early enough.  Where naive times are used and the
 * clock is set within two hours, an hour may come twice: the bound goes back
 * by as much, and once more, because going back into that hour shows the same
 * time on the clock.
 */
TimestampTz
js_time_safe(JsStream *stream, TimestampTz time)
{
	int64		width = 4 * USECS_PER_HOUR;
	int64		jump;

	if (stream->datetime_zone == NULL)
		return time;
	jump = local_time(stream->datetime_zone, time + width / 2) -
		local_time(stream->datetime_zone, time - width / 2) - width;
	return time - 2 * (jump < 0 ? -jump : jump);
}

/* The clock of a zone at a time. */
static Timestamp
local_time(const char *zone, TimestampTz time)
{
	return DatumGetTimestamp(DirectFunctionCall2(timestamptz_zone,
												 CStringGetTextDatum(zone),
												 TimestampTzGetDatum(time)));
}

/* A time as the PMS wants it written, cut to the granularity. */
char	   *
js_time_format(JsStream *stream, TimestampTz time)
{
	const char *format = stream->datetime_format;
	const char *pattern = format;
	const char *zone = "UTC";
	char	   *result;
	Timestamp	local;

	time = js_time_floor(stream, time);
	if (strcmp(format, "epoch") == 0)
		return psprintf(INT64_FORMAT, to_epoch(time) / USECS_PER_SEC);
	if (strcmp(format, "epoch_ms") == 0)
		return psprintf(INT64_FORMAT, to_epoch(time) / 1000);

	if (strcmp(format, "iso_z_seconds") == 0)
		pattern = "YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"";
	else if (strcmp(format, "iso_z") == 0)
		pattern = "YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"";
	else
	{
		if (strcmp(format, "iso_offset") == 0)
			pattern = "YYYY-MM-DD\"T\"HH24:MI:SS";
		if (stream->datetime_zone != NULL)
			zone = stream->datetime_zone;
	}
	local = local_time(zone, time);
	result = TextDatumGetCString(DirectFunctionCall2(timestamp_to_char,
													 TimestampGetDatum(local),
													 CStringGetTextDatum(pattern)));
	if (strcmp(format, "iso_offset") == 0)
	{
		int			minutes = (int) ((local - time) / USECS_PER_MINUTE);

		result = psprintf("%s%c%02d:%02d", result, minutes < 0 ? '-' : '+',
						  abs(minutes) / 60, abs(minutes) % 60);
	}
	return result;
}
