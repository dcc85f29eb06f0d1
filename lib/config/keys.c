#include "config/keys.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"

#define GIB ((uint64_t)1 << 30)
#define LEVELS "best_speed|best-speed good_speed|good-speed " \
	"good_compression|good-compression best_compression|best-compression"
#define FORMATS "tar tar.gz|tar_gz|tgz tar.xz|tar_xz tar.lz|tar_lzip " \
	"tar.bz2|tar_bz2 tar.lz4|tar_lz4 tar.zst|tar_zstd zip 7z|seven_zip"
#define FOLDERS "local ddup-bak btrfs zfs"
#define NETWORK "s3 restic proxmox-backup-server kopia"

/* Rows that the retention of several sections shares. */
#define KEEP(section)							\
	{ section, NULL, "keep-count", KEY_COUNT, 0, 1, 1000000, NULL,	\
	    NULL, "keep this many whole backups" },			\
	{ section, NULL, "keep-days", KEY_COUNT, 0, 1, 36500, NULL,	\
	    NULL, "keep backups this many days" },			\
	{ section, NULL, "keep-last", KEY_COUNT, 0, 0, 1000000, NULL,	\
	    NULL, "keep the newest N" },				\
	{ section, NULL, "keep-hourly", KEY_COUNT, 0, 0, 1000000, NULL,	\
	    NULL, "keep the newest of each of N hours" },		\
	{ section, NULL, "keep-daily", KEY_COUNT, 0, 0, 1000000, NULL,	\
	    NULL, "keep the newest of each of N days" },		\
	{ section, NULL, "keep-weekly", KEY_COUNT, 0, 0, 1000000, NULL,	\
	    NULL, "keep the newest of each of N ISO weeks" },		\
	{ section, NULL, "keep-monthly", KEY_COUNT, 0, 0, 1000000, NULL, \
	    NULL, "keep the newest of each of N months" },		\
	{ section, NULL, "keep-yearly", KEY_COUNT, 0, 0, 1000000, NULL,	\
	    NULL, "keep the newest of each of N years" },		\
	{ section, NULL, "keep-within", KEY_DURATION, 0, 0, 0, NULL,	\
	    NULL, "keep everything younger than this" }

/* Rows of [cala] that a configuration may set for itself. */
#define TUNING(section)							\
	{ section, NULL, "limit-read", KEY_RATE, 0, 0, 0, NULL, "0",	\
	    "bytes per second read from disks; 0: unlimited" },		\
	{ section, NULL, "limit-write", KEY_RATE, 0, 0, 0, NULL, "0",	\
	    "bytes per second written to disks; 0: unlimited" },	\
	{ section, NULL, "limit-network", KEY_RATE, 0, 0, 0, NULL, "0",	\
	    "bytes per second over the network; 0: unlimited" },	\
	{ section, NULL, "memory", KEY_SIZE, 0, 0, 0, NULL, "0",	\
	    "memory to stay under; 0: each tool's own default" },	\
	{ section, NULL, "jobs", KEY_COUNT, 0, 0, 1024, NULL, "0",	\
	    "worker threads; 0: one for each processor" },		\
	{ section, NULL, "profile", KEY_ENUM, 0, 0, 0, "full wings",	\
	    "full", "wings: write only what Wings reads without loss" }, \
	{ section, NULL, "compression-level", KEY_LEVEL, 0, 0, 22,	\
	    LEVELS, "best_speed", "one of four names, or a number" }

/* The same, of disks behind a network (s3.md §2.10). */
#define PATIENCE(section, disk)						\
	{ section, disk, "retries", KEY_COUNT, 0, 0, 100, NULL, "10",	\
	    "how often a failed request is tried again" },		\
	{ section, disk, "timeout", KEY_DURATION, 0, 1, 86400, NULL,	\
	    "120", "how long to wait for an answer" },			\
	{ section, disk, "stall-timeout", KEY_DURATION, 0, 1, 604800,	\
	    NULL, "30m", "give up when nothing moves for so long" }

