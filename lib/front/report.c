#include "front/report.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

enum { REPORT_MAX = 256 << 20 };

void
front_report_begin(struct front_report *r, struct log *log,
    const struct err *bad)
{
	int code = bad == NULL ? log_warnings(log) > 0 ? CALA_PARTIAL : 0 :
	    bad->code > 0 ? (int)bad->code : CALA_FAIL;

	buf_init(&r->b, REPORT_MAX);
	jw_begin(&r->j, &r->b);
	jw_open(&r->j, NULL, '{');
	jw_u64(&r->j, "v", 1);
	jw_str(&r->j, "type", bad != NULL ? "error" : "summary");
	jw_bool(&r->j, "ok", bad == NULL);
	jw_u64(&r->j, "code", (uint64_t)code);
	if (bad != NULL)
		jw_bytes(&r->j, "error", bad->msg, strlen(bad->msg));
}

void
front_report_warnings(struct front_report *r, struct log *log)
{
	size_t i;

	jw_u64(&r->j, "warnings_count", log_warnings(log));
	jw_open(&r->j, "warnings", '[');
	for (i = 0; i < log->nkept; i++)
		jw_bytes(&r->j, NULL, log->kept[i], strlen(log->kept[i]));
	jw_close(&r->j, ']');
}

static int
to_file(const char *path, const struct buf *b, struct err *e)
{
	const char *slash = strrchr(path, '/');
	struct afile f = AFILE_INIT;
	int fd = -1, ret = -1;
	char *dir;

	dir = slash == NULL ? strdup(".") :
	    strndup(path, (size_t)(slash - path) + 1);
	if (dir == NULL)
		err_oom(e);
	else if ((fd = file_opendir(AT_FDCWD, dir, e)) != -1 &&
	    afile_open(&f, fd, slash == NULL ? path : slash + 1, e) == 0)
		ret = file_write_all(f.fd, b->p, b->len) == -1 ?
		    err_sys(e, "write %s", str_q(path)) :
		    afile_commit(&f, 0600, 0, e);
	afile_abort(&f);
	if (fd != -1)
		close(fd);
	free(dir);
	return ret == -1 ? err_ctx(e, "--report") : 0;
}

static int
close_it(struct front_report *r, struct err *e)
{
	jw_close(&r->j, '}');
	buf_chr(&r->b, '\n');
	return buf_failed(&r->b, e);
}

int
front_report_print(struct front_report *r, FILE *out, const char *what,
    struct err *e)
{
	int ret = close_it(r, e);

	if (ret == 0) {
		fwrite(r->b.p, 1, r->b.len, out);
		ret = file_printed(out, what, e);
	}
	buf_fini(&r->b);
	return ret;
}

int
front_report_end(struct front_report *r, const char *path, uint64_t fd,
    struct err *e)
{
	int ret = close_it(r, e);

	if (ret == 0 && fd != UINT64_MAX &&
	    file_write_all((int)fd, r->b.p, r->b.len) == -1)
		ret = err_sys(e, "--report-fd");
	if (ret == 0 && path != NULL)
		ret = to_file(path, &r->b, e);
	buf_fini(&r->b);
	return ret;
}
