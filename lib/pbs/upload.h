#ifndef CALA_PBS_UPLOAD_H
#define CALA_PBS_UPLOAD_H

/*
 * upload: streams become indexes of a backup session: cut into chunks, hashed,
 * compressed and encrypted on all cores, and sent where the server does not have
 * them; listed in the index in order, each after the server has confirmed it.
 *
 * Memory: what how says for chunks, of all streams together, and beyond it the
 * chunk that a stream is at, and what each thread compresses one to.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pbs/crypt.h"

struct err;
struct pbs_backup;
struct pbs_index;
struct pbs_upload;
struct sink;

struct pbs_upload_how {
	struct pbs_backup *session;
	const struct pbs_crypt *crypt;  /* NULL: not encrypted */
	unsigned jobs;                  /* 0: cores */
	uint64_t memory;                /* for chunks; 0: 26 MiB */
};

/*
 * pbs_upload_new(how, e): the workers for one session, which is borrowed, as the
 * key is.  pbs_upload_free: waits for what is under way; all streams were freed
 * before; NULL is fine.
 */
struct pbs_upload *pbs_upload_new(const struct pbs_upload_how *,
    struct err *);
void pbs_upload_free(struct pbs_upload *);

enum pbs_cut {
	PBS_CUT_BUZHASH,        /* as Proxmox's client */
	PBS_CUT_FASTCDC,        /* as Wings */
	PBS_CUT_PAYLOAD         /* as Proxmox's, of .ppxar: where files begin */
};

struct pbs_stream_how {
	const char *name;               /* "root.pxar.didx"; borrowed */
	enum pbs_cut cut;
	size_t avg;                     /* 0: 4 MiB; a power of two */
	/*
	 * The index of the previous snapshot that was read in this session, or
	 * NULL: its chunks are not sent.
	 */
	const struct pbs_index *before;
};

/*
 * pbs_stream(u, how, e): a sink whose bytes become that index; its commit closes
 * it.  Nothing is seen of it before the session is finished.  One thread writes
 * to all streams of an upload.
 *
 * pbs_stream_suggest(s, pos, e): PBS_CUT_PAYLOAD: a file will begin at pos.
 * pbs_stream_inject(s, ix, first, n, e): PBS_CUT_PAYLOAD: here come n chunks of
 * ix, the previous snapshot's index; they are not in the sink's own pos.
 */
struct sink *pbs_stream(struct pbs_upload *, const struct pbs_stream_how *,
    struct err *);
int pbs_stream_suggest(struct sink *, uint64_t, struct err *);
int pbs_stream_inject(struct sink *, const struct pbs_index *, size_t, size_t,
    struct err *);

/* What became of a stream; complete after commit. */
struct pbs_stream_sum {
	uint64_t size, chunks;          /* of the whole */
	uint64_t known_size, known;     /* the server had already */
	uint64_t sent;                  /* bytes of blobs */
	unsigned char csum[PBS_DIGEST]; /* after commit */
};
void pbs_stream_sum(const struct sink *, struct pbs_stream_sum *);

#endif
