/*
 * restic_cache: restic (seen with 0.19) makes the file "version" of a cache, and
 * only then fills it.  Another restic that reads it in between will not work,
 * nor will any, once the first has died there (restic's issue 21940).
 */

#include "exec/restic.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"

bool
restic_cache_torn(const char *line)
{
	return strstr(line, "unable to open cache: readVersion") != NULL;
}

void
restic_cache_mend(const char *path, struct log *log)
{
	DIR *dir = opendir(path);
	struct dirent *d;
	struct stat st;
	char name[NAME_MAX + sizeof("/version")];

	if (dir == NULL)
		return;
	while ((d = readdir(dir)) != NULL) {
		if (*d->d_name == '.')
			continue;
		snprintf(name, sizeof(name), "%s/version", d->d_name);
		if (fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode) && st.st_size == 0 &&
		    unlinkat(dirfd(dir), name, 0) == 0)
			log_step(log, "%s/%s: it was empty, and is made anew",
			    str_q(path), str_q(name));
	}
	closedir(dir);
}
