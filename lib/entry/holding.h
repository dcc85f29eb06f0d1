#ifndef CALA_ENTRY_HOLDING_H
#define CALA_ENTRY_HOLDING_H

/*
 * holding: a tree, or a reader, together with what it reads from: a repository
 * or a snapshot that nobody else keeps open.
 *
 * tree_holding(in, own, drop, e), reader_holding(in, own, drop, e): in itself,
 * but when it is closed, drop(own) follows.  Both take in and own, also when
 * they fail (NULL).
 */

struct err;
struct reader;
struct tree;

struct tree *tree_holding(struct tree *, void *, void (*)(void *),
    struct err *);
struct reader *reader_holding(struct reader *, void *, void (*)(void *),
    struct err *);

#endif
