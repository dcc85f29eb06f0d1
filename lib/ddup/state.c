/*
 * state: how we left the repository, so that a foreign hand shows.
 *
 * cala-state:
 *
 *	cala-state 2
 *	index HEX       XXH3-128 of the index's file
 *	others HEX      of each archive that is not ours, together
 *	since HEX       a name, drawn anew when another program has locked
 *
 * The others' archives are in it because the other program gives them their
 * names before it saves the index: killed in between, it leaves an archive whose
 * uses nobody counted, with ids that nobody knows to be given, behind an index
 * that is just as we left it.  And it removes chunks before that: what was noted
 * of chunks under another name of the time is not trusted.
 */

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/code.h"
#include "base/file.h"
#include "base/str.h"
#include "ddup/archive.h"
#include "ddup/care.h"
#include "ddup/int.h"

#define HEAD "cala-state 2\nindex "
#define MIDDLE "\nothers "
#define END "\nsince "

enum { SUM = 16, HEX = 2 * SUM,
	TEXT = sizeof(HEAD) - 1 + HEX + sizeof(MIDDLE) - 1 + HEX +
	    sizeof(END) - 1 + HEX + 1 };

/* In or out: it is the same, and in any order. */
static void
stir(unsigned char sum[SUM], const char *name, const struct stat *st)
{
	unsigned char p[24 + DDUP_FILE];
	size_t i, n = strlen(name);
	XXH128_canonical_t c;

	put_le64(p, (uint64_t)st->st_size);
	put_le64(p + 8, (uint64_t)st->st_mtim.tv_sec);
	put_le64(p + 16, (uint64_t)st->st_mtim.tv_nsec);
	memcpy(p + 24, name, n);
	XXH128_canonicalFromHash(&c, XXH3_128bits(p, 24 + n));
	for (i = 0; i < SUM; i++)
		sum[i] ^= c.digest[i];
}

static int
other(void *arg, const char *name, struct err *e)
{
	struct ddup *r = arg;
	struct stat st;

	(void)e;
	/* One without an end shows nothing, whoever began it. */
	if (strlen(name) <= DDUP_NAME_MAX && archive_foreign(r, name, &st))
		stir(r->others, name, &st);
	return 0;
}

int
repo_others(struct ddup *r, struct err *e)
{
	memset(r->others, 0, sizeof(r->others));
	return care_archives(r, other, r, e);
}

void
repo_others_less(struct ddup *r, const char *name)
{
	struct stat st;

	if (archive_foreign(r, name, &st))
		stir(r->others, name, &st);
}

void
state_save(int dir, const struct index *ix, const unsigned char others[SUM],
    const unsigned char since[SUM])
{
	struct err ignored = ERR_INIT;
	struct afile f = AFILE_INIT;
	char text[TEXT + 1], a[HEX + 1], b[HEX + 1], c[HEX + 1];

	hex_put(ix->file.sum, SUM, a);
	hex_put(others, SUM, b);
	hex_put(since, SUM, c);
	snprintf(text, sizeof(text), HEAD "%s" MIDDLE "%s" END "%s\n", a, b,
	    c);
	/* Lost or torn, it costs a recount before the next delete. */
	if (afile_open(&f, dir, DDUP_STATE, &ignored) == 0 &&
	    file_write_all(f.fd, text, TEXT) == 0 &&
	    (ix->uid == geteuid() || fchown(f.fd, ix->uid, ix->gid) == 0))
		(void)afile_commit(&f, 0600, AFILE_LAZY, &ignored);
	afile_abort(&f);
}

void
repo_state_save(struct ddup *r)
{
	state_save(r->dir, &r->ix, r->others, r->since);
}

void
state_touched(struct ddup *r)
{
	r->touched = true;
	if (getrandom(r->since, SUM, 0) != SUM)
		memset(r->since, 0, SUM);
}

void
repo_state_doubt(struct ddup *r)
{
	state_touched(r);
	/* Without it all is doubted: also when no room is left for a new one. */
	(void)unlinkat(r->dir, DDUP_STATE, 0);
	/* What is not counted yet must not look as if it were. */
	if (!r->strange)
		repo_state_save(r);
}

/* The sum behind the text at *p, which is passed over. */
static bool
sum_of(const char **p, const char *text, unsigned char sum[SUM])
{
	char hex[HEX + 1];

	if (!str_begins(*p, text) || strlen(*p) < strlen(text) + HEX)
		return false;
	*p += strlen(text);
	memcpy(hex, *p, HEX);
	hex[HEX] = '\0';
	*p += HEX;
	return hex_get(hex, SUM, sum) == 0;
}

/* foreign and since; false when others can't be told. */
static bool
state_read(struct ddup *r, unsigned char others[SUM])
{
	struct err ignored = ERR_INIT;
	unsigned char sum[SUM];
	bool ret = false;
	const char *p;
	struct buf b;

	r->foreign = true;
	buf_init(&b, 4096);
	if (file_slurp(&b, r->dir, DDUP_STATE, &ignored) == 0 &&
	    strlen(b.p) == b.len) {
		p = b.p;
		r->foreign = r->ix.damage[0] != '\0' ||
		    !sum_of(&p, HEAD, sum) || !index_sum(&r->ix, sum);
		ret = !r->foreign && sum_of(&p, MIDDLE, others) &&
		    sum_of(&p, END, r->since) && strcmp(p, "\n") == 0;
	}
	buf_fini(&b);
	return ret;
}

void
ddup_trust(struct ddup *r, const unsigned char since[SUM])
{
	static const unsigned char none[SUM];
	unsigned char others[SUM];

	r->trusted = state_read(r, others) && !r->touched &&
	    memcmp(since, none, SUM) != 0 &&
	    memcmp(since, r->since, SUM) == 0;
}

void
ddup_since(const struct ddup *r, unsigned char since[SUM])
{
	memcpy(since, r->since, SUM);
}

void
repo_state_look(struct ddup *r)
{
	struct err ignored = ERR_INIT;
	unsigned char others[SUM];

	r->strange = !state_read(r, others) ||
	    repo_others(r, &ignored) == -1 ||
	    memcmp(r->others, others, SUM) != 0;
	if (r->strange || r->touched)
		state_touched(r);
}
