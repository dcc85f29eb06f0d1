#ifndef CALA_CONFIG_FILES_H
#define CALA_CONFIG_FILES_H

/*
 * files: the configuration files of one run, as text, in the order in which
 * they count; a later file's value wins.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/buf.h"

struct conf_paths;
struct err;

struct conf_file {
	char *path;
	struct buf text;        /* wiped when freed: it may hold secrets */
	struct stat st;
	bool dirty;             /* the editor changed text */
};

struct conf_files {
	struct conf_file *v;
	size_t n;
	bool loose;             /* permission is not looked at */
};

/*
 * files_read(fs, paths, e): the file of paths->file; or SYSTEM/cala.conf,
 * SYSTEM/conf.d/ *.conf sorted by name (hidden ones are skipped), and
 * paths->user, as far as they exist.  An unreadable file is an error.
 */
int  files_read(struct conf_files *, const struct conf_paths *, struct err *);
void files_free(struct conf_files *);

/* files_find(fs, path): the file of that path, or NULL. */
struct conf_file *files_find(const struct conf_files *, const char *);

/* files_add(fs, path, e): an empty one that does not exist yet; or NULL. */
struct conf_file *files_add(struct conf_files *, const char *, struct err *);

#endif
