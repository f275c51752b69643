/*-------------------------------------------------------------------------
 *
 * httpdate.c
 *	  Times in HTTP headers: the three forms of RFC 9110, and Retry-After.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "httpdate.h"

#define MAX_RETRY_AFTER 3600	/* seconds: who asks for more is not obeyed */

static long long days_from_civil(int year, int month, int day);
static int	month_number(const char *name);

/*
 * Parse an HTTP date, in seconds since 1970:
 * Sun, 06 Nov 1994 08:49:37 GMT / Sunday, 06-Nov-94 08:49:37 GMT /
 * Sun Nov  6 08:49:37 1994
 */
bool
js_http_date(const char *text, long long *unix_seconds)
{
	char		month[4] = "";
	int			year;
	int			day;
	int			hour;
	int			minute;
	int			second;
	const char *comma = strchr(text, ',');

	if (comma != NULL)
	{
		if (sscanf(comma + 1, " %2d %3s %4d %2d:%2d:%2d", &day, month, &year,
				   &hour, &minute, &second) != 6 &&
			sscanf(comma + 1, " %2d-%3[A-Za-z]-%4d %2d:%2d:%2d", &day, month,
				   &year, &hour, &minute, &second) != 6)
			return false;
	}
	else if (sscanf(text, "%*3s %3s %2d %2d:%2d:%2d %4d", month, &day, &hour,
					&minute, &second, &year) != 6)
		return false;
	if (year < 70)
		year += 2000;
	else if (year < 100)
		year += 1900;
	if (month_number(month) == 0 || day < 1 || day > 31 || hour < 0 ||
		hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 ||
		year < 1900)
		return false;
	*unix_seconds = days_from_civil(year, month_number(month), day) * 86400 +
		hour * 3600 + minute * 60 + second;
	return true;
}

/* 1 to 12; 0: no month. */
static int
month_number(const char *name)
{
	static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

	for (int i = 0; strlen(name) == 3 && i < 12; i++)
		if (strncmp(names + i * 3, name, 3) == 0)
			return i + 1;
	return 0;
}

/* Days since 1970-01-01 of a date in the Gregorian calendar. */
static long long
days_from_civil(int year, int month, int day)
{
	int			y = year - (month <= 2);
	int			era = y / 400;
	int			yoe = y - era * 400;
	int			doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	int			doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

	return (long long) era * 146097 + doe - 719468;
}

/*
 * Seconds to wait by a Retry-After header; date is the Date header of the
 * same answer, or NULL.  -1 if it says nothing sensible; at most an hour.
 */
long
js_retry_after(const char *value, const char *date)
{
	long long	then;
	long long	now;
	long		seconds;

	while (*value == ' ')
		value++;
	if (*value >= '0' && *value <= '9')
	{
		char	   *end;

		seconds = strtol(value, &end, 10);
		while (*end == ' ')
			end++;
		if (*end != '\0')
			return -1;
	}
	else
	{
		if (date == NULL || !js_http_date(value, &then) ||
			!js_http_date(date, &now) || then < now)
			return -1;
		seconds = then - now > MAX_RETRY_AFTER ? MAX_RETRY_AFTER :
			(long) (then - now);
	}
	return seconds > MAX_RETRY_AFTER ? MAX_RETRY_AFTER : seconds;
}
