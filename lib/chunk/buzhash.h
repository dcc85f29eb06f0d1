#ifndef CALA_CHUNK_BUZHASH_H
#define CALA_CHUNK_BUZHASH_H

/*
 * buzhash: cut points exactly as Proxmox's client finds them, for streams that
 * come in pieces; and the cutter of payload streams on top of it.
 *
 * Bounds depend on the bytes since the last cut alone: min is a quarter, max
 * four times the average, a chunk ends after a byte where the lower bits of the
 * hash over the last 64 bytes are one of the three highest values.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cut;
struct err;

enum { BUZHASH_WINDOW = 64 };

struct buzhash {
	size_t min, max;
	uint32_t mask;
	/* of the chunk at hand: its bytes so far, their hash, the last ones */
	uint32_t h;
	size_t n;
	unsigned char w[BUZHASH_WINDOW];
};

/*
 * buzhash_init(b, avg): avg is a power of two, 1 KiB to 16 MiB (Proxmox: 64 KiB
 * to 4 MiB; 512 KiB for catalogs).
 * buzhash_scan(b, p, n): the next n bytes.  Where the first chunk among them
 * ends: 1..n, and the next call begins behind that byte; 0: nowhere yet.
 * buzhash_reset(b): a chunk begins with the next byte.
 */
void buzhash_init(struct buzhash *, size_t);
size_t buzhash_scan(struct buzhash *, const void *, size_t);
void buzhash_reset(struct buzhash *);

/* cut_buzhash(c, avg): the same for cut.h, where whole chunks are at hand. */
void cut_buzhash(struct cut *, size_t);

/*
 * paycut: cuts of a payload stream, which also prefers to begin chunks where
 * files begin, and must end one where chunks of an earlier backup are put in.
 *
 * Positions are of the payload stream, chunks put in included.  Like those of
 * Proxmox's client, cuts at suggestions depend on how much is at hand.
 */
struct paycut;

struct paycut *paycut_new(size_t, struct err *);
void paycut_free(struct paycut *);      /* NULL is fine */

/*
 * paycut_suggest(c, pos): a file begins at pos.  In the order of positions.
 * paycut_inject(c, pos, size): at pos come size bytes that are not in the data.
 * In the order of positions, one behind another at one pos included.
 */
int paycut_suggest(struct paycut *, uint64_t, struct err *);
int paycut_inject(struct paycut *, uint64_t, uint64_t, struct err *);

/*
 * paycut_next(c, p, n, end, &len, e): p is all that was not cut yet.
 * PAYCUT_CHUNK: its first len bytes are one.  PAYCUT_INJECT: its first len
 * bytes are one (none when 0), and then comes what the oldest injection put in.
 * PAYCUT_MORE: more data is needed (end: there is none, and n is 0).  -1:
 * an injection lies behind the end or before what was cut.
 */
enum { PAYCUT_MORE, PAYCUT_CHUNK, PAYCUT_INJECT };
int paycut_next(struct paycut *, const void *, size_t, bool, size_t *,
    struct err *);

#endif
