#include "job/retain.h"

#include <string.h>

#include "driver/record.h"

enum { PERIOD = 32, DAY = 24 * 3600 };

static const struct {
	const char *key, *why;
	size_t at;
	enum { NONE, HOUR, DATE, WEEK, MONTH, YEAR } period;
} rules[] = {
	{ "keep-last", "last", offsetof(struct retain, last), NONE },
	{ "keep-count", "count", offsetof(struct retain, count), NONE },
	{ "keep-hourly", "hourly", offsetof(struct retain, hourly), HOUR },
	{ "keep-daily", "daily", offsetof(struct retain, daily), DATE },
	{ "keep-weekly", "weekly", offsetof(struct retain, weekly), WEEK },
	{ "keep-monthly", "monthly", offsetof(struct retain, monthly),
	    MONTH },
	{ "keep-yearly", "yearly", offsetof(struct retain, yearly), YEAR },
	{ "keep-days", "days", offsetof(struct retain, days), NONE },
	{ "keep-within", "within", offsetof(struct retain, within), NONE },
};

enum { RULES = sizeof(rules) / sizeof(*rules) };

const char *
retain_key(size_t i)
{
	return i < RULES ? rules[i].key : NULL;
}

uint64_t *
retain_at(struct retain *r, size_t i)
{
	return (uint64_t *)(void *)((char *)r + rules[i].at);
}

static uint64_t
number(const struct retain *r, size_t i)
{
	uint64_t n;

	memcpy(&n, (const char *)r + rules[i].at, sizeof(n));
	return n == UINT64_MAX ? 0 : n;
}

bool
retain_any(const struct retain *r)
{
	size_t i;

	for (i = 0; i < RULES; i++)
		if (number(r, i) > 0)
			return true;
	return false;
}

/* The period that t is in, in words that no other has; false: unknown. */
static bool
period_of(size_t rule, time_t t, char out[PERIOD])
{
	struct tm tm;

	if (localtime_r(&t, &tm) == NULL)
		return false;
	switch (rules[rule].period) {
	case HOUR:
		return strftime(out, PERIOD, "%Y-%m-%d %H", &tm) > 0;
	case DATE:
		return strftime(out, PERIOD, "%Y-%m-%d", &tm) > 0;
	case WEEK:
		return strftime(out, PERIOD, "%G-%V", &tm) > 0;
	case MONTH:
		return strftime(out, PERIOD, "%Y-%m", &tm) > 0;
	default:
		return strftime(out, PERIOD, "%Y", &tm) > 0;
	}
}

/* The newest of each of the last n periods; of each backup without a period. */
static void
newest(size_t rule, uint64_t n, time_t now, const struct record *const *v,
    size_t len, bool whole, const char **why)
{
	char last[PERIOD] = "", text[PERIOD];
	size_t i;

	for (i = len; i-- > 0 && n > 0;) {
		if ((whole && !v[i]->complete) || record_ahead(v[i], now))
			continue;
		if (rules[rule].period != NONE) {
			if (!period_of(rule, v[i]->created.tv_sec, text) ||
			    strcmp(text, last) == 0)
				continue;
			memcpy(last, text, sizeof(last));
		}
		if (why[i] == NULL)
			why[i] = rules[rule].why;
		n--;
	}
}

static void
younger(size_t rule, uint64_t seconds, time_t now,
    const struct record *const *v, size_t len, const char **why)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (why[i] == NULL && (v[i]->created.tv_sec > now ||
		    (uint64_t)(now - v[i]->created.tv_sec) < seconds))
			why[i] = rules[rule].why;
}

void
retain_plan(const struct retain *r, time_t now, const struct record *const *v,
    size_t n, const char **why)
{
	size_t i, k, first = n;
	bool whole = false;
	uint64_t m;

	for (i = 0; i < n; i++) {
		why[i] = v[i]->locked ? "locked" : v[i]->foreign ? "foreign" :
		    v[i]->created.tv_sec == 0 ? "undated" :
		    record_ahead(v[i], now) ? "from the future" : NULL;
		if (v[i]->complete && !v[i]->foreign && !record_ahead(v[i], now)) {
			whole = true;
			first = i;
		}
	}
	for (k = 0; k < RULES; k++) {
		if ((m = number(r, k)) == 0)
			continue;
		if (rules[k].at == offsetof(struct retain, days))
			younger(k, m > UINT64_MAX / DAY ? UINT64_MAX :
			    m * DAY, now, v, n, why);
		else if (rules[k].at == offsetof(struct retain, within))
			younger(k, m, now, v, n, why);
		else
			newest(k, m, now, v, n, whole, why);
	}
	for (i = first; whole && i < n; i++)
		if (why[i] == NULL)
			why[i] = i == first ? "last whole one" :
			    "newer than every whole one";
	/* Better partial than nothing. */
	for (i = n; !whole && i > 0 && record_ahead(v[i - 1], now); i--)
		;
	if (!whole && i > 0 && why[i - 1] == NULL)
		why[i - 1] = "last one";
}
