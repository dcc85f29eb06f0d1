/*
 * wire: lib/pbs as a program, for tests; where and who comes from PBS_URL,
 * PBS_FINGERPRINT, PBS_TOKEN, PBS_SECRET, PBS_STORE, PBS_NS (pbs.bash).
 *
 *	wire put ID TIME FILE     a session: FILE as chunks of 1 MiB, whatever
 *	                          the previous snapshot has not sent again
 *	wire get ID TIME          a session: what put stored, to stdout
 *	wire rest CALL [ID TIME [ARGUMENT]]    a call of rest.h; its answer
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/str.h"
#include "pbs/backup.h"
#include "pbs/index.h"
#include "pbs/manifest.h"
#include "pbs/reader.h"
#include "pbs/rest.h"
#include "pbs/target.h"

enum { PIECE = 1 << 20, SLOTS = 8, FILE_MAX = 1 << 30 };

static struct pbs_target target;
static struct secret token = SECRET_INIT;
static struct log logger;

static int
set_up(struct err *e)
{
	const char *url = getenv("PBS_URL"), *pin = getenv("PBS_FINGERPRINT");
	const char *s = getenv("PBS_SECRET"), *word;

	if (url == NULL || s == NULL)
		return err_set(e, CALA_USAGE, "PBS_URL, PBS_SECRET?");
	if (pbs_target_url(&target, url, e) == -1 ||
	    secret_set(&token, s, strlen(s), e) == -1)
		return -1;
	if (pin != NULL && *pin != '\0' &&
	    pbs_target_pin(&target, pin, e) == -1)
		return -1;
	target.token_id = getenv("PBS_TOKEN");
	target.token_secret = &token;
	target.datastore = getenv("PBS_STORE");
	target.ns = getenv("PBS_NS");
	target.cacert = getenv("WIRE_CACERT");
	target.proxy = getenv("WIRE_PROXY");
	if ((word = getenv("WIRE_STALL")) != NULL)
		target.stall = (unsigned)strtoul(word, NULL, 10);
	if ((word = getenv("WIRE_ANSWER")) != NULL)
		target.answer = (unsigned)strtoul(word, NULL, 10);
	return pbs_target_check(&target, e);
}

/* ---- put ---- */

struct up {
	struct pbs_chunk c;
	bool busy;
	uint64_t start;
	unsigned char head[PBS_BLOB_HEAD];
	unsigned char *data;
};

struct put {
	struct pbs_backup *b;
	struct pbs_writer w;
	struct pbs_coder *coder;
	struct sha256 *sum;
	struct up up[SLOTS];
	uint64_t size, count;
	unsigned char *known;           /* digests of the previous one */
	size_t nknown;
};

static bool
is_known(const struct put *p, const unsigned char *digest)
{
	size_t i;

	for (i = 0; i < p->nknown; i++)
		if (memcmp(p->known + i * PBS_DIGEST, digest, PBS_DIGEST) == 0)
			return true;
	return false;
}

static int
read_previous(struct put *p, struct err *e)
{
	struct pbs_index ix;
	struct buf b;
	int64_t before = 0;
	size_t i;
	int n, ret = -1;

	buf_init(&b, 64 << 20);
	if ((n = pbs_backup_before(p->b, &before, e)) != 1) {
		ret = n;
		goto out;
	}
	fprintf(stderr, "previous %" PRId64 "\n", before);
	if (pbs_backup_previous_buf(p->b, "root.pxar.didx", &b, e) == -1 ||
	    pbs_index_open(&ix, b.p, b.len, e) == -1)
		goto out;
	if ((p->known = malloc(ix.n * PBS_DIGEST + 1)) == NULL) {
		err_oom(e);
		goto out;
	}
	for (i = 0; i < ix.n; i++)
		memcpy(p->known + i * PBS_DIGEST, pbs_index_digest(&ix, i),
		    PBS_DIGEST);
	p->nknown = ix.n;
	ret = 0;
out:
	buf_fini(&b);
	return ret;
}

