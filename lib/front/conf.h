#ifndef CALA_FRONT_CONF_H
#define CALA_FRONT_CONF_H

/*
 * conf: where this process's configuration is, and reading it.
 *
 * --config-file, else CALA_CONFIG, replaces /etc/cala and the user's own file
 * ($XDG_CONFIG_HOME or ~/.config)/cala/cala.conf; root reads a user's file only
 * where XDG_CONFIG_HOME says so.  The key of encrypted values is CALA_KEY_FILE,
 * $CREDENTIALS_DIRECTORY/cala.key, or secret.key in /etc/cala; for an ordinary
 * user without access to that, beside the user's own file.
 */

#include "config/conf.h"
#include "front/front.h"

struct buf;

/*
 * front_conf_paths(f, p): the paths; their strings live as long as the
 * process.
 * front_conf(f, &c, e): conf_load of them, every error on f's log.
 */
void front_conf_paths(const struct front *, struct conf_paths *);
int  front_conf(struct front *, struct conf **, struct err *);

/*
 * front_info(disk, out, e): what the driver of a foreign disk says to `info`,
 * within 10 seconds.
 * front_rows: for conf_paths.rows: its keys, asked for once; NULL when it
 * does not say.
 */
int front_info(const char *, struct buf *, struct err *);
const struct key *front_rows(const char *, size_t *);

/*
 * front_find(name, out): the absolute path of an executable of ours: beside
 * this program, in ../libexec/cala, then in PATH.  0, or -1 when there is none.
 */
int front_find(const char *, char [4096]);

#endif
