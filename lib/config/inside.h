#ifndef CALA_CONFIG_INSIDE_H
#define CALA_CONFIG_INSIDE_H

/*
 * inside: backups that lie in the very directory that is to be packed,
 * replaced or rolled back.
 */

#include "config/conf.h"

/*
 * inside_store(conf, cfg, dir, below, e): does a configuration keep its backups
 * at or below dir?  1 and below set to their place in it ("" for dir itself;
 * heap), else 0.  Links and bind mounts are seen through; what does not exist
 * yet counts as if it did.  -1 with err.
 */
int inside_store(const struct conf *, const struct conf_section *,
    const char *, char **, struct err *);

/*
 * inside_rule(below): the gitignore pattern that leaves out exactly that
 * directory; heap, NULL without memory.
 */
char *inside_rule(const char *);

/*
 * inside_none(conf, dir, e): CALA_USAGE when a configuration keeps its backups
 * at or below dir: who replaces dir would carry them off.
 * inside_none_of(conf, fd, e): the same of the subvolume or dataset whose root
 * is open as fd, by its device number: what is mounted or nested further down
 * is not in it, and a directory of it that is mounted elsewhere is.
 */
int inside_none(const struct conf *, const char *, struct err *);
int inside_none_of(const struct conf *, int, struct err *);

#endif