/* Rows of [cala] that a server may set for itself. */
#define HOOKS(section)							\
	{ section, NULL, "snapshot", KEY_ENUM, 0, 0, 0,		\
	    "auto yes btrfs zfs no", "auto",				\
	    "read from a Btrfs or ZFS snapshot of the source" }, \
	{ section, NULL, "pre-backup", KEY_COMMAND, 0, 1, 4096, NULL,	\
	    NULL, "program to run before; exit 75 skips the backup" },	\
	{ section, NULL, "post-backup", KEY_COMMAND, 0, 1, 4096, NULL,	\
	    NULL, "program to run after, whatever happened" },		\
	{ section, NULL, "hook-timeout", KEY_DURATION, 0, 1, 604800,	\
	    NULL, "300", "how long a hook may run" }

static const struct key table[] = {
	{ "cala", NULL, "backup-directory", KEY_PATH, 0, 0, 0, NULL,
	    "/var/lib/pterodactyl/backups", "where local backups live" },
	{ "cala", NULL, "volumes", KEY_PATH, 0, 0, 0, NULL,
	    "/var/lib/pterodactyl/volumes", "where the servers live" },
	{ "cala", NULL, "node", KEY_TEXT, 0, 1, 255, NULL, NULL,
	    "the node that this machine is" },
	{ "cala", NULL, "archive-format", KEY_ENUM, 0, 0, 0, FORMATS,
	    "tar.zst", "format of archives on local disks" },
	TUNING("cala"),
	PATIENCE("cala", NULL),
	HOOKS("cala"),
	{ "cala", NULL, "ignore", KEY_PATTERN, KEY_LIST, 1, 4096, NULL, NULL,
	    "gitignore pattern for every server" },

	{ "location", NULL, "configuration", KEY_REF, 0, 1, 255,
	    "configuration", NULL, "where backups from here go" },
	{ "location", NULL, "description", KEY_TEXT, 0, 1, 1024, NULL, NULL,
	    "for people" },

	{ "node", NULL, "location", KEY_REF, 0, 1, 255, "location", NULL,
	    "where the node stands" },
	{ "node", NULL, "configuration", KEY_REF, 0, 1, 255,
	    "configuration", NULL, "where backups from here go" },
	{ "node", NULL, "description", KEY_TEXT, 0, 1, 1024, NULL, NULL,
	    "for people" },

	{ "server", NULL, "uuid", KEY_UUID, 0, 0, 0, NULL, NULL,
	    "identity; else the section's name or made from it" },
	{ "server", NULL, "name", KEY_TEXT, 0, 1, 255, NULL, NULL,
	    "for people and the command line" },
	{ "server", NULL, "node", KEY_REF, 0, 1, 255, "node", NULL,
	    "where it runs; default: this machine's node" },
	{ "server", NULL, "path", KEY_PATH, 0, 0, 0, NULL, NULL,
	    "its directory; default: volumes/UUID" },
	{ "server", NULL, "configuration", KEY_REF, 0, 1, 255,
	    "configuration", NULL, "where its backups go" },
	{ "server", NULL, "description", KEY_TEXT, 0, 1, 1024, NULL, NULL,
	    "for people" },
	{ "server", NULL, "group", KEY_TEXT, 0, 1, 255, NULL, NULL,
	    "group of its backups unless --group says another" },
	{ "server", NULL, "ignore", KEY_PATTERN, KEY_LIST, 1, 4096, NULL, NULL,
	    "gitignore pattern; may repeat" },
	HOOKS("server"),

	{ "configuration", NULL, "disk", KEY_ENUM, KEY_REQUIRED, 0, 0,
	    "local|wings ddup-bak btrfs zfs s3 restic "
	    "proxmox-backup-server|pbs kopia", NULL, "kind of storage" },
	{ "configuration", NULL, "description", KEY_TEXT, 0, 1, 1024, NULL,
	    NULL, "for people" },
	{ "configuration", NULL, "maintenance", KEY_BOOL, 0, 0, 0, NULL, "no",
	    "yes: nothing is read from or written to it" },
	{ "configuration", NULL, "shared", KEY_BOOL, 0, 0, 0, NULL, "no",
	    "the storage is reachable from every node" },
	{ "configuration", NULL, "ignore", KEY_PATTERN, KEY_LIST, 1, 4096,
	    NULL, NULL, "gitignore pattern; may repeat" },
	TUNING("configuration"),
	PATIENCE("configuration", NETWORK),

	{ "configuration", FOLDERS, "backup-directory", KEY_PATH, 0, 0, 0,
	    NULL, "/var/lib/pterodactyl/backups", "where its backups live" },
	{ "configuration", "local", "archive-format", KEY_ENUM, 0, 0, 0,
	    FORMATS, "tar.zst", "format of new archives" },

	{ "configuration", "ddup-bak", "compression-format", KEY_ENUM, 0, 0, 0,
	    "none deflate gzip brotli", "deflate", "how chunks are stored" },
	{ "configuration", "ddup-bak", "chunk-size", KEY_SIZE, 0, 4096,
	    64 << 20, NULL, "1MiB",
	    "size of chunks on average, of a new repository" },
	{ "configuration", "ddup-bak", "chunker", KEY_ENUM, 0, 0, 0,
	    "fastcdc fixed", "fastcdc", "where files are cut" },

	{ "configuration", "btrfs", "create-read-only", KEY_BOOL, 0, 0, 0,
	    NULL, "yes", "snapshots can't be written to" },
	{ "configuration", "zfs", "receive-dataset", KEY_TEXT, 0, 1, 200,
	    NULL, NULL, "dataset below which received backups go" },

	{ "configuration", "s3", "endpoint", KEY_URL, 0, 1, 255, NULL, NULL,
	    "URL of the service; default: AWS in the region" },
	{ "configuration", "s3", "bucket", KEY_TEXT, KEY_REQUIRED, 1, 255,
	    NULL, NULL, "bucket" },
	{ "configuration", "s3", "region", KEY_TEXT, 0, 1, 255, NULL, NULL,
	    "region; default: from the endpoint's name" },
	{ "configuration", "s3", "access-key", KEY_TEXT, 0, 1, 255, NULL, NULL,
	    "id of the access key" },
	{ "configuration", "s3", "secret-key", KEY_TEXT, KEY_SECRET, 1, 255,
	    NULL, NULL, "secret of the access key" },
	{ "configuration", "s3", "session-token", KEY_TEXT, KEY_SECRET, 1, 8192,
	    NULL, NULL, "token of temporary credentials" },
	{ "configuration", "s3", "aws-profile", KEY_TEXT, 0, 1, 255, NULL,
	    NULL, "profile of the AWS credentials files" },
	{ "configuration", "s3", "path-style", KEY_ENUM, 0, 0, 0,
	    "auto yes no", "auto", "bucket in the path, not in the host" },
	{ "configuration", "s3", "compression", KEY_ENUM, 0, 0, 0,
	    "none gz|gzip xz lzip|lz bz2|bzip2 lz4 zstd|zst", "zstd",
	    "compression of the tar" },
	{ "configuration", "s3", "part-size", KEY_SIZE, KEY_ZERO, 5000000,
	    5 * GIB, NULL, "1GiB", "largest part of an upload" },
	{ "configuration", "s3", "exact-parts", KEY_BOOL, 0, 0, 0, NULL, "no",
	    "parts of exactly part-size, for providers that need it" },
	{ "configuration", "s3", "max-parts", KEY_COUNT, 0, 1, 10000, NULL,
	    "10000", "parts of an upload that the provider allows" },
	{ "configuration", "s3", "spool-directory", KEY_PATH, 0, 0, 0, NULL,
	    NULL, "directory for parts that are too large for memory" },
	{ "configuration", "s3", "storage-class", KEY_TEXT, 0, 1, 255, NULL,
	    NULL, "storage class of new objects" },
	{ "configuration", "s3", "tags", KEY_TEXT, KEY_MAP, 0, 256, NULL, NULL,
	    "tags of new objects, at most 10" },
	{ "configuration", "s3", "unsigned-payload", KEY_ENUM, 0, 0, 0,
	    "auto yes no", "auto",
	    "leave bytes of uploads unsigned; auto: over TLS" },
	{ "configuration", "s3", "anonymous", KEY_BOOL, 0, 0, 0, NULL, "no",
	    "no credentials, no signature" },
	{ "configuration", "s3", "imds", KEY_BOOL, 0, 0, 0, NULL, "no",
	    "ask the EC2 instance for credentials" },
	{ "configuration", "s3", "object-lock-mode", KEY_ENUM, 0, 0, 0,
	    "none governance compliance", "none",
	    "how new objects are locked by the store" },
	{ "configuration", "s3", "object-lock-retention", KEY_DURATION, 0, 1, 0,
	    NULL, NULL, "how long the store keeps new objects locked" },
	{ "configuration", "s3", "object-lock-legal-hold", KEY_BOOL, 0, 0, 0,
	    NULL, "no", "put a legal hold on new objects" },
	{ "configuration", "s3", "expected-bucket-owner", KEY_TEXT, 0, 1, 64,
	    NULL, NULL, "refuse a bucket of another account" },
	{ "configuration", "s3", "requester-pays", KEY_BOOL, 0, 0, 0, NULL,
	    "no", "accept the costs of requests" },
	{ "configuration", "s3", "sse", KEY_ENUM, 0, 0, 0,
	    "none AES256 aws:kms aws:kms:dsse customer", "none",
	    "server-side encryption" },
	{ "configuration", "s3", "sse-kms-key-id", KEY_TEXT, 0, 1, 2048, NULL,
	    NULL, "id of the KMS key" },
	{ "configuration", "s3", "sse-customer-key", KEY_BASE64, KEY_SECRET,
	    32, 32, NULL, NULL, "32 bytes in base64, for sse = customer" },
	{ "configuration", "s3", "sse-bucket-key", KEY_BOOL, 0, 0, 0, NULL,
	    "no", "one KMS key of the bucket in place of one an object" },
	{ "configuration", "s3 proxmox-backup-server restic", "cacert",
	    KEY_PATH, KEY_READ, 0, 0, NULL, NULL,
	    "PEM file of CAs; default: the system's trust store" },
	{ "configuration", "s3 proxmox-backup-server", "tls-verify", KEY_BOOL,
	    0, 0, 0, NULL, "yes", "no: trust any certificate" },

	{ "configuration", "restic", "repository", KEY_TEXT, KEY_REQUIRED, 3,
	    255, NULL, NULL, "repository as restic names it" },
	{ "configuration", "restic", "retry-lock-seconds", KEY_COUNT, 0, 0,
	    604800, NULL, "0", "how long to wait for restic's lock" },
	{ "configuration", "restic", "pack-size", KEY_SIZE, 0, 4 << 20,
	    128 << 20, NULL, "16MiB", "size of new packs, in whole MiB" },
	{ "configuration", "restic", "compression", KEY_ENUM, 0, 0, 0,
	    "auto off max", "auto", "how new packs are compressed" },
	{ "configuration", "restic", "cache-directory", KEY_PATH, 0, 0, 0,
	    NULL, NULL, "its cache; default: below /var/cache/cala" },
	{ "configuration", "restic", "environment", KEY_TEXT,
	    KEY_MAP | KEY_SECRET, 0, 65535, NULL, NULL,
	    "variables for restic: RESTIC_PASSWORD, ..." },
	{ "configuration", "restic", "prune-jobs", KEY_PRUNE, KEY_LIST, 1, 4096,
	    NULL, NULL, "when to prune: cron fields, then nodes" },

	{ "configuration", "proxmox-backup-server", "url", KEY_URL,
	    KEY_REQUIRED, 1, 255, NULL, NULL, "URL; default port 8007" },
	{ "configuration", "proxmox-backup-server", "datastore", KEY_TEXT,
	    KEY_REQUIRED, 1, 255, NULL, NULL, "datastore" },
	{ "configuration", "proxmox-backup-server", "namespace", KEY_TEXT, 0, 1,
	    255, NULL, NULL, "namespace" },
	{ "configuration", "proxmox-backup-server", "token-id", KEY_TOKEN_ID,
	    KEY_REQUIRED, 1, 255, NULL, NULL, "user@realm!token" },
	{ "configuration", "proxmox-backup-server", "token-secret", KEY_TEXT,
	    KEY_SECRET | KEY_REQUIRED, 1, 255, NULL, NULL,
	    "secret of the token" },
	{ "configuration", "proxmox-backup-server kopia", "fingerprint",
	    KEY_FINGERPRINT, 0, 0, 0, NULL, NULL,
	    "SHA-256 of the certificate; default: the system's trust store" },
	{ "configuration", "proxmox-backup-server", "encryption-key", KEY_TEXT,
	    KEY_SECRET, 1, 16384, NULL, NULL,
	    "a key file of Proxmox, to encrypt new backups with" },
	{ "configuration", "proxmox-backup-server", "encryption-password",
	    KEY_TEXT, KEY_SECRET, 1, 1024, NULL, NULL,
	    "password of the encryption key" },
	{ "configuration", "proxmox-backup-server", "master-public-key",
	    KEY_PATH, KEY_READ, 0, 0, NULL, NULL,
	    "PEM file: who may recover the encryption key" },
	{ "configuration", "proxmox-backup-server", "backup-id-prefix",
	    KEY_TEXT, 0, 1, 255, NULL, "calagopus",
	    "what backup ids begin with" },
	{ "configuration", "proxmox-backup-server", "chunker", KEY_ENUM, 0, 0,
	    0, "auto fastcdc buzhash", "auto",
	    "where archives are cut: as Wings, as Proxmox, as before" },
	{ "configuration", "proxmox-backup-server", "change-detection",
	    KEY_ENUM, 0, 0, 0, "legacy data metadata", "legacy",
	    "one archive; or two: metadata reads changed files only" },

	{ "configuration", "kopia", "url", KEY_URL, KEY_REQUIRED, 1, 255, NULL,
	    NULL, "URL of the repository server" },
	{ "configuration", "kopia", "username", KEY_KOPIA_USER, KEY_REQUIRED, 1,
	    255, NULL, NULL, "user@host" },
	{ "configuration", "kopia", "password", KEY_TEXT,
	    KEY_SECRET | KEY_REQUIRED, 1, 255, NULL, NULL,
	    "password of the user" },
	{ "configuration", "kopia", "tags", KEY_TEXT, KEY_MAP, 1, 255, NULL,
	    NULL, "tags of new snapshots, at most 50" },
	{ "configuration", "kopia", "cache-directory", KEY_PATH, 0, 0, 0,
	    NULL, NULL, "where its cache lies; default: in .kopia below "
	    "backup-directory" },

	{ "group", NULL, "description", KEY_TEXT, 0, 1, 1024, NULL, NULL,
	    "for people" },
	KEEP("group"),

	{ "policy", NULL, "description", KEY_TEXT, 0, 1, 1024, NULL, NULL,
	    "for people" },
	{ "policy", NULL, "configuration", KEY_REF, 0, 1, 255,
	    "configuration", NULL, "where to; default: as each server" },
	{ "policy", NULL, "enabled", KEY_BOOL, 0, 0, 0, NULL, "yes",
	    "no: never due" },
	{ "policy", NULL, "schedule", KEY_CRON, KEY_REQUIRED, 1, 255, NULL,
	    NULL, "cron fields, seconds first, UTC" },
	{ "policy", NULL, "parallelism", KEY_COUNT, 0, 1, 100, NULL, "1",
	    "backups at a time on one node" },
	{ "policy", NULL, "locations", KEY_REF, KEY_LIST | KEY_COMMA, 1, 255,
	    "location", NULL, "covers every server there" },
	{ "policy", NULL, "nodes", KEY_REF, KEY_LIST | KEY_COMMA, 1, 255,
	    "node", NULL, "covers every server there" },
	{ "policy", NULL, "servers", KEY_REF, KEY_LIST | KEY_COMMA, 1, 255,
	    "server", NULL, "covers these servers" },
	KEEP("policy"),
};

