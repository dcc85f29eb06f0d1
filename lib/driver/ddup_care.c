/* ddup_care: check, verify, gc, and the verbs that only this disk has. */

#include "driver/ddup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"
#include "config/conf.h"
#include "driver/beside.h"
#include "driver/local.h"
#include "driver/stored.h"

static void
say(void *arg, const char *line)
{
	driver_say(arg, "%s", line);
}

int
ddup_check(struct driver_call *call, struct err *e)
{
	struct ddup *r = NULL;
	struct ddup_how how = { .use = DDUP_SHARE, .write = true };
	int dirfd, ret = -1;

	if ((dirfd = local_open(call, false, e)) == -1)
		return stored_failed(call, "open the directory", e);
	driver_say(call, "ok: directory %s", str_q(local_dir(call)));
	if (local_probe(call, dirfd, e) == -1 ||
	    local_room(call, dirfd, e) == -1)
		goto out;
	if (ddup_open(&r, dirfd, &how, call->log, e) == 0) {
		driver_say(call, "ok: the repository opens for writing, its "
		    "index is sound");
	} else if (e->code == CALA_NOTFOUND) {
		err_clear(e);
		driver_say(call, "ok: there is no repository yet; the first "
		    "put makes one");
	} else {
		stored_failed(call, "open the repository", e);
		goto out;
	}
	ret = 0;
out:
	ddup_close(r);
	close(dirfd);
	return ret;
}

static void
mendable(uint64_t damaged, struct err *e)
{
	if (damaged > 0 && e->code == CALA_INTEGRITY)
		(void)err_hint(e, "'cala-ddup mend' sets damaged chunks "
		    "aside, and the next backup that has their bytes stores "
		    "them again");
}

int
ddup_verify_one(struct driver_call *call, struct record *rec, struct err *e)
{
	struct care_say s = { say, call };
	struct ddup_seen seen;
	struct ddup *r;
	int proven, ret = -1;

	if (ddup_start(call, DDUP_SHARE, false, false, &r, e) == -1)
		return stored_failed(call, "open the repository", e);
	if ((proven = ddup_proven(call, r, rec, e)) == -1) {
		stored_failed(call, "compare with the record", e);
		goto out;
	}
	driver_say(call, proven == 0 ? "ok: the archive's checksum is the "
	    "record's" : "note: no checksum of the archive on record");
	if (ddup_verify(r, call->backup, call->read_data ? call->percent : 0,
	    call->jobs, &s, &seen, e) == -1) {
		stored_failed(call, "verify", e);
		mendable(seen.damaged, e);
		goto out;
	}
	driver_say(call, "ok: %" PRIu64 " entries, %" PRIu64 " chunks, all of "
	    "them there", seen.entries, seen.chunks);
	if (call->read_data)
		driver_say(call, "ok: read %" PRIu64 " bytes, which are what "
		    "their hashes say", seen.read);
	else
		driver_say(call, "note: --read-data reads the chunks, too");
	if (stored_compare(call, rec, "files", rec->has_files, rec->files,
	    seen.files, e) == -1 || stored_compare(call, rec,
	    "bytes of files", rec->has_size, rec->size, seen.size, e) == -1)
		goto out;
	if (!rec->complete && !rec->foreign)
		driver_say(call, "note: the backup is partial: %" PRIu64
		    " warnings when it was made", rec->warnings_count);
	ret = 0;
out:
	ddup_close(r);
	return ret;
}

struct proofs {
	struct driver_call *call;
	struct ddup *r;
	uint64_t proven, bare, wrong;
};

/* The entries of an archive have no hash but the record's. */
static int
prove_archive(void *arg, const char *name, struct err *e)
{
	struct proofs *p = arg;
	struct driver_call one = *p->call;
	struct err why = ERR_INIT;
	struct record rec;
	int got;

	if (!uuid_ok(name) || beside_get(ddup_archives(p->r), name, &rec,
	    &why) != 1) {
		p->bare++;
		return 0;
	}
	memcpy(one.backup, name, UUID_TEXT);
	got = ddup_proven(&one, p->r, &rec, e);
	record_fini(&rec);
	if (got == -1 && e->code != CALA_INTEGRITY)
		return -1;
	if (got == -1) {
		driver_say(p->call, "damaged: %s", e->msg);
		err_clear(e);
	}
	p->wrong += got == -1;
	p->proven += got == 0;
	p->bare += got == 1;
	return 0;
}

int
ddup_verify_whole(struct driver_call *call, struct err *e)
{
	struct care_say s = { say, call };
	struct proofs p = { .call = call };
	struct ddup_whole got;
	int ret = -1;

	if (ddup_start(call, DDUP_SHARE, false, false, &p.r, e) == -1)
		return stored_failed(call, "open the repository", e);
	if (care_archives(p.r, prove_archive, &p, e) == -1)
		goto out;
	driver_say(call, "%s: the checksums of %" PRIu64 " archives are their "
	    "records', %" PRIu64 " have none on record", p.wrong == 0 ? "ok" :
	    "damaged", p.proven, p.bare);
	if (ddup_verify_all(p.r, call->read_data ? call->percent : 0,
	    call->jobs, &s, &got, e) == -1) {
		stored_failed(call, "verify", e);
		mendable(got.damaged, e);
		goto out;
	}
	driver_say(call, "ok: %" PRIu64 " backups use %" PRIu64 " chunks, all "
	    "of them there", got.archives, got.chunks);
	if (call->read_data)
		driver_say(call, "ok: read %" PRIu64 " bytes, each chunk once, "
		    "which are what their hashes say", got.read);
	else
		driver_say(call, "note: --read-data reads the chunks, too");
	ret = p.wrong == 0 ? 0 : err_set(e, CALA_INTEGRITY, "%" PRIu64
	    " archives are not what their records say", p.wrong);
out:
	ddup_close(p.r);
	return ret;
}

