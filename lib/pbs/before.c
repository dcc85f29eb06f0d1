#include "pbs/before.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "pbs/backup.h"
#include "pbs/blob.h"

enum { INDEX_MAX = 1 << 29 };           /* bytes: 50 TiB in chunks of 4 MiB */

static int
read_manifest(struct pbs_before *b, struct err *e)
{
	struct pbs_coder *k = pbs_coder_new(NULL, 0, e);
	unsigned char print[PBS_DIGEST];
	struct buf blob, text;
	int ret = -1;

	buf_init(&blob, PBS_BLOB_MAX);
	buf_init(&text, PBS_MANIFEST_MAX);
	if (k == NULL || pbs_backup_previous_buf(b->session, PBS_MANIFEST,
	    &blob, e) == -1 ||
	    pbs_blob_open(k, blob.p, blob.len, &text, e) == -1 ||
	    pbs_manifest_parse(&b->m, text.p, text.len, e) == -1)
		goto out;
	ret = pbs_manifest_check(&b->m, b->crypt, e);
	/* With a key whatever is not signed may be anybody's. */
	if (ret == 1 && b->crypt != NULL)
		ret = err_set(e, CALA_INTEGRITY, "it is not signed by the "
		    "key");
	ret = ret == -1 ? -1 : 0;
	/* Plain chunks never have the digests of encrypted ones. */
	if (ret == 0 && b->crypt != NULL &&
	    pbs_manifest_print(&b->m, print) != 1)
		ret = err_set(e, CALA_AUTH, "it is not encrypted");
	if (ret == 0 && b->m.time != b->time)
		ret = err_set(e, CALA_INTEGRITY, "its manifest is that of "
		    "another");
	/*
	 * What broke off with the server may name chunks that never reached its
	 * disk, and the server takes them from us without looking.
	 */
	if (ret == 0 && !pbs_manifest_finished(&b->m))
		ret = err_set(e, CALA_INTEGRITY, "it was never finished");
	if (ret == -1)
		pbs_manifest_fini(&b->m);
out:
	buf_fini(&blob);
	buf_fini(&text);
	pbs_coder_free(k);
	return ret;
}

/* Is it the previous snapshot that is to blame, not the session? */
static bool
its_own(const struct err *e)
{
	return e->code != CALA_NET && e->code < CALA_SIGNAL &&
	    e->code != CALA_TLS && e->code != CALA_DEADLINE;
}

int
pbs_before_load(struct pbs_before *b, struct pbs_backup *session,
    const struct pbs_crypt *crypt, struct log *log, struct err *e)
{
	struct err why = ERR_INIT;
	int there;

	memset(b, 0, sizeof(*b));
	b->session = session;
	b->crypt = crypt;
	b->log = log;
	if ((there = pbs_backup_before(session, &b->time, e)) != 1)
		return there;
	if (read_manifest(b, &why) == 0) {
		b->any = true;
		return 0;
	}
	if (!its_own(&why)) {
		*e = why;
		return -1;
	}
	log_step(log, "the previous snapshot is not used: %s", why.msg);
	return 0;
}

void
pbs_before_fini(struct pbs_before *b)
{
	while (b->n > 0)
		buf_fini(&b->file[--b->n].bytes);
	pbs_manifest_fini(&b->m);
	memset(b, 0, sizeof(*b));
}

static int
load(struct pbs_before *b, unsigned i, const struct pbs_file *f,
    struct err *e)
{
	struct pbs_index ix;
	struct buf *to = &b->file[i].bytes;

	if (f->mode != (b->crypt != NULL ? PBS_MODE_ENCRYPT : PBS_MODE_NONE) &&
	    (b->crypt != NULL || f->mode != PBS_MODE_SIGN))
		return err_set(e, CALA_AUTH, "its mode is %s",
		    pbs_mode_name(f->mode));
	if (pbs_backup_previous_buf(b->session, f->name, to, e) == -1 ||
	    pbs_index_open(&ix, to->p, to->len, e) == -1)
		return -1;
	if (ix.fixed || ix.size != f->size ||
	    memcmp(ix.csum, f->csum, PBS_DIGEST) != 0)
		return err_set(e, CALA_INTEGRITY,
		    "it is not what the manifest says");
	b->file[i].ix = ix;
	return 0;
}

const struct pbs_index *
pbs_before_index(struct pbs_before *b, const char *name)
{
	const struct pbs_file *f;
	struct err why = ERR_INIT;
	unsigned i;

	for (i = 0; i < b->n; i++)
		if (strcmp(b->file[i].name, name) == 0)
			return b->file[i].usable ? &b->file[i].ix : NULL;
	if (!b->any || (f = pbs_manifest_file(&b->m, name)) == NULL ||
	    i == PBS_BEFORE_FILES || strlen(name) >=
	    sizeof(b->file[i].name))
		return NULL;
	b->n++;
	memcpy(b->file[i].name, name, strlen(name) + 1);
	buf_init(&b->file[i].bytes, INDEX_MAX);
	b->file[i].usable = load(b, i, f, &why) == 0;
	if (b->file[i].usable)
		return &b->file[i].ix;
	log_step(b->log, "%s of the previous snapshot is not used: %s", name,
	    why.msg);
	buf_fini(&b->file[i].bytes);
	return NULL;
}
