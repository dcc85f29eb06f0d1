#ifndef CALA_BASE_IO_H
#define CALA_BASE_IO_H

/*
 * io: streams of bytes.
 *
 * A source is pulled.  A sink is pushed, has exactly one end for each outcome
 * (commit or abort), and can't finish by accident.  A ranged is read anywhere.
 * The position and the sticky failure live here, once, not in each
 * implementation.  An implementation embeds its struct as first member.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct source;
struct sink;
struct ranged;

/* read: > 0 bytes, 0 at the end, -1 with err.  close frees the source. */
struct source_ops {
	ssize_t (*read)(struct source *, void *, size_t, struct err *);
	void (*close)(struct source *);
};

struct source {
	const struct source_ops *ops;
	uint64_t pos;           /* bytes handed out so far */
};

/* source_read: as ops->read; short counts are normal. */
ssize_t source_read(struct source *, void *, size_t, struct err *);
/* source_full: n bytes, fewer only at the end; -1 with err. */
ssize_t source_full(struct source *, void *, size_t, struct err *);
/* source_drain: read to the end, counting; -1 with err. */
int source_drain(struct source *, struct err *);
void source_close(struct source *);     /* NULL is fine */

/* source_fd(fd, own, name, e): of a descriptor; closed with it when own. */
struct source *source_fd(int, bool, const char *, struct err *);
/* source_mem(p, n, e): of n borrowed bytes. */
struct source *source_mem(const void *, size_t, struct err *);

/*
 * space: lend at least one byte of room in the sink's own buffer, *n bytes;
 *        NULL with err.
 * used:  n of these bytes now belong to the stream.
 * mark:  an archive entry starts at the present position (optional).
 * commit: flush and make durable and visible; frees nothing.
 * abort: leave no trace unless committed; frees the sink; never fails.
 */
struct sink_ops {
	void *(*space)(struct sink *, size_t *, struct err *);
	int (*used)(struct sink *, size_t, struct err *);
	int (*mark)(struct sink *, struct err *);
	int (*commit)(struct sink *, struct err *);
	void (*abort)(struct sink *);
};

struct sink {
	const struct sink_ops *ops;
	uint64_t pos;           /* bytes taken so far */
	bool failed;            /* sticky: later calls fail at once */
	bool committed;
	/*
	 * NULL, or: all n bytes at once, past the buffer (flushed before),
	 * where that saves copying them; sink_write uses it.
	 */
	int (*direct)(struct sink *, const void *, size_t, struct err *);
};

/*
 * sink_space/sink_used: fill the sink's buffer in place (no copy).
 * sink_write: all n bytes or -1.  sink_zero: n zero bytes.
 * sink_mark, sink_commit: as the operations.
 * sink_free: aborts what was not committed, and frees; NULL is fine.
 */
void *sink_space(struct sink *, size_t *, struct err *);
int  sink_used(struct sink *, size_t, struct err *);
int  sink_write(struct sink *, const void *, size_t, struct err *);
int  sink_zero(struct sink *, uint64_t, struct err *);
int  sink_mark(struct sink *, struct err *);
int  sink_commit(struct sink *, struct err *);
void sink_free(struct sink *);

/*
 * pipe_widen(fd): let a pipe hold up to 1 MiB, so that its two ends wait for
 * each other less often; nothing where fd is no pipe or the user has enough.
 */
void pipe_widen(int);

/*
 * sink_fd(fd, own, name, e): to a descriptor through a buffer of 128 KiB.
 * commit flushes, and closes when own; no fsync.  abort closes when own.
 * A write that fails with EPIPE gives code CALA_SIGNAL + SIGPIPE.
 */
struct sink *sink_fd(int, bool, const char *, struct err *);
/* sink_null(e): counts and forgets. */
struct sink *sink_null(struct err *);

/* Random access: a file, an object in a bucket. */
struct ranged_ops {
	/* exactly n bytes at off (inside size), or -1 with err */
	int (*read)(struct ranged *, void *, size_t, uint64_t, struct err *);
	void (*close)(struct ranged *);
};

struct ranged {
	const struct ranged_ops *ops;
	uint64_t size;          /* of the whole, fixed */
	uint64_t fetched;       /* bytes read so far: what browsing costs */
	/* NULL, or: as ranged_expect, inside size */
	void (*expect)(struct ranged *, uint64_t, uint64_t);
};

/*
 * ranged_read: all n bytes at off; CALA_INTEGRITY when they would pass the
 * end.  ranged_source: a source over [off, off + n), which borrows r.
 * ranged_expect: n bytes at off are going to be read in order, and may be
 * fetched ahead; a hint.
 */
int ranged_read(struct ranged *, void *, size_t, uint64_t, struct err *);
struct source *ranged_source(struct ranged *, uint64_t, uint64_t,
    struct err *);
void ranged_expect(struct ranged *, uint64_t, uint64_t);
void ranged_close(struct ranged *);     /* NULL is fine */

/* ranged_fd(fd, own, name, e): of a regular file. */
struct ranged *ranged_fd(int, bool, const char *, struct err *);

#endif
