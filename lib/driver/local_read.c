/*
 * local_read: what is stored, as bytes, as entries, as a tree.
 *
 * A part of a backup is checked by what its format has (index, CRC), or, where
 * the format has nothing, by reading the file through once before.
 */

#include "driver/local.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/index.h"
#include "base/io.h"
#include "base/rate.h"
#include "base/str.h"
#include "driver/stored.h"

/* The file of call->backup: its descriptor, where it is, its record. */
struct stored {
	int fd;
	struct local_file file;
	struct record rec;
	bool has_rec;
};

static void
stored_close(struct stored *s)
{
	if (s->has_rec)
		record_fini(&s->rec);
	if (s->fd != -1)
		close(s->fd);
	s->fd = -1;
}

static int
stored_open(struct driver_call *call, struct stored *s, struct err *e)
{
	struct stat st;
	int dirfd;

	memset(s, 0, sizeof(*s));
	s->fd = -1;
	if ((dirfd = local_open(call, false, e)) == -1)
		return -1;
	if (local_find(dirfd, call->backup, &s->file, e) == -1 ||
	    local_record(call, dirfd, &s->file, &s->rec, e) == -1)
		goto fail;
	s->has_rec = true;
	s->fd = openat(dirfd, s->file.name,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (s->fd == -1 || fstat(s->fd, &st) == -1) {
		err_sys(e, "%s", s->file.name);
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(e, CALA_NOTFOUND, "%s: not a regular file",
		    s->file.name);
		goto fail;
	}
	s->file.size = (uint64_t)st.st_size;
	close(dirfd);
	return 0;
fail:
	close(dirfd);
	stored_close(s);
	return -1;
}

/* All bytes from the start; takes the descriptor, also when it fails. */
static struct source *
checked_new(struct driver_call *call, struct stored *s, struct err *e)
{
	struct rate *rate = rate_new(call->limit_read, e);
	struct source *in;

	if (rate == NULL)
		return NULL;
	(void)posix_fadvise(s->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	if ((in = source_fd(s->fd, true, s->file.name, e)) == NULL) {
		rate_free(rate);
		return NULL;
	}
	s->fd = -1;
	return stored_source(in, &s->rec, rate, s->file.name, e);
}

/* Read the file through and compare, before anything in it is believed. */
static int
sum_now(struct driver_call *call, struct stored *s, struct err *e)
{
	struct stored again = *s;
	struct source *src;
	int ret = -1;

	if (!stored_has_sum(&s->rec))
		return 0;
	log_step(call->log, "%s: comparing its SHA-256 with the record's",
	    s->file.name);
	again.has_rec = false;
	if ((again.fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0)) == -1)
		return err_sys(e, "%s", s->file.name);
	if ((src = checked_new(call, &again, e)) != NULL)
		ret = source_drain(src, e);
	source_close(src);
	stored_close(&again);
	if (ret == 0 && lseek(s->fd, 0, SEEK_SET) == -1)
		ret = err_sys(e, "%s", s->file.name);
	return ret;
}

/*
 * Is every piece of it checked before a byte of it is given out?  So are the
 * frames and members of an archive with an index, and nothing else: a stream's
 * sum comes behind the stream.
 */
static bool
piecewise(const struct stored *s)
{
	struct err ignored = ERR_INIT;
	struct ranged *r = ranged_fd(s->fd, false, s->file.name, &ignored);
	struct index *x = r != NULL ? index_open(r, &ignored) : NULL;
	bool yes = x != NULL;

	index_free(x);
	ranged_close(r);
	return yes;
}

static void
how_to_read(const struct driver_call *call, struct archive_read *how)
{
	memset(how, 0, sizeof(*how));
	how->jobs = call->jobs;
	how->memory = call->memory;
}

static bool
seeks(const struct stored *s)
{
	return s->file.format == ARCHIVE_ZIP || s->file.format == ARCHIVE_7Z;
}

/* The same where no record has a sum: its end must be there, as stored. */
static int
decode_now(struct driver_call *call, struct stored *s, struct err *e)
{
	struct archive_read how;
	struct stored again = *s;
	struct source *src = NULL;
	struct ranged *rg = NULL;
	struct reader *in = NULL;
	int ret = -1;

	log_step(call->log, "%s: read to its end before, for it has no index "
	    "and no SHA-256 on record", s->file.name);
	how_to_read(call, &how);
	again.has_rec = false;
	if ((again.fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0)) == -1)
		return err_sys(e, "%s", s->file.name);
	if (!seeks(s)) {
		src = checked_new(call, &again, e);
	} else if ((rg = ranged_fd(again.fd, true, s->file.name, e)) != NULL) {
		again.fd = -1;
	}
	if (src != NULL || rg != NULL)
		in = stored_reader(src, rg, &how, call->log, s->file.name, e);
	if (in != NULL)
		ret = stored_prove(in, e);
	reader_close(in);
	stored_close(&again);
	if (ret == 0 && lseek(s->fd, 0, SEEK_SET) == -1)
		ret = err_sys(e, "%s", s->file.name);
	return ret;
}

