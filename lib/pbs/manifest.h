#ifndef CALA_PBS_MANIFEST_H
#define CALA_PBS_MANIFEST_H

/*
 * manifest: index.json.blob, the list of a snapshot's files with their sizes and
 * checksums, signed where there is a key, and notes, which anybody may change.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "pbs/crypt.h"

struct buf;
struct err;
struct pbs_crypt;

#define PBS_MANIFEST "index.json.blob"

enum {
	PBS_MANIFEST_MAX = 128 << 20,   /* bytes of JSON from outside */
	PBS_FILES_MAX = 1024            /* the server takes 256 indexes */
};

enum pbs_mode { PBS_MODE_NONE, PBS_MODE_ENCRYPT, PBS_MODE_SIGN };

struct pbs_file {
	char *name;             /* with .didx, .fidx or .blob */
	enum pbs_mode mode;
	uint64_t size;          /* of the content; of a blob itself */
	unsigned char csum[PBS_DIGEST]; /* of the index, of the blob itself */
};

struct pbs_manifest {
	char *type, *id;        /* "host", … */
	int64_t time;           /* seconds */
	struct pbs_file *files;
	size_t n;
	bool has_sign;
	unsigned char sign[PBS_DIGEST];
	json_t *unprotected;    /* an object */
};

/*
 * pbs_manifest_init(m, type, id, time, e): without files.
 * pbs_manifest_add(m, name, mode, size, csum, e): one more file.
 * pbs_manifest_parse(m, p, n, e): of JSON from outside; m is initialised here.
 * CALA_INTEGRITY.
 * pbs_manifest_fini: frees; fine for one that is all zero.
 */
int  pbs_manifest_init(struct pbs_manifest *, const char *, const char *,
    int64_t, struct err *);
int  pbs_manifest_add(struct pbs_manifest *, const char *, enum pbs_mode,
    uint64_t, const unsigned char [PBS_DIGEST], struct err *);
int  pbs_manifest_parse(struct pbs_manifest *, const void *, size_t,
    struct err *);
void pbs_manifest_fini(struct pbs_manifest *);

/*
 * pbs_manifest_put(m, c, b, e): append the JSON; with a key c it is signed, and
 * the key's fingerprint is added to unprotected.
 * pbs_manifest_canonical(m, b, e): append what a signature is made over.
 * pbs_manifest_check(m, c, e): whose is it?  0: signed by the key c.  1: nothing
 * is signed (c NULL: a signature was not looked at).  -1: CALA_AUTH when it
 * needs a key that c is not; CALA_INTEGRITY when the signature is wrong.
 */
int pbs_manifest_put(const struct pbs_manifest *, const struct pbs_crypt *,
    struct buf *, struct err *);
int pbs_manifest_canonical(const struct pbs_manifest *, struct buf *,
    struct err *);
int pbs_manifest_check(const struct pbs_manifest *, const struct pbs_crypt *,
    struct err *);

/*
 * pbs_manifest_file(m, name): NULL when it has none of that name.
 * pbs_file_is(f, p, n, e): are the n bytes at p, encoded as they are stored, the
 * blob that the manifest means by f (pbs.md §8.1)?  0, or CALA_INTEGRITY.
 * pbs_manifest_print(m, out): 1 with the fingerprint of the key that it was
 * made with; 0: there is none; -1: there is one that can't be read.
 * pbs_manifest_notes(m): NULL when there are none.
 * pbs_manifest_finished(m): does it have what the server adds when a session is
 * finished?
 */
int pbs_file_is(const struct pbs_file *, const void *, size_t, struct err *);
const struct pbs_file *pbs_manifest_file(const struct pbs_manifest *,
    const char *);
int pbs_manifest_print(const struct pbs_manifest *,
    unsigned char [PBS_DIGEST]);
const char *pbs_manifest_notes(const struct pbs_manifest *);
bool pbs_manifest_finished(const struct pbs_manifest *);

/* pbs_mode_name(mode): "none", "encrypt", "sign-only". */
const char *pbs_mode_name(enum pbs_mode);

#endif
