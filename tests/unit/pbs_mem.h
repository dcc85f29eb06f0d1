#ifndef CALA_TESTS_PBS_MEM_H
#define CALA_TESTS_PBS_MEM_H

/* The vectors of tests/vectors/pbs, and the key that they were made with. */

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/code.h"
#include "pbs/crypt.h"

/* In the tree: the tests are run from its top. */
static inline void
vector(struct buf *b, const char *name)
{
	char path[128];
	FILE *f;
	size_t n;
	char *p;

	buf_init(b, 1 << 20);
	snprintf(path, sizeof(path), "tests/vectors/pbs/%s", name);
	if ((f = fopen(path, "rb")) == NULL)
		fail_msg("%s: no such vector", path);
	p = buf_room(b, 64 << 10);
	assert_non_null(p);
	n = fread(p, 1, 64 << 10, f);
	fclose(f);
	buf_grown(b, n);
}

static inline void
hex(unsigned char *out, const char *s)
{
	assert_int_equal(hex_get(s, strlen(s) / 2, out), 0);
}

/* 00 01 … 1f */
static inline struct pbs_crypt *
counting_key(void)
{
	unsigned char key[PBS_KEY];
	struct err e = ERR_INIT;
	struct pbs_crypt *c;
	unsigned i;

	for (i = 0; i < PBS_KEY; i++)
		key[i] = (unsigned char)i;
	c = pbs_crypt_new(key, &e);
	assert_non_null(c);
	return c;
}

#endif
