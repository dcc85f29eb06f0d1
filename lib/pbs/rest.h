#ifndef CALA_PBS_REST_H
#define CALA_PBS_REST_H

/*
 * rest: the calls outside of sessions (pbs.md §3, §11.3), each answered at once.
 *
 * Calls may come from any thread; each thread's go over a connection of its
 * own, kept for the next one.  Results are jansson's, a new reference that the
 * caller drops: the "data" of the server's envelope, json_null() where there is
 * none.  Reads are repeated when the connection fails; what changes something
 * only when it can't have reached the server.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "pbs/target.h"

struct buf;
struct err;
struct log;
struct pbs_rest;

enum {
	PBS_REST_CAP = 64 << 20,        /* bytes of a JSON answer at most */
	PBS_NOTES_MAX = 48 << 10        /* of notes that we write */
};

/*
 * pbs_rest_new(t, log, e): checks t; sends nothing.  NULL with CALA_USAGE.
 * pbs_rest_free: NULL is fine.
 * pbs_rest_last_words(r, on): calls from now on are made although we were
 * asked to stop (what tidies up after us).
 */
struct pbs_rest *pbs_rest_new(const struct pbs_target *, struct log *,
    struct err *);
void pbs_rest_free(struct pbs_rest *);
void pbs_rest_last_words(struct pbs_rest *, bool);

/*
 * pbs_rest_call(r, what, method, path, query, body, e): path below /api2/json/,
 * with components already encoded; query "a=b&c=d" encoded (pbs_param), or
 * NULL; body as JSON, or NULL: then query is not looked at by the server (pbs.md
 * §2.6).  what names it in messages.  NULL with err: what pbs_refused says,
 * CALA_NET, CALA_TLS, CALA_INTEGRITY (no JSON), CALA_SIGNAL.
 * pbs_rest_raw(r, what, path, query, b, e): GET of bytes, appended to b up to
 * its max; a body that was cut short is an error.
 */
json_t *pbs_rest_call(struct pbs_rest *, const char *, const char *,
    const char *, const char *, const json_t *, struct err *);
int pbs_rest_raw(struct pbs_rest *, const char *, const char *, const char *,
    struct buf *, struct err *);

/*
 * Reach and rights.
 *
 * pbs_ping: 0 when the server answers; needs no credentials.
 * pbs_version: {"version","release","repoid"}; proves the token.
 * pbs_permissions: an object of the privileges that the token has on the
 *   target's datastore and namespace: {"Datastore.Backup": true, ...}; empty
 *   when it has none.
 * pbs_status: {"total","used","avail"}; all 0: not permitted to see.
 * pbs_namespaces: [{"ns":""}, ...], those below the target's, itself first.
 * pbs_namespace_create: one level, below the target's.
 */
int pbs_ping(struct pbs_rest *, struct err *);
json_t *pbs_version(struct pbs_rest *, struct err *);
json_t *pbs_permissions(struct pbs_rest *, struct err *);
json_t *pbs_status(struct pbs_rest *, struct err *);
json_t *pbs_namespaces(struct pbs_rest *, struct err *);
int pbs_namespace_create(struct pbs_rest *, const char *, struct err *);

/*
 * What is there.
 *
 * pbs_groups: array (pbs.md §3.4).
 * pbs_snapshots(r, type, id, e): array (pbs.md §3.5), in no order; type and id
 *   NULL: of all.
 * pbs_files(r, s, e): the files of one; CALA_NOTFOUND when it is not there.
 * pbs_download(r, s, name, b, e): a stored file raw, without a session;
 *   CALA_NOTFOUND.
 */
json_t *pbs_groups(struct pbs_rest *, struct err *);
json_t *pbs_snapshots(struct pbs_rest *, const char *, const char *,
    struct err *);
json_t *pbs_files(struct pbs_rest *, const struct pbs_snap *, struct err *);
int pbs_download(struct pbs_rest *, const struct pbs_snap *, const char *,
    struct buf *, struct err *);

/*
 * Marks.  Notes are text of any lines; groups are meant where s->time is 0.
 *
 * pbs_notes: a JSON string.  pbs_set_notes.
 * pbs_protected: a JSON boolean.  pbs_protect(r, s, on, e).
 * pbs_send_log(r, s, p, n, e): the encoded blob as client.log.blob, once.
 */
json_t *pbs_notes(struct pbs_rest *, const struct pbs_snap *, struct err *);
int pbs_set_notes(struct pbs_rest *, const struct pbs_snap *, const char *,
    struct err *);
json_t *pbs_protected(struct pbs_rest *, const struct pbs_snap *,
    struct err *);
int pbs_protect(struct pbs_rest *, const struct pbs_snap *, bool,
    struct err *);
int pbs_send_log(struct pbs_rest *, const struct pbs_snap *, const void *,
    size_t, struct err *);

/*
 * pbs_forget(r, s, e): remove one snapshot.  CALA_NOTFOUND, CALA_PROTECTED,
 * CALA_LOCKED (in use).
 * pbs_prune(r, s, keep, dry, e): of the group s->type/s->id, by the server's
 * rules (pbs.md §3.6): array of {"backup-time","keep","protected",...}, oldest
 * first.  No rule at all: CALA_USAGE.
 */
struct pbs_keep {
	unsigned last, hourly, daily, weekly, monthly, yearly;  /* 0: no rule */
};
int pbs_forget(struct pbs_rest *, const struct pbs_snap *, struct err *);
json_t *pbs_prune(struct pbs_rest *, const struct pbs_snap *,
    const struct pbs_keep *, bool, struct err *);

/*
 * pbs_finished(r, s, e): did a finish whose answer was lost succeed (pbs.md
 * §15)?  1: yes; 0: the snapshot is not there; -1 with CALA_UNKNOWN: it is
 * there, without the mark of a finish, or the server can't be asked.
 */
int pbs_finished(struct pbs_rest *, const struct pbs_snap *, struct err *);

/*
 * Tasks.
 *
 * pbs_verify(r, s, again, upid, e): start the server's own verification of one
 *   snapshot; again: also when it was verified before.
 * pbs_task(r, upid, e): {"status","exitstatus",...}.
 * pbs_task_wait(r, upid, line, arg, seconds, e): until it has stopped, handing
 *   its log line by line (NULL: dropped).  0: it succeeded; 1: with warnings;
 *   -1: CALA_INTEGRITY when a verification found damage, CALA_FAIL when the task
 *   failed otherwise, both with its own word; CALA_DEADLINE after seconds (0: no
 *   limit; the task goes on); CALA_SIGNAL, CALA_NET.
 */
enum { PBS_UPID = 512 };
int pbs_verify(struct pbs_rest *, const struct pbs_snap *, bool,
    char [PBS_UPID], struct err *);
json_t *pbs_task(struct pbs_rest *, const char *, struct err *);
int pbs_task_wait(struct pbs_rest *, const char *,
    void (*)(void *, const char *), void *, unsigned, struct err *);

#endif
