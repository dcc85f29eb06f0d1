#ifndef CALA_ARCHIVE_WHOLE_H
#define CALA_ARCHIVE_WHOLE_H

/*
 * whole: a stream on its way into a sink, which may commit only when the
 * stream is known to be whole (design: "Proof of completeness"): by the exit
 * status of the producer that we ran, by what the stream says about itself,
 * by a supervisor's word.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "archive/archive.h"

struct err;
struct log;
struct sink;

struct whole {
	const char *const *command;     /* the producer; NULL: stdin is read */
	const char *ok_status;          /* "0,1": its statuses that mean well */
	int commit_fd;                  /* where the word comes; -1: none */
	bool no_check;                  /* take it whatever it says */
	bool allow_empty;
	/*
	 * Bytes that are no archive at all may pass, too; with strict only when
	 * the producer or the supervisor speaks for them.
	 */
	bool any, strict;
	uint64_t memory;                /* to decode with; 0: default */
	_Atomic uint64_t *bytes;        /* counted up as they pass, or NULL */
	struct log *log;
	/* what is known at the end */
	struct archive_facts facts;
	bool partial;                   /* it lacks something, and says so */
};

/*
 * whole_check(in, fd, e): is what was asked for possible?  fd is commit_fd as
 * it was given (UINT64_MAX: not).  CALA_USAGE; also when standard input, to be
 * read, is a terminal.  To be called before a sink is opened.
 * whole_run(in, sink, e): move everything and ask for every proof: 0 when the
 * sink may commit; -1: CALA_INCOMPLETE, CALA_INTEGRITY, what the sink says.
 * The producer has ended then.
 */
int whole_check(struct whole *, uint64_t, struct err *);
int whole_run(struct whole *, struct sink *, struct err *);

#endif