/* The oldest slot: stored, and now in the index. */
static int
settle(struct put *p, struct up *u, struct err *e)
{
	struct pbs_append a;

	if (!u->busy)
		return 0;
	u->busy = false;
	if (u->c.nblob > 0 && pbs_chunk_wait(p->b, &u->c, e) == -1)
		return -1;
	memset(&a, 0, sizeof(a));
	a.to = &p->w;
	a.n = 1;
	a.digest = &u->c.digest;
	a.start = &u->start;
	if (pbs_append_send(p->b, &a, e) == -1)
		return -1;
	return pbs_append_wait(p->b, &a, e);
}

static int
put_file(struct put *p, FILE *f, struct err *e)
{
	struct up *u;
	size_t n, len, i;

	for (i = 0;; i++) {
		u = &p->up[i % SLOTS];
		if (settle(p, u, e) == -1)
			return -1;
		n = fread(u->data, 1, PIECE, f);
		if (n == 0)
			break;
		memset(&u->c, 0, sizeof(u->c));
		u->c.to = &p->w;
		u->c.size = n;
		u->start = p->size;
		pbs_coder_digest(p->coder, u->data, n, u->c.digest);
		p->size += n;
		p->count++;
		pbs_csum_add(p->sum, p->size, u->c.digest);
		u->busy = true;
		if (is_known(p, u->c.digest))
			continue;
		if (pbs_blob_make(p->coder, u->data, n, u->data + PIECE, &len,
		    e) == -1)
			return -1;
		u->c.blob[0].iov_base = u->data + PIECE;
		u->c.blob[0].iov_len = len;
		u->c.nblob = 1;
		if (pbs_chunk_send(p->b, &u->c, e) == -1) {
			u->busy = false;
			return -1;
		}
	}
	for (n = 0; n < SLOTS; n++)
		if (settle(p, &p->up[(i + n) % SLOTS], e) == -1)
			return -1;
	return 0;
}

static int
put_manifest(struct put *p, const char *id, int64_t time, struct err *e)
{
	struct pbs_manifest m = { .n = 0 };
	unsigned char csum[PBS_DIGEST], *blob = NULL;
	struct buf json;
	size_t len;
	int ret = -1;

	buf_init(&json, 1 << 20);
	sha256_end(p->sum, csum);
	if (pbs_writer_close(p->b, &p->w, p->count, p->size, csum, e) == -1 ||
	    pbs_manifest_init(&m, "host", id, time, e) == -1 ||
	    pbs_manifest_add(&m, "root.pxar.didx", PBS_MODE_NONE, p->size,
	    csum, e) == -1 || pbs_manifest_put(&m, NULL, &json, e) == -1)
		goto out;
	if ((blob = malloc(json.len + PBS_BLOB_ROOM)) == NULL) {
		err_oom(e);
		goto out;
	}
	if (pbs_blob_make(p->coder, json.p, json.len, blob, &len, e) == 0 &&
	    pbs_backup_blob(p->b, PBS_MANIFEST, blob, len, e) == 0)
		ret = pbs_backup_finish(p->b, e);
out:
	free(blob);
	pbs_manifest_fini(&m);
	buf_fini(&json);
	return ret;
}

static int
put(const struct pbs_snap *s, const char *name, struct err *e)
{
	struct put p = { .b = NULL };
	FILE *f = fopen(name, "rb");
	int i, ret = -1;

	if (f == NULL)
		return err_sys(e, "%s", name);
	for (i = 0; i < SLOTS; i++)
		if ((p.up[i].data = malloc(2 * PIECE + PBS_BLOB_ROOM)) == NULL)
			goto out;
	if ((p.coder = pbs_coder_new(NULL, 0, e)) == NULL ||
	    (p.sum = sha256_new(e)) == NULL ||
	    (p.b = pbs_backup_start(&target, s, &logger, e)) == NULL ||
	    read_previous(&p, e) == -1 ||
	    pbs_writer_open(p.b, &p.w, "root.pxar.didx", e) == -1)
		goto out;
	if (put_file(&p, f, e) == 0)
		ret = put_manifest(&p, s->id, s->time, e);
out:
	pbs_backup_free(p.b);
	for (i = 0; i < SLOTS; i++)
		free(p.up[i].data);
	free(p.known);
	pbs_coder_free(p.coder);
	sha256_free(p.sum);
	fclose(f);
	return ret;
}

