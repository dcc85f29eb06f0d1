#ifndef CALA_SNAP_STREAM_H
#define CALA_SNAP_STREAM_H

/*
 * stream: a snapshot on its way to another place: what btrfs send or zfs send
 * gives, and behind it, unless told otherwise, cala's trailer: a zstd skippable
 * frame with the number and the SHA-256 of all bytes before it (cala-formats
 * "trailer").
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct sha256;
struct sink;

enum { STREAM_TRAILER = 56, STREAM_HOLD = 4096 };

/*
 * stream_out(fd, to, end, e): everything from fd into to, with its trailer in
 * end, to be written when the sender has ended well.  Commits nothing.
 */
int stream_out(int, struct sink *, unsigned char [STREAM_TRAILER],
    struct err *);

/*
 * An arriving stream.  Its last bytes are held back until it is known to be
 * whole, so that who reads the rest sees a truncated stream until then.
 *
 * stream_in_put(s, p, n, fd, e): n more bytes; what is no longer held goes to
 * fd.  stream_in_end(s, vouched, fd, e): is it whole?  Then the rest goes to
 * fd, without the trailer.  CALA_INTEGRITY when the trailer contradicts,
 * CALA_INCOMPLETE when there is none and nobody vouches.
 */
struct stream_in {
	struct sha256 *sha;
	unsigned char held[STREAM_HOLD];
	size_t n;
	uint64_t passed;
};
int  stream_in_init(struct stream_in *, struct err *);
void stream_in_fini(struct stream_in *);
int  stream_in_put(struct stream_in *, const unsigned char *, size_t, int,
    struct err *);
int  stream_in_end(struct stream_in *, bool, int, struct err *);

#endif
