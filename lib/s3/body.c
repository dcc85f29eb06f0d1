/* body: what a request sends, from memory or from a file. */

#include "s3/client.h"

#include "base/err.h"
#include "base/file.h"

enum { PIECE = 64 << 10 };

static int
spooled(const struct s3_req *r, void (*fn)(void *, const void *, size_t),
    void *arg, struct err *e)
{
	unsigned char buf[PIECE];
	uint64_t at;
	ssize_t n;

	for (at = 0; at < r->spool_len; at += (uint64_t)n) {
		n = file_pread_full(*r->spool, buf, r->spool_len - at < PIECE ?
		    (size_t)(r->spool_len - at) : PIECE, at);
		if (n == -1)
			return err_sys(e, "read a part from disk");
		if (n == 0)
			return err_set(e, CALA_FAIL, "a part on disk became "
			    "shorter");
		fn(arg, buf, (size_t)n);
	}
	return 0;
}

int
s3_body(const struct s3_req *r, void (*fn)(void *, const void *, size_t),
    void *arg, struct err *e)
{
	size_t i;

	if (r->spool != NULL)
		return spooled(r, fn, arg, e);
	if (r->iov == NULL)
		fn(arg, r->call.body, r->call.body_len);
	for (i = 0; r->iov != NULL && i < r->niov; i++)
		fn(arg, r->iov[i].iov_base, r->iov[i].iov_len);
	return 0;
}