/* ---- get ---- */

static int
get_chunks(struct pbs_reader *r, const struct pbs_index *ix, struct err *e)
{
	struct pbs_coder *coder = pbs_coder_new(NULL, 0, e);
	struct pbs_fetch f[SLOTS];
	struct buf blob[SLOTS];
	unsigned char *out = malloc(PBS_CHUNK_MAX);
	bool busy[SLOTS] = { false };
	size_t i, k, len;
	int ret = coder != NULL && out != NULL ? 0 : -1;

	memset(f, 0, sizeof(f));
	for (i = 0; i < SLOTS; i++)
		buf_init(&blob[i], PBS_BLOB_MAX);
	for (i = 0; ret == 0 && i < ix->n + SLOTS; i++) {
		k = i % SLOTS;
		if (i >= SLOTS) {
			len = pbs_index_length(ix, i - SLOTS);
			busy[k] = false;
			if (pbs_fetch_wait(r, &f[k], e) == -1 ||
			    pbs_chunk_open(coder, blob[k].p, blob[k].len,
			    f[k].digest, out, len, e) == -1 ||
			    fwrite(out, 1, len, stdout) != len)
				ret = -1;
		}
		if (ret == 0 && i < ix->n) {
			memset(&f[k], 0, sizeof(f[k]));
			f[k].blob = &blob[k];
			memcpy(f[k].digest, pbs_index_digest(ix, i),
			    PBS_DIGEST);
			ret = pbs_fetch_send(r, &f[k], e);
			busy[k] = ret == 0;
		}
	}
	/* what was asked for must end before its memory goes */
	for (k = 0; k < SLOTS; k++) {
		struct err ignored;

		if (busy[k])
			(void)pbs_fetch_wait(r, &f[k], &ignored);
		buf_fini(&blob[k]);
	}
	pbs_coder_free(coder);
	free(out);
	return ret;
}

static int
get(const struct pbs_snap *s, struct err *e)
{
	struct pbs_reader *r = pbs_reader_open(&target, s, &logger, e);
	struct pbs_index ix;
	struct buf b;
	int ret = -1;

	if (r == NULL)
		return -1;
	buf_init(&b, 64 << 20);
	if (pbs_reader_file(r, "root.pxar.didx", &b, e) == 0 &&
	    pbs_index_open(&ix, b.p, b.len, e) == 0)
		ret = get_chunks(r, &ix, e);
	buf_fini(&b);
	pbs_reader_free(r);
	return ret;
}

/* ---- calls ---- */

static int
show(json_t *j)
{
	if (j == NULL)
		return -1;
	json_dumpf(j, stdout, JSON_COMPACT | JSON_ENCODE_ANY |
	    JSON_SORT_KEYS);
	putchar('\n');
	json_decref(j);
	return 0;
}

static void
line(void *arg, const char *text)
{
	(void)arg;
	puts(text);
}

static int
verify(struct pbs_rest *r, const struct pbs_snap *s, struct err *e)
{
	char upid[PBS_UPID];
	int n;

	if (pbs_verify(r, s, true, upid, e) == -1)
		return -1;
	puts(upid);
	n = pbs_task_wait(r, upid, line, NULL, 60, e);
	printf("verdict %d\n", n);
	return n == -1 ? -1 : 0;
}

