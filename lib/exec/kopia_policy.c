/*
 * kopia_policy: what a source's policy says while we back it up.
 *
 * Policies are the only way to tell Kopia what to leave out, they are kept in
 * the repository, and everybody's next snapshot of that source obeys them.  So
 * rules of ours are in one only while a put runs, and a file on disk, written
 * before, remembers it for the next run in case this one is killed.
 */

#include "exec/kopia_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

enum { POLICY_MAX = 256 << 20, HASH = 16, PATH_BYTES = 8 };

/* ---- what it must say ---- */

/* The object o[key], made when it is missing; borrowed. */
static json_t *
member(json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	if (!json_is_object(v)) {
		v = json_object();
		if (json_object_set_new(o, key, v) == -1)
			return NULL;
	}
	return v;
}

static int
fill(json_t *p, char *const *rules, size_t n, const char *compressor)
{
	static const char *const keep[] = { "keepLatest", "keepHourly",
	    "keepDaily", "keepWeekly", "keepMonthly", "keepAnnual" };
	json_t *retention = member(p, "retention"), *files = member(p, "files"),
	    *errors = member(p, "errorHandling"), *list, *one;
	int bad = 0;
	size_t i;

	/* All zero is "keep everything" (EffectiveKeepLatest). */
	for (i = 0; i < sizeof(keep) / sizeof(*keep); i++)
		bad |= json_object_set_new(retention, keep[i],
		    json_integer(0));
	bad |= json_object_set_new(retention, "ignoreIdenticalSnapshots",
	    json_false());
	/* Nothing that others have said, above it or in it. */
	(void)json_object_del(files, "ignore");
	bad |= json_object_set_new(files, "noParentIgnore", json_true());
	/* An empty list means the usual one; "." is never a file. */
	bad |= json_object_set_new(files, "ignoreDotFiles",
	    json_pack("[s]", "."));
	bad |= json_object_set_new(files, "noParentDotFiles", json_true());
	bad |= json_object_set_new(files, "ignoreCacheDirs", json_false());
	/* 0 would mean what is said above it. */
	bad |= json_object_set_new(files, "maxFileSize",
	    json_integer((json_int_t)1 << 62));
	bad |= json_object_set_new(files, "oneFileSystem", json_false());
	bad |= json_object_set_new(errors, "ignoreFileErrors", json_false());
	bad |= json_object_set_new(errors, "ignoreDirectoryErrors",
	    json_false());
	bad |= json_object_set_new(errors, "ignoreUnknownTypes", json_true());
	bad |= json_object_set_new(member(p, "scheduling"), "manual",
	    json_true());
	if (compressor != NULL)
		bad |= json_object_set_new(member(p, "compression"),
		    "compressorName", json_string(compressor));
	if (bad != 0 || n == 0)
		return bad != 0 ? -1 : 0;
	list = json_array();
	for (i = 0; i < n && bad == 0; i++) {
		one = json_string(rules[i]);
		bad = one == NULL ? -1 : json_array_append_new(list, one);
	}
	return bad != 0 || json_object_set(files, "ignore", list) == -1 ?
	    (json_decref(list), -1) : (json_decref(list), 0);
}

json_t *
kopia_policy_want(const json_t *now, char *const *rules, size_t n,
    const char *compressor, struct err *e)
{
	json_t *p = now != NULL ? json_deep_copy(now) : json_object();

	if (p == NULL || fill(p, rules, n, compressor) == -1) {
		json_decref(p);
		err_oom(e);
		return NULL;
	}
	return p;
}

size_t
kopia_policy_rules(const json_t *p)
{
	return json_array_size(json_object_get(json_object_get(p, "files"),
	    "ignore"));
}

/* ---- asking and telling ---- */

int
kopia_policy_start(struct kopia_run *r, struct kopia *k, const char *source,
    bool effective, struct err *e)
{
	const char *const own[] = { "policy", "export", source, NULL };
	const char *const all[] = { "policy", "show", "--json", source, NULL };
	struct kopia_cmd cmd = { .what = effective ? "policy show" :
	    "policy export", .args = effective ? all : own,
	    .in = PROC_NULL, .may_fail = true };

	return kopia_start(r, k, &cmd, e);
}

bool
kopia_policy_good(const json_t *effective, const char *compressor)
{
	struct err ignored = ERR_INIT;
	json_t *want = kopia_policy_want(effective, NULL, 0, compressor,
	    &ignored);
	bool good = want != NULL && json_equal(effective, want) == 1;

	json_decref(want);
	return good;
}

int
kopia_policy_read(struct kopia_run *r, const char *source, json_t **out,
    struct err *e)
{
	json_t *all, *one;
	struct buf b;
	char block[16384];
	ssize_t n;
	int ret = -1;

	*out = NULL;
	buf_init(&b, POLICY_MAX);
	while ((n = child_read(r->child, block, sizeof(block), e)) > 0)
		buf_add(&b, block, (size_t)n);
	if (n == -1 || buf_failed(&b, e) == -1)
		goto out;
	if (r->status != 0) {
		if (r->code == CALA_NOTFOUND)
			ret = 0;
		else
			kopia_failed(r, e);
		goto out;
	}
	if ((all = json_parse(b.p, b.len, r->name, e)) == NULL)
		goto out;
	/* Exported, it stands below the name of its source. */
	one = strstr(r->name, "export") != NULL ?
	    json_object_get(all, source) : all;
	if (json_is_object(one)) {
		*out = json_incref(one);
		ret = 0;
	} else {
		err_set(e, CALA_INTEGRITY, "%s: no policy of %s in its answer",
		    r->name, str_q(source));
	}
	json_decref(all);
out:
	buf_fini(&b);
	return ret;
}

