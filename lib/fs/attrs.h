#ifndef CALA_FS_ATTRS_H
#define CALA_FS_ATTRS_H

/*
 * attrs: what lsattr(1) shows of a file or directory, and its quota project:
 * facts that only some file systems have and few archives hold.
 */

#include <stdbool.h>
#include <stdint.h>

/*
 * attrs_get(fd, &attrs, &projid): as FS_IOC_GETFLAGS has them; 0 where the file
 * system has none.  fd is open for reading.
 */
void attrs_get(int, uint32_t *, uint32_t *);

/*
 * ATTRS_SET: those that a restored object gets.  Not the immutable and the
 * append-only bit, which would forbid what comes after.
 * attrs_set(fd, opath, attrs): these, besides what it has.
 * attrs_project(fd, opath, projid): its quota project.
 * Both: fd may be of O_PATH, as opath says; 0, or -1 with errno.
 */
#define ATTRS_SET UINT32_C(0x208104cc)
int attrs_set(int, bool, uint32_t);
int attrs_project(int, bool, uint32_t);

#endif
