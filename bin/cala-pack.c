/* cala-pack: a directory, or another archive, as an archive on stdout. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "archive/archive.h"
#include "fs/roots.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/io.h"
#include "base/json.h"
#include "base/pool.h"
#include "base/rate.h"
#include "base/str.h"
#include "base/when.h"
#include "entry/match.h"
#include "front/front.h"
#include "front/meter.h"
#include "front/report.h"

static const char usage[] =
    "cala-pack [options] [-C DIR] PATH...\n"
    "       cala-pack [options] [-C DIR] -T FILE [PATH...]\n"
    "       cala-pack [options] --from-archive FILE";
static const char example[] =
    "example:\n"
    "  cala-pack -C /srv/mc . | cala-s3put -c hetzner mc/today.tar.zst";

enum { PTEROIGNORE_MAX = 1 << 20 };

/* What the command line says. */
struct args {
	struct front *front;
	struct match *match;
	const char *format, *level, *dir, *list, *archive, *output, *profile,
	    *report;
	uint64_t jobs, limit_read, limit_write, memory, expect, report_fd;
	bool pteroignore, one_fs, nul, index, trailer, strict, xattrs,
	    allow_empty, dry_run, idle;
	struct opt_list paths;
	/* decided from it */
	struct archive_write how;
	int dirfd;
};

/* One run. */
struct run {
	struct args *a;
	struct log *log;
	struct reader *reader;
	struct source *in;              /* of -T or --from-archive */
	struct sink *fd, *slow;         /* slow: fd with a limit, or NULL */
	struct writer *writer;
	struct afile file;              /* of -o */
	struct tally tally;
	uint64_t entries, files, size, stored;
	struct fs_walked facts;
	double began;
};

static int
add_rule(void *v, const char *line, struct err *e)
{
	struct args *a = v;

	return match_add(a->match, line, strlen(line), e) == -1 ? -1 : 0;
}

static int
add_rules(void *v, const char *name, struct err *e)
{
	struct args *a = v;
	int got = match_add_file(a->match, AT_FDCWD, name, 16 << 20,
	    &a->front->log, e);

	if (got == 1)
		return err_set(e, CALA_NOTFOUND, "%s: no such file",
		    str_q(name));
	return got;
}

static int
set_format(struct args *a, struct err *e)
{
	struct archive_write *how = &a->how;

	how->format = ARCHIVE_TAR_ZST;
	if (a->format != NULL) {
		if (archive_word(a->format, &how->format) == -1)
			return err_set(e, CALA_USAGE,
			    "--format: unknown format '%s'",
			    str_q(a->format));
	} else if (a->output != NULL && strcmp(a->output, "-") != 0) {
		archive_by_name(a->output, &how->format);
	}
	how->level = INT_MIN;
	if (a->level != NULL &&
	    archive_level(how->format, a->level, &how->level) == -1)
		return err_set(e, CALA_USAGE, "--level: '%s' is no level of "
		    "%s (%d to %d, best_speed, good_speed, good_compression, "
		    "best_compression)", str_q(a->level),
		    archive_info[how->format].ext,
		    archive_info[how->format].level_min,
		    archive_info[how->format].level_max);
	return 0;
}

/* An archive is taken as it is: what chooses among files has no say. */
static int
check_archive(const struct args *a, struct err *e)
{
	if (a->paths.n > 0 || a->list != NULL)
		return err_set(e, CALA_USAGE, "--from-archive: no directories "
		    "or names besides");
	if (match_count(a->match) > 0 || a->one_fs || !a->xattrs ||
	    a->limit_read > 0)
		return err_set(e, CALA_USAGE, "--from-archive takes all of an "
		    "archive: no --exclude, --one-file-system, --no-xattrs "
		    "or --limit-read");
	/* a stream can't be asked for the first name's bytes once more */
	if (a->profile != NULL && strcmp(a->profile, "full") != 0)
		return err_set(e, CALA_USAGE, "--from-archive: hard links of "
		    "an archive can't become copies (--profile)");
	return 0;
}

