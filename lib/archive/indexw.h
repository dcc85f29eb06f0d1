#ifndef CALA_ARCHIVE_INDEXW_H
#define CALA_ARCHIVE_INDEXW_H

/*
 * indexw: the index of a compressed tar, as it is written (spec s3 §10).
 *
 * Entries are compressed as they come and go to an unlinked file when they are
 * many, so that memory stays small: about 2 MiB and 12 bytes a frame.
 */

#include <stddef.h>
#include <stdint.h>

struct entry;
struct err;
struct indexw;
struct sink;

/*
 * indexw_new(tmpdir, e): tmpdir (NULL: /var/tmp) takes the file, if one is
 * needed.
 */
struct indexw *indexw_new(const char *, struct err *);
void indexw_free(struct indexw *);      /* NULL is fine */

/*
 * indexw_entry: the next member.  header: where its first block (of a pax
 * header, if it has one) starts in the tar; data: where its bytes start;
 * stored: how many these are; type: tar's letter; path and link (NULL: none)
 * as they stand in the tar.
 */
struct indexw_member {
	uint64_t header, data, stored;
	char type;
	const struct entry *entry;
	const char *path, *link;
};
int indexw_entry(struct indexw *, const struct indexw_member *,
    struct err *);

/*
 * indexw_frame(ix, c_len, u_len, sum, e): the next frame or member; sum is the
 * low half of the XXH64 of its u_len bytes.
 */
int indexw_frame(struct indexw *, uint32_t, uint32_t, uint32_t,
    struct err *);

/*
 * Behind the last frame, the tar having tar_len bytes and the log that many
 * warnings:
 * indexw_zst: the CALAIDXZ frame and the seek table of a tar.zst.
 * indexw_gz: the empty members of a tar.gz.
 * indexw_blob: the raw blob alone, for tests.
 */
int indexw_zst(struct indexw *, struct sink *, uint64_t, uint64_t,
    struct err *);
int indexw_gz(struct indexw *, struct sink *, uint64_t, uint64_t,
    struct err *);
int indexw_blob(struct indexw *, struct sink *, uint64_t, uint64_t,
    struct err *);

#endif
