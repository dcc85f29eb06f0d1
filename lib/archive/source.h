#ifndef CALA_ARCHIVE_SOURCE_H
#define CALA_ARCHIVE_SOURCE_H

/*
 * source: what an archive is wrapped in, undone: gzip (RFC 1952), zstd (RFC
 * 8878), xz, lzip, bzip2, lz4, each with any number of members, streams or
 * frames behind each other, read to the end of the input.
 *
 * Input is only ever read in the thread that reads the output, so that a
 * signal or a closing never waits for a thread that waits for a pipe.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/io.h"

struct log;
struct err;

enum wrap {
	WRAP_NONE, WRAP_GZ, WRAP_XZ, WRAP_LZ, WRAP_BZ2, WRAP_LZ4, WRAP_ZST
};

/* wrap_sniff(p, n): by the first bytes. */
enum wrap wrap_sniff(const void *, size_t);

/*
 * source_unwrap(wrap, in, jobs, memory, log, e): the bytes inside.  jobs
 * threads (at least 1) decode independent frames and members; what is one piece
 * is decoded on one thread beside the caller.  At most 48 MiB, and what xz and
 * lzip ask for, at most memory bytes (0: DECODE_MEMORY).  in stays the
 * caller's.  Errors: CALA_INCOMPLETE when the input is cut short,
 * CALA_INTEGRITY when it is damaged, CALA_NOSPACE when memory does not do.
 */
#define DECODE_MEMORY ((uint64_t)256 << 20)
struct source *source_unwrap(enum wrap, struct source *, unsigned, uint64_t,
    struct log *, struct err *);

/* source_after(head, n, in, e): the n bytes (copied), then in (borrowed). */
struct source *source_after(const void *, size_t, struct source *,
    struct err *);

/*
 * flow: a thread with a bounded queue of bytes on each side.
 *
 * The owner: flow_push (blocks while the queue is full; bytes for a thread
 * that has returned are dropped), flow_end (no more), flow_pull (feeds from in
 * as it goes; > 0 bytes, 0 at the end, -1 with the thread's error), flow_wait
 * (until run has returned; its result), flow_free (stops and joins).
 * The thread, inside run: flow_take (> 0, 0 at the end, -1 when told to stop),
 * flow_give (-1 when told to stop).
 */
struct flow;
typedef int flow_run(struct flow *, void *, struct err *);
struct flow *flow_new(flow_run *, void *, size_t, size_t, struct err *);
void    flow_push(struct flow *, const void *, size_t);
void    flow_end(struct flow *);
ssize_t flow_pull(struct flow *, struct source *, void *, size_t,
    struct err *);
int     flow_wait(struct flow *, struct err *);
void    flow_free(struct flow *);       /* NULL is fine */
ssize_t flow_take(struct flow *, void *, size_t);
int     flow_give(struct flow *, const void *, size_t);

/*
 * A decoder decodes a whole stream inside a flow, and, where stream parts are
 * independent (cut is not NULL), single pieces.
 *
 * cut(p, n, eof, &c): what do the n bytes at p begin with?  CUT_MORE: c->len
 * bytes are needed to say (never when eof); CUT_PIECE: a piece of c->len bytes
 * that gives c->out bytes; CUT_SKIP: c->skip bytes to drop; CUT_STREAM: to be
 * decoded by run from here on; CUT_SHORT: cut short; CUT_BAD: damaged.
 * piece(ctx, in, n, out, m): true when exactly all in gives exactly all out.
 */
enum cut { CUT_MORE, CUT_PIECE, CUT_SKIP, CUT_STREAM, CUT_SHORT, CUT_BAD };

struct cutting {
	size_t len, out;
	uint64_t skip;
};

struct decoder {
	const char *name;
	enum cut (*cut)(const unsigned char *, size_t, bool, struct cutting *);
	void *(*ctx_new)(void);
	void (*ctx_free)(void *);
	bool (*piece)(void *, const unsigned char *, size_t, unsigned char *,
	    size_t);
	flow_run *run;                  /* argument: struct decoding */
};

struct decoding {
	struct log *log;
	uint64_t memory;                /* of source_unwrap */
};

enum {
	PIECE_IN = (8 << 20) + (1 << 16),       /* at most, compressed */
	PIECE_OUT = 8 << 20
};

extern const struct decoder decoder_zst, decoder_gz;
extern const struct decoder decoder_xz, decoder_lz, decoder_bz2, decoder_lz4;

/*
 * zst_frame(p, n, &f): the frame header at p (RFC 8878 §3.1.1.1); how long it
 * is, or 0 when n is too short, -1 when it is none.
 */
struct zst_frame {
	bool known;             /* the content size is told */
	uint64_t size;
	uint64_t window;
	bool sum, dict;
};
int zst_frame(const unsigned char *, size_t, struct zst_frame *);

enum {
	ZST_HEADER = 18,                /* a frame header is at most that long */
	ZST_BLOCK = 128 << 10,
	ZST_WINDOW_LOG = 27
};

#define ZST_MAGIC       0xFD2FB528u
#define ZST_SKIP_MAGIC  0x184D2A50u     /* and the 15 after it */

/*
 * gz_member(p, n): length of the member header at p (RFC 1952 §2.3), 0 when n
 * is too short to say, -1 when it is none.
 * gz_find(p, n): offset of the first thing in p that looks like one, or n.
 */
int    gz_member(const unsigned char *, size_t);
size_t gz_find(const unsigned char *, size_t);

#endif
