#ifndef CALA_TESTS_SCRATCH_H
#define CALA_TESTS_SCRATCH_H

/* A directory of a test's own. */

#include "unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/extract.h"

/* Make it and open it; the last six characters of its name are chosen. */
static inline int
scratch(char *name)
{
	int fd;

	memcpy(name + strlen(name) - 6, "XXXXXX", 6);
	assert_non_null(mkdtemp(name));
	fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd != -1);
	return fd;
}

/* Close it and remove all that is in it. */
static inline int
scratch_drop(int fd, const char *name)
{
	close(fd);
	return fs_remove(AT_FDCWD, name);
}

#endif
