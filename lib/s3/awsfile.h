#ifndef CALA_S3_AWSFILE_H
#define CALA_S3_AWSFILE_H

/*
 * awsfile: the two files of AWS' own tools, ~/.aws/config and
 * ~/.aws/credentials (s3.md §8); for this room only.
 *
 *	[profile NAME]          [NAME] in the credentials file
 *	key = value             # a comment, also with ; and behind a blank
 *	s3 =
 *	  addressing_style = path
 *
 * Keys are case-insensitive.  Not the grammar of lib/config: a nested value is
 * an indented line, and what is no pair is passed over, as AWS' tools do.
 */

#include <stdbool.h>
#include <stddef.h>

struct err;

enum { AWSFILE_MAX = 1 << 20, AWSFILE_ITEMS = 20000 };

/* A pair; the strings lie in the file's text. */
struct awsitem {
	const char *kind;       /* "profile", "services", "sso-session" */
	const char *name;       /* of the section */
	const char *parent;     /* of a nested key, or "" */
	const char *key, *value;
};

struct awsfile {
	char *text;             /* holds secrets: wiped */
	size_t size;
	struct awsitem *v;
	size_t n;
	bool open;              /* others may read it */
};

/*
 * awsfile_read(f, path, shared, e): shared: the credentials file, where a
 * section is a profile's bare name.  0; 1 when there is no such file (f is
 * empty); -1: CALA_AUTH when it can't be read, CALA_USAGE when it is too long.
 * awsfile_parse(f, p, n, shared, e): the same of n bytes (copied).
 */
int  awsfile_read(struct awsfile *, const char *, bool, struct err *);
int  awsfile_parse(struct awsfile *, const void *, size_t, bool,
    struct err *);
void awsfile_fini(struct awsfile *);

/*
 * awsfile_has(f, kind, name): is there a section, even an empty one?
 * awsfile_get(f, kind, name, parent, key): the value ("" included), of the last
 * line that sets it; NULL when none does.
 */
bool awsfile_has(const struct awsfile *, const char *, const char *);
const char *awsfile_get(const struct awsfile *, const char *, const char *,
    const char *, const char *);

#endif