/* What the options mean together. */
static int
decide(struct args *a, int argc, char **argv, struct err *e)
{
	struct archive_write *how = &a->how;
	bool zst;

	if (a->archive != NULL && check_archive(a, e) == -1)
		return -1;
	if (a->paths.n == 0 && a->list == NULL && a->archive == NULL)
		return err_set(e, CALA_USAGE,
		    "nothing to pack: name a directory");
	if (set_format(a, e) == -1)
		return -1;
	zst = how->format == ARCHIVE_TAR_ZST;
	if (front_said(argc, argv, "--trailer") && a->trailer) {
		if (!zst)
			return err_set(e, CALA_USAGE,
			    "--trailer is for tar.zst");
		if (front_said(argc, argv, "--index") && a->index)
			return err_set(e, CALA_USAGE, "--trailer and --index "
			    "are two proofs; choose one");
		a->index = false;
	}
	if (a->profile != NULL && strcmp(a->profile, "wings") == 0)
		how->wings = true;
	else if (a->profile != NULL && strcmp(a->profile, "full") != 0)
		return err_set(e, CALA_USAGE,
		    "--profile: full or wings, not '%s'", str_q(a->profile));
	if (a->jobs > 512)
		return err_set(e, CALA_USAGE, "--jobs: at most 512");
	if (a->report_fd != UINT64_MAX && a->report_fd > INT_MAX)
		return err_set(e, CALA_USAGE, "--report-fd: no descriptor");
	how->jobs = (unsigned)a->jobs;
	how->memory = a->memory;
	how->index = a->index;
	how->trailer = a->trailer;
	how->strict = a->strict;
	how->tmp_dir = getenv("TMPDIR");
	if (how->tmp_dir != NULL && *how->tmp_dir == '\0')
		how->tmp_dir = NULL;
	if (!a->dry_run && a->output == NULL && isatty(STDOUT_FILENO)) {
		err_set(e, CALA_USAGE, "an archive is nothing for a terminal");
		return err_hint(e, "use -o FILE or a pipe, or say -o -");
	}
	return 0;
}

/* The rules in the packed directory itself; they come last. */
static int
own_rules(struct args *a, struct log *log, struct err *e)
{
	struct stat st;
	int fd, got;

	if (!a->pteroignore || a->paths.n != 1 || a->list != NULL)
		return 0;
	if (fstatat(a->dirfd, a->paths.v[0], &st, 0) == -1 ||
	    !S_ISDIR(st.st_mode))
		return 0;
	if ((fd = file_opendir(a->dirfd, a->paths.v[0], e)) == -1)
		return -1;
	got = match_add_file(a->match, fd, ".pteroignore", PTEROIGNORE_MAX,
	    log, e);
	close(fd);
	if (got == -1) {
		/* Wings packs without them; better to be told. */
		log_warn(log, "%s", e->msg);
		err_clear(e);
	}
	return 0;
}

/* A sink that keeps to a rate. */
struct slow {
	struct sink s;
	struct sink *next;
	struct rate *rate;
};

static void *
slow_space(struct sink *s, size_t *n, struct err *e)
{
	return sink_space(((struct slow *)s)->next, n, e);
}

static int
slow_used(struct sink *s, size_t n, struct err *e)
{
	struct slow *w = (struct slow *)s;

	if (rate_take(w->rate, n, e) == -1)
		return -1;
	return sink_used(w->next, n, e);
}

static int
slow_commit(struct sink *s, struct err *e)
{
	return sink_commit(((struct slow *)s)->next, e);
}

static void
slow_abort(struct sink *s)
{
	rate_free(((struct slow *)s)->rate);
	free(s);
}

static struct sink *
slow_new(struct sink *next, uint64_t limit, struct err *e)
{
	static const struct sink_ops ops =
	    { slow_space, slow_used, NULL, slow_commit, slow_abort };
	struct slow *w = calloc(1, sizeof(*w));

	if (w == NULL) {
		err_oom(e);
		return NULL;
	}
	w->s.ops = &ops;
	w->next = next;
	if ((w->rate = rate_new(limit, e)) == NULL) {
		free(w);
		return NULL;
	}
	return &w->s;
}

