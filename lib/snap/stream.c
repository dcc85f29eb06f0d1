#include "snap/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/stop.h"

static const unsigned char head[16] = {
	0x5c, 0x2a, 0x4d, 0x18, 48, 0, 0, 0,
	'C', 'A', 'L', 'A', 'E', 'O', 'S', '1'
};

int
stream_out(int fd, struct sink *to, unsigned char end[STREAM_TRAILER],
    struct err *e)
{
	unsigned char *p;
	struct sha256 *sha = sha256_new(e);
	size_t room;
	ssize_t n;
	int ret = -1;

	if (sha == NULL)
		return -1;
	for (;;) {
		if (stop_check(e) == -1 ||
		    (p = sink_space(to, &room, e)) == NULL)
			goto out;
		n = read(fd, p, room);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1) {
			err_sys(e, "read the stream");
			goto out;
		}
		if (n == 0)
			break;
		sha256_add(sha, p, (size_t)n);
		if (sink_used(to, (size_t)n, e) == -1)
			goto out;
	}
	memcpy(end, head, sizeof(head));
	put_le64(end + 16, to->pos);
	sha256_end(sha, end + 24);
	ret = 0;
out:
	sha256_free(sha);
	return ret;
}

int
stream_in_init(struct stream_in *s, struct err *e)
{
	memset(s, 0, sizeof(*s));
	s->sha = sha256_new(e);
	return s->sha == NULL ? -1 : 0;
}

void
stream_in_fini(struct stream_in *s)
{
	sha256_free(s->sha);
	s->sha = NULL;
}

static int
pass(struct stream_in *s, const unsigned char *p, size_t n, int fd,
    struct err *e)
{
	sha256_add(s->sha, p, n);
	s->passed += n;
	if (file_write_all(fd, p, n) == -1)
		return err_sys(e, "write to the receiving program");
	return 0;
}

int
stream_in_put(struct stream_in *s, const unsigned char *p, size_t n, int fd,
    struct err *e)
{
	size_t k;

	if (n >= STREAM_HOLD) {
		if (pass(s, s->held, s->n, fd, e) == -1 ||
		    pass(s, p, n - STREAM_HOLD, fd, e) == -1)
			return -1;
		memcpy(s->held, p + (n - STREAM_HOLD), STREAM_HOLD);
		s->n = STREAM_HOLD;
		return 0;
	}
	if (n > STREAM_HOLD - s->n) {
		k = n - (STREAM_HOLD - s->n);
		if (pass(s, s->held, k, fd, e) == -1)
			return -1;
		memmove(s->held, s->held + k, s->n - k);
		s->n -= k;
	}
	memcpy(s->held + s->n, p, n);
	s->n += n;
	return 0;
}

int
stream_in_end(struct stream_in *s, bool vouched, int fd, struct err *e)
{
	unsigned char md[SHA256_LEN];
	const unsigned char *t;
	size_t n = s->n;

	if (n >= STREAM_TRAILER && memcmp(s->held + n - STREAM_TRAILER, head,
	    sizeof(head)) == 0) {
		n -= STREAM_TRAILER;
		t = s->held + n;
		sha256_add(s->sha, s->held, n);
		sha256_end(s->sha, md);
		if (get_le64(t + 16) != s->passed + n ||
		    memcmp(t + 24, md, sizeof(md)) != 0)
			return err_set(e, CALA_INTEGRITY, "the stream "
			    "contradicts its trailer; nothing stored");
	} else if (!vouched) {
		return err_set(e, CALA_INCOMPLETE, "the stream has no "
		    "trailer, and nobody vouches that it is whole; nothing "
		    "stored");
	}
	if (file_write_all(fd, s->held, n) == -1)
		return err_sys(e, "write to the receiving program");
	return 0;
}
