#ifndef CALA_BASE_FILE_H
#define CALA_BASE_FILE_H

/*
 * file: the few ways in which cala touches files of its own: whole reads with
 * a limit, writes that are whole or absent, advisory locks.
 */

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct buf;
struct err;

/*
 * file_write_all(fd, p, n): all n bytes, over short writes and EINTR; -1 with
 * errno (a write of 0 bytes counts as ENOSPC).
 * file_read_full(fd, p, n): up to n bytes, fewer only at the end; -1 with
 * errno.
 * file_pread_full, file_pwrite_all: the same at an offset.
 */
int     file_write_all(int, const void *, size_t);
ssize_t file_read_full(int, void *, size_t);
ssize_t file_pread_full(int, void *, size_t, uint64_t);
int     file_pwrite_all(int, const void *, size_t, uint64_t);

/*
 * file_flow(fd, n): let the pages of these n files be written out side by side,
 * and wait until they are.  Nothing is durable by it: the fsync of each, which
 * still must come, finds less to do.  -1 with errno where bytes were lost, which
 * fsync does not tell again.
 */
int file_flow(const int *, size_t);

/*
 * file_nameless(dirfd, dir, e): a new file in dir, for reading and writing, that
 * no name leads to and that ends with its last descriptor; -1.
 */
int file_nameless(int, const char *, struct err *);

/*
 * file_printed(out, name, e): did all that was printed to out so far arrive?
 * 0, or -1: CALA_SIGNAL + SIGPIPE when out is a pipe whose reader has gone, by
 * which main ends silently like any tool in front of head(1).
 */
int file_printed(FILE *, const char *, struct err *);

/*
 * file_slurp(b, dirfd, name, e): the whole of a regular file, appended to b;
 * CALA_NOTFOUND when absent; an error when it passes b->max.  A name in a folder
 * (dirfd not AT_FDCWD) may have been put there by anybody: if it is a symbolic
 * link, it is not followed.
 */
int file_slurp(struct buf *, int, const char *, struct err *);

/*
 * A file that appears whole or not at all: written under a temporary name
 * ".NAME.XXXXXX.part" (mode 0600, O_EXCL) beside it.
 *
 *	afile_open(&f, dirfd, "U.json", e);  file_write_all(f.fd, ...);
 *	afile_commit(&f, 0600, 0, e);        fsync, rename, fsync of the folder
 *	afile_abort(&f);                     always safe, also after commit
 *
 * afile_commit with AFILE_NOREPLACE in flags fails with CALA_EXISTS when the
 * name is taken.  AFILE_SYNCED: the caller has synced the file already, and only
 * its name is made durable.  AFILE_UNNAMED: the file is synced, its name is not:
 * the caller syncs the folder before it relies on it.  AFILE_LAZY: nothing is
 * synced: after a power cut the name may stand for the old file, an empty or a
 * torn one, so the reader has to be able to tell.
 */
struct afile {
	int dirfd;              /* a duplicate, ours */
	int fd;
	char *name;
	char *tmp;
};

#define AFILE_INIT { -1, -1, NULL, NULL }
enum { AFILE_NOREPLACE = 1, AFILE_SYNCED = 2, AFILE_LAZY = 4,
	AFILE_UNNAMED = 8 };

int  afile_open(struct afile *, int, const char *, struct err *);
int  afile_commit(struct afile *, mode_t, int, struct err *);
void afile_abort(struct afile *);

/*
 * afile_sweep(dirfd, name): remove what killed writers of name left; name may
 * lack its end.  Only under a lock that all its writers take.
 */
void afile_sweep(int, const char *);

/*
 * file_lock(dirfd, name, what, wait, e): an exclusive flock on name (created
 * 0600), trying for up to wait seconds.  Our pid and what are written into it
 * so that others can say who holds it.  Returns the descriptor (close it to
 * unlock), or -1: CALA_LOCKED with the holder in the message.
 */
int file_lock(int, const char *, const char *, unsigned, struct err *);
/*
 * file_lock_shared(dirfd, name, wait, e): with others who share it; nothing is
 * written into the file.
 */
int file_lock_shared(int, const char *, unsigned, struct err *);

/*
 * file_may(path, mode): R_OK, W_OK, X_OK as this process is now.  eaccess(3)
 * knows nothing of capabilities.  false also when it is absent.
 */
bool file_may(const char *, int);

/*
 * file_empty(dirfd, path, e): 1 for a directory with nothing in it, 0 for one
 * with something, -1 (CALA_NOTFOUND when it is absent).
 */
int file_empty(int, const char *, struct err *);

/*
 * file_mkdirs(path, mode, e): mkdir -p; opens and returns the directory.
 * file_opendir(dirfd, path, e): an existing one.
 * file_list(dirfd): what is in an open directory, from its beginning and
 * whatever else reads it; closedir() leaves dirfd open.  NULL with errno.
 */
int file_mkdirs(const char *, mode_t, struct err *);
int file_opendir(int, const char *, struct err *);
DIR *file_list(int);

#endif
