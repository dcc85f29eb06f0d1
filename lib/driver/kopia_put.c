/*
 * kopia_put: a directory becomes a snapshot.
 *
 * Kopia takes what to leave out, and what to expire, from the policy of the
 * source, kept in the repository: it is looked at before every put, made right
 * where it is not, and our rules are taken out again afterwards (exec/kopia.h).
 *
 * Asked to stop, Kopia stores what it has, as a snapshot that is marked
 * incomplete.  So it is killed instead, which leaves nothing that is visible.
 */

#include "driver/kopia.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/stop.h"
#include "base/str.h"
#include "config/conf.h"
#include "driver/dirs.h"
#include "entry/match.h"
#include "exec/child.h"

enum {
	SOURCE_WAIT = 24 * 3600,        /* seconds for another put of it */
	TAGS = 50
};

struct put {
	struct driver_call *call;
	struct kopia *k;
	struct record *rec;
	struct match *match;
	struct kopia_scan scan;
	char *dir;                      /* read from, absolute */
	char *path;                     /* stored as */
	char *source;                   /* user@host:path */
	char run[UUID_TEXT];            /* tells it from others of its UUID */
	int lock;
	bool marked;                    /* rules of ours are in the policy */
	bool begun;                     /* a snapshot may be there */
	json_t *made;                   /* its manifest */
	char id[KOPIA_ID];
};

/* Which directory, and under which name. */
static int
places(struct put *p, struct err *e)
{
	struct driver_call *call = p->call;
	int fd = file_opendir(AT_FDCWD, call->dir, e), ret = -1;

	if (fd == -1)
		return -1;
	if (call->as != NULL && *call->as != '/') {
		err_set(e, CALA_USAGE, "--as %s: not an absolute path",
		    str_q(call->as));
		goto out;
	}
	if ((p->dir = realpath(call->dir, NULL)) == NULL) {
		err_sys(e, "%s", str_q(call->dir));
		goto out;
	}
	p->path = strdup(call->as != NULL ? call->as : p->dir);
	if (p->path == NULL) {
		err_oom(e);
		goto out;
	}
	if ((p->source = kopia_source(p->k, p->path, e)) == NULL)
		goto out;
	ret = kopia_scan(fd, p->match, &p->scan, call->log, e);
	if (ret == 0 && p->scan.kept == 0 && p->scan.dropped > 0)
		ret = err_set(e, CALA_INCOMPLETE, "the rules leave out "
		    "everything; nothing stored");
out:
	close(fd);
	return ret;
}

/* ---- before ---- */

static int
collect(void *arg, const struct kopia_snap *s, struct err *e)
{
	return kopia_collect(arg, s, e);
}

static const char *
compressor(const struct driver_call *call)
{
	const char *s = conf_get(call->cfg, "compression-level");
	uint64_t n;

	if (s == NULL || strcmp(s, "best_speed") == 0)
		return "zstd-fastest";
	if (strcmp(s, "good_speed") == 0)
		return "zstd";
	if (str_u64(s, 0, 22, &n) == 0)
		return n == 0 ? "none" : n < 3 ? "zstd-fastest" : n < 6 ?
		    "zstd" : "zstd-better-compression";
	return "zstd-better-compression";
}

/*
 * Two questions at once: is the UUID free (one just made is), and what does the
 * policy say?  What an earlier run of this UUID left half done is deleted.
 */
static int
ask(struct put *p, bool effective, json_t **policy, struct err *e)
{
	struct kopia_run list, pol;
	struct kopia_found f;
	size_t i;
	int ret = -1;

	memset(&f, 0, sizeof(f));
	memset(&pol, 0, sizeof(pol));
	memset(&list, 0, sizeof(list));
	if ((p->call->fresh || kopia_list_start(&list, p->k, p->rec->uuid,
	    e) == 0) &&
	    kopia_policy_start(&pol, p->k, p->source, effective, e) == 0 &&
	    (p->call->fresh || kopia_list_read(&list, collect, &f, e) == 0))
		ret = kopia_policy_read(&pol, p->source, policy, e);
	kopia_end(&list);
	kopia_end(&pol);
	if (ret == 0 && f.n > 0)
		ret = err_set(e, CALA_EXISTS, "backup %s exists already",
		    p->rec->uuid);
	for (i = 0; ret == 0 && i < f.nbroken; i++)
		ret = kopia_delete(p->k, f.broken[i], e);
	kopia_found_fini(&f);
	return ret;
}