enum { ROWS = sizeof(table) / sizeof(*table) };

/* Calagopus' names where ours differ (calagopus.md §2.1, §6.3, §6.5). */
static const struct { const char *theirs, *ours; } aliases[] = {
	{ "backup-disk", "disk" },
	{ "maintenance-enabled", "maintenance" },
	{ "compression-type", "compression" },
	{ "retention-count", "keep-count" },
	{ "retention-days", "keep-days" },
	{ "backup-configuration", "configuration" },
	{ "cron", "schedule" },
	{ "read-limit", "limit-read" },
	{ "write-limit", "limit-write" },
};

static const struct { const char *disk, *driver; } drivers[] = {
	{ "local", "cala-local" }, { "s3", "cala-s3" },
	{ "ddup-bak", "cala-ddup" }, { "btrfs", "cala-snap" },
	{ "zfs", "cala-snap" }, { "restic", "cala-restic" },
	{ "proxmox-backup-server", "cala-pbs" }, { "kopia", "cala-kopia" },
};

enum { DRIVERS = sizeof(drivers) / sizeof(*drivers) };

bool
key_builtin(const char *disk)
{
	size_t i;

	for (i = 0; i < DRIVERS; i++)
		if (strcmp(drivers[i].disk, disk) == 0)
			return true;
	return false;
}

