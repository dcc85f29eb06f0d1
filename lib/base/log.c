#include "base/log.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

enum { LINE_MAX_LEN = 8192 };   /* a path of 4096 bytes, escaped, still fits */

void
log_init(struct log *l, FILE *out, const char *prog)
{
	memset(l, 0, sizeof(*l));
	l->out = out;
	l->prog = prog;
	pthread_mutex_init(&l->mu, NULL);
}

void
log_fini(struct log *l)
{
	size_t i;

	for (i = 0; i < l->nkept; i++)
		free(l->kept[i]);
	free(l->kept);
	l->kept = NULL;
	l->nkept = 0;
	pthread_mutex_destroy(&l->mu);
}

static void
print(struct log *l, int prio, const char *kind, const char *text)
{
	if (l->out == NULL)
		return;
	if (l->before != NULL)
		l->before(l->before_arg);
	if (l->journal)
		fprintf(l->out, "<%d>", prio);
	fprintf(l->out, "%s: %s%s\n", l->prog, kind, text);
	fflush(l->out);
}

static void
keep(struct log *l, const char *text)
{
	char *s;

	l->nwarn++;
	if (l->nkept == LOG_KEEP)
		return;
	if (l->kept == NULL &&
	    (l->kept = calloc(LOG_KEEP, sizeof(*l->kept))) == NULL)
		return;
	if ((s = strdup(text)) != NULL)
		l->kept[l->nkept++] = s;
}

void
log_error(struct log *l, const struct err *e)
{
	pthread_mutex_lock(&l->mu);
	print(l, 3, "error: ", e->msg);
	if (e->hint[0] != '\0')
		print(l, 5, "hint: ", e->hint);
	pthread_mutex_unlock(&l->mu);
}

#define SAY(l, prio, kind, counted, fmt) do {				\
	char text[LINE_MAX_LEN];					\
	va_list ap;							\
									\
	va_start(ap, fmt);						\
	vsnprintf(text, sizeof(text), fmt, ap);				\
	va_end(ap);							\
	pthread_mutex_lock(&(l)->mu);					\
	if (counted)							\
		keep(l, text);						\
	print(l, prio, kind, text);					\
	pthread_mutex_unlock(&(l)->mu);					\
} while (0)

void
log_warn(struct log *l, const char *fmt, ...)
{
	SAY(l, 4, "warning: ", true, fmt);
}

void
log_note(struct log *l, const char *fmt, ...)
{
	if (l->level >= LOG_NORMAL)
		SAY(l, 5, "", false, fmt);
}

void
log_step(struct log *l, const char *fmt, ...)
{
	if (l->level >= LOG_STEPS)
		SAY(l, 6, "", false, fmt);
}

void
log_file(struct log *l, const char *fmt, ...)
{
	if (l->level >= LOG_FILES)
		SAY(l, 6, "", false, fmt);
}

void
log_wire(struct log *l, const char *fmt, ...)
{
	if (l->level >= LOG_WIRE)
		SAY(l, 7, "", false, fmt);
}

uint64_t
log_warnings(struct log *l)
{
	uint64_t n;

	pthread_mutex_lock(&l->mu);
	n = l->nwarn;
	pthread_mutex_unlock(&l->mu);
	return n;
}

void
log_hold(struct log *l)
{
	pthread_mutex_lock(&l->mu);
}

void
log_release(struct log *l)
{
	pthread_mutex_unlock(&l->mu);
}
