/* cala-s3get: an object, or a part of one, to standard output or a file. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/io.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "driver/s3tool.h"
#include "front/front.h"
#include "front/meter.h"
#include "front/report.h"

static const char usage[] =
    "cala-s3get [options] -c CONFIGURATION KEY\n"
    "       cala-s3get [options] s3://BUCKET/KEY";
static const char example[] =
    "example:\n"
    "  cala-s3get -c hetzner mc/today.tar.zst | cala-unpack -C /srv/restore";

enum {
	PIECE = 1 << 20,
	STEP = 16 << 20         /* resume at ends of parts and ranges */
};

struct args {
	const char *etag, *version, *output;
	uint64_t offset, length;
	bool verify, resume;
};

struct run {
	struct args *a;
	struct s3tool t;
	struct log *log;
	struct s3_download how;
	char etag[S3_ETAG];             /* of what -o continues */
	uint64_t had;                   /* bytes that were there already */
	uint64_t written;
	_Atomic uint64_t bytes;
	double began;
};

/* ---- -o FILE: FILE.part, and FILE.part.etag that says what it is of ---- */

struct out {
	int fd, dirfd;
	char *path, *base;      /* as given; its last component */
	char *part, *tag;       /* base.part, base.part.etag */
};

static void
out_close(struct out *o)
{
	if (o->fd > 2)
		close(o->fd);
	if (o->dirfd != -1)
		close(o->dirfd);
	free(o->path);
	free(o->base);
	free(o->part);
	free(o->tag);
}

static int
out_names(struct out *o, const char *path, struct err *e)
{
	char *slash;
	int n;

	if ((o->path = strdup(path)) == NULL)
		return err_oom(e);
	slash = strrchr(o->path, '/');
	o->base = strdup(slash != NULL ? slash + 1 : o->path);
	if (o->base == NULL)
		return err_oom(e);
	if (*o->base == '\0')
		return err_set(e, CALA_USAGE, "--output: '%s' is no file",
		    str_q(path));
	if (slash != NULL)
		slash[slash == o->path] = '\0';
	n = asprintf(&o->part, "%s.part", o->base);
	if (n == -1 || asprintf(&o->tag, "%s.etag", o->part) == -1)
		return err_oom(e);
	o->dirfd = file_opendir(AT_FDCWD, slash != NULL ? o->path : ".", e);
	return o->dirfd == -1 ? -1 : 0;
}

/*
 * What an interrupted run left: of which generation, from which offset, and
 * how much of it.
 */
static int
out_continue(struct run *r, struct out *o, struct err *e)
{
	const struct args *a = r->a;
	char from[24];
	struct stat st;
	struct buf b;
	int n, ret = 0;

	buf_init(&b, S3_ETAG + sizeof(from));
	n = snprintf(from, sizeof(from), "%" PRIu64 " ", a->offset);
	if (a->resume && fstat(o->fd, &st) == 0 && st.st_size > 0 &&
	    file_slurp(&b, o->dirfd, o->tag, e) == 0 &&
	    str_begins(b.p, from) && b.len > (size_t)n &&
	    b.len - (size_t)n < sizeof(r->etag) &&
	    (a->etag == NULL || strcmp(a->etag, b.p + n) == 0) &&
	    (uint64_t)st.st_size <= a->length) {
		memcpy(r->etag, b.p + n, b.len - (size_t)n + 1);
		r->had = (uint64_t)st.st_size / STEP * STEP;
	}
	err_clear(e);
	if (ftruncate(o->fd, (off_t)r->had) == -1)
		ret = err_sys(e, "%s", str_q(a->output));
	buf_fini(&b);
	return ret;
}

