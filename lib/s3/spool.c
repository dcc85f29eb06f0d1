/*
 * spool: parts that are too large for memory lie in nameless files (s3.md 2.6):
 * what must perhaps be sent again is at hand there as well.
 */

#include "s3/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/str.h"

/* Of large parts no more than this at a time, but two. */
#define SPOOL_BYTES (2ull << 30)

/* Under the lock: how many parts of that size may be on disk. */
static unsigned
most(const struct upload *u, uint64_t size)
{
	uint64_t n = SPOOL_BYTES / size;

	if (n > u->target + 1)
		n = u->target + 1;
	if (n < 2)
		n = 2;
	return n < u->spool_most ? (unsigned)n : u->spool_most;
}

/* A place among those that may be on disk; tells how many were there. */
static int
take_place(struct upload *u, uint64_t size, unsigned *before, struct err *e)
{
	int ret = 0;

	pthread_mutex_lock(&u->mu);
	while (ret == 0 && !u->failed && u->nspooled >= most(u, size))
		ret = upload_wait(u, e);
	if (ret == 0 && u->failed) {
		*e = u->e;
		ret = -1;
	}
	if (ret == 0)
		*before = u->nspooled++;
	pthread_mutex_unlock(&u->mu);
	return ret;
}

int
spool_open(struct upload *u, uint64_t size, struct err *e)
{
	char a[STR_HUMAN];
	unsigned before = 0;
	int fd;

	for (;;) {
		if (take_place(u, size, &before, e) == -1)
			return -1;
		fd = file_nameless(AT_FDCWD, u->s->t->spool, e);
		/* a full disk shows now, while something can be done */
		if (fd != -1 && (fallocate(fd, 0, 0, (off_t)size) == 0 ||
		    errno == EOPNOTSUPP))
			return fd;
		if (fd != -1) {
			err_sys(e, "room for a part of %s in %s",
			    str_human(size, a), str_q(u->s->t->spool));
			close(fd);
		}
		pthread_mutex_lock(&u->mu);
		u->nspooled--;
		u->spool_most = before;
		pthread_mutex_unlock(&u->mu);
		/* the first part stays until there is a second */
		if (e->code != CALA_NOSPACE || before == 0 ||
		    u->id[0] == '\0')
			return -1;
		err_clear(e);
	}
}

int
spool_write(struct part *p, struct err *e)
{
	const struct iovec *v = &p->iov[0];

	if (file_pwrite_all(p->fd, v->iov_base, v->iov_len,
	    p->size - v->iov_len) == -1)
		return err_sys(e, "write a part to disk");
	p->iov[0].iov_len = 0;
	return 0;
}
