#ifndef CALA_CONFIG_CONF_H
#define CALA_CONFIG_CONF_H

/*
 * conf: the configuration as it was read: sections of keys and values, each
 * checked against the key table (keys.h), each knowing its file and line.
 *
 * Rooms above ask by section and key; defaults come from the key table.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/secret.h"
#include "base/uuid.h"
#include "config/keys.h"

struct err;
struct log;
struct conf;
struct conf_files;
struct problems;
struct conf_section;            /* one [kind "name"] */

/*
 * Where to look: file replaces all (--config-file or CALA_CONFIG; main reads
 * the environment), else the system's files and then the user's.
 */
struct conf_paths {
	const char *file;       /* NULL: the two below */
	const char *system;     /* "/etc/cala" */
	const char *user;       /* "$XDG_CONFIG_HOME/cala/cala.conf" or NULL */
	const char *key;        /* secret key file */
	/* Is there an executable for a disk that is none of the eight?  NULL:
	 * only the eight are known. */
	bool (*driver)(const char *);
	/* What keys has such a disk?  Rows of the table, n of them, that live
	 * as long as the process; NULL: unknown, then any key is allowed. */
	const struct key *(*rows)(const char *, size_t *);
	/* A variable of the environment, for secrets; NULL or "": not set. */
	const char *(*env)(const char *);
};

/*
 * conf_load(&c, paths, log, e): read and check everything.  Every error of
 * every file is printed to log, a line each "FILE:LINE: [section] key: what";
 * then -1 with CALA_USAGE and a summary.  No file at all is an empty
 * configuration, unless paths->file names it.
 * conf_build: the same from files that were read (files.h) or edited.
 * conf_try: the same, but what is wrong is only collected (problem.h) and left
 * out of the configuration.
 */
int conf_load(struct conf **, const struct conf_paths *, struct log *,
    struct err *);
int conf_build(struct conf **, const struct conf_files *,
    const struct conf_paths *, struct log *, struct err *);
int conf_try(struct conf **, const struct conf_files *,
    const struct conf_paths *, struct problems *, struct err *);
void conf_free(struct conf *);

/*
 * conf_section(c, kind, name): e.g. ("configuration", "hetzner"), ("cala",
 * NULL).  NULL when there is none; [cala] is always there.  conf_nth: the i-th
 * of a kind in file order, NULL past the end.
 */
const struct conf_section *conf_section(const struct conf *, const char *,
    const char *);
const struct conf_section *conf_nth(const struct conf *, const char *,
    size_t);
const char *conf_name(const struct conf_section *);
const char *conf_kind(const struct conf_section *);
/* conf_where(s, key): "FILE:LINE" of the key, or of the section (NULL). */
const char *conf_where(const struct conf_section *, const char *);

/*
 * Values.  The section may be NULL (not in the file): then the default of the
 * key table counts.  Values are in their canonical spelling (key_norm).
 *
 * conf_get: the section's value, else that of [cala] where it has a key of that
 * name (limits, archive-format, hooks …), else the default; NULL when there is
 * none.  A secret's raw text: use conf_secret.
 * conf_get_nth: the i-th of a key that repeats, of this section alone; NULL
 * past the end.
 * conf_map: the i-th member of a dotted map ("environment"): 0 with *key (its
 * name without the map's, and without -file, -command) and *value (raw: secret
 * members through conf_secret(c, s, "environment.NAME")), -1 past the end.
 * u64 and bool are already validated, so they can't fail.
 */
const char *conf_get(const struct conf_section *, const char *);
const char *conf_get_nth(const struct conf_section *, const char *, size_t);
int conf_map(const struct conf_section *, const char *, size_t,
    const char **, const char **);
uint64_t conf_u64(const struct conf_section *, const char *);
bool conf_bool(const struct conf_section *, const char *);

/*
 * conf_words(value, &argv, e): a KEY_COMMAND as the words for execv,
 * NULL-terminated: blanks separate, "double quotes" keep blanks, a backslash
 * keeps the next character.  One heap block: free(argv).
 */
