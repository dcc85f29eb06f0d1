#ifndef CALA_CONFIG_MODEL_H
#define CALA_CONFIG_MODEL_H

/* model: what struct conf is made of; for the files of this room only. */

#include "config/conf.h"

struct conf_section {
	const struct conf *conf;
	char *kind, *name;              /* name "" for [cala] */
	char *where;
	size_t file;                    /* where the section stands first */
	int line;
	struct conf_item *items;
	size_t n;
	struct conf_section *next;      /* in its hash bucket */
	char uuid[UUID_TEXT];           /* of a server */
};

struct conf {
	struct conf_section **v;        /* in file order */
	size_t n;
	struct conf_section **hash;     /* by kind and name */
	size_t buckets;                 /* a power of two */
	struct conf_section *cala;
	char *key;                      /* secret key file; NULL: none */
	const char *(*env)(const char *);       /* or NULL */
};

/*
 * model_more(v, n, size): room for one more than n elements of an array that
 * grows in powers of two; NULL without memory.
 */
void *model_more(void *, size_t, size_t);

/* model_bucket(buckets, kind, name): where a section hashes to. */
size_t model_bucket(size_t, const char *, const char *);

/* item_find(s, key): the first item of a plain key, in any form, or NULL. */
const struct conf_item *item_find(const struct conf_section *, const char *);

#endif
