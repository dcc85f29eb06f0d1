#ifndef CALA_CONFIG_VIEW_H
#define CALA_CONFIG_VIEW_H

/* view: sections as cala-config shows them; secrets only when asked for. */

#include <stdbool.h>
#include <stddef.h>

#include "config/conf.h"

struct buf;

struct view {
	bool json;
	bool tty;               /* aligned columns; else tabs between them */
	bool header;            /* column titles also without a terminal */
	bool reveal;            /* secrets, too */
	bool origin;            /* where values are from; also defaults */
	/* as in conf_paths, for defaults of foreign disks; or NULL */
	const struct key *(*rows)(const char *, size_t *);
};

/*
 * view_kind(word): "servers" or "server" gives "server" and so on, NULL for
 * what can't be listed.
 * view_list(c, kind, v, out, e): the sections of a kind.
 */
const char *view_kind(const char *);
int view_list(const struct conf *, const char *, const struct view *,
    struct buf *, struct err *);

/* view_show(s, v, out, e): the values of one section. */
int view_show(const struct conf_section *, const struct view *, struct buf *,
    struct err *);

/*
 * view_users(c, name, out): who names configuration name: a line
 * "KIND TAB NAME TAB FILE:LINE" each unless out is NULL; how many.
 */
size_t view_users(const struct conf *, const char *, struct buf *);

#endif