static bool
there(void *arg, const char *uuid)
{
	struct err ignored = ERR_INIT;

	return ddup_exists(arg, uuid, &ignored) != 0;
}

int
ddup_collect(struct driver_call *call, struct err *e)
{
	struct care_say s = { say, call };
	struct ddup *r;
	size_t n = 0;
	int ret;

	/* Opened for writing, what killed runs left is finished at once. */
	if (ddup_start(call, DDUP_ALONE, !call->dry_run, false, &r, e) == -1) {
		if (e->code != CALA_NOTFOUND)
			return -1;
		err_clear(e);
		driver_say(call, "nothing to do: there is no repository yet");
		return 0;
	}
	ret = ddup_gc(r, call->dry_run, &s, e);
	if (ret == 0)
		ret = beside_orphans(call, ddup_archives(r), there, r, &n, e);
	ddup_close(r);
	return ret;
}

static int
verb_init(struct driver_call *call, struct err *e)
{
	int dirfd, ret;

	if ((dirfd = local_open(call, true, e)) == -1)
		return -1;
	ret = ddup_init(dirfd, (uint32_t)conf_u64(call->cfg, "chunk-size"), 0,
	    e);
	close(dirfd);
	if (ret == -1)
		return err_ctx(e, "%s", str_q(local_dir(call)));
	driver_say(call, "made a repository in %s", str_q(local_dir(call)));
	return 0;
}

static int
verb_rebuild(struct driver_call *call, struct err *e)
{
	struct care_say s = { say, call };
	struct ddup *r;
	int ret;

	if (ddup_start(call, DDUP_ALONE, true, false, &r, e) == -1)
		return -1;
	ret = ddup_rebuild(r, &s, e);
	ddup_close(r);
	return ret;
}

static int
verb_mend(struct driver_call *call, struct err *e)
{
	struct care_say s = { say, call };
	struct ddup_mended got;
	struct ddup *r;
	int ret;

	if (ddup_start(call, DDUP_ALONE, true, false, &r, e) == -1)
		return -1;
	ret = ddup_mend(r, call->jobs, &s, &got, e);
	ddup_close(r);
	if (ret == -1)
		return -1;
	driver_say(call, "%s: read %" PRIu64 " chunks, %" PRIu64 " bytes of "
	    "them are what their hashes say", got.aside == 0 ? "ok" : "note",
	    got.chunks, got.read);
	if (got.aside == 0)
		return 0;
	err_set(e, CALA_INTEGRITY, "%" PRIu64 " damaged chunks were set aside",
	    got.aside);
	return err_hint(e, "back the servers up again: what they still have "
	    "of these bytes is stored anew, and mends every backup that uses "
	    "it");
}

static int
verb_break_lock(struct driver_call *call, struct err *e)
{
	struct ddup_how how = { .use = DDUP_ALONE, .break_lock = true,
	    .wait = 1 };
	struct ddup *r = NULL;
	int dirfd, ret;

	if ((dirfd = local_open(call, false, e)) == -1)
		return -1;
	ret = ddup_open(&r, dirfd, &how, call->log, e);
	ddup_close(r);
	close(dirfd);
	if (ret == 0)
		driver_say(call, "the lock of ddup-bak is idle");
	return ret;
}

static int
verb_stats(struct driver_call *call, struct err *e)
{
	char human[STR_HUMAN];
	struct ddup_stats st;
	struct ddup *r;
	struct buf b;
	struct jw j;
	int ret;

	if (ddup_start(call, DDUP_LOOK, false, false, &r, e) == -1)
		return -1;
	ret = ddup_stats(r, &st, e);
	if (ret == 0 && !call->json) {
		driver_say(call, "backups: %" PRIu64 ", archives of %s",
		    st.archives, str_human(st.archive_bytes, human));
		driver_say(call, "chunks: %" PRIu64 " in the index, used %"
		    PRIu64 " times, %" PRIu64 " by nothing", st.chunks,
		    st.refs, st.unused);
		driver_say(call, "chunk files: %" PRIu64 ", %s; %u bytes a "
		    "chunk on average when cut", st.files,
		    str_human(st.file_bytes, human), ddup_chunk_size(r));
	} else if (ret == 0) {
		buf_init(&b, 4096);
		jw_begin(&j, &b);
		jw_open(&j, NULL, '{');
		jw_u64(&j, "v", 1);
		jw_u64(&j, "backups", st.archives);
		jw_u64(&j, "archive_bytes", st.archive_bytes);
		jw_u64(&j, "chunks", st.chunks);
		jw_u64(&j, "references", st.refs);
		jw_u64(&j, "unused", st.unused);
		jw_u64(&j, "chunk_files", st.files);
		jw_u64(&j, "chunk_bytes", st.file_bytes);
		jw_u64(&j, "chunk_size", ddup_chunk_size(r));
		jw_close(&j, '}');
		if ((ret = buf_failed(&b, e)) == 0)
			driver_say(call, "%s", b.p);
		buf_fini(&b);
	}
	ddup_close(r);
	return ret;
}

const struct driver_verb ddup_verbs[] = {
	{ "init", "make an empty repository", 0, verb_init },
	{ "rebuild", "make the index anew, out of chunks and archives",
	    DRIVER_BLOCKED, verb_rebuild },
	{ "mend", "set damaged chunks aside, to be stored again",
	    DRIVER_BLOCKED, verb_mend },
	{ "stats", "what the repository holds", DRIVER_JSON, verb_stats },
	{ "break-lock", "reset the lock that a killed ddup-bak left", 0,
	    verb_break_lock },
	{ NULL, NULL, 0, NULL }
};
