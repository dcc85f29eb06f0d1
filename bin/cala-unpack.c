/* cala-unpack: an archive on standard input into a directory, safely. */

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/archive.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/io.h"
#include "base/json.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "front/front.h"
#include "front/meter.h"
#include "front/report.h"
#include "fs/extract.h"
#include "fs/fs.h"
#include "fs/swap.h"

static const char usage[] =
    "cala-unpack [options] [-C DIR] [PATH...] <ARCHIVE\n"
    "       cala-unpack [options] --to DIR [PATH...] <ARCHIVE\n"
    "       cala-unpack [options] --truncate -C DIR <ARCHIVE\n"
    "       cala-unpack -C DIR --recover | --discard-old";
static const char example[] =
    "example:\n"
    "  cala-pbs get -c pbs -s survival -b latest world | cala-unpack -C /tmp/w";

enum { JOBS_MAX = 1024 };       /* as in cala.conf; fs_writer takes fewer */

struct args {
	struct front *front;
	const char *dir, *to, *input, *id, *report;
	uint64_t jobs, max_size, max_entries, limit_write, commit_fd, expect,
	    memory;
	bool truncate, discard, recover, keep_dir, overwrite, overwrite_said,
	    owners, numeric, xattrs, sparse, dry_run;
	struct opt_list paths;
};

struct run {
	struct args *a;
	struct log *log;
	struct source *source;
	struct ranged *ranged;
	struct reader *reader;
	struct swap *swap;
	struct writer *writer;
	char **paths;           /* the operands, cleaned */
	struct tally tally;
	struct fs_extracted facts;
	const char *target;
	char *old;
	char id[37];
	double began;
};

/* --recover and --discard-old alone read no archive. */
static bool
no_input(const struct args *a)
{
	return a->to == NULL && !a->truncate && (a->recover || a->discard);
}

static int
decide(struct args *a, int argc, char **argv, struct err *e)
{
	if (a->to != NULL && a->dir != NULL)
		return err_set(e, CALA_USAGE,
		    "--to and --directory exclude each other");
	if (a->to != NULL && a->truncate)
		return err_set(e, CALA_USAGE,
		    "--to and --truncate exclude each other");
	if (a->truncate && a->dir == NULL)
		return err_set(e, CALA_USAGE,
		    "--truncate needs -C: name the directory to replace");
	if (a->truncate && a->paths.n > 0)
		return err_set(e, CALA_USAGE,
		    "--truncate replaces the whole tree: it takes no PATH");
	if (a->recover && (a->to != NULL || a->truncate))
		return err_set(e, CALA_USAGE, "--recover stands alone");
	if (no_input(a) && (a->paths.n > 0 || a->input != NULL))
		return err_set(e, CALA_USAGE,
		    "--recover and --discard-old read no archive");
	if (no_input(a) && a->dir == NULL)
		return err_set(e, CALA_USAGE, "name the directory with -C");
	if (a->jobs > JOBS_MAX)
		return err_set(e, CALA_USAGE, "--jobs: at most %d",
		    (int)JOBS_MAX);
	if (a->commit_fd != UINT64_MAX && (a->commit_fd > INT_MAX ||
	    fcntl((int)a->commit_fd, F_GETFD) == -1))
		return err_set(e, CALA_USAGE, "--commit-fd: no descriptor");
	a->overwrite_said = front_said(argc, argv, "--overwrite") && a->overwrite;
	if (!no_input(a) && a->input == NULL && isatty(STDIN_FILENO)) {
		err_set(e, CALA_USAGE, "an archive does not come from a "
		    "terminal");
		return err_hint(e, "use a pipe, <FILE or --input FILE");
	}
	return 0;
}