/* Nothing that is damaged is given to anybody who may write it somewhere. */
static int
vouch(struct driver_call *call, struct stored *s, struct err *e)
{
	if (s->file.dump || (seeks(s) ? call->no_check &&
	    !stored_has_sum(&s->rec) : call->no_check || piecewise(s)))
		return 0;
	return stored_has_sum(&s->rec) ? sum_now(call, s, e) :
	    decode_now(call, s, e);
}

int
local_raw(struct driver_call *call, struct source **out, struct err *e)
{
	struct stored s;
	int ret = -1;

	if (stored_open(call, &s, e) == -1)
		return -1;
	if (vouch(call, &s, e) == 0 &&
	    (*out = checked_new(call, &s, e)) != NULL)
		ret = 0;
	stored_close(&s);
	return ret;
}

static int
not_a_dump(const struct stored *s, struct err *e)
{
	if (!s->file.dump)
		return 0;
	err_set(e, CALA_USAGE, "%s is a database dump, not an archive",
	    s->file.name);
	return err_hint(e, "get --raw gives its bytes");
}

static int
read_whole(struct driver_call *call, bool first, struct reader **out,
    struct err *e)
{
	struct archive_read how;
	struct source *src = NULL;
	struct ranged *rg = NULL;
	struct stored s;
	int ret = -1;

	if (stored_open(call, &s, e) == -1)
		return -1;
	how_to_read(call, &how);
	if (not_a_dump(&s, e) == -1)
		goto out;
	if (seeks(&s)) {
		/* They are read anywhere: there is no end to wait for. */
		if ((first ? vouch(call, &s, e) : sum_now(call, &s, e)) ==
		    -1 || (rg = ranged_fd(s.fd, true, s.file.name, e)) ==
		    NULL)
			goto out;
		s.fd = -1;
	} else if ((first && vouch(call, &s, e) == -1) ||
	    (src = checked_new(call, &s, e)) == NULL) {
		goto out;
	}
	*out = stored_reader(src, rg, &how, call->log, s.file.name, e);
	ret = *out != NULL ? 0 : -1;
out:
	stored_close(&s);
	return ret;
}

int
local_get(struct driver_call *call, struct reader **out, struct err *e)
{
	return read_whole(call, true, out, e);
}

int
local_read(struct driver_call *call, struct reader **out, struct err *e)
{
	return read_whole(call, false, out, e);
}

struct ranged *
local_ranged(struct driver_call *call, struct err *e)
{
	struct ranged *rg;
	struct stored s;

	if (stored_open(call, &s, e) == -1)
		return NULL;
	if ((rg = ranged_fd(s.fd, true, s.file.name, e)) != NULL)
		s.fd = -1;
	stored_close(&s);
	return rg;
}

int
local_tree(struct driver_call *call, struct tree **out, struct err *e)
{
	struct archive_read how;
	struct ranged *rg;
	struct stored s;
	int ret = -1;

	if (stored_open(call, &s, e) == -1)
		return -1;
	how_to_read(call, &how);
	/* Plain tar and lz4 may hold no checksum of their contents. */
	if (not_a_dump(&s, e) == -1 ||
	    ((s.file.format == ARCHIVE_TAR ||
	    s.file.format == ARCHIVE_TAR_LZ4) &&
	    sum_now(call, &s, e) == -1))
		goto out;
	if ((rg = ranged_fd(s.fd, true, s.file.name, e)) == NULL)
		goto out;
	s.fd = -1;
	*out = stored_tree(rg, &how, call->log, s.file.name, e);
	ret = *out != NULL ? 0 : -1;
out:
	stored_close(&s);
	return ret;
}
