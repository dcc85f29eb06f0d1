/* cala-s3put: standard input, or a command's output, into one object. */

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/whole.h"
#include "base/file.h"
#include "base/io.h"
#include "base/str.h"
#include "base/when.h"
#include "driver/s3_memory.h"
#include "driver/s3tool.h"
#include "front/front.h"
#include "front/meter.h"
#include "front/report.h"

static const char usage[] =
    "cala-s3put [options] -c CONFIGURATION KEY [-- COMMAND...]\n"
    "       cala-s3put [options] s3://BUCKET/KEY [-- COMMAND...]";
static const char example[] =
    "example:\n"
    "  cala-s3put -c hetzner mc/today.tar.zst -- cala-pack -C /srv/mc .";

enum { PAIRS = 50 };

/* KEY=VALUE, taken apart: k, v, k, v, NULL. */
struct pairs {
	const char *v[2 * PAIRS + 1];
	size_t n;
	char *own[PAIRS];
};

struct args {
	const char *content_type, *storage_class, *ok_status, *checksum;
	const char *spool;
	uint64_t commit_fd, part_size, expect;
	bool allow_empty, no_check, strict, if_absent, exact;
	struct pairs meta, tags;
	struct opt_list rest;
};

struct run {
	struct args *a;
	struct s3tool t;
	struct log *log;
	struct s3_upload how;
	struct whole in;
	struct memory memory;
	int dirfd;              /* of the memory; -1: none */
	_Atomic uint64_t bytes;
	double began;
};

static int
add_pair(void *to, const char *text, struct err *e)
{
	struct pairs *p = to;
	const char *eq = strchr(text, '=');
	char *s;

	if (eq == NULL || eq == text)
		return err_set(e, CALA_USAGE, "'%s': NAME=VALUE is meant",
		    str_q(text));
	if (p->n == PAIRS)
		return err_set(e, CALA_USAGE, "more than %d of them",
		    (int)PAIRS);
	if ((s = strdup(text)) == NULL)
		return err_oom(e);
	s[eq - text] = '\0';
	p->own[p->n] = s;
	p->v[2 * p->n] = s;
	p->v[2 * p->n + 1] = s + (eq - text) + 1;
	p->n++;
	return 0;
}

static void
free_pairs(struct pairs *p)
{
	while (p->n > 0)
		free(p->own[--p->n]);
}

static int
checksum(const char *word, enum s3_sum *out, struct err *e)
{
	static const struct { const char *word; enum s3_sum sum; } t[] = {
		{ "auto", S3_SUM_AUTO }, { "md5", S3_SUM_MD5 },
		{ "crc64nvme", S3_SUM_CRC64NVME },
		{ "crc32c", S3_SUM_CRC32C }, { "crc32", S3_SUM_CRC32 },
		{ "sha256", S3_SUM_SHA256 }, { "none", S3_SUM_NONE },
	};
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(*t); i++)
		if (strcmp(word, t[i].word) == 0) {
			*out = t[i].sum;
			return 0;
		}
	return err_set(e, CALA_USAGE, "--checksum: one of auto, md5, "
	    "crc64nvme, crc32c, crc32, sha256, none; not '%s'", str_q(word));
}

static int
options(struct run *r, struct err *e)
{
	struct args *a = r->a;
	struct s3_target *t = &r->t.setup.target;

	t->part_size = a->part_size;
	t->exact_parts = a->exact;
	t->spool = a->spool;
	t->storage_class = a->storage_class;
	if (a->tags.n > 0)
		t->tags = a->tags.v;
	if (a->checksum != NULL && checksum(a->checksum, &t->sum, e) == -1)
		return -1;
	r->how.type = a->content_type;
	r->how.expect = a->expect;
	r->how.only_new = a->if_absent;
	r->how.meta = a->meta.n > 0 ? a->meta.v : NULL;
	r->in.command = a->rest.v;
	r->in.ok_status = a->ok_status;
	r->in.no_check = a->no_check;
	r->in.allow_empty = a->allow_empty;
	r->in.any = true;
	r->in.strict = a->strict;
	r->in.memory = r->t.memory;
	r->in.bytes = &r->bytes;
	r->in.log = r->log;
	return whole_check(&r->in, a->commit_fd, e);
}

static int
report(struct run *r, struct err *e)
{
	const struct s3_upload *u = &r->how;
	struct front_report rep;

	if (!r->t.json)
		return 0;
	s3tool_report(&r->t, &rep, r->log);
	jw_u64(&rep.j, "size", u->size);
	jw_u64(&rep.j, "parts", u->parts);
	s3tool_proof(&rep, u->etag, u->version, u->verified);
	jw_real(&rep.j, "seconds", when_mono() - r->began);
	return front_report_print(&rep, stdout, "standard output", e) == 0 ?
	    0 : err_ctx(e, "the object is stored, but the report can't be "
	    "told");
}

/* ---- what SIGKILL leaves, the next run or gc removes ---- */

static void
on_opened(void *arg, const char *key, const char *id)
{
	struct run *r = arg;
	struct err e = ERR_INIT;

	if (r->dirfd == -1)
		return;
	if (memory_note(&r->memory, r->dirfd, &r->t.setup.target, key, id,
	    &e) == -1)
		log_step(r->log, "an interrupted upload would not be "
		    "remembered: %s", e.msg);
	memory_sweep(r->dirfd, &r->t.setup.target, r->t.s3, r->log);
}