/* The folder and the last component of a path we are to write. */
static int
folder_of(const char *path, const char **name, struct err *e)
{
	const char *slash = strrchr(path, '/');
	char *dir;
	int fd;

	*name = slash == NULL ? path : slash + 1;
	if (**name == '\0')
		return err_set(e, CALA_USAGE, "%s: not a file name",
		    str_q(path));
	if (slash == NULL)
		return file_opendir(AT_FDCWD, ".", e);
	if ((dir = strndup(path, (size_t)(slash - path) + 1)) == NULL)
		return err_oom(e);
	fd = file_opendir(AT_FDCWD, dir, e);
	free(dir);
	return fd;
}

/* Standard output, a file that appears when it is whole, or a device. */
static int
open_output(struct run *r, struct err *e)
{
	const char *o = r->a->output, *name;
	struct stat st;
	int fd = STDOUT_FILENO, dir;

	if (o == NULL || strcmp(o, "-") == 0) {
		r->fd = sink_fd(fd, false, "standard output", e);
	} else if (stat(o, &st) == 0 && !S_ISREG(st.st_mode)) {
		if ((fd = open(o, O_WRONLY | O_CLOEXEC | O_NOCTTY)) == -1)
			return err_sys(e, "open %s", str_q(o));
		r->fd = sink_fd(fd, true, o, e);
	} else {
		if ((dir = folder_of(o, &name, e)) == -1)
			return err_ctx(e, "%s", str_q(o));
		fd = afile_open(&r->file, dir, name, e);
		close(dir);
		if (fd == -1)
			return -1;
		fd = r->file.fd;
		r->fd = sink_fd(fd, false, o, e);
	}
	if (r->fd == NULL)
		return -1;
	if (r->a->limit_write > 0 && (r->slow = slow_new(r->fd,
	    r->a->limit_write, e)) == NULL)
		return -1;
	return fd;
}

/* FILE of an option; "-" is standard input. */
static int
open_input(struct run *r, const char *file, struct err *e)
{
	int fd = STDIN_FILENO;

	if (strcmp(file, "-") != 0 && (fd = open(file,
	    O_RDONLY | O_CLOEXEC)) == -1)
		return err_sys(e, "open %s", str_q(file));
	if (fd == STDIN_FILENO && isatty(fd))
		return err_set(e, CALA_USAGE, "standard input is a terminal");
	r->in = source_fd(fd, fd != STDIN_FILENO, file, e);
	return r->in == NULL ? -1 : 0;
}

static int
open_archive(struct run *r, struct err *e)
{
	struct archive_read how = { .jobs = r->a->how.jobs,
	    .memory = r->a->memory, .spool_dir = r->a->how.tmp_dir };

	if (open_input(r, r->a->archive, e) == -1)
		return -1;
	r->reader = archive_reader(r->in, &how, r->log, e);
	return r->reader == NULL ? -1 : 0;
}

static int
open_reader(struct run *r, int out, struct err *e)
{
	struct args *a = r->a;
	struct roots_how how = { .dirfd = a->dirfd,
	    .operands = a->paths.v, .n = a->paths.n, .nul = a->nul,
	    .copies = a->how.wings || a->how.format == ARCHIVE_ZIP ||
	    a->how.format == ARCHIVE_7Z };
	struct stat st;

	if (a->archive != NULL)
		return open_archive(r, e);
	if (a->list != NULL && open_input(r, a->list, e) == -1)
		return -1;
	how.list = r->in;
	how.walk.match = a->match;
	how.walk.one_file_system = a->one_fs;
	how.walk.xattrs = a->xattrs;
	how.walk.limit_read = a->limit_read;
	if (out != -1 && fstat(out, &st) == 0 && S_ISREG(st.st_mode)) {
		how.skip_dev = st.st_dev;
		how.skip_ino = st.st_ino;
	}
	r->reader = roots_reader(&how, r->log, e);
	return r->reader == NULL ? -1 : 0;
}

