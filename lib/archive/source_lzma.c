/*
 * xz and lzip through liblzma, on a thread of their own, and never with more
 * memory than was allowed: a header of a few bytes can ask for 4 GiB.
 *
 * One thread although liblzma has a parallel decoder of xz: up to 5.8.0 that
 * one uses memory after it has freed it when the input is damaged
 * (CVE-2025-31115), and damaged input is what a backup tool must stand.
 */

#include "archive/source.h"

#include <stdlib.h>
#include <string.h>

#include <lzma.h>

#include "base/err.h"
#include "base/str.h"

enum { IN = 128 << 10, OUT = 256 << 10 };

struct bufs {
	unsigned char in[IN], out[OUT];
};

static int
trouble(const lzma_stream *z, lzma_ret r, const char *name, uint64_t limit,
    struct err *e)
{
	char need[STR_HUMAN], have[STR_HUMAN];
	uint64_t mem = lzma_memusage(z);

	switch (r) {
	case LZMA_BUF_ERROR:
		return err_set(e, CALA_INCOMPLETE, "the %s data is cut short",
		    name);
	case LZMA_MEM_ERROR:
		return err_oom(e);
	case LZMA_MEMLIMIT_ERROR:
		err_set(e, CALA_NOSPACE, "the %s data needs %s of memory to "
		    "decode, %s are allowed", name, str_human(mem, need),
		    str_human(limit, have));
		return err_hint(e, "--memory %ju allows it",
		    (uintmax_t)mem + (1 << 20));
	case LZMA_OPTIONS_ERROR:
		return err_set(e, CALA_INTEGRITY, "the %s data uses what this "
		    "liblzma does not know, or is damaged", name);
	default:
		return err_set(e, CALA_INTEGRITY, "the %s data is damaged",
		    name);
	}
}

static int
decode(struct flow *f, lzma_stream *z, struct bufs *b, const char *name,
    uint64_t limit, struct err *e)
{
	lzma_action action = LZMA_RUN;
	lzma_ret r = LZMA_OK;
	ssize_t k;

	while (r == LZMA_OK) {
		if (z->avail_in == 0 && action == LZMA_RUN) {
			if ((k = flow_take(f, b->in, IN)) == -1)
				return -1;
			z->next_in = b->in;
			z->avail_in = (size_t)k;
			if (k == 0)
				action = LZMA_FINISH;
		}
		z->next_out = b->out;
		z->avail_out = OUT;
		r = lzma_code(z, action);
		if (z->avail_out < OUT &&
		    flow_give(f, b->out, OUT - z->avail_out) == -1)
			return -1;
	}
	if (r != LZMA_STREAM_END)
		return trouble(z, r, name, limit, e);
	/*
	 * lzip allows what is no member behind the last one; it must be taken
	 * so that the writer of a pipe is not cut off.
	 */
	while (action == LZMA_RUN)
		if ((k = flow_take(f, b->in, IN)) <= 0) {
			if (k == -1)
				return -1;
			action = LZMA_FINISH;
		}
	return 0;
}

static int
lzma_run(struct flow *f, const struct decoding *how, bool lzip,
    struct err *e)
{
	uint64_t limit = how->memory != 0 ? how->memory : DECODE_MEMORY;
	const char *name = lzip ? "lzip" : "xz";
	struct bufs *b = malloc(sizeof(*b));
	lzma_stream z = LZMA_STREAM_INIT;
	lzma_ret r;
	int ret;

	if (b == NULL)
		return err_oom(e);
	r = lzip ? lzma_lzip_decoder(&z, limit, LZMA_CONCATENATED) :
	    lzma_stream_decoder(&z, limit, LZMA_CONCATENATED);
	ret = r != LZMA_OK ? trouble(&z, r, name, limit, e) :
	    decode(f, &z, b, name, limit, e);
	lzma_end(&z);
	free(b);
	return ret;
}

static int
xz_run(struct flow *f, void *arg, struct err *e)
{
	return lzma_run(f, arg, false, e);
}

static int
lz_run(struct flow *f, void *arg, struct err *e)
{
	return lzma_run(f, arg, true, e);
}

const struct decoder decoder_xz = { "xz", NULL, NULL, NULL, NULL, xz_run };
const struct decoder decoder_lz = { "lzip", NULL, NULL, NULL, NULL, lz_run };
