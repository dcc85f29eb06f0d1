#ifndef CALA_CONFIG_SCAN_H
#define CALA_CONFIG_SCAN_H

/*
 * scan: what stands in which line of a configuration file, for the editor; by
 * the same reader that the parser uses, so that both see the same.
 */

#include <stdbool.h>
#include <stddef.h>

#include "config/conf.h"

struct buf;
struct conf_file;
struct err;

/* A line that is a heading or a pair; strings are on the heap. */
struct mark {
	size_t line;            /* from 0 */
	bool heading;
	char *kind, *name;      /* the section; name "" for [cala] */
	char *spelt;            /* a pair: its key, canonical: "x-file" */
	char *base;             /* without -file, -command: "x" */
	char *raw;              /* the value as it stands there */
};

struct scan {
	const char *text;       /* the file's: valid until it changes */
	size_t *start;          /* lines + 1 offsets */
	size_t lines;
	struct mark *v;         /* in order of lines */
	size_t n;
	const char *eol;        /* "\n", or "\r\n" when the first line has it */
};

int  scan_read(struct scan *, const struct conf_file *, struct err *);
void scan_free(struct scan *);

/* scan_in(m, kind, name): does the mark belong to that section? */
bool scan_in(const struct mark *, const char *, const char *);

/* scan_base(k, key, out): key without the suffix of its form. */
void scan_base(const struct key *, const char *, char [KEY_NAME_MAX]);

/*
 * scan_end(s, i): the line behind the section whose heading is mark i; comments
 * directly above the next heading belong to that one.
 */
size_t scan_end(const struct scan *, size_t);

/* scan_heading(s, line, text, out): the line with another heading in it. */
void scan_heading(const struct scan *, size_t, const char *, struct buf *);

#endif