/*
 * All was read.  An archive that lacks something must not become one that says
 * it is whole.
 */
static void
look_back(struct run *r)
{
	struct archive_facts f;

	if (r->a->archive == NULL) {
		roots_facts(r->reader, &r->facts);
		return;
	}
	archive_reader_facts(r->reader, &f);
	if (f.partial)
		log_warn(r->log, "%s: was partial when it was made "
		    "(warnings: %ju)", str_q(r->a->archive), (uintmax_t)f.warnings);
}

/*
 * Nothing is left: the rules are wrong or a volume is not mounted, more likely
 * than the server empty; and it would count as the newest good backup.
 */
static int
check_empty(const struct run *r, struct err *e)
{
	if (r->files > 0 || r->entries > 1 || r->a->allow_empty)
		return 0;
	if (r->facts.excluded == 0) {
		err_set(e, CALA_INCOMPLETE,
		    "the source is empty: nothing is packed");
		return err_hint(e, "is it mounted?  --allow-empty packs it "
		    "nevertheless");
	}
	err_set(e, CALA_INCOMPLETE,
	    "the rules exclude everything: nothing is packed");
	return err_hint(e, "look at --exclude and .pteroignore, or say "
	    "--allow-empty");
}

/* --dry-run: the names, as they would stand in the archive. */
static int
list_all(struct run *r, struct err *e)
{
	const struct entry *en;
	struct content *c;
	struct buf b;
	int got;

	buf_init(&b, 8 * ENTRY_PATH_MAX);
	while ((got = reader_next(r->reader, &en, &c, e)) == 1) {
		r->entries++;
		r->files += en->type != ENTRY_DIR;
		r->size += en->type == ENTRY_FILE ? en->size : 0;
		buf_reset(&b);
		if (r->a->nul)
			buf_str(&b, en->path[0] == '\0' ? "." : en->path);
		else
			str_esc(&b, en->path[0] == '\0' ? "." : en->path,
			    en->path[0] == '\0' ? 1 : strlen(en->path));
		buf_chr(&b, r->a->nul ? '\0' : '\n');
		if (buf_failed(&b, e) == -1)
			got = -1;
		else if (fwrite(b.p, 1, b.len, stdout) == b.len)
			continue;
		else
			err_sys(e, "write to standard output");
		if (errno == EPIPE)
			e->code = CALA_SIGNAL + SIGPIPE;
		got = -1;
		break;
	}
	buf_fini(&b);
	if (got == -1)
		return -1;
	look_back(r);
	return check_empty(r, e);
}

static int
pack(struct run *r, struct err *e)
{
	const struct archive_sum *sum;
	struct sink *out = r->slow != NULL ? r->slow : r->fd;

	if ((r->writer = archive_writer(out, &r->a->how, r->log, e)) == NULL ||
	    pump(r->reader, r->writer, &r->tally, e) == -1)
		return -1;
	look_back(r);
	sum = archive_writer_sum(r->writer);
	r->entries = sum->entries;
	r->files = sum->files;
	r->size = sum->size;
	if (check_empty(r, e) == -1 || writer_commit(r->writer, e) == -1)
		return -1;
	r->stored = out->pos;
	if (r->file.name != NULL &&
	    afile_commit(&r->file, 0600, 0, e) == -1)
		return -1;
	return 0;
}

/*
 * Before standard output is closed, so that who reads its end finds the
 * report written.
 */
static int
report(const struct run *r, const struct err *bad, struct err *e)
{
	const struct args *a = r->a;
	struct front_report out;
	size_t i;

	if (a->report == NULL && a->report_fd == UINT64_MAX)
		return 0;
	front_report_begin(&out, r->log, bad);
	jw_u64(&out.j, "files", r->files);
	jw_u64(&out.j, "entries", r->entries);
	jw_u64(&out.j, "size", r->size);
	jw_u64(&out.j, "stored", r->stored);
	jw_u64(&out.j, "changed", r->facts.changed);
	jw_u64(&out.j, "excluded", r->facts.excluded);
	jw_u64(&out.j, "sockets", r->facts.sockets);
	front_report_warnings(&out, r->log);
	jw_open(&out.j, "ignored", '[');
	for (i = 0; i < match_count(a->match); i++)
		jw_bytes(&out.j, NULL, match_rule(a->match, i),
		    strlen(match_rule(a->match, i)));
	jw_close(&out.j, ']');
	return front_report_end(&out, a->report, a->report_fd, e);
}

