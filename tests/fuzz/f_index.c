/*
 * Any bytes as an index: the raw form, pushed in pieces, and as the index
 * members of a tar.gz.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "archive/index.h"
#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static int
one(void *arg, const struct idx_entry *x, struct err *e)
{
	const struct idx_parse *p = arg;

	(void)e;
	if (x->head > x->data || x->data > p->tar_len ||
	    x->stored > p->tar_len - x->data ||
	    strlen(x->path) != x->path_len)
		__builtin_trap();
	return 0;
}

static int
frame(void *arg, const struct idx_frame *f, struct err *e)
{
	const struct idx_parse *p = arg;

	(void)e;
	if (f->c_off > p->data_len || f->c_len > p->data_len - f->c_off)
		__builtin_trap();
	return 0;
}

static int
chunk(void *arg, const void *p, size_t n, struct err *e)
{
	return idx_blob_feed(arg, p, n, e);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct err e = ERR_INIT;
	struct idx_parse ip;
	struct idx_blob *b;
	struct gzx g;
	size_t k, step;
	int r = 0;

	if (n < 2)
		return 0;
	memset(&ip, 0, sizeof(ip));
	ip.frame = frame;
	ip.entry = one;
	ip.arg = &ip;
	ip.data_len = p[0] * 16u + 111;
	step = 1 + p[1];
	idx_init(&ip);
	for (k = 2; k < n && r == 0; k += step)
		r = idx_feed(&ip, p + k, n - k < step ? n - k : step, &e);
	if (r == 0)
		idx_end(&ip, &e);
	idx_fini(&ip);
	idx_init(&ip);
	b = idx_blob_new(&ip, p[0] % 4, true, &e);
	gzx_init(&g);
	g.data = chunk;
	g.arg = b;
	for (k = 2, r = 0; b != NULL && k < n && r == 0; k += step)
		r = gzx_feed(&g, p + k, n - k < step ? n - k : step, &e);
	if (b != NULL)
		idx_blob_end(b, 0, &e);
	idx_blob_free(b);
	gzx_fini(&g);
	idx_fini(&ip);
	return 0;
}
