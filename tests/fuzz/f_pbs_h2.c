/*
 * Any bytes as what a server sends: the head of its first answer, and HTTP/2
 * with requests of each kind under way.  The first byte says how many bytes
 * come at a time.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "pbs/h2_core.h"
#include "pbs/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

enum { REQUESTS = 4, ANSWER = 1000, TAKEN = 5000 };

struct run {
	struct h2_req r[REQUESTS];
	unsigned ended[REQUESTS];
	size_t taken;
};

static int
out(void *arg, const void *p, size_t n, struct err *e)
{
	volatile uint8_t sum = 0;
	const uint8_t *q = p;

	(void)arg, (void)e;
	/* what is sent must be there */
	if (n > 0)
		sum = (uint8_t)(sum + q[0] + q[n - 1]);
	return 0;
}

static void
ended(void *arg, struct h2_req *r)
{
	struct run *t = arg;
	size_t i = (size_t)(r - t->r);

	if (i >= REQUESTS || ++t->ended[i] != 1)
		__builtin_trap();
	if (r->failed && *r->e.msg == '\0')
		__builtin_trap();
	if (!r->failed && r->status < 200)
		__builtin_trap();
	/* the memory is the caller's again */
	memset(r->text, 0xff, sizeof(r->text));
}

static int
take(void *arg, const void *p, size_t n, struct err *e)
{
	struct run *t = arg;

	(void)p;
	t->taken += n;
	return t->taken <= TAKEN ? 0 : err_set(e, CALA_NOSPACE, "enough");
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static uint8_t body[100000];
	struct iovec v[2] = { { body, 1 }, { body, sizeof(body) } };
	struct run t;
	struct log log;
	struct h2_core c = { .log = &log, .out = out, .ended = ended,
	    .frame = 16384 };
	struct err e = ERR_INIT;
	struct buf answer;
	unsigned status;
	size_t i, k, step, end;
	int more = 1;

	if (n < 1)
		return 0;
	step = p[0] == 0 ? SIZE_MAX : p[0];
	p++, n--;
	if (pbs_hello_parse((const char *)p, n, &status, &end, &e) == 1 &&
	    (end > n || status < 100 || status > 599))
		__builtin_trap();
	memset(&t, 0, sizeof(t));
	log_init(&log, NULL, "f");
	buf_init(&answer, ANSWER);
	c.arg = &t;
	if (h2_core_start(&c, &e) == -1)
		__builtin_trap();
	for (i = 0; i < REQUESTS; i++) {
		t.r[i].method = i < 2 ? "GET" : "POST";
		t.r[i].path = "/x";
		if (i == 0)
			t.r[i].answer = &answer;
		if (i == 1)
			t.r[i].take = take;
		t.r[i].arg = &t;
		if (i == 3) {
			t.r[i].body = v;
			t.r[i].nbody = 2;
			t.r[i].size = t.r[i].left = sizeof(body) + 1;
		}
		h2_core_submit(&c, &t.r[i]);
	}
	for (i = 0; i <= n && more == 1; i += k) {
		while ((more = h2_core_send(&c, &e)) == 1)
			;
		k = n - i < step ? n - i : step;
		more = more == 0 && k > 0 && h2_core_feed(&c, p + i, k, &e) ==
		    0 && h2_core_over(&c, &e) == 0;
	}
	err_set(&e, CALA_NET, "the end");
	h2_core_fail(&c, &e);
	for (i = 0; i < REQUESTS; i++)
		if (t.ended[i] != 1)
			__builtin_trap();
	if (c.nopen != 0 || answer.len > ANSWER)
		__builtin_trap();
	h2_core_fini(&c);
	buf_fini(&answer);
	log_fini(&log);
	return 0;
}
