/*
 * pack: an archive writer, put together from its parts:
 *
 *	entries → tarw → frames → [trail] → out         tar.zst, tar.gz, …
 *	entries → tarw → out                            tar
 *	entries → law                                   zip, 7z
 */

#include "archive/archive.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "archive/frames.h"
#include "archive/indexw.h"
#include "archive/law.h"
#include "archive/tarw.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/log.h"

/* A sink that hashes what passes, for the CALAEOS1 frame. */
struct trail {
	struct sink sink;
	struct sink *next;
	struct sha256 *hash;
	const void *lent;
};

static void *
trail_space(struct sink *s, size_t *n, struct err *e)
{
	struct trail *t = (struct trail *)s;
	void *p = sink_space(t->next, n, e);

	t->lent = p;
	return p;
}

static int
trail_used(struct sink *s, size_t n, struct err *e)
{
	struct trail *t = (struct trail *)s;

	sha256_add(t->hash, t->lent, n);
	return sink_used(t->next, n, e);
}

static int
trail_commit(struct sink *s, struct err *e)
{
	return sink_commit(((struct trail *)s)->next, e);
}

static void
trail_abort(struct sink *s)
{
	sha256_free(((struct trail *)s)->hash);
	free(s);
}

static struct sink *
trail_new(struct sink *next, struct err *e)
{
	static const struct sink_ops ops =
	    { trail_space, trail_used, NULL, trail_commit, trail_abort };
	struct trail *t = calloc(1, sizeof(*t));

	if (t == NULL) {
		err_oom(e);
		return NULL;
	}
	t->sink.ops = &ops;
	t->next = next;
	if ((t->hash = sha256_new(e)) == NULL) {
		free(t);
		return NULL;
	}
	return &t->sink;
}

/* The frame of cli-conventions §6: how many bytes came before, and which. */
static int
trail_end(struct sink *s, struct err *e)
{
	struct trail *t = (struct trail *)s;
	unsigned char p[56];

	put_le32(p, 0x184D2A5C);
	put_le32(p + 4, 48);
	memcpy(p + 8, "CALAEOS1", 8);
	put_le64(p + 16, s->pos);
	sha256_end(t->hash, p + 24);
	return sink_write(t->next, p, sizeof(p), e);
}

struct pack {
	struct writer w;
	struct sink *out;
	struct archive_write how;
	struct log *log;
	struct tarw *tar;
	struct sink *trail, *frames;
	struct indexw *index;
	struct writer *law;
	struct archive_sum sum;         /* of law */
};

static int
pack_put(struct writer *w, const struct entry *en, struct content *c,
    struct err *e)
{
	struct pack *p = (struct pack *)w;

	return p->law != NULL ? writer_put(p->law, en, c, e) :
	    tarw_put(p->tar, en, c, e);
}

int
archive_strict(const struct archive_write *how, struct log *log,
    struct err *e)
{
	if (!how->strict || log_warnings(log) == 0)
		return 0;
	return err_set(e, CALA_FAIL, "%ju warnings, and none are allowed",
	    (uintmax_t)log_warnings(log));
}

static int
pack_commit(struct writer *w, struct err *e)
{
	struct pack *p = (struct pack *)w;
	uint64_t len, warnings;

	if (p->law != NULL)
		return writer_commit(p->law, e);
	if (archive_strict(&p->how, p->log, e) == -1)
		return -1;
	if (tarw_end(p->tar, &len, e) == -1)
		return -1;
	if (p->frames == NULL)
		return sink_commit(p->out, e);
	if (p->index == NULL && p->trail == NULL)
		return sink_commit(p->frames, e);
	if (frames_flush(p->frames, e) == -1)
		return -1;
	if (p->trail != NULL) {
		if (trail_end(p->trail, e) == -1)
			return -1;
		return sink_commit(p->frames, e);
	}
	warnings = log_warnings(p->log);
	if ((p->how.format == ARCHIVE_TAR_ZST ?
	    indexw_zst(p->index, p->out, len, warnings, e) :
	    indexw_gz(p->index, p->out, len, warnings, e)) == -1)
		return -1;
	return sink_commit(p->frames, e);
}

static void
pack_abort(struct writer *w)
{
	struct pack *p = (struct pack *)w;

	writer_free(p->law);
	tarw_free(p->tar);
	sink_free(p->frames);
	sink_free(p->trail);
	indexw_free(p->index);
	free(p);
}

/* The compressing part of the chain, in front of p->out. */
static int
chain(struct pack *p, int level, struct err *e)
{
	const struct archive_write *how = &p->how;
	struct frames_plan plan;
	struct sink *to = p->out;
	bool zst = how->format == ARCHIVE_TAR_ZST;

	if (how->wings && (how->format == ARCHIVE_TAR_BZ2 ||
	    how->format == ARCHIVE_TAR_LZ4)) {
		p->frames = law_filter(to, how->format, level, e);
		return p->frames == NULL ? -1 : 0;
	}
	if (frames_plan(how, level, &plan, e) == -1)
		return -1;
	if (how->index && !how->foreign &&
	    (zst || how->format == ARCHIVE_TAR_GZ)) {
		p->index = indexw_new(how->tmp_dir, e);
		if (p->index == NULL)
			return -1;
	} else if (how->trailer && !how->foreign && zst) {
		if ((p->trail = trail_new(to, e)) == NULL)
			return -1;
		to = p->trail;
	}
	log_wire(p->log, "%u jobs, %ju MiB for frames, %ju MiB in all",
	    plan.jobs, (uintmax_t)(plan.budget >> 20),
	    (uintmax_t)(plan.total >> 20));
	p->frames = frames_new(how->format, level, &plan, p->index, to, e);
	return p->frames == NULL ? -1 : 0;
}

struct writer *
archive_writer(struct sink *out, const struct archive_write *how,
    struct log *log, struct err *e)
{
	static const struct writer_ops ops =
	    { pack_put, NULL, NULL, pack_commit, pack_abort };
	const struct archive_info *info = &archive_info[how->format];
	int level = how->level == INT_MIN ? info->level_def : how->level;
	struct pack *p;

	if (level < info->level_min || level > info->level_max) {
		err_set(e, CALA_USAGE, "%s: level %d is not in %d to %d",
		    info->ext, level, info->level_min, info->level_max);
		return NULL;
	}
	if ((p = calloc(1, sizeof(*p))) == NULL) {
		err_oom(e);
		return NULL;
	}
	p->w.ops = &ops;
	p->out = out;
	p->how = *how;
	p->log = log;
	if (how->format == ARCHIVE_ZIP || how->format == ARCHIVE_7Z) {
		p->law = law_writer(out, how, level, &p->sum, log, e);
		if (p->law == NULL)
			goto fail;
		return &p->w;
	}
	if (how->format != ARCHIVE_TAR && chain(p, level, e) == -1)
		goto fail;
	p->tar = tarw_new(p->frames != NULL ? p->frames : out, p->index,
	    how->foreign, how->wings, log, e);
	if (p->tar == NULL)
		goto fail;
	return &p->w;
fail:
	pack_abort(&p->w);
	return NULL;
}

const struct archive_sum *
archive_writer_sum(const struct writer *w)
{
	const struct pack *p = (const struct pack *)w;

	return p->law != NULL ? &p->sum : tarw_sum(p->tar);
}
