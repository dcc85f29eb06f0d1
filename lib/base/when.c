#include "base/when.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

struct timespec
when_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t;
}

double
when_mono(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int
when_cmp(struct timespec a, struct timespec b)
{
	if (a.tv_sec != b.tv_sec)
		return a.tv_sec < b.tv_sec ? -1 : 1;
	return (a.tv_nsec > b.tv_nsec) - (a.tv_nsec < b.tv_nsec);
}

/* RFC 3339 has four-digit years only. */
static time_t
clamp(time_t t)
{
	const time_t first = -62167219200, last = 253402300799;

	return t < first ? first : t > last ? last : t;
}

const char *
when_utc(struct timespec t, char out[WHEN_TEXT])
{
	time_t s = clamp(t.tv_sec);
	struct tm tm;
	size_t n;

	gmtime_r(&s, &tm);
	n = (size_t)snprintf(out, WHEN_TEXT, "%04d-%02d-%02dT%02d:%02d:%02d",
	    (tm.tm_year + 1900) % 10000, (tm.tm_mon + 1) % 100,
	    tm.tm_mday % 100, tm.tm_hour % 100, tm.tm_min % 100,
	    tm.tm_sec % 100);
	if (t.tv_nsec != 0)
		n += (size_t)snprintf(out + n, WHEN_TEXT - n, ".%09ld",
		    t.tv_nsec);
	snprintf(out + n, WHEN_TEXT - n, "Z");
	return out;
}

const char *
when_local(struct timespec t, char out[WHEN_TEXT])
{
	time_t s = clamp(t.tv_sec);
	struct tm tm;

	localtime_r(&s, &tm);
	strftime(out, WHEN_TEXT, "%Y-%m-%d %H:%M:%S%z", &tm);
	return out;
}

static int
field(const char **s, int n, int lo, int hi, int *out)
{
	int v = 0, i;

	for (i = 0; i < n; i++, (*s)++) {
		if (**s < '0' || **s > '9')
			return -1;
		v = v * 10 + (**s - '0');
	}
	if (v < lo || v > hi)
		return -1;
	*out = v;
	return 0;
}

static bool
ch(const char **s, const char *set)
{
	if (**s == '\0' || strchr(set, **s) == NULL)
		return false;
	(*s)++;
	return true;
}

static int
date(const char **s, struct tm *tm)
{
	static const int days[] =
	    { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int y, m, d;

	if (field(s, 4, 0, 9999, &y) == -1 || !ch(s, "-") ||
	    field(s, 2, 1, 12, &m) == -1 || !ch(s, "-") ||
	    field(s, 2, 1, days[m - 1], &d) == -1)
		return -1;
	if (m == 2 && d == 29 && (y % 4 != 0 || (y % 100 == 0 && y % 400 != 0)))
		return -1;
	tm->tm_year = y - 1900;
	tm->tm_mon = m - 1;
	tm->tm_mday = d;
	return 0;
}

static int
clock_part(const char **s, struct tm *tm, bool need_seconds)
{
	if (field(s, 2, 0, 23, &tm->tm_hour) == -1 || !ch(s, ":") ||
	    field(s, 2, 0, 59, &tm->tm_min) == -1)
		return -1;
	if (**s != ':')
		return need_seconds ? -1 : 0;
	(*s)++;
	return field(s, 2, 0, 60, &tm->tm_sec);
}

int
when_rfc3339(const char *s, struct timespec *out)
{
	struct tm tm;
	struct timespec t;
	int oh, om, sign;
	long scale;

	memset(&tm, 0, sizeof(tm));
	if (date(&s, &tm) == -1 || !ch(&s, "Tt ") ||
	    clock_part(&s, &tm, true) == -1)
		return -1;
	t.tv_nsec = 0;
	if (ch(&s, ".")) {
		if (*s < '0' || *s > '9')
			return -1;
		for (scale = 100000000; *s >= '0' && *s <= '9'; s++) {
			t.tv_nsec += (*s - '0') * scale;
			scale /= 10;
		}
	}
	t.tv_sec = timegm(&tm);
	if (ch(&s, "Zz")) {
		if (*s != '\0')
			return -1;
		*out = t;
		return 0;
	}
	sign = *s == '-' ? -1 : 1;
	if (!ch(&s, "+-") || field(&s, 2, 0, 23, &oh) == -1 || !ch(&s, ":") ||
	    field(&s, 2, 0, 59, &om) == -1 || *s != '\0')
		return -1;
	t.tv_sec -= sign * (oh * 3600 + om * 60);
	*out = t;
	return 0;
}

/* Durations back from now; months and years step through the calendar. */
static int
back(const char *s, struct timespec now, struct timespec *out)
{
	char part[32];
	struct tm tm;
	uint64_t n;
	size_t k;
	int left;

	if (*s == '\0')
		return -1;
	while (*s != '\0') {
		k = strspn(s, "0123456789");
		if (k == 0 || k > 10 || s[k] == '\0')
			return -1;
		memcpy(part, s, k + 1);
		part[k + 1] = '\0';
		s += k + 1;
		if (part[k] == 'M' || part[k] == 'y') {
			left = part[k] == 'y' ? 12 : 1;
			part[k] = '\0';
			if (str_u64(part, 0, 9999, &n) == -1)
				return -1;
			localtime_r(&now.tv_sec, &tm);
			tm.tm_mon -= left * (int)n;
			tm.tm_isdst = -1;
			now.tv_sec = mktime(&tm);
		} else {
			if (str_duration(part, &n) == -1 || n > INT64_MAX / 2)
				return -1;
			now.tv_sec -= (time_t)n;
		}
	}
	*out = now;
	return 0;
}

int
when_parse(const char *s, struct timespec now, struct timespec *out)
{
	const char *p = s;
	struct tm tm;
	uint64_t n;

	if (when_rfc3339(s, out) == 0)
		return 0;
	if (*s == '@') {
		if (str_u64(s + 1, 0, INT64_MAX, &n) == -1)
			return -1;
		out->tv_sec = (time_t)n;
		out->tv_nsec = 0;
		return 0;
	}
	memset(&tm, 0, sizeof(tm));
	if (date(&p, &tm) == 0) {
		if (*p != '\0' && (!ch(&p, " T") ||
		    clock_part(&p, &tm, false) == -1 || *p != '\0'))
			return -1;
		tm.tm_isdst = -1;
		out->tv_sec = mktime(&tm);
		out->tv_nsec = 0;
		return 0;
	}
	return back(s, now, out);
}