static void
on_closed(void *arg, const char *key, const char *id)
{
	struct run *r = arg;

	(void)key;
	(void)id;
	memory_drop(&r->memory);
}

static void
remember(struct run *r)
{
	struct err e = ERR_INIT;

	r->dirfd = memory_open(environ, true, &e);
	if (r->dirfd == -1)
		log_step(r->log, "an interrupted upload would not be "
		    "remembered: %s", e.msg);
	r->how.opened = on_opened;
	r->how.closed = on_closed;
	r->how.arg = r;
}

/* What could not be aborted stays noted. */
static void
forget(struct run *r)
{
	if (r->memory.fd != -1)
		close(r->memory.fd);
	if (r->dirfd != -1)
		close(r->dirfd);
}

static int
work(struct run *r, struct err *e)
{
	struct front_meter meter = { .on = false };
	struct progress_how how = { .log = r->log,
	    .bytes = &r->bytes, .expected = r->a->expect };
	struct sink *sink;
	int ret = -1;

	r->began = when_mono();
	remember(r);
	if ((sink = s3_upload(r->t.s3, r->t.key, &r->how, e)) == NULL)
		return -1;
	how.mode = progress_mode(r->t.front->progress, r->t.front->progress_off,
	    r->t.front->quiet, r->t.json, isatty(STDERR_FILENO) == 1);
	if (front_meter_start(&meter, &how, e) == 0 &&
	    whole_run(&r->in, sink, e) == 0)
		ret = sink_commit(sink, e);
	front_meter_stop(&meter);
	sink_free(sink);
	if (ret == -1)
		return -1;
	if (r->how.verified == NULL)
		log_step(r->log, "%s: the store confirmed every part, "
		    "but no checksum of them", str_q(r->t.key));
	if (r->in.partial)
		log_warn(r->log, "%s: stored, but partial",
		    str_q(r->t.key));
	return report(r, e);
}

int
main(int argc, char **argv)
{
	struct args a = { .commit_fd = UINT64_MAX };
	struct err e = ERR_INIT;
	struct front f;
	struct run r = { .a = &a, .t = S3TOOL_INIT(&f), .log = &f.log,
	    .memory = MEMORY_INIT, .dirfd = -1 };
	const struct opt table[] = {
		{ OPT_U64, 0, "commit-fd", "N",
		    "commit when descriptor N says C", &a.commit_fd, NULL },
		{ OPT_STR, 0, "ok-status", "LIST",
		    "exit statuses of COMMAND that mean well", &a.ok_status,
		    NULL },
		{ OPT_FLAG, 0, "require-proof", NULL,
		    "take no end of input for the end of the data",
		    &a.strict, NULL },
		{ OPT_FLAG, 0, "no-check", NULL,
		    "store also what is cut short or contradicts itself",
		    &a.no_check, NULL },
		{ OPT_FLAG, 0, "allow-empty", NULL, "store even nothing",
		    &a.allow_empty, NULL },
		{ OPT_FLAG, 0, "if-absent", NULL,
		    "never replace an object (exit 15)", &a.if_absent, NULL },
		{ OPT_STR, 0, "content-type", "TYPE",
		    "default: by the ending of KEY", &a.content_type, NULL },
		{ OPT_CALL, 0, "meta", "NAME=VALUE",
		    "user metadata; may repeat", &a.meta, add_pair },
		{ OPT_CALL, 0, "tag", "NAME=VALUE",
		    "a tag; may repeat", &a.tags, add_pair },
		{ OPT_STR, 0, "storage-class", "CLASS",
		    "STANDARD_IA, GLACIER_IR, ...", &a.storage_class, NULL },
		{ OPT_STR, 0, "checksum", "NAME",
		    "auto, md5, crc64nvme, crc32c, crc32, sha256, none",
		    &a.checksum, NULL },
		{ OPT_SIZE, 0, "part-size", "SIZE",
		    "parts no larger than SIZE", &a.part_size, NULL },
		{ OPT_FLAG, 0, "exact-parts", NULL,
		    "all parts but the last of --part-size", &a.exact, NULL },
		{ OPT_STR, 0, "spool-dir", "DIR",
		    "where parts may lie that are too large for memory",
		    &a.spool, NULL },
		{ OPT_SIZE, 0, "expected-size", "SIZE",
		    "what is to come; refused at once if it can't fit",
		    &a.expect, NULL },
		S3TOOL_OPTS(r.t),
		FRONT_CONFIG(f),
		FRONT_OPTS(f),
		FRONT_END
	};
	int ret;

	front_init(&f, "cala-s3put", usage, example);
	ret = front_parse(&f, table, argc, argv, &r.t.args, &a.rest, &e);
	if (ret == 0 && (ret = options(&r, &e)) == 0 &&
	    (ret = s3tool_open(&r.t, "s3put", environ, &e)) == 0) {
		/* they are read, and COMMAND is to have no secret from us */
		unsetenv("AWS_SECRET_ACCESS_KEY");
		unsetenv("AWS_SESSION_TOKEN");
		unsetenv("AWS_SECURITY_TOKEN");
		ret = work(&r, &e);
	}
	forget(&r);
	s3tool_close(&r.t);
	free_pairs(&a.meta);
	free_pairs(&a.tags);
	return front_end(&f, ret == -1 ? &e : NULL);
}