static int
lock_source(struct put *p, bool alone, struct err *e)
{
	if (p->lock != -1)
		close(p->lock);
	p->lock = kopia_source_lock(p->k, p->path, alone, SOURCE_WAIT, e);
	return p->lock == -1 ? -1 : 0;
}

/* Make the policy say what it must, with n rules for this run. */
static int
set_policy(struct put *p, const json_t *own, char *const *rules, size_t n,
    struct err *e)
{
	json_t *want = kopia_policy_want(own, rules, n, compressor(p->call),
	    e);
	int ret = -1;

	if (want == NULL)
		return -1;
	/* From here on something of ours may be in it. */
	if (n == 0 || kopia_mark(p->k, p->path, e) == 0) {
		p->marked = n > 0;
		ret = own != NULL && json_equal(own, want) == 1 ? 0 :
		    kopia_policy_set(p->k, p->source, want, e);
	}
	json_decref(want);
	return ret;
}

/*
 * Without rules of ours, what holds must be what we want, wherever it comes
 * from; mostly it does.  Rules of others in it may be the source's own or come
 * from above: against both helps only a rule in the source, which is put there
 * for this run.
 */
static int
no_rules(struct put *p, struct err *e)
{
	static char none[] = KOPIA_NO_RULE;
	static char *const rule[] = { none };
	struct kopia_run r;
	json_t *now = NULL, *own = NULL;
	size_t others;
	int ret = -1;

	if (lock_source(p, false, e) == -1 || ask(p, true, &now, e) == -1)
		goto out;
	if (kopia_policy_good(now, compressor(p->call))) {
		ret = 0;
		goto out;
	}
	others = kopia_policy_rules(now);
	if (others > 0) {
		log_note(p->call->log, "%s: Kopia's policies have %zu ignore "
		    "rules that are not ours: without effect on this backup",
		    str_q(p->source), others);
		if (lock_source(p, true, e) == -1)
			goto out;
	}
	ret = kopia_policy_start(&r, p->k, p->source, false, e);
	if (ret == 0)
		ret = kopia_policy_read(&r, p->source, &own, e);
	kopia_end(&r);
	if (ret == 0)
		ret = set_policy(p, own, rule, others > 0 ? 1 : 0, e);
out:
	json_decref(now);
	json_decref(own);
	return ret;
}

static int
prepare(struct put *p, struct err *e)
{
	const struct kopia_scan *s = &p->scan;
	json_t *own = NULL;
	size_t swept;
	int ret = -1;

	if (kopia_sweep(p->k, false, &swept, e) == -1)
		return -1;
	if (s->nrules == 0)
		return no_rules(p, e);
	/* Rules are for one run; those without may run side by side. */
	if (lock_source(p, true, e) == 0 && ask(p, false, &own, e) == 0)
		ret = set_policy(p, own, s->rules, s->nrules, e);
	json_decref(own);
	return ret;
}

/* ---- the run ---- */

/* "17 hashed (1.2 GB), 3 cached (5 MB)": decimal units. */
static void
progress(void *arg, char *line)
{
	static const char units[] = "KMGTPE";
	struct driver_call *call = ((struct put *)arg)->call;
	unsigned long long files[2];
	double bytes[2], sum = 0;
	char unit[2] = "";
	const char *h = strstr(line, " hashing, "), *u;
	int i;

	if (h == NULL || sscanf(h, " hashing, %llu hashed (%lf %c%*[^)]), "
	    "%llu cached (%lf %c", &files[0], &bytes[0], &unit[0], &files[1],
	    &bytes[1], &unit[1]) != 6)
		return;
	for (i = 0; i < 2; i++) {
		for (u = units; (unit[i] & 0xdf) != 'B' && *u != '\0'; u++) {
			bytes[i] *= 1000;
			if (*u == (unit[i] & 0xdf))
				break;
		}
		sum += bytes[i];
	}
	call->tally.files = files[0] + files[1];
	call->tally.bytes = (uint64_t)sum;
}

