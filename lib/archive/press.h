#ifndef CALA_ARCHIVE_PRESS_H
#define CALA_ARCHIVE_PRESS_H

/*
 * press: how one frame (zstd frame, gzip member, xz stream …) is made from a
 * stretch of a tar.  The same bytes in give the same bytes out, on any thread.
 */

#include <stddef.h>
#include <stdint.h>

#include "archive/archive.h"

struct sink;
struct err;

struct press {
	/*
	 * How much out needs for n bytes at in; exceeding it sets *len to 0
	 * (only with stream).
	 */
	size_t (*room)(const void *in, size_t n);
	/* one for each thread */
	void *(*open)(enum archive_format, int level, struct err *);
	int (*run)(void *ctx, const void *in, size_t n, void *out, size_t cap,
	    size_t *len, struct err *);
	/* straight into a sink, where room was guessed too small, or NULL */
	int (*stream)(void *ctx, const void *in, size_t n, struct sink *,
	    struct err *);
	/*
	 * the low half of the XXH64 of what a result was made from, where the
	 * result tells it; or NULL
	 */
	uint32_t (*sum)(const void *out, size_t len);
	void (*close)(void *ctx);
};

extern const struct press press_zst, press_gz, press_law;

/*
 * What a press costs: target and hard are the frame sizes (spec s3 §10.3,
 * §10.4: cut at the first entry from target on, at hard in any case); ctx the
 * bytes of one context at that level.
 */
struct press_cost {
	size_t target, hard, ctx;
};
void press_cost(enum archive_format, int, struct press_cost *);

#endif
