/* sink: the writing half of stream.h. */

#include "ddup/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#include <zlib.h>

#include "base/bytes.h"
#include "base/code.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"

enum { PLAIN = 32 << 10, WIRE = 64 << 10 };

struct dsink {
	int fd;
	const char *name;
	uint64_t pos;
	bool deflating;
	int z_level;
	bool z_used;
	z_stream z;
	EVP_MD_CTX *sha1;
	XXH3_state_t *xxh;
	int why;                        /* errno of the first failure */
	bool failed;
	size_t nplain, nwire;
	unsigned char plain[PLAIN], wire[WIRE];
};

struct dsink *
dsink_new(int fd, const char *name, struct err *e)
{
	struct dsink *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		err_oom(e);
		return NULL;
	}
	d->fd = fd;
	d->name = name;
	return d;
}

void
dsink_free(struct dsink *d)
{
	if (d == NULL)
		return;
	if (d->z_used)
		deflateEnd(&d->z);
	EVP_MD_CTX_free(d->sha1);
	XXH3_freeState(d->xxh);
	free(d);
}

int
dsink_hash_sha1(struct dsink *d, struct err *e)
{
	if ((d->sha1 = EVP_MD_CTX_new()) == NULL ||
	    EVP_DigestInit_ex(d->sha1, EVP_sha1(), NULL) != 1)
		return err_set(e, CALA_FAIL, "SHA-1: OpenSSL can't provide it");
	return 0;
}

int
dsink_hash_xxh(struct dsink *d, struct err *e)
{
	if ((d->xxh = XXH3_createState()) == NULL)
		return err_oom(e);
	XXH3_128bits_reset(d->xxh);
	return 0;
}

static void
fail(struct dsink *d, int why)
{
	if (!d->failed)
		d->why = why;
	d->failed = true;
}

static void
drain(struct dsink *d)
{
	if (d->nwire == 0 || d->failed)
		return;
	if (d->sha1 != NULL)
		EVP_DigestUpdate(d->sha1, d->wire, d->nwire);
	if (d->xxh != NULL)
		XXH3_128bits_update(d->xxh, d->wire, d->nwire);
	if (file_write_all(d->fd, d->wire, d->nwire) == -1)
		fail(d, errno);
	d->nwire = 0;
}

static void
wire(struct dsink *d, const unsigned char *p, size_t n)
{
	size_t k;

	d->pos += n;
	while (n > 0) {
		if (d->nwire == WIRE)
			drain(d);
		if (d->failed)
			return;
		k = WIRE - d->nwire < n ? WIRE - d->nwire : n;
		memcpy(d->wire + d->nwire, p, k);
		d->nwire += k;
		p += k;
		n -= k;
	}
}

static void
squeeze(struct dsink *d, int flush)
{
	unsigned char out[4096];
	int z = Z_OK;

	d->z.next_in = d->plain;
	d->z.avail_in = (uInt)d->nplain;
	do {
		if (d->failed)
			return;
		d->z.next_out = out;
		d->z.avail_out = sizeof(out);
		z = deflate(&d->z, flush);
		if (z == Z_STREAM_ERROR) {
			fail(d, ENOMEM);
			return;
		}
		wire(d, out, sizeof(out) - d->z.avail_out);
	} while (d->z.avail_out == 0 || (flush == Z_FINISH &&
	    z != Z_STREAM_END));
	d->nplain = 0;
}

void
dsink_begin(struct dsink *d, int level)
{
	if (d->z_used && d->z_level == level) {
		(void)deflateReset(&d->z);
	} else {
		if (d->z_used)
			deflateEnd(&d->z);
		memset(&d->z, 0, sizeof(d->z));
		d->z_used = deflateInit2(&d->z, level, Z_DEFLATED, -15, 8,
		    Z_DEFAULT_STRATEGY) == Z_OK;
		d->z_level = level;
		if (!d->z_used)
			fail(d, ENOMEM);
	}
	d->deflating = true;
}

void
dsink_end(struct dsink *d)
{
	if (d->z_used)
		squeeze(d, Z_FINISH);
	d->deflating = false;
}

void
dsink_put(struct dsink *d, const void *v, size_t n)
{
	const unsigned char *p = v;
	size_t k;

	if (!d->deflating) {
		wire(d, p, n);
		return;
	}
	while (n > 0 && !d->failed) {
		if (d->nplain == PLAIN)
			squeeze(d, Z_NO_FLUSH);
		k = PLAIN - d->nplain < n ? PLAIN - d->nplain : n;
		memcpy(d->plain + d->nplain, p, k);
		d->nplain += k;
		p += k;
		n -= k;
	}
}

void
dsink_varint(struct dsink *d, uint64_t v)
{
	unsigned char p[10];

	dsink_put(d, p, varint_put(p, v));
}

int
dsink_flush(struct dsink *d, struct err *e)
{
	drain(d);
	if (!d->failed)
		return 0;
	errno = d->why;
	return err_sys(e, "write %s", str_q(d->name));
}

uint64_t
dsink_pos(const struct dsink *d)
{
	return d->pos;
}

void
dsink_sha1(struct dsink *d, char out[41])
{
	unsigned char md[20];

	EVP_DigestFinal_ex(d->sha1, md, NULL);
	hex_put(md, sizeof(md), out);
}

void
dsink_xxh(struct dsink *d, unsigned char out[16])
{
	XXH128_canonical_t c;

	XXH128_canonicalFromHash(&c, XXH3_128bits_digest(d->xxh));
	memcpy(out, c.digest, 16);
}
