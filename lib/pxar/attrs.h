#ifndef CALA_PXAR_ATTRS_H
#define CALA_PXAR_ATTRS_H

/*
 * attrs: what an entry is, beside its name and contents, as items.
 *
 * attrs_put(items, entry, acl, log): its ENTRY item and those behind it, of its
 * extended attributes, ACLs, capabilities and quota project.  What pxar can't
 * hold is a warning.  acl is memory to work in, kept from one call to the next.
 */

struct acl;
struct buf;
struct entry;
struct log;

void attrs_put(struct buf *, const struct entry *, struct acl *,
    struct log *);

#endif
