#ifndef CALA_DRIVER_PBS_PUT_H
#define CALA_DRIVER_PBS_PUT_H

/*
 * pbs_put: a directory, or the entries of an archive stream, as a snapshot; and
 * the keys by which snapshots are encrypted.
 */

#include "base/secret.h"

struct conf;
struct conf_section;
struct driver_call;
struct err;
struct pbs_crypt;
struct sink;

/* put_dir and put_begin of the driver. */
int pbs_put_dir(struct driver_call *, struct err *);
int pbs_put_stream(struct driver_call *, struct sink **, struct err *);

/*
 * pbs_key(conf, section, &c, e): the key that the configuration names
 * (encryption-key, and encryption-password if it has a passphrase).  1; 0: none,
 * *c is NULL; -1.  Free with pbs_crypt_free.
 */
int pbs_key(const struct conf *, const struct conf_section *,
    struct pbs_crypt **, struct err *);

/*
 * pbs_key_main(argc, argv): cala-pbs key create|show|change; argv[0] is the
 * program's name, argv[1] "key".  Returns the exit status.
 */
int pbs_key_main(int, char **);

#endif
