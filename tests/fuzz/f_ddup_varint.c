/*
 * Any bytes as numbers: the reader of memory and that of a stream tell the same,
 * what they take is what its groups of seven bits say, and what is written of it
 * is read again.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/file.h"
#include "ddup/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* Bytes of the number at p, 0: there is none. */
static size_t
plain(const uint8_t *p, size_t n, uint64_t *v)
{
	size_t i, k;

	for (k = 0; k < n && (p[k] & 0x80) != 0; k++)
		;
	if (k >= n || k > 9 || (k == 9 && p[9] > 1))
		return 0;
	for (*v = 0, i = k + 1; i-- > 0; )
		*v = *v << 7 | (p[i] & 0x7f);
	return k + 1;
}

static void
compare(const uint8_t *p, size_t n, struct dstream *s)
{
	unsigned char out[10];
	struct err e = ERR_INIT;
	uint64_t want = 0, got = 0, again = 0;
	size_t k, used, at;

	for (at = 0; ; at += k) {
		k = plain(p + at, n - at, &want);
		used = varint_get(p + at, p + n, &got);
		if (used != k || (k > 0 && got != want))
			__builtin_trap();
		if ((dstream_varint(s, &got, &e) == 0) != (k > 0))
			__builtin_trap();
		if (k == 0)
			return;
		if (got != want)
			__builtin_trap();
		used = varint_put(out, want);
		if (used > k || varint_get(out, out + used, &again) != used ||
		    again != want)
			__builtin_trap();
	}
}

/* As long as they are 32 bits: the same, and nothing larger is one. */
static void
narrow(const uint8_t *p, size_t n, struct dstream *s)
{
	struct err e = ERR_INIT;
	uint64_t want = 0;
	uint32_t got;
	size_t k, at;

	for (at = 0; ; at += k) {
		k = plain(p + at, n - at, &want);
		if (dstream_varint32(s, &got, &e) == -1) {
			if (k > 0 && k <= 5 && want <= UINT32_MAX)
				__builtin_trap();
			return;
		}
		if (k == 0 || k > 5 || got != want)
			__builtin_trap();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct err e = ERR_INIT;
	struct dstream *s = NULL;
	int fd = memfd_create("varints", MFD_CLOEXEC);

	if (fd != -1 && file_write_all(fd, p, n) == 0 &&
	    (s = dstream_new(fd, "varints", &e)) != NULL) {
		if (dstream_set(s, 0, n, DDUP_NONE, UINT64_MAX, &e) == 0)
			compare(p, n, s);
		if (dstream_set(s, 0, n, DDUP_NONE, UINT64_MAX, &e) == 0)
			narrow(p, n, s);
	}
	dstream_free(s);
	if (fd != -1)
		close(fd);
	return 0;
}
