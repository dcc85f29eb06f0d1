/* What restic prints: nodes, messages, tags; and our rules in its words. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "driver/restic.h"
#include "exec/restic_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
node(const char *text, size_t n)
{
	struct err e = ERR_INIT;
	json_t *j = json_parse(text, n, "fuzz", &e);
	struct restic_node nd;

	if (j != NULL && restic_node(&nd, j, &e) == 0) {
		if (strchr(nd.name, '/') != NULL || *nd.name == '\0' ||
		    (nd.mode & ~07777u) != 0)
			abort();
		restic_node_fini(&nd);
	}
	json_decref(j);
}

/* A line is a tag: whatever it was, what we make of it is read as the same. */
static void
tags(char *text)
{
	struct err e = ERR_INIT;
	struct resticd_snap snap, again;
	struct resticd_tags t = { .n = 0 };
	struct record rec, back;
	char *save = NULL, *line;
	size_t i;
	int r = 0;

	memset(&snap, 0, sizeof(snap));
	memset(&again, 0, sizeof(again));
	record_init(&rec);
	record_init(&back);
	rec.complete = back.complete = true;
	rec.foreign = back.foreign = true;
	for (line = strtok_r(text, "\n", &save); line != NULL && r == 0;
	    line = strtok_r(NULL, "\n", &save))
		r = resticd_untag(&rec, &snap, line, &e);
	if (r == 0 && resticd_tags(&rec, &snap, &t, &e) == 0) {
		for (i = 1; i < t.n && r == 0; i++)
			r = resticd_untag(&back, &again, t.v[i], &e);
		if (r == 0 && (back.locked != rec.locked ||
		    back.foreign != rec.foreign ||
		    strcmp(back.server, rec.server) != 0 ||
		    strcmp(snap.run, again.run) != 0 ||
		    (rec.warnings_count > 0 && back.complete)))
			abort();
	}
	resticd_tags_fini(&t);
	resticd_snap_fini(&snap);
	resticd_snap_fini(&again);
	record_fini(&rec);
	record_fini(&back);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char *text = str_ndup((const char *)p, n);
	struct buf b;

	if (text == NULL)
		return 0;
	node(text, n);
	(void)restic_means(text);
	buf_init(&b, 1 << 20);
	(void)restic_rule(text, "/v", &b);
	buf_fini(&b);
	tags(text);
	free(text);
	return 0;
}