int
key_driver(const char *disk, char out[KEY_DRIVER])
{
	size_t i, n = strlen(disk);

	for (i = 0; i < DRIVERS; i++)
		if (strcmp(drivers[i].disk, disk) == 0) {
			snprintf(out, KEY_DRIVER, "%s", drivers[i].driver);
			return 0;
		}
	if (n == 0 || n > KEY_DRIVER - sizeof("cala-") ||
	    strspn(disk, "abcdefghijklmnopqrstuvwxyz0123456789-") != n ||
	    disk[0] == '-')
		return -1;
	memcpy(out, "cala-", 5);
	memcpy(out + 5, disk, n + 1);
	return 0;
}

bool
key_applies(const struct key *k, const char *disk)
{
	const char *p = k->disk;
	size_t n;

	if (p == NULL || disk == NULL)
		return true;
	for (n = strlen(disk); *p != '\0'; p += *p == ' ') {
		if (strncmp(p, disk, n) == 0 && (p[n] == ' ' || p[n] == '\0'))
			return true;
		p += strcspn(p, " ");
	}
	return false;
}

const struct key *
key_nth(size_t i)
{
	return i < ROWS ? &table[i] : NULL;
}

/* Which rows may be meant. */
struct among {
	const struct key *v;
	size_t n;
	const char *section, *disk;     /* NULL: any */
};

