#ifndef CALA_CONFIG_KEYS_H
#define CALA_CONFIG_KEYS_H

/*
 * keys: the one table of every configuration key: which section and disk it
 * belongs to, its type, limits, default, whether it is a secret.  The parser,
 * cala-config, `info` of each driver and cala.conf(5) agree because all of them
 * read it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;

enum key_type {
	KEY_TEXT,               /* min..max characters (Unicode) */
	KEY_PATH,               /* absolute path */
	KEY_BOOL,
	KEY_COUNT,              /* integer min..max */
	KEY_SIZE,               /* bytes with unit, min..max */
	KEY_RATE,               /* bytes per second, 0: unlimited */
	KEY_DURATION,           /* seconds */
	KEY_ENUM,               /* one of choices, space separated */
	KEY_URL,                /* http or https */
	KEY_UUID,
	KEY_CRON,               /* six fields, seconds first; five accepted */
	KEY_FINGERPRINT,        /* 64 hex digits, colons and blanks ignored */
	KEY_TOKEN_ID,           /* PBS: user@realm!token */
	KEY_KOPIA_USER,         /* user@host */
	KEY_REF,                /* name of a section of the kind in choices */
	KEY_PATTERN,            /* a gitignore line */
	KEY_COMMAND             /* a program and its arguments */
};

enum {
	KEY_SECRET = 1,         /* encrypted at rest, redacted when shown */
	KEY_LIST = 2,           /* may repeat; values accumulate */
	KEY_MAP = 4,            /* NAME.member = value */
	KEY_REQUIRED = 8        /* the disk can't work without it */
};

struct key {
	const char *section;    /* "cala", "server", "configuration", … */
	const char *disk;       /* configuration: the disk, or NULL for all */
	const char *name;       /* "secret-key" */
	enum key_type type;
	unsigned flags;         /* KEY_SECRET … */
	uint64_t min, max;
	const char *choices;    /* KEY_ENUM, KEY_REF */
	const char *def;        /* default as text; NULL: none */
	const char *help;       /* one line */
};

/*
 * key_find(section, disk, name): Calagopus' spelling (underscores) and
 * KEY-file, KEY-command of secrets are known, too.  NULL when there is none.
 * key_nth(i): for listing; NULL past the end.
 */
const struct key *key_find(const char *, const char *, const char *);
const struct key *key_nth(size_t);

/*
 * key_check(k, value, e): is value allowed?  key_info(disk, b): the JSON array
 * of a disk's keys for `info`.
 */
int  key_check(const struct key *, const char *, struct err *);
void key_info(const char *, struct buf *);

#endif