struct args {
	const char *v[KOPIA_ARGS];
	char *own[KOPIA_ARGS];
	size_t n;
	bool failed;
};

static void __attribute__((format(printf, 2, 3)))
add(struct args *a, const char *fmt, ...)
{
	va_list ap;
	char *s;

	if (a->failed || a->n + 1 == KOPIA_ARGS)
		goto fail;
	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) == -1)
		s = NULL;
	va_end(ap);
	if (s == NULL)
		goto fail;
	a->own[a->n] = s;
	a->v[a->n++] = s;
	a->v[a->n] = NULL;
	return;
fail:
	a->failed = true;
}

static void
args_free(struct args *a)
{
	while (a->n > 0)
		free(a->own[--a->n]);
}

static int
arguments(struct put *p, struct args *a, struct err *e)
{
	struct driver_call *call = p->call;
	struct kopia_pins pins;
	const char *key, *value;
	size_t i;

	add(a, "snapshot");
	add(a, "create");
	add(a, "--json");
	add(a, "--json-verbose");
	add(a, "--progress");
	add(a, "--progress-update-interval=1s");
	add(a, "--progress-estimation-type=rough");
	add(a, "--force-disable-actions");
	add(a, "--no-send-snapshot-report");
	add(a, "--description=cala backup %s, run %s", p->rec->uuid, p->run);
	add(a, "--tags=backup-uuid:%s", p->rec->uuid);
	for (i = 0; i < TAGS && conf_map(call->cfg, "tags", i, &key,
	    &value) == 0; i++) {
		if (strcmp(key, "backup-uuid") == 0 || strchr(key, ':') !=
		    NULL)
			return err_set(e, CALA_USAGE, "tags.%s: not a name "
			    "that a tag may have", str_q(key));
		add(a, "--tags=%s:%s", key, value);
	}
	if (strcmp(p->dir, p->path) != 0)
		add(a, "--override-source=%s", p->source);
	if (call->jobs > 0)
		add(a, "--parallel=%u", call->jobs);
	if (call->force_read)
		add(a, "--force-hash=100");
	if (kopia_make_pins(p->rec, &pins, e) == -1)
		return -1;
	for (i = 0; i < pins.n; i++)
		add(a, "--pin=%s", pins.v[i]);
	kopia_pins_free(&pins);
	if (p->scan.nrules > 0)
		add(a, "--pin=%s", KOPIA_PIN_RULES);
	add(a, "%s", p->dir);
	return a->failed ? err_oom(e) : 0;
}

/* What it printed, when that is a snapshot of ours that is whole. */
static int
judge(struct put *p, const struct kopia_run *r, struct kopia_snap *s,
    struct err *e)
{
	int got;

	if (p->made == NULL)
		return r->status != 0 ? kopia_failed(r, e) : err_set(e,
		    CALA_INTEGRITY, "%s: ended well, but named no snapshot",
		    r->name);
	if ((got = kopia_snap(p->made, s, e)) == -1)
		return -1;
	snprintf(p->id, sizeof(p->id), "%s", s->id);
	if (got == 1 || strcmp(s->uuid, p->rec->uuid) != 0)
		return err_set(e, CALA_INTEGRITY, "%s: named another snapshot "
		    "than ours", r->name);
	if (s->incomplete)
		return err_set(e, CALA_FAIL, "%s: stopped before its end",
		    r->name);
	/*
	 * 1 also means that some entries could not be read; what it said must
	 * say so, as the snapshot is printed before it is surely stored.
	 */
	if (r->status != 0 && !(r->status == 1 && r->fatal && s->failed > 0))
		return kopia_failed(r, e);
	return 0;
}