/*
 * The row whose name is the n characters at name (hyphens already), for a
 * map: what stands before the dot.
 */
static const struct key *
row(const struct among *a, const char *name, size_t n)
{
	const char *section = a->section, *dot = memchr(name, '.', n);
	size_t i, base = dot != NULL ? (size_t)(dot - name) : n;
	const struct key *k;

	for (i = 0; i < a->n; i++) {
		k = &a->v[i];
		if (section != NULL && strcmp(k->section, section) != 0)
			continue;
		if (strlen(k->name) != base || memcmp(k->name, name, base) != 0)
			continue;
		if (!key_applies(k, a->disk))
			continue;
		if ((dot != NULL) != ((k->flags & KEY_MAP) != 0) ||
		    (dot != NULL && base + 1 == n))
			continue;
		return k;
	}
	return NULL;
}

/* name with hyphens for underscores up to the dot, aliases resolved. */
static int
hyphens(const char *name, char out[KEY_NAME_MAX])
{
	size_t i, n = strlen(name);

	if (n == 0 || n >= KEY_NAME_MAX)
		return -1;
	memcpy(out, name, n + 1);
	for (i = 0; i < n && out[i] != '.'; i++)
		if (out[i] == '_')
			out[i] = '-';
	for (i = 0; i < sizeof(aliases) / sizeof(*aliases); i++)
		if (strcmp(aliases[i].theirs, out) == 0)
			memcpy(out, aliases[i].ours,
			    strlen(aliases[i].ours) + 1);
	return 0;
}