int conf_words(const char *, char ***, struct err *);

/* What a section holds, for listing: the i-th item, NULL past the end. */
struct conf_item {
	const struct key *row;          /* NULL: key of a disk we don't know */
	enum key_form form;
	bool secret;                    /* never to be shown */
	char *name;                     /* "environment.RESTIC_PASSWORD" */
	char *member;                   /* of a map: "RESTIC_PASSWORD" */
	char *text;
	char *where;                    /* "FILE:LINE" */
	size_t file;                    /* index of the file */
	int line;
};
const struct conf_item *conf_item(const struct conf_section *, size_t);

/*
 * conf_secret(c, s, key, out, e): the value of a secret key, from the first of
 * these that has one: CALA_<KEY>_FD, CALA_<KEY>_FILE or CALA_<KEY>_COMMAND in
 * the environment (not for members of maps), the credential cala.NAME.KEY in
 * $CREDENTIALS_DIRECTORY, the configuration, and PBS_PASSWORD or KOPIA_PASSWORD
 * in the environment.  The configuration has it plain, as "enc:v1:…", in
 * KEY-file (closed to group and others), or KEY-command prints it (run without
 * a shell, stdin /dev/null, at most 30 seconds; any other status than 0 is a
 * failure).  A descriptor can be read once.
 * 1 when set, 0 when not, -1 with err: CALA_AUTH for a wrong or missing secret
 * key or file, CALA_USAGE when a required one is nowhere.
 * conf_secret_here: only what the configuration says; 0 also when required.
 */
int conf_secret(const struct conf *, const struct conf_section *,
    const char *, struct secret *, struct err *);
int conf_secret_here(const struct conf *, const struct conf_section *,
    const char *, struct secret *, struct err *);

/*
 * A server as everything else needs it; strings live as long as the conf.
 * conf_server(c, query, out, e): by UUID, name, or unambiguous prefix of
 * either (of a UUID at least 4 characters).  A UUID without section counts
 * when volumes/UUID exists.  CALA_NOTFOUND, or CALA_USAGE when ambiguous.
 */
struct conf_server {
	char uuid[UUID_TEXT];
	const char *name;               /* the section's name =, or its title */
	char *path;                     /* V, absolute; heap: conf_server_fini */
	const char *node, *location;    /* NULL: unknown */
	const struct conf_section *section;     /* NULL: no section */
};
int conf_server(const struct conf *, const char *, struct conf_server *,
    struct err *);
void conf_server_fini(struct conf_server *);

/*
 * conf_server_nth(c, i, out, e): the i-th [server] section as a server.  0, 1
 * past the end, -1 with err.
 */
int conf_server_nth(const struct conf *, size_t, struct conf_server *,
    struct err *);

/*
 * conf_resolve(c, server, log, out, e): server → node → location.  0 with the
 * configuration and which level won ("server", "node", "location");
 * -1 with CALA_MAINTENANCE (then out is filled in all the same, for callers
 * that only list), CALA_UNASSIGNED, CALA_USAGE for a dangling reference.
 * Each level is explained to log at LOG_STEPS when log is not NULL.
 */
struct conf_resolved {
	const struct conf_section *configuration;
	const char *level;
	const char *level_name;
};
int conf_resolve(const struct conf *, const struct conf_server *,
    struct log *, struct conf_resolved *, struct err *);

/*
 * conf_address(text, &kind, name, e): a section as people name it: "hetzner" is
 * [configuration "hetzner"], "server:survival" [server "survival"], "cala"
 * [cala] (name ""); also as it stands in a file, with or without brackets.
 */
enum { CONF_NAME = 1024 };
int conf_address(const char *, const char **, char [CONF_NAME], struct err *);

/* conf_disk(s): the disk of a configuration section: "local", "s3", … */
const char *conf_disk(const struct conf_section *);

/* conf_backup_dir(c): [cala] backup-directory; conf_volumes(c): volumes. */
const char *conf_backup_dir(const struct conf *);
const char *conf_volumes(const struct conf *);

#endif