static int
open_input(struct run *r, struct err *e)
{
	struct archive_read how = { .memory = r->a->memory };
	const char *in = r->a->input;
	struct stat st;
	int fd = STDIN_FILENO;

	how.spool_dir = getenv("TMPDIR");
	if (how.spool_dir != NULL && *how.spool_dir == '\0')
		how.spool_dir = NULL;
	if (in != NULL && strcmp(in, "-") != 0) {
		if ((fd = open(in, O_RDONLY | O_CLOEXEC | O_NOCTTY)) == -1)
			return err_sys(e, "open %s", str_q(in));
		if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
			if ((r->ranged = ranged_fd(fd, true, in, e)) == NULL ||
			    (r->reader = archive_reader_at(r->ranged, &how,
			    r->log, e)) == NULL)
				return -1;
			return 0;
		}
	}
	if ((r->source = source_fd(fd, fd != STDIN_FILENO,
	    fd != STDIN_FILENO ? in : "standard input", e)) == NULL ||
	    (r->reader = archive_reader(r->source, &how, r->log, e)) == NULL)
		return -1;
	return 0;
}

/* The operands as the archive's paths are written. */
static int
clean_paths(struct run *r, struct err *e)
{
	const struct opt_list *l = &r->a->paths;
	const char *why;
	struct buf b;
	size_t i;
	int ret = -1;

	if ((r->paths = calloc(l->n + 1, sizeof(*r->paths))) == NULL)
		return err_oom(e);
	buf_init(&b, ENTRY_PATH_MAX);
	for (i = 0; i < l->n; i++) {
		if (entry_path(&b, l->v[i], strlen(l->v[i]), &why) == -1) {
			err_set(e, CALA_USAGE, "%s: %s", str_q(l->v[i]), why);
			goto out;
		}
		if ((r->paths[i] = strdup(b.p)) == NULL) {
			err_oom(e);
			goto out;
		}
	}
	ret = 0;
out:
	buf_fini(&b);
	return ret;
}

/* Where the entries go: staged, or right into the directory. */
static int
open_target(struct run *r, struct err *e)
{
	struct args *a = r->a;
	struct swap_how how = { .id = a->id, .need = a->expect,
	    .entries = a->keep_dir };

	r->target = a->to != NULL ? a->to : a->dir != NULL ? a->dir : ".";
	if (a->dry_run)
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (a->to != NULL) {
		if (swap_recover(a->to, r->log, e) == -1)
			return -1;
		r->swap = swap_to(a->to, &how, r->log, e);
		if (r->swap == NULL && e->code == CALA_EXISTS &&
		    a->overwrite_said) {
			err_clear(e);
			r->swap = swap_open(a->to, &how, r->log, e);
		}
	} else if (a->truncate) {
		r->swap = swap_open(a->dir, &how, r->log, e);
	} else {
		return file_opendir(AT_FDCWD, r->target, e);
	}
	if (r->swap == NULL)
		return -1;
	return fcntl(swap_dir(r->swap), F_DUPFD_CLOEXEC, 3);
}

/* The directory at path or, before it is made, the one it will be in. */
static int
place_of(const char *path, struct stat *st)
{
	char *copy;
	int ret;

	if (stat(path, st) == 0)
		return 0;
	if ((copy = strdup(path)) == NULL)
		return -1;
	ret = stat(dirname(copy), st);
	free(copy);
	return ret;
}

static void
show(void *arg, const struct entry *en)
{
	const char *p = en->path[0] == '\0' ? "." : en->path;
	struct buf *b = arg;

	buf_reset(b);
	str_esc(b, p, strlen(p));
	buf_chr(b, '\n');
	fwrite(b->p, 1, b->len, stdout);
}

