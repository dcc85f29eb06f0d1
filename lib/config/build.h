#ifndef CALA_CONFIG_BUILD_H
#define CALA_CONFIG_BUILD_H

/* build: between the two passes over the text; for this room only. */

#include "config/conf.h"
#include "config/files.h"
#include "config/problem.h"

/* A line of a file as it was read. */
struct raw {
	struct conf_section *s;
	size_t file;
	int line;
	char *key, *text;       /* one block at key */
};

struct build {
	struct conf *c;
	const struct conf_files *fs;
	const struct conf_paths *paths;
	size_t file;
	struct conf_section *s;         /* NULL: behind an unknown section */
	struct raw *raw;
	size_t nraw;
	struct problems *bad;
	bool oom;
};

/* build_item_fini(it): free, and wipe, what an item holds. */
void build_item_fini(struct conf_item *);

/* build_place(b, file, line): "FILE:LINE" on the heap, or NULL. */
char *build_place(const struct build *, size_t, int);

/*
 * judge_all(b): every raw line becomes an item of its section or a problem;
 * then what can be judged only at the end.
 * judge_file(b, i): may the i-th file be trusted with commands?
 */
void judge_all(struct build *);
void judge_file(struct build *, size_t);

#endif
