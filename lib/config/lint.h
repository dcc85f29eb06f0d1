#ifndef CALA_CONFIG_LINT_H
#define CALA_CONFIG_LINT_H

/* lint: what loading does not look at, because it lies outside the files. */

#include "config/conf.h"

/*
 * conf_lint(paths, log, e): everything that conf_load says, and: references to
 * sections that don't exist, encrypted values that don't open, secrets and
 * files that are missing, open to others or not as they should be, programs
 * that can't be run, keys that need another.  Runs no program that the
 * configuration names.  0, or -1 with CALA_USAGE and every error on the log.
 */
int conf_lint(const struct conf_paths *, struct log *, struct err *);

#endif