static int
open_writer(struct run *r, struct buf *line, struct err *e)
{
	struct args *a = r->a;
	struct fs_extract how = { .jobs = (unsigned)a->jobs,
	    .max_size = a->max_size, .max_entries = a->max_entries,
	    .overwrite = a->overwrite || r->swap != NULL,
	    .owners = a->owners, .numeric = a->numeric, .xattrs = a->xattrs,
	    .sparse = a->sparse, .limit_write = a->limit_write,
	    .dry_run = a->dry_run };
	struct stat st;
	int fd;

	if (a->paths.n > 0) {
		how.paths = (const char *const *)r->paths;
		how.npaths = a->paths.n;
	}
	if ((fd = open_target(r, e)) == -1) {
		if (e->code == 0)
			err_sys(e, "%s", str_q(r->target));
		return -1;
	}
	/* As if the owner of the place had made what has no owner. */
	if (place_of(r->target, &st) == 0) {
		how.uid = st.st_uid;
		how.gid = st.st_gid;
	}
	how.in_place = r->swap == NULL && !a->dry_run;
	if (!how.in_place || fs_sweep(fd, r->log, e) != -1)
		r->writer = fs_writer(fd, &how, r->log, e);
	close(fd);
	if (r->writer == NULL)
		return -1;
	if (a->dry_run)
		fs_writer_watch(r->writer, show, line);
	return 0;
}

/* What the archive's own end says of it. */
static void
say_proof(struct run *r)
{
	static const char *const proofs[] = { "none", "the archive's own end",
	    "cala's end mark", "count and SHA-256 of the trailer",
	    "the index", "wrong" };
	struct archive_facts f;

	memset(&f, 0, sizeof(f));
	archive_reader_facts(r->reader, &f);
	if ((unsigned)f.proof < sizeof(proofs) / sizeof(*proofs))
		log_step(r->log, "whole, by %s", proofs[f.proof]);
	if (f.partial)
		log_warn(r->log, "the backup itself is partial: %ju warnings "
		    "when it was made", (uintmax_t)f.warnings);
}

/* Every PATH must have been there. */
static int
check_paths(struct run *r, struct err *e)
{
	size_t i;

	for (i = 0; i < r->a->paths.n; i++) {
		if (fs_writer_hit(r->writer, i))
			continue;
		if (e->code != 0)
			log_error(r->log, e);
		err_set(e, CALA_NOTFOUND, "%s: not in the archive",
		    str_q(r->a->paths.v[i]));
	}
	return e->code == 0 ? 0 : -1;
}

/* Our starter's word that the producer has ended well. */
static int
await_commit(const struct args *a, struct err *e)
{
	char c = 0;
	ssize_t n;

	if (a->commit_fd == UINT64_MAX)
		return 0;
	do
		n = read((int)a->commit_fd, &c, 1);
	while (n == -1 && errno == EINTR && stop_signal() == 0);
	if (stop_check(e) == -1)
		return -1;
	if (n == 1 && c == 'C')
		return 0;
	return err_set(e, CALA_INCOMPLETE, "no word to commit: what wrote the "
	    "archive has failed");
}

static int
finish(struct run *r, struct err *e)
{
	const char *old;

	if (r->swap == NULL)
		return 0;
	if (swap_commit(r->swap, e) == -1)
		return -1;
	memcpy(r->id, swap_id(r->swap), sizeof(r->id));
	if ((old = swap_old(r->swap)) == NULL)
		return 0;
	if (r->a->discard)
		return swap_discard(r->target, r->log, e) == -1 ? -1 : 0;
	if ((r->old = strdup(old)) == NULL)
		return err_oom(e);
	log_note(r->log, "the old tree is kept in %s; --discard-old removes "
	    "it", str_q(old));
	return 0;
}

static int
unpack(struct run *r, struct err *e)
{
	int ret = pump(r->reader, r->writer, &r->tally, e);

	fs_writer_facts(r->writer, &r->facts);
	if (ret == -1)
		return -1;
	/* Bytes after the archive: a producer must not die of SIGPIPE. */
	if (r->source != NULL && source_drain(r->source, e) == -1)
		return -1;
	say_proof(r);
	if (writer_commit(r->writer, e) == -1)
		return -1;
	fs_writer_facts(r->writer, &r->facts);
	if (check_paths(r, e) == -1 || await_commit(r->a, e) == -1)
		return -1;
	return finish(r, e);
}