/* How many characters are left of s[0..n) without the suffix; 0: absent. */
static size_t
without(const char *s, size_t n, const char *suffix)
{
	size_t k = strlen(suffix);

	return n > k && strcmp(s + n - k, suffix) == 0 ? n - k : 0;
}

static const struct key *
find(const struct among *a, const char *s, enum key_form *form)
{
	static const struct { const char *suffix; enum key_form form; } t[] = {
		{ "-file", KEY_FROM_FILE }, { "-command", KEY_FROM_COMMAND },
		{ "_file", KEY_FROM_FILE }, { "_command", KEY_FROM_COMMAND },
	};
	const struct key *k;
	size_t i, n = strlen(s), cut;
	const char *dot = strchr(s, '.');

	/*
	 * A member keeps its underscores: RESTIC_PASSWORD_FILE is a variable
	 * of restic's, RESTIC_PASSWORD-file is ours.
	 */
	for (i = 0; i < (dot != NULL ? 2 : 4); i++) {
		if ((cut = without(s, n, t[i].suffix)) == 0)
			continue;
		k = row(a, s, cut);
		if (k == NULL || (k->flags & KEY_SECRET) == 0)
			continue;
		*form = t[i].form;
		return k;
	}
	*form = KEY_PLAIN;
	return row(a, s, n);
}

