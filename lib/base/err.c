#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int
code_of(int sys)
{
	switch (sys) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return CALA_NOSPACE;
	case ENOENT:
	case ENOTDIR:
		return CALA_NOTFOUND;
	case EACCES:
	case EPERM:
		return CALA_AUTH;
	case EEXIST:
		return CALA_EXISTS;
	default:
		return CALA_FAIL;
	}
}

int
err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	e->code = code;
	e->sys = 0;
	e->hint[0] = '\0';
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	return -1;
}

int
err_sys(struct err *e, const char *fmt, ...)
{
	int sys = errno;
	char text[64];
	va_list ap;
	size_t n;

	e->code = code_of(sys);
	e->sys = sys;
	e->hint[0] = '\0';
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	n = strlen(e->msg);
	snprintf(e->msg + n, sizeof(e->msg) - n, ": %s",
	    strerror_r(sys, text, sizeof(text)));
	errno = sys;
	return -1;
}

int
err_ctx(struct err *e, const char *fmt, ...)
{
	char msg[2 * sizeof(e->msg)];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(e->msg))
		n = (int)sizeof(e->msg) - 1;
	snprintf(msg + n, sizeof(msg) - (size_t)n, ": %s", e->msg);
	msg[sizeof(e->msg) - 1] = '\0';
	memcpy(e->msg, msg, sizeof(e->msg));
	return -1;
}

int
err_hint(struct err *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->hint, sizeof(e->hint), fmt, ap);
	va_end(ap);
	return -1;
}

int
err_oom(struct err *e)
{
	e->sys = ENOMEM;
	e->code = CALA_FAIL;
	e->hint[0] = '\0';
	snprintf(e->msg, sizeof(e->msg), "out of memory");
	return -1;
}

void
err_clear(struct err *e)
{
	e->code = 0;
	e->sys = 0;
	e->msg[0] = '\0';
	e->hint[0] = '\0';
}
