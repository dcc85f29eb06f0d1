#ifndef CALA_CONFIG_INI_H
#define CALA_CONFIG_INI_H

/*
 * ini: the grammar of a configuration file.
 *
 *	; a comment, also with #
 *	[kind]
 *	[kind "name"]            \" and \\ in the quotes
 *	key = value              ; a comment needs a blank before it
 *	key = " a;value "        a value may stand in quotes
 *
 * Blanks at the start of a line mean nothing.  inih splits the lines; what it
 * can't do as Debian builds it (lines over 199 bytes, section names over 49,
 * line numbers, semicolons in quotes) the reader underneath it does.
 */

#include <stddef.h>

struct buf;
struct err;

enum {
	INI_LINE = 128 << 10,           /* longest line, bytes */
	INI_KEY = 280,                  /* longest key */
	INI_FILE = 16 << 20             /* longest file */
};

/*
 * What a file holds, in order.  Lines count from 1.  name is NULL for [kind].
 * raw is the value without comment and outer blanks, quotes still on it.
 * After a heading that is none, no pair is reported before the next good one.
 * bad: this line is wrong; reading goes on.
 */
struct ini_calls {
	void (*heading)(void *, int, const char *, const char *);
	void (*pair)(void *, int, const char *, const char *);
	void (*bad)(void *, int, const char *);
};

/*
 * ini_read(text, n, calls, ctx, e): read n bytes.  Returns 0 also when lines
 * were bad; -1 without memory.
 */
int ini_read(const char *, size_t, const struct ini_calls *, void *,
    struct err *);

/*
 * ini_value(s, n, &from, &len): where in the n bytes behind the "=" the raw
 * value stands; what follows it is blanks and a comment.
 */
void ini_value(const char *, size_t, size_t *, size_t *);

/*
 * ini_unquote(raw, out): append the value.  -1 when it begins with a quote that
 * is not closed or is followed by something.
 * ini_quote(value, out): append it so that ini_unquote gives it back.  -1 when
 * it can't be written in one line (control characters).
 * ini_heading(kind, name, out): append "[kind "name"]"; name NULL: "[kind]".
 */
int ini_unquote(const char *, struct buf *);
int ini_quote(const char *, struct buf *);
int ini_heading(const char *, const char *, struct buf *);

#endif
