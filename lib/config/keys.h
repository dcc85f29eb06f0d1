#ifndef CALA_CONFIG_KEYS_H
#define CALA_CONFIG_KEYS_H

/*
 * keys: the one table of every configuration key: which section and disk it
 * belongs to, its type, limits, default, whether it is a secret.  The parser,
 * cala-config, `info` of each driver and cala.conf(5) agree because all of them
 * read it.  A new key is a new row in keys.c, nothing else.
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
	KEY_ENUM,               /* one of choices, space separated; "a|b|c":
	                         * b and c are other spellings of a */
	KEY_URL,                /* http or https */
	KEY_UUID,
	KEY_CRON,               /* six fields, seconds first; five accepted */
	KEY_FINGERPRINT,        /* 64 hex digits, colons and blanks ignored */
	KEY_TOKEN_ID,           /* PBS: user@realm!token */
	KEY_KOPIA_USER,         /* user@host */
	KEY_REF,                /* name of a section of the kind in choices */
	KEY_PATTERN,            /* a gitignore line */
	KEY_COMMAND,            /* a program and its arguments */
	KEY_LEVEL,              /* compression: a name of four, or 0..22 */
	KEY_PRUNE,              /* six cron fields, then names of nodes */
	KEY_BASE64              /* of min..max bytes */
};

enum {
	KEY_SECRET = 1,         /* encrypted at rest, redacted when shown */
	KEY_LIST = 2,           /* may repeat; values accumulate */
	KEY_MAP = 4,            /* NAME.member = value */
	KEY_REQUIRED = 8,       /* the disk can't work without it */
	KEY_COMMA = 16,         /* a list whose line may name several */
	KEY_READ = 32,          /* a path of a file that must be there */
	KEY_ZERO = 64           /* 0 as well, below min: cala chooses */
};

struct key {
	const char *section;    /* "cala", "server", "configuration", … */
	const char *disk;       /* configuration: the disks, space separated,
	                         * or NULL for all */
	const char *name;       /* "secret-key" */
	enum key_type type;
	unsigned flags;         /* KEY_SECRET … */
	uint64_t min, max;      /* max 0: no limit.  Lists and maps: KEY_TEXT
	                         * limits are those of one value */
	const char *choices;    /* KEY_ENUM, KEY_REF */
	const char *def;        /* default as text; NULL: none */
	const char *help;       /* one line */
};

/* How a secret key was spelled: KEY, KEY-file, KEY-command. */
enum key_form { KEY_PLAIN, KEY_FROM_FILE, KEY_FROM_COMMAND };

enum {
	KEY_NAME_MAX = 288,     /* longest key with member and suffix, NUL */
	KEY_TITLE_MAX = 255,    /* characters of a section's name */
	KEY_LIST_MAX = 10000    /* values of one list */
};

/*
 * key_find(section, disk, name): Calagopus' spelling (underscores) and
 * KEY-file, KEY-command of secrets are known, too; a map's row is found by
 * "map.member".  section NULL: the first row of that name in any section.  disk
 * NULL: of any disk.  NULL when there is none.
 * key_nth(i): for listing; NULL past the end.
 */
const struct key *key_find(const char *, const char *, const char *);
const struct key *key_nth(size_t);

/* key_among(rows, n, name): the same among n rows of a foreign disk. */
const struct key *key_among(const struct key *, size_t, const char *);

/*
 * key_spell(k, name, out): name, with which k was found, as it is written
 * canonically ("secret_key_file" gives "secret-key-file"); members of maps stay
 * as they are.  Returns its form.
 */
enum key_form key_spell(const struct key *, const char *, char [KEY_NAME_MAX]);

/* key_applies(k, disk): is k a key of that disk's configurations? */
bool key_applies(const struct key *, const char *);

/*
 * key_builtin(disk): is it one of the eight?  key_driver(disk, out): the
 * executable that serves it ("cala-" and at most 59 characters); -1 when the
 * name can't be one.
 */
enum { KEY_DRIVER = 65 };
bool key_builtin(const char *);
int  key_driver(const char *, char [KEY_DRIVER]);

/*
 * key_norm(k, value, out, e): append value in its one canonical spelling:
 * choices as the table has them, UUIDs lower-case, fingerprints as 64 hex
 * digits, paths without trailing slash.  -1 with CALA_USAGE when it is not
 * allowed; the message says what was expected and never quotes a secret.
 * key_check(k, value, e): is value allowed?
 */
int  key_norm(const struct key *, const char *, struct buf *, struct err *);
int  key_check(const struct key *, const char *, struct err *);

/*
 * key_most(k): how many values a list, or members a map, may have
 * (calagopus.md §2.3, §2.5; s3.md §4).
 * key_member(k, name, e): may a member of the map have this name?
 */
size_t key_most(const struct key *);
int    key_member(const struct key *, const char *, struct err *);

/*
 * key_info(disk, b): append the JSON array of a disk's keys for `info`: name,
 * type, required, secret, list, map, min, max, choices[], default, help.
 */
void key_info(const char *, struct buf *);

/*
 * key_type_name(t): "text", "path", … as in key_info.  key_type_of(name, &t):
 * back again; -1 when there is none of that name.
 */
const char *key_type_name(enum key_type);
int key_type_of(const char *, enum key_type *);

/*
 * key_secretive(name): does a key of this name look like a secret (SECRET,
 * PASSWORD, PASSPHRASE, TOKEN or KEY, but no key id, file or command)?  Such
 * values are redacted wherever they stand (calagopus.md §2.7).
 */
bool key_secretive(const char *);

#endif