static int
out_open(struct run *r, struct out *o, struct err *e)
{
	struct stat st, now;

	if (r->a->output == NULL || strcmp(r->a->output, "-") == 0) {
		o->fd = STDOUT_FILENO;
		if (r->a->output == NULL && isatty(STDOUT_FILENO)) {
			err_set(e, CALA_USAGE, "an object is not written to a "
			    "terminal");
			return err_hint(e, "use a pipe, --output FILE, or "
			    "--output -");
		}
		pipe_widen(o->fd);
		return 0;
	}
	if (stat(r->a->output, &st) == 0 && !S_ISREG(st.st_mode)) {
		/* a device or a FIFO is written as it is */
		o->fd = open(r->a->output, O_WRONLY | O_CLOEXEC | O_NOCTTY);
		return o->fd == -1 ? err_sys(e, "open %s",
		    str_q(r->a->output)) : 0;
	}
	if (out_names(o, r->a->output, e) == -1)
		return -1;
	o->fd = openat(o->dirfd, o->part, O_RDWR | O_CREAT | O_CLOEXEC |
	    O_NOFOLLOW, 0600);
	if (o->fd == -1)
		return err_sys(e, "open %s.part", str_q(r->a->output));
	if (flock(o->fd, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK)
		return err_set(e, CALA_LOCKED, "%s.part: another cala-s3get "
		    "writes it", str_q(r->a->output));
	/* whoever held it until now has made it the finished FILE */
	if (fstat(o->fd, &st) == -1)
		return err_sys(e, "stat %s.part", str_q(r->a->output));
	if (fstatat(o->dirfd, o->part, &now, AT_SYMLINK_NOFOLLOW) == -1 ||
	    now.st_ino != st.st_ino || now.st_dev != st.st_dev)
		return err_set(e, CALA_LOCKED, "%s.part: another cala-s3get "
		    "has just finished it", str_q(r->a->output));
	return out_continue(r, o, e);
}

/* Before the first byte: what the bytes are of. */
static int
out_tag(struct run *r, struct out *o, struct err *e)
{
	struct afile f = AFILE_INIT;
	int ret;

	if (o->tag == NULL || r->had > 0)
		return 0;
	if (afile_open(&f, o->dirfd, o->tag, e) == -1)
		return -1;
	ret = dprintf(f.fd, "%" PRIu64 " %s", r->a->offset,
	    r->how.got_etag) < 0 ? -1 : 0;
	ret = ret == -1 ? err_sys(e, "write %s", str_q(o->tag)) :
	    afile_commit(&f, 0600, 0, e);
	afile_abort(&f);
	return ret;
}

static int
out_commit(struct run *r, struct out *o, struct err *e)
{
	if (o->part == NULL)
		return 0;
	if (fsync(o->fd) == -1 || renameat(o->dirfd, o->part, o->dirfd,
	    o->base) == -1 || fsync(o->dirfd) == -1)
		return err_sys(e, "%s", str_q(r->a->output));
	(void)unlinkat(o->dirfd, o->tag, 0);
	return 0;
}

/* ---- the transfer ---- */

static int
write_out(struct run *r, const struct out *o, const void *p, size_t n,
    struct err *e)
{
	if (file_write_all(o->fd, p, n) == 0) {
		r->written += n;
		return 0;
	}
	if (errno == EINTR && stop_check(e) == -1)
		return -1;
	err_sys(e, "write %s", o->path != NULL ? str_q(r->a->output) :
	    "standard output");
	if (errno == EPIPE)
		e->code = CALA_SIGNAL + SIGPIPE;
	return -1;
}

static struct source *
open_source(struct run *r, const struct out *o, struct err *e)
{
	struct args *a = r->a;

	memset(&r->how, 0, sizeof(r->how));
	r->how.off = a->offset + r->had;
	r->how.len = a->length == UINT64_MAX ? a->length :
	    a->length > r->had ? a->length - r->had : 0;
	r->how.etag = r->had > 0 ? r->etag : a->etag;
	r->how.version = a->version;
	r->how.no_verify = !a->verify;
	/* what is there already is proven together with what comes */
	r->how.has_prefix = r->had > 0 && a->offset == 0;
	r->how.prefix = o->fd;
	return s3_download(r->t.s3, r->t.key, &r->how, e);
}

/* What an interrupted run left must go: the object is another by now. */
static int
start_over(struct run *r, struct out *o, struct err *e)
{
	log_note(r->log, "%s: changed since the interrupted run; from "
	    "the beginning", str_q(r->t.key));
	r->had = 0;
	err_clear(e);
	return ftruncate(o->fd, 0) == -1 ? err_sys(e, "%s",
	    str_q(r->a->output)) : 0;
}

static int
move(struct run *r, struct out *o, struct err *e)
{
	struct front_meter meter = { .on = false };
	struct progress_how how = { .log = r->log,
	    .bytes = &r->bytes };
	struct source *src;
	unsigned char *buf = NULL;
	ssize_t n = -1;

	src = open_source(r, o, e);
	if (src == NULL && r->had > 0 && e->code == CALA_EXISTS &&
	    start_over(r, o, e) == 0)
		src = open_source(r, o, e);
	if (src == NULL)
		return -1;
	if (r->had > 0)
		log_step(r->log, "%s: %" PRIu64 " bytes are there "
		    "already", str_q(r->t.key), r->had);
	how.expected = r->how.total > r->how.off ? r->how.total - r->how.off :
	    0;
	if (how.expected > r->how.len)
		how.expected = r->how.len;
	how.mode = progress_mode(r->t.front->progress, r->t.front->progress_off,
	    r->t.front->quiet, r->t.json, isatty(STDERR_FILENO) == 1);
	if ((buf = malloc(PIECE)) == NULL)
		err_oom(e);
	else if (o->part != NULL &&
	    lseek(o->fd, (off_t)r->had, SEEK_SET) == -1)
		err_sys(e, "%s", str_q(r->a->output));
	else if (out_tag(r, o, e) == 0 &&
	    front_meter_start(&meter, &how, e) == 0)
		while ((n = source_read(src, buf, PIECE, e)) > 0) {
			r->bytes += (size_t)n;
			if (write_out(r, o, buf, (size_t)n, e) == -1) {
				n = -1;
				break;
			}
		}
	front_meter_stop(&meter);
	source_close(src);
	free(buf);
	/* damaged bytes are nothing to go on from */
	if (n == -1 && e->code == CALA_INTEGRITY && o->part != NULL) {
		(void)unlinkat(o->dirfd, o->part, 0);
		(void)unlinkat(o->dirfd, o->tag, 0);
	}
	return n == 0 ? 0 : -1;
}

static int
report(struct run *r, struct err *e)
{
	FILE *out = r->a->output != NULL && strcmp(r->a->output, "-") != 0 ?
	    stdout : stderr;
	struct front_report rep;

	if (!r->t.json)
		return 0;
	s3tool_report(&r->t, &rep, r->log);
	jw_u64(&rep.j, "size", r->how.total);
	jw_u64(&rep.j, "written", r->written);
	jw_u64(&rep.j, "resumed", r->had);
	s3tool_proof(&rep, r->how.got_etag, r->how.got_version,
	    r->how.verified);
	jw_real(&rep.j, "seconds", when_mono() - r->began);
	return front_report_print(&rep, out, "the report", e);
}

static int
work(struct run *r, struct err *e)
{
	struct out o = { .fd = -1, .dirfd = -1 };
	int ret = -1;

	r->began = when_mono();
	if (out_open(r, &o, e) == 0 && move(r, &o, e) == 0 &&
	    out_commit(r, &o, e) == 0)
		ret = report(r, e);
	out_close(&o);
	return ret;
}

int
main(int argc, char **argv)
{
	struct args a = { .length = UINT64_MAX, .verify = true,
	    .resume = true };
	struct err e = ERR_INIT;
	struct front f;
	struct run r = { .a = &a, .t = S3TOOL_INIT(&f), .log = &f.log };
	const struct opt table[] = {
		{ OPT_STR, 'o', "output", "FILE",
		    "into FILE when it is whole; goes on where an interrupted "
		    "run was", &a.output, NULL },
		{ OPT_SIZE, 0, "offset", "BYTES", "start there", &a.offset,
		    NULL },
		{ OPT_SIZE, 0, "length", "BYTES", "at most so many",
		    &a.length, NULL },
		{ OPT_STR, 0, "if-match", "ETAG",
		    "only the object that has it (exit 15)", &a.etag, NULL },
		{ OPT_STR, 0, "version-id", "ID", "that version of it",
		    &a.version, NULL },
		{ OPT_FLAG, 0, "verify", NULL, "compare a whole object with "
		    "the checksum that the store keeps (default)", &a.verify,
		    NULL },
		{ OPT_FLAG, 0, "resume", NULL, "go on with FILE.part "
		    "(default)", &a.resume, NULL },
		S3TOOL_OPTS(r.t),
		FRONT_CONFIG(f),
		FRONT_OPTS(f),
		FRONT_END
	};
	int ret;

	front_init(&f, "cala-s3get", usage, example);
	ret = front_parse(&f, table, argc, argv, &r.t.args, NULL, &e);
	if (ret == 0 && (ret = s3tool_open(&r.t, "s3get", environ, &e)) == 0)
		ret = work(&r, &e);
	s3tool_close(&r.t);
	return front_end(&f, ret == -1 ? &e : NULL);
}
