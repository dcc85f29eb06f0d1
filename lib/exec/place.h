#ifndef CALA_EXEC_PLACE_H
#define CALA_EXEC_PLACE_H

/*
 * place: a directory under another path, for one program only.
 *
 * restic records where a file was read.  A server is often read from a snapshot
 * of its directory, and its backups must be of the directory all the same.  So
 * the thread that starts the program gets a mount namespace of its own, in which
 * the snapshot lies over the directory; nobody else sees it, and it is gone with
 * the last process in it.
 */

struct err;

struct place {
	int ours;               /* the namespace to go back to; -1: none */
	char *root;             /* a folder made for it; NULL */
};

#define PLACE_INIT { -1, (char *)0 }

/*
 * place_take(p, from, at, tmp, e): from here on this thread, and the children it
 * starts, see at in place of what is there what from (a real path) has.  at need
 * not exist; then other parts of the file system are shown around it, and the
 * children must be started in "/".  tmp is a folder of ours.  0; 1: this can't
 * be had here (not root, a container), with the reason in e; -1.
 * place_drop: back again; the working directory is "/" then.  Always safe.
 */
int  place_take(struct place *, const char *, const char *, const char *,
    struct err *);
void place_drop(struct place *);

#endif
