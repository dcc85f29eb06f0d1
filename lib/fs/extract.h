#ifndef CALA_FS_EXTRACT_H
#define CALA_FS_EXTRACT_H

/*
 * extract: what can be asked of the writer that fs_writer() returned, beyond
 * the writer's own operations.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct entry;
struct writer;

/* Complete once commit has returned; before that, what is done so far. */
struct fs_extracted {
	uint64_t entries;       /* that were selected */
	uint64_t files;         /* made, of every type but directories */
	uint64_t dirs;          /* made or met */
	uint64_t bytes;         /* logical, of the files made */
	uint64_t kept;          /* left as they were: overwrite was off */
	uint64_t failed;        /* entries that could not be made */
	uint64_t lost;          /* files left out as damaged (go_on) */
};
void fs_writer_facts(struct writer *, struct fs_extracted *);

/* fs_writer_hit(w, i): did any entry lie at or below how.paths[i]? */
bool fs_writer_hit(struct writer *, size_t);

/*
 * fs_writer_watch(w, fn, arg): call fn for each selected entry before it is
 * made, on the thread that calls put.
 */
void fs_writer_watch(struct writer *,
    void (*)(void *, const struct entry *), void *);

/*
 * fs_beneath(root, path, flags, walk): open path (relative, clean; "" is root
 * itself) below the directory root without following any symbolic link, not
 * even the last.  *walk says that the kernel has no openat2(2); it is set when
 * that shows, and may be set to go component by component from the start.
 * Returns a descriptor, or -1 with errno; ELOOP or ENOTDIR where a link is in
 * the way.  With O_CREAT a new file has mode 0600.
 */
int fs_beneath(int, const char *, int, bool *);

/*
 * fs_sweep(root, log, e): remove the temporary files of writers that worked in
 * place below the directory root and are dead.  How many, or -1.
 * fs_leftover(name): is it the name of one, or of their trace?  Then it is
 * nobody's data.
 */
struct err;
struct log;
int  fs_sweep(int, struct log *, struct err *);
bool fs_leftover(const char *);

/*
 * fs_remove(dirfd, name): remove name and all below it, without recursion and
 * without following links.  0 (also when it is absent), or -1 with errno.
 */
int fs_remove(int, const char *);

#endif