int
kopia_policy_set(struct kopia *k, const char *source, json_t *policy,
    struct err *e)
{
	const char *const args[] = { "policy", "import", source, NULL };
	struct kopia_cmd cmd = { .what = "policy import", .args = args,
	    .in = -1 };
	json_t *all = json_object();
	char *text = NULL;
	struct kopia_run r;
	int ret = -1;

	if (all == NULL || json_object_set(all, source, policy) == -1 ||
	    (text = json_dumps(all, JSON_COMPACT)) == NULL) {
		err_oom(e);
		goto out;
	}
	if ((cmd.in = child_memory("policy", text, strlen(text), e)) == -1)
		goto out;
	ret = kopia_start(&r, k, &cmd, e);
	if (ret == 0)
		ret = child_finish(r.child, e);
	kopia_end(&r);
	close(cmd.in);
out:
	json_decref(all);
	free(text);
	return ret;
}

/* ---- notes on disk ---- */

/* "SLUG.HASH" suffix, with HASH of the source's path. */
static int
source_name(const struct kopia *k, const char *path, const char *suffix,
    char out[KOPIA_NAME], struct err *e)
{
	unsigned char md[SHA256_LEN];
	char hash[HASH + 1];

	if (sha256(path, strlen(path), md, e) == -1)
		return -1;
	hex_put(md, PATH_BYTES, hash);
	snprintf(out, KOPIA_NAME, "%s.%s%s", k->slug, hash, suffix);
	return 0;
}

int
kopia_source_lock(struct kopia *k, const char *path, bool alone,
    unsigned wait, struct err *e)
{
	char name[KOPIA_NAME];

	if (source_name(k, path, ".lock", name, e) == -1)
		return -1;
	return alone ? file_lock(k->dirfd, name, "cala-kopia", wait, e) :
	    file_lock_shared(k->dirfd, name, wait, e);
}

int
kopia_mark(struct kopia *k, const char *path, struct err *e)
{
	struct afile f = AFILE_INIT;
	char name[KOPIA_NAME];
	int ret = -1;

	if (source_name(k, path, ".rules", name, e) == -1 ||
	    afile_open(&f, k->dirfd, name, e) == -1)
		return -1;
	if (file_write_all(f.fd, path, strlen(path)) == -1)
		err_sys(e, "write %s", name);
	else
		ret = afile_commit(&f, 0600, 0, e);
	afile_abort(&f);
	return ret;
}

int
kopia_unmark(struct kopia *k, const char *path, struct err *e)
{
	char name[KOPIA_NAME];

	if (source_name(k, path, ".rules", name, e) == -1)
		return -1;
	if ((unlinkat(k->dirfd, name, 0) == -1 && errno != ENOENT) ||
	    fsync(k->dirfd) == -1)
		return err_sys(e, "remove %s", name);
	return 0;
}

int
kopia_policy_clear(struct kopia *k, const char *path, struct err *e)
{
	char *source = kopia_source(k, path, e);
	json_t *now = NULL, *want = NULL;
	struct kopia_run r;
	int ret = -1;

	if (source == NULL)
		return -1;
	ret = kopia_policy_start(&r, k, source, false, e);
	if (ret == 0)
		ret = kopia_policy_read(&r, source, &now, e);
	kopia_end(&r);
	if (ret == -1)
		goto out;
	if (kopia_policy_rules(now) > 0) {
		want = kopia_policy_want(now, NULL, 0, NULL, e);
		if (want == NULL || kopia_policy_set(k, source, want,
		    e) == -1) {
			ret = -1;
			goto out;
		}
	}
	ret = kopia_unmark(k, path, e);
out:
	json_decref(now);
	json_decref(want);
	free(source);
	return ret;
}

/* A note of a run that is no more. */
static int
sweep_one(struct kopia *k, const char *name, bool dry, size_t *n,
    struct err *e)
{
	struct err busy = ERR_INIT;
	struct buf path;
	int lock = -1, ret = 0;

	buf_init(&path, ENTRY_PATH_MAX);
	if (file_slurp(&path, k->dirfd, name, e) == -1) {
		/* Its run has just ended. */
		ret = e->code == CALA_NOTFOUND ? 0 : -1;
		if (ret == 0)
			err_clear(e);
		goto out;
	}
	lock = kopia_source_lock(k, path.p, true, 0, &busy);
	if (lock == -1) {
		if (busy.code != CALA_LOCKED) {
			*e = busy;
			ret = -1;
		}
		goto out;
	}
	/* Between our look and the lock its run may have ended. */
	if (faccessat(k->dirfd, name, F_OK, 0) == -1)
		goto out;
	++*n;
	log_step(k->how->log, "%s rules that an interrupted run left in the "
	    "policy of %s", dry ? "would remove" : "removing",
	    str_q(path.p));
	if (!dry)
		ret = kopia_policy_clear(k, path.p, e);
out:
	if (lock != -1)
		close(lock);
	buf_fini(&path);
	return ret;
}

int
kopia_sweep(struct kopia *k, bool dry, size_t *n, struct err *e)
{
	size_t len = strlen(k->slug);
	struct dirent *d;
	int ret = 0;
	DIR *dp;

	*n = 0;
	if ((dp = file_list(k->dirfd)) == NULL)
		return err_sys(e, "read %s", str_q(k->dir));
	while (ret == 0 && (d = readdir(dp)) != NULL)
		if (strncmp(d->d_name, k->slug, len) == 0 &&
		    d->d_name[len] == '.' && str_ends(d->d_name, ".rules"))
			ret = sweep_one(k, d->d_name, dry, n, e);
	closedir(dp);
	return ret;
}