static int
create(struct put *p, struct kopia_snap *s, struct err *e)
{
	struct args a = { .n = 0 };
	struct kopia_cmd cmd = { .what = "snapshot create", .args = a.v,
	    .cached = true, .slow = true, .kill = true, .in = PROC_NULL,
	    .line = progress, .ctx = p, .may_fail = true };
	struct kopia_run r = { .child = NULL };
	json_t *o;
	char *line;
	size_t n;
	int got, ret = -1;

	if (arguments(p, &a, e) == -1)
		goto out;
	p->begun = true;
	if (kopia_start(&r, p->k, &cmd, e) == -1) {
		p->begun = false;
		goto out;
	}
	while ((got = child_line(r.child, &line, &n, e)) == 1)
		if ((o = child_json(line, n)) != NULL) {
			json_decref(p->made);
			p->made = o;
		}
	ret = got == -1 ? -1 : judge(p, &r, s, e);
out:
	kopia_end(&r);
	args_free(&a);
	return ret;
}

/* ---- after ---- */

struct undoing {
	const struct put *p;
	struct kopia_found f;
};

/* Another may have stored a backup of this UUID meanwhile, and whole. */
static int
is_ours(void *arg, const struct kopia_snap *s, struct err *e)
{
	struct undoing *u = arg;
	const char *text = json_get_str(s->json, "description");

	return text != NULL && strstr(text, u->p->run) != NULL ?
	    kopia_collect(&u->f, s, e) : 0;
}

static void
undo(struct put *p)
{
	struct err own = ERR_INIT;
	struct undoing u = { .p = p };
	size_t i;
	int ret;

	ret = kopia_list(p->k, p->rec->uuid, is_ours, &u, &own);
	for (i = 0; ret == 0 && i < u.f.n; i++)
		ret = kopia_delete(p->k, u.f.ids[i], &own);
	for (i = 0; ret == 0 && i < u.f.nbroken; i++)
		ret = kopia_delete(p->k, u.f.broken[i], &own);
	kopia_found_fini(&u.f);
	if (ret == -1)
		log_note(p->call->log, "whether a part of backup %s was stored "
		    "could not be found out: %s", p->rec->uuid, own.msg);
}

/* Also when we were asked to stop: nothing of ours is to stay. */
static void
clean_up(struct put *p, bool stored)
{
	struct err own = ERR_INIT;
	int sig = kopia_calm(p->k);

	if (p->begun && !stored)
		undo(p);
	if (p->marked && kopia_policy_clear(p->k, p->path, &own) == -1)
		log_note(p->call->log, "rules of ours are still in the policy "
		    "of %s (the next run removes them): %s",
		    str_q(p->source), own.msg);
	kopia_uncalm(p->k, sig);
}

/* The record as whoever lists the backup will see it. */
static int
finish(struct put *p, const struct kopia_snap *s, struct err *e)
{
	struct record *rec = p->rec, got;
	const char *path, *text;
	size_t i;

	if (kopia_get_record(p->call, s, &got, e) == -1)
		return -1;
	for (i = 0; kopia_error(s, i, &path, &text); i++)
		log_warn(p->call->log, "%s: %s", str_q(path), str_q(text));
	kopia_remember(p->k, s);
	record_fini(rec);
	*rec = got;
	p->call->tally.files = rec->files;
	p->call->tally.bytes = rec->size;
	return 0;
}

int
kopia_put_dir(struct driver_call *call, struct err *e)
{
	struct put p = { .call = call, .rec = call->record, .lock = -1 };
	struct kopia_snap s;
	int ret = -1;

	if (kopia_use(call, &p.k, e) == -1 || uuid_new(p.run, e) == -1)
		return -1;
	if (dirs_rules(call, DIRS_RULES, &p.match, e) == 0 &&
	    places(&p, e) == 0 && dirs_warned(call, e) == 0 &&
	    prepare(&p, e) == 0 && create(&p, &s, e) == 0)
		ret = finish(&p, &s, e);
	clean_up(&p, ret == 0);
	if (p.lock != -1)
		close(p.lock);
	json_decref(p.made);
	kopia_scan_fini(&p.scan);
	match_free(p.match);
	free(p.dir);
	free(p.path);
	free(p.source);
	return ret;
}