static void
say_summary(const struct run *r)
{
	char in[STR_HUMAN], out[STR_HUMAN];
	double t = when_mono() - r->began;

	str_human(r->size, in);
	str_human(r->stored, out);
	if (isatty(STDERR_FILENO) && !r->a->front->quiet)
		log_note(r->log, "%ju files, %s in %s, %.1f s",
		    (uintmax_t)r->files, in, out, t);
	else
		log_step(r->log, "%ju files, %s in %s, %.1f s",
		    (uintmax_t)r->files, in, out, t);
}

static int
work(struct args *a, struct log *log, struct err *e)
{
	struct run r = { .a = a, .log = log, .file = AFILE_INIT,
	    .began = when_mono() };
	struct front_meter meter = { .on = false };
	struct progress_how ph = { .log = log, .bytes = &r.tally.bytes,
	    .files = &r.tally.files, .expected = a->expect };
	struct err e2 = ERR_INIT;
	int out = -1, ret = -1;

	if (own_rules(a, log, e) == -1)
		goto out;
	if (!a->dry_run && (out = open_output(&r, e)) == -1)
		goto out;
	if (open_reader(&r, out, e) == -1)
		goto out;
	if (a->dry_run) {
		ret = list_all(&r, e);
		goto out;
	}
	ph.mode = progress_mode(a->front->progress, a->front->progress_off,
	    a->front->quiet, false, isatty(STDERR_FILENO));
	if (front_meter_start(&meter, &ph, e) == 0)
		ret = pack(&r, e);
	front_meter_stop(&meter);
	if (ret == 0)
		say_summary(&r);
out:
	/* A report that can't be written spoils the run, not its cause. */
	if (report(&r, ret == -1 ? e : NULL, ret == 0 ? e : &e2) == -1)
		ret = -1;
	writer_free(r.writer);
	sink_free(r.slow);
	sink_free(r.fd);
	afile_abort(&r.file);
	reader_close(r.reader);
	source_close(r.in);
	return ret;
}

/* Whoever plays comes first: our disk access waits for everybody's. */
static void
be_idle(void)
{
	enum { WHO_PROCESS = 1, CLASS_IDLE = 3, CLASS_SHIFT = 13 };

	syscall(SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE << CLASS_SHIFT);
}

