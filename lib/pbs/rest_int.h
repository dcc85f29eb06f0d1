#ifndef CALA_PBS_REST_INT_H
#define CALA_PBS_REST_INT_H

/* What rest.c (a call) and the files with the calls share. */

#include "pbs/rest.h"

struct rest_call {
	const char *what;               /* for messages */
	const char *method;
	const char *path;               /* below /api2/json/ */
	const char *query;              /* encoded, or NULL */
	const char *type;               /* of the body; NULL: none is said */
	const void *body;
	size_t nbody;
	struct buf *answer;             /* NULL: dropped */
};

/*
 * pbs_rest_do(r, q, e): the call, with repetitions.
 * pbs_rest_envelope(r, q, e): the same; the whole object that was answered, which
 * has "data".  q->answer is not looked at.
 */
int pbs_rest_do(struct pbs_rest *, const struct rest_call *, struct err *);
json_t *pbs_rest_envelope(struct pbs_rest *, const struct rest_call *,
    struct err *);

const struct pbs_target *pbs_rest_target(const struct pbs_rest *);

#endif