static int
report(const struct run *r, const struct err *bad, struct err *e)
{
	struct front_report out;

	if (r->a->report == NULL)
		return 0;
	front_report_begin(&out, r->log, bad);
	if (r->target != NULL)
		jw_bytes(&out.j, "target", r->target, strlen(r->target));
	if (r->id[0] != '\0')
		jw_str(&out.j, "id", r->id);
	if (r->old != NULL)
		jw_bytes(&out.j, "old", r->old, strlen(r->old));
	jw_u64(&out.j, "entries", r->facts.entries);
	jw_u64(&out.j, "files", r->facts.files);
	jw_u64(&out.j, "directories", r->facts.dirs);
	jw_u64(&out.j, "bytes", r->facts.bytes);
	jw_u64(&out.j, "kept", r->facts.kept);
	jw_u64(&out.j, "failed", r->facts.failed);
	front_report_warnings(&out, r->log);
	return front_report_end(&out, r->a->report, UINT64_MAX, e);
}

static void
say_summary(const struct run *r)
{
	char size[STR_HUMAN];
	double t = when_mono() - r->began;

	str_human(r->facts.bytes, size);
	if (isatty(STDERR_FILENO) && !r->a->front->quiet)
		log_note(r->log, "%ju files, %s, %.1f s",
		    (uintmax_t)r->facts.files, size, t);
	else
		log_step(r->log, "%ju files, %s, %.1f s",
		    (uintmax_t)r->facts.files, size, t);
}

static int
work(struct args *a, struct log *log, struct err *e)
{
	struct run r = { .a = a, .log = log, .began = when_mono() };
	struct front_meter meter = { .on = false };
	struct progress_how ph = { .log = log, .bytes = &r.tally.bytes,
	    .files = &r.tally.files, .expected = a->expect };
	struct err e2 = ERR_INIT;
	struct buf line;
	size_t i;
	int ret = -1;

	buf_init(&line, 8 * ENTRY_PATH_MAX);
	if (clean_paths(&r, e) == -1 || open_input(&r, e) == -1 ||
	    open_writer(&r, &line, e) == -1)
		goto out;
	ph.mode = progress_mode(a->front->progress, a->front->progress_off,
	    a->front->quiet, false, isatty(STDERR_FILENO));
	if (front_meter_start(&meter, &ph, e) == 0)
		ret = unpack(&r, e);
	front_meter_stop(&meter);
	if (ret == 0 && !a->dry_run)
		say_summary(&r);
out:
	/* Before the report, so that what it says has happened. */
	reader_close(r.reader);
	writer_free(r.writer);
	swap_free(r.swap);
	/* A report that can't be written spoils the run, not its cause. */
	if (report(&r, ret == -1 ? e : NULL, ret == 0 ? e : &e2) == -1)
		ret = -1;
	source_close(r.source);
	ranged_close(r.ranged);
	for (i = 0; r.paths != NULL && i < a->paths.n; i++)
		free(r.paths[i]);
	free(r.paths);
	free(r.old);
	buf_fini(&line);
	return ret;
}

static int
maintain(const struct args *a, struct log *log, struct err *e)
{
	int fd, n;

	if (a->dry_run) {
		log_note(log, "%s: would %s", str_q(a->dir), a->recover ?
		    "be recovered" : "lose its old trees");
		return 0;
	}
	if (swap_recover(a->dir, log, e) == -1)
		return -1;
	if ((fd = file_opendir(AT_FDCWD, a->dir, e)) != -1) {
		n = fs_sweep(fd, log, e);
		close(fd);
		if (n == -1)
			return -1;
	} else if (e->code == CALA_NOTFOUND) {
		err_clear(e);
	} else {
		return -1;
	}
	if (!a->discard)
		return 0;
	if ((n = swap_discard(a->dir, log, e)) == -1)
		return -1;
	log_step(log, "%s: %d old trees removed", str_q(a->dir), n);
	return 0;
}