const struct key *
key_find(const char *section, const char *disk, const char *name)
{
	const struct among a = { table, ROWS, section, disk };
	char s[KEY_NAME_MAX];
	enum key_form form;

	return hyphens(name, s) == -1 ? NULL : find(&a, s, &form);
}

const struct key *
key_among(const struct key *v, size_t n, const char *name)
{
	const struct among a = { v, n, NULL, NULL };
	char s[KEY_NAME_MAX];
	enum key_form form;

	return hyphens(name, s) == -1 ? NULL : find(&a, s, &form);
}

enum key_form
key_spell(const struct key *k, const char *name, char out[KEY_NAME_MAX])
{
	const struct among a = { k, 1, NULL, NULL };
	enum key_form form = KEY_PLAIN;

	if (hyphens(name, out) == -1)
		out[0] = '\0';
	else
		(void)find(&a, out, &form);
	return form;
}

size_t
key_most(const struct key *k)
{
	if (k->type == KEY_PRUNE)
		return 50;
	if (strcmp(k->name, "tags") == 0)
		return strcmp(k->disk, "s3") == 0 ? 10 : 50;
	return KEY_LIST_MAX;
}

bool
key_secretive(const char *name)
{
	static const char *const ends[] =
	    { "-file", "-command", "_file", "_command" };
	static const char *const bad[] =
	    { "secret", "password", "passphrase", "token", "key" };
	static const char *const ids[] =
	    { "key-id", "key_id", "token-id", "token_id", "access-key",
	      "access_key" };
	size_t i, n = strlen(name), k;

	for (i = 0; i < 4; i++)
		if ((k = strlen(ends[i])) < n &&
		    strcasecmp(name + n - k, ends[i]) == 0)
			return false;
	for (i = 0; i < sizeof(ids) / sizeof(*ids); i++)
		if ((k = strlen(ids[i])) <= n &&
		    strcasecmp(name + n - k, ids[i]) == 0 &&
		    strcasestr(name, "secret") == NULL)
			return false;
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (strcasestr(name, bad[i]) != NULL)
			return true;
	return false;
}

static const char *const types[] = {
	"text", "path", "bool", "count", "size", "rate", "duration", "enum",
	"url", "uuid", "cron", "fingerprint", "token-id", "user@host",
	"reference", "pattern", "command", "level", "prune", "base64"
};

const char *
key_type_name(enum key_type t)
{
	return types[t];
}

int
key_type_of(const char *name, enum key_type *out)
{
	size_t i;

	for (i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (strcmp(types[i], name) == 0) {
			*out = (enum key_type)i;
			return 0;
		}
	return -1;
}

static void
info_choices(struct jw *j, const char *p)
{
	char word[64];
	size_t n, whole;

	jw_open(j, "choices", '[');
	for (; *p != '\0'; p += whole, p += *p == ' ') {
		whole = strcspn(p, " ");
		n = strcspn(p, " |");
		if (n < sizeof(word)) {
			memcpy(word, p, n);
			word[n] = '\0';
			jw_str(j, NULL, word);
		}
	}
	jw_close(j, ']');
}

void
key_info(const char *disk, struct buf *b)
{
	const struct key *k;
	struct jw j;
	size_t i;

	jw_begin(&j, b);
	jw_open(&j, NULL, '[');
	for (i = 0; i < ROWS; i++) {
		k = &table[i];
		if (strcmp(k->section, "configuration") != 0 ||
		    !key_applies(k, disk))
			continue;
		jw_open(&j, NULL, '{');
		jw_str(&j, "name", k->name);
		jw_str(&j, "type", key_type_name(k->type));
		jw_bool(&j, "required", (k->flags & KEY_REQUIRED) != 0);
		jw_bool(&j, "secret", (k->flags & KEY_SECRET) != 0);
		if ((k->flags & KEY_LIST) != 0)
			jw_bool(&j, "list", true);
		if ((k->flags & KEY_MAP) != 0)
			jw_bool(&j, "map", true);
		if (k->max != 0) {
			jw_u64(&j, "min", k->min);
			jw_u64(&j, "max", k->max);
		}
		if (k->choices != NULL && k->type != KEY_REF)
			info_choices(&j, k->choices);
		if (k->def != NULL)
			jw_str(&j, "default", k->def);
		jw_str(&j, "help", k->help);
		jw_close(&j, '}');
	}
	jw_close(&j, ']');
}