static int
of_snapshot(struct pbs_rest *r, const char *call, const struct pbs_snap *s,
    const char *arg, struct err *e)
{
	struct pbs_keep keep = { .last = (unsigned)strtoul(arg, NULL, 10) };
	struct buf b;
	int n, ret;

	if (strcmp(call, "files") == 0)
		return show(pbs_files(r, s, e));
	if (strcmp(call, "notes") == 0)
		return show(pbs_notes(r, s, e));
	if (strcmp(call, "set-notes") == 0)
		return pbs_set_notes(r, s, arg, e);
	if (strcmp(call, "protected") == 0)
		return show(pbs_protected(r, s, e));
	if (strcmp(call, "protect") == 0)
		return pbs_protect(r, s, strcmp(arg, "yes") == 0, e);
	if (strcmp(call, "forget") == 0)
		return pbs_forget(r, s, e);
	if (strcmp(call, "prune") == 0 || strcmp(call, "prune-dry") == 0)
		return show(pbs_prune(r, s, &keep, call[5] != '\0', e));
	if (strcmp(call, "verify") == 0)
		return verify(r, s, e);
	if (strcmp(call, "log") == 0)
		return pbs_send_log(r, s, arg, strlen(arg), e);
	if (strcmp(call, "finished") == 0) {
		if ((n = pbs_finished(r, s, e)) != -1)
			printf("%d\n", n);
		return n == -1 ? -1 : 0;
	}
	if (strcmp(call, "download") != 0)
		return err_set(e, CALA_USAGE, "no such call: %s", call);
	buf_init(&b, 64 << 20);
	ret = pbs_download(r, s, arg, &b, e);
	if (ret == 0 && fwrite(b.p, 1, b.len, stdout) != b.len)
		ret = err_sys(e, "stdout");
	buf_fini(&b);
	return ret;
}

static int
rest(const char *call, const struct pbs_snap *s, const char *arg,
    struct err *e)
{
	struct pbs_rest *r = pbs_rest_new(&target, &logger, e);
	int ret;

	if (r == NULL)
		return -1;
	if (strcmp(call, "ping") == 0)
		ret = pbs_ping(r, e);
	else if (strcmp(call, "version") == 0)
		ret = show(pbs_version(r, e));
	else if (strcmp(call, "permissions") == 0)
		ret = show(pbs_permissions(r, e));
	else if (strcmp(call, "status") == 0)
		ret = show(pbs_status(r, e));
	else if (strcmp(call, "namespaces") == 0)
		ret = show(pbs_namespaces(r, e));
	else if (strcmp(call, "groups") == 0)
		ret = show(pbs_groups(r, e));
	else if (strcmp(call, "namespace") == 0)
		ret = pbs_namespace_create(r, s->id, e);
	else if (strcmp(call, "snapshots") == 0)
		ret = show(pbs_snapshots(r, s->id != NULL ? "host" : NULL,
		    s->id, e));
	else
		ret = of_snapshot(r, call, s, arg, e);
	pbs_rest_free(r);
	return ret;
}

static int
run(int argc, char **argv, struct err *e)
{
	struct pbs_snap s = { .type = "host" };
	int at = argc > 1 && strcmp(argv[1], "rest") == 0 ? 3 : 2;

	if (argc <= 2 || (at == 2 && argc < 4))
		return err_set(e, CALA_USAGE, "usage: wire put ID TIME FILE |"
		    " wire get ID TIME | wire rest CALL [ID TIME [ARGUMENT]]");
	s.id = argc > at ? argv[at] : NULL;
	s.time = argc > at + 1 ? strtoll(argv[at + 1], NULL, 10) : 0;
	if (set_up(e) == -1)
		return -1;
	if (at == 3)
		return rest(argv[2], &s, argc > 5 ? argv[5] : "", e);
	if (strcmp(argv[1], "put") == 0 && argc == 5)
		return put(&s, argv[4], e);
	if (strcmp(argv[1], "get") == 0)
		return get(&s, e);
	return err_set(e, CALA_USAGE, "no such word: %s", argv[1]);
}

int
main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	int ret;

	log_init(&logger, stderr, "wire");
	if (getenv("WIRE_DEBUG") != NULL)
		logger.level = LOG_WIRE;
	ret = run(argc, argv, &e);
	if (ret == 0 && fflush(stdout) != 0)
		ret = err_sys(&e, "stdout");
	if (ret == -1)
		log_error(&logger, &e);
	secret_free(&token);
	log_fini(&logger);
	return ret == 0 ? 0 : e.code;
}