int
main(int argc, char **argv)
{
	struct front f;
	struct err e = ERR_INIT;
	struct args a = { .front = &f, .pteroignore = true, .index = true,
	    .trailer = true, .xattrs = true, .idle = true,
	    .report_fd = UINT64_MAX, .dirfd = -1 };
	const struct opt table[] = {
		{ OPT_STR, 'f', "format", "FORMAT", "tar, tar.gz, tar.xz, "
		    "tar.lz, tar.bz2, tar.lz4, tar.zst (default), zip or 7z",
		    &a.format, NULL },
		{ OPT_STR, 'l', "level", "LEVEL", "compression: a number, or "
		    "best_speed (default) to best_compression", &a.level,
		    NULL },
		{ OPT_U64, 'j', "jobs", "N", "compress on N cores (0: all)",
		    &a.jobs, NULL },
		{ OPT_STR, 'o', "output", "FILE", "write FILE when it is "
		    "whole, instead of standard output (-)", &a.output,
		    NULL },
		{ OPT_STR, 'C', "directory", "DIR", "PATHs start in DIR",
		    &a.dir, NULL },
		{ OPT_CALL, 'e', "exclude", "PATTERN",
		    "leave out what matches (as in .gitignore)", &a,
		    add_rule },
		{ OPT_CALL, 0, "exclude-from", "FILE",
		    "patterns from the lines of FILE", &a, add_rules },
		{ OPT_FLAG, 0, "pteroignore", NULL, "obey .pteroignore in the "
		    "directory (default)", &a.pteroignore, NULL },
		{ OPT_FLAG, 'x', "one-file-system", NULL,
		    "do not enter other file systems", &a.one_fs, NULL },
		{ OPT_STR, 'T', "files-from", "FILE",
		    "also the names in FILE (- for standard input), a line "
		    "each", &a.list, NULL },
		{ OPT_STR, 0, "from-archive", "FILE", "pack the entries of an "
		    "archive (- for standard input)", &a.archive, NULL },
		{ OPT_FLAG, '0', "null", NULL, "names end in NUL, in -T and "
		    "for -n", &a.nul, NULL },
		{ OPT_FLAG, 0, "index", NULL, "let tar.zst and tar.gz be read "
		    "anywhere (default)", &a.index, NULL },
		{ OPT_FLAG, 0, "trailer", NULL, "end a tar.zst without index "
		    "in count and SHA-256 (default there)", &a.trailer,
		    NULL },
		{ OPT_FLAG, 0, "strict", NULL, "fail where a warning would "
		    "make a partial archive", &a.strict, NULL },
		{ OPT_FLAG, 0, "xattrs", NULL,
		    "keep extended attributes and ACLs (default)", &a.xattrs,
		    NULL },
		{ OPT_STR, 0, "profile", "PROFILE", "full (default), or wings: "
		    "only what Wings can read", &a.profile, NULL },
		{ OPT_FLAG, 0, "allow-empty", NULL,
		    "even if there is nothing to pack", &a.allow_empty,
		    NULL },
		{ OPT_RATE, 0, "limit-read", "RATE",
		    "read at most RATE bytes a second", &a.limit_read, NULL },
		{ OPT_RATE, 0, "limit-write", "RATE",
		    "write at most RATE bytes a second", &a.limit_write,
		    NULL },
		{ OPT_SIZE, 0, "memory", "SIZE",
		    "stay under SIZE of memory (default 64 MiB, see the "
		    "manual)", &a.memory, NULL },
		{ OPT_FLAG, 0, "idle", NULL,
		    "disk access when others have none (default)", &a.idle,
		    NULL },
		{ OPT_STR, 0, "report", "FILE",
		    "write what was done to FILE as JSON", &a.report, NULL },
		{ OPT_U64, 0, "report-fd", "N", "the same to descriptor N",
		    &a.report_fd, NULL },
		{ OPT_SIZE, 0, "expect", "BYTES",
		    "how much there is, for the time left", &a.expect, NULL },
		{ OPT_FLAG, 'n', "dry-run", NULL, "list what would be packed",
		    &a.dry_run, NULL },
		{ OPT_FLAG, 0, "progress", NULL, "progress, also without a "
		    "terminal", &f.progress, NULL },
		FRONT_OPTS(f),
		FRONT_END
	};
	int ret = -1, got;

	front_init(&f, "cala-pack", usage, example);
	if ((a.match = match_new(&e)) == NULL)
		return front_end(&f, &e);
	got = front_parse(&f, table, argc, argv, &a.paths, NULL, &e);
	if (got == 1) {
		match_free(a.match);
		return front_end(&f, NULL);
	}
	if (got == 0 && decide(&a, argc, argv, &e) == -1) {
		if (e.hint[0] == '\0')
			err_hint(&e, "try 'cala-pack --help'");
	} else if (got == 0 && (a.dirfd = file_opendir(AT_FDCWD,
	    a.dir != NULL ? a.dir : ".", &e)) != -1) {
		if (a.idle)
			be_idle();
		ret = work(&a, &f.log, &e);
	}
	if (a.dirfd != -1)
		close(a.dirfd);
	opt_list_free(&a.paths);
	match_free(a.match);
	return front_end(&f, ret == -1 ? &e : NULL);
}