int
main(int argc, char **argv)
{
	struct front f;
	struct err e = ERR_INIT;
	struct args a = { .front = &f, .overwrite = true, .xattrs = true,
	    .owners = geteuid() == 0, .commit_fd = UINT64_MAX };
	const struct opt table[] = {
		{ OPT_STR, 'C', "directory", "DIR",
		    "unpack into DIR, over what is there (default .)",
		    &a.dir, NULL },
		{ OPT_STR, 0, "to", "DIR", "make DIR: it appears when all is "
		    "there; --overwrite replaces one that holds something",
		    &a.to, NULL },
		{ OPT_FLAG, 0, "truncate", NULL, "replace all of -C DIR, in "
		    "one step when all is there; the old tree is kept",
		    &a.truncate, NULL },
		{ OPT_FLAG, 0, "keep-directory", NULL, "with --truncate: swap "
		    "what DIR holds, never DIR itself", &a.keep_dir, NULL },
		{ OPT_FLAG, 0, "discard-old", NULL, "remove the old trees of "
		    "DIR; with --truncate, after it", &a.discard, NULL },
		{ OPT_FLAG, 0, "recover", NULL, "finish or undo a swap of DIR "
		    "that was cut off", &a.recover, NULL },
		{ OPT_STR, 0, "id", "UUID", "name the staging after UUID",
		    &a.id, NULL },
		{ OPT_STR, 'i', "input", "FILE",
		    "read FILE instead of standard input (-)", &a.input,
		    NULL },
		{ OPT_FLAG, 0, "overwrite", NULL, "replace files that exist "
		    "(default in -C DIR)", &a.overwrite, NULL },
		{ OPT_FLAG, 0, "owners", NULL, "restore owners, setuid bits "
		    "and capabilities (default for root)", &a.owners, NULL },
		{ OPT_FLAG, 0, "numeric-owner", NULL,
		    "owners by number, not by name", &a.numeric, NULL },
		{ OPT_FLAG, 0, "xattrs", NULL,
		    "restore extended attributes and ACLs (default)",
		    &a.xattrs, NULL },
		{ OPT_FLAG, 0, "sparse", NULL,
		    "make holes of blocks that are zero", &a.sparse, NULL },
		{ OPT_U64, 'j', "jobs", "N", "write with N threads (default "
		    "2)", &a.jobs, NULL },
		{ OPT_SIZE, 0, "memory", "BYTES", "what decoding xz or lzip "
		    "may take (default 256 MiB)", &a.memory, NULL },
		{ OPT_SIZE, 0, "max-size", "SIZE",
		    "stop before SIZE bytes of files are passed",
		    &a.max_size, NULL },
		{ OPT_U64, 0, "max-entries", "N",
		    "stop before N entries are passed", &a.max_entries, NULL },
		{ OPT_RATE, 0, "limit-write", "RATE",
		    "write at most RATE bytes a second", &a.limit_write,
		    NULL },
		{ OPT_SIZE, 0, "expect", "BYTES", "how much there is: for the "
		    "time left, and so much must be free", &a.expect, NULL },
		{ OPT_U64, 0, "commit-fd", "N", "commit only when a 'C' comes "
		    "from descriptor N", &a.commit_fd, NULL },
		{ OPT_STR, 0, "report", "FILE",
		    "write what was done to FILE as JSON", &a.report, NULL },
		{ OPT_FLAG, 'n', "dry-run", NULL,
		    "list what would be unpacked", &a.dry_run, NULL },
		{ OPT_FLAG, 0, "progress", NULL, "progress, also without a "
		    "terminal", &f.progress, NULL },
		FRONT_OPTS(f),
		FRONT_END
	};
	int ret = -1, got;

	front_init(&f, "cala-unpack", usage, example);
	got = front_parse(&f, table, argc, argv, &a.paths, NULL, &e);
	if (got == 1)
		return front_end(&f, NULL);
	if (got == 0 && decide(&a, argc, argv, &e) == -1) {
		if (e.hint[0] == '\0')
			err_hint(&e, "try 'cala-unpack --help'");
	} else if (got == 0) {
		ret = no_input(&a) ? maintain(&a, &f.log, &e) :
		    work(&a, &f.log, &e);
	}
	opt_list_free(&a.paths);
	return front_end(&f, ret == -1 ? &e : NULL);
}
