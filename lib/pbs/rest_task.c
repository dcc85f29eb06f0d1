/* rest_task: what the server does in the background (pbs.md 3.7, 11). */

#include "pbs/rest.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "base/when.h"
#include "pbs/net.h"
#include "pbs/rest_int.h"

enum { PATH_ROOM = 3 * PBS_UPID + 64, LINES = 500 };

int
pbs_verify(struct pbs_rest *r, const struct pbs_snap *s, bool again,
    char upid[PBS_UPID], struct err *e)
{
	const struct pbs_target *t = pbs_rest_target(r);
	const char *text;
	char path[96];
	json_t *body, *j;
	int ret = -1;

	snprintf(path, sizeof(path), "admin/datastore/%s/verify",
	    t->datastore);
	body = json_pack("{s:s, s:s, s:I, s:b}", "backup-type",
	    s->type != NULL ? s->type : "host", "backup-id", s->id,
	    "backup-time", (json_int_t)s->time, "ignore-verified", !again);
	if (body == NULL || (t->ns != NULL && *t->ns != '\0' &&
	    json_object_set_new(body, "ns", json_string(t->ns)) == -1)) {
		json_decref(body);
		return err_oom(e);
	}
	j = pbs_rest_call(r, "verify", "POST", path, NULL, body, e);
	json_decref(body);
	if (j == NULL)
		return -1;
	text = json_string_value(j);
	if (text == NULL || strlen(text) >= PBS_UPID || *text == '\0') {
		err_set(e, CALA_INTEGRITY, "verify: the server's answer is no "
		    "task");
	} else {
		memcpy(upid, text, strlen(text) + 1);
		ret = 0;
	}
	json_decref(j);
	return ret;
}

static int
path_of(struct buf *path, const char *upid, const char *verb, struct err *e)
{
	buf_init(path, PATH_ROOM);
	buf_str(path, "nodes/localhost/tasks/");
	pbs_escape(path, upid);
	buf_str(path, verb);
	return buf_failed(path, e);
}

json_t *
pbs_task(struct pbs_rest *r, const char *upid, struct err *e)
{
	struct buf path;
	json_t *j = NULL;

	if (path_of(&path, upid, "/status", e) == 0)
		j = pbs_rest_call(r, "task", "GET", path.p, NULL, NULL, e);
	buf_fini(&path);
	if (j != NULL && !json_is_object(j)) {
		json_decref(j);
		j = NULL;
		err_set(e, CALA_INTEGRITY, "task: the server's answer is no "
		    "object");
	}
	return j;
}

/* The lines from *next on.  1: some came; 0: none, and none will; 2: none; -1. */
static int
lines(struct pbs_rest *r, const char *path, uint64_t *next,
    void (*line)(void *, const char *), void *arg, struct err *e)
{
	struct rest_call q = { .what = "log of the task", .method = "GET",
	    .path = path };
	const json_t *list, *item;
	const char *text;
	uint64_t n;
	json_t *j;
	size_t i;
	int ret;
	char query[96];

	snprintf(query, sizeof(query), "start=%ju&limit=%d&test-status=true",
	    (uintmax_t)*next, LINES);
	q.query = query;
	if ((j = pbs_rest_envelope(r, &q, e)) == NULL)
		return -1;
	ret = json_get_bool(j, "active", false) ? 2 : 0;
	list = json_object_get(j, "data");
	json_array_foreach(list, i, item) {
		/* "no content" has no number that is new */
		n = json_get_u64(item, "n", 0);
		if (n < *next || n == UINT64_MAX)
			continue;
		*next = n + 1;
		ret = 1;
		text = json_get_str(item, "t");
		if (line != NULL && text != NULL)
			line(arg, text);
	}
	json_decref(j);
	return ret;
}

static int
verdict(struct pbs_rest *r, const char *upid, struct err *e)
{
	const char *status, *word;
	json_t *j = pbs_task(r, upid, e);
	int ret = -1;

	if (j == NULL)
		return -1;
	status = json_get_str(j, "status");
	word = json_get_str(j, "exitstatus");
	if (status == NULL || strcmp(status, "stopped") != 0)
		ret = 2;
	else if (word != NULL && strcmp(word, "OK") == 0)
		ret = 0;
	else if (word != NULL && str_begins(word, "WARNINGS"))
		ret = 1;
	else
		err_set(e, word != NULL && strstr(word, "verification failed")
		    != NULL ? CALA_INTEGRITY : CALA_FAIL, "the server's task: "
		    "%s", word != NULL ? str_q(word) : "unknown");
	json_decref(j);
	return ret;
}

int
pbs_task_wait(struct pbs_rest *r, const char *upid,
    void (*line)(void *, const char *), void *arg, unsigned seconds,
    struct err *e)
{
	double now, end = when_mono() + seconds;
	uint64_t next = 1;
	struct buf path;
	int n, ret = -1;

	if (path_of(&path, upid, "/log", e) == -1)
		goto out;
	for (;;) {
		n = lines(r, path.p, &next, line, arg, e);
		if (n == -1 || (n == 0 && (ret = verdict(r, upid, e)) != 2))
			break;
		ret = -1;
		now = when_mono();
		if (seconds != 0 && now >= end) {
			err_set(e, CALA_DEADLINE, "the server's task goes on "
			    "after %u seconds", seconds);
			break;
		}
		if (n != 1 && net_wait(-1, 0, now + 1, e) == -1)
			break;
	}
out:
	buf_fini(&path);
	return ret;
}
