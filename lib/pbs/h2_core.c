#include "pbs/h2_core.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <nghttp2/nghttp2.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/str.h"

#ifndef CALA_VERSION
#define CALA_VERSION "unknown"
#endif

enum {
	/* a whole chunk fits; so do several of a reader's */
	WINDOW = 32 << 20,
	CONNECTION_WINDOW = 64 << 20,
	FRAME = 4 << 20,                /* the largest that we take */
	SMALL = 64 << 10,               /* a body that is sent at once */
	TURNS = 2                       /* larger ones sent side by side */
};

/* ---- whose body is next ---- */

/*
 * Large bodies go out nearly one after another.  Sent all side by side they
 * would all be whole at the same moment, and nothing under way while their
 * answers come: over 100 ms that is a third of the time.
 */
static bool
its_turn(const struct h2_core *c, const struct h2_req *r)
{
	const struct h2_req *i;
	int n = 0;

	if (r->size <= SMALL)
		return true;
	for (i = c->line; i != NULL && n < TURNS; i = i->behind, n++)
		if (i == r)
			return true;
	return false;
}

static void
get_in_line(struct h2_core *c, struct h2_req *r)
{
	struct h2_req **at = &c->line;

	r->behind = NULL;
	r->waits = false;
	if (r->size <= SMALL)
		return;
	while (*at != NULL)
		at = &(*at)->behind;
	*at = r;
}

static void
leave_line(struct h2_core *c, struct h2_req *r)
{
	struct h2_req **at = &c->line, *i;
	int n = 0;

	while (*at != NULL && *at != r)
		at = &(*at)->behind;
	if (*at == NULL)
		return;
	*at = r->behind;
	for (i = c->line; i != NULL && n < TURNS; i = i->behind, n++)
		if (i->waits) {
			i->waits = false;
			(void)nghttp2_session_resume_data(c->ng, i->id);
		}
}

/* ---- the end of a request ---- */

static void
end(struct h2_core *c, struct h2_req *r)
{
	if (r->prev != NULL)
		r->prev->next = r->next;
	else
		c->open = r->next;
	if (r->next != NULL)
		r->next->prev = r->prev;
	r->next = r->prev = NULL;
	c->nopen--;
	leave_line(c, r);
	r->failed = r->state != H2_WHOLE;
	c->ended(c->arg, r);
}

/* Its answer is of no use: tell the server to stop. */
static void
give_up(struct h2_core *c, struct h2_req *r)
{
	r->state = H2_BROKEN;
	(void)nghttp2_submit_rst_stream(c->ng, NGHTTP2_FLAG_NONE, r->id,
	    NGHTTP2_CANCEL);
}

static int
on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
	struct h2_core *c = arg;
	struct h2_req *r = nghttp2_session_get_stream_user_data(ng, id);

	if (r == NULL)
		return 0;
	if (r->state == H2_OPEN) {
		r->state = H2_BROKEN;
		if (c->leaving)
			r->e = c->e;
		else
			err_set(&r->e, CALA_NET, "%s: %s", r->status != 0 ?
			    "the answer ends early" : "the server dropped the "
			    "request", nghttp2_http2_strerror(code));
	}
	end(c, r);
	return 0;
}

/* ---- the answer ---- */

static int
on_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name,
    size_t nname, const uint8_t *value, size_t nvalue, uint8_t flags,
    void *arg)
{
	struct h2_req *r = nghttp2_session_get_stream_user_data(ng,
	    f->hd.stream_id);
	char text[24];
	uint64_t n;

	(void)flags, (void)arg;
	if (r == NULL || nvalue >= sizeof(text))
		return 0;
	memcpy(text, value, nvalue);
	text[nvalue] = '\0';
	if (str_u64(text, 0, INT64_MAX, &n) == -1)
		return 0;
	if (nname == 7 && memcmp(name, ":status", 7) == 0)
		r->status = (unsigned)n;
	else if (nname == 14 && memcmp(name, "content-length", 14) == 0 &&
	    r->status / 100 == 2 && r->answer != NULL &&
	    n <= r->answer->max - r->answer->len)
		(void)buf_room(r->answer, (size_t)n);
	return 0;
}

static void
keep_text(struct h2_req *r, const uint8_t *p, size_t n)
{
	if (n > sizeof(r->text) - 1 - r->ntext)
		n = sizeof(r->text) - 1 - r->ntext;
	memcpy(r->text + r->ntext, p, n);
	r->ntext += n;
	r->text[r->ntext] = '\0';
}

static int
on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p,
    size_t n, void *arg)
{
	struct h2_core *c = arg;
	struct h2_req *r = nghttp2_session_get_stream_user_data(ng, id);

	(void)flags;
	c->moved = true;
	if (r == NULL || r->state != H2_OPEN)
		return 0;
	if (r->status / 100 != 2) {
		keep_text(r, p, n);
	} else if (r->take != NULL) {
		if (r->take(r->arg, p, n, &r->e) == -1)
			give_up(c, r);
	} else if (r->answer != NULL && buf_add(r->answer, p, n) == -1) {
		if (n > r->answer->max - r->answer->len)
			err_set(&r->e, CALA_INTEGRITY, "the answer is longer "
			    "than %zu bytes", r->answer->max);
		else
			err_oom(&r->e);
		give_up(c, r);
	}
	return 0;
}

static int
on_goaway(struct h2_core *c, const nghttp2_goaway *g)
{
	char text[128];
	size_t n = g->opaque_data_len;

	if (n >= sizeof(text))
		n = sizeof(text) - 1;
	if (n > 0)
		memcpy(text, g->opaque_data, n);
	text[n] = '\0';
	c->leaving = true;
	return err_set(&c->e, CALA_NET, "the server ends the connection: %s%s"
	    "%s", nghttp2_http2_strerror(g->error_code), n > 0 ? ": " : "",
	    str_q(text));
}

static int
on_frame(nghttp2_session *ng, const nghttp2_frame *f, void *arg)
{
	struct h2_core *c = arg;
	struct h2_req *r;

	if (f->hd.type != NGHTTP2_PING)
		c->moved = true;
	if (f->hd.type == NGHTTP2_GOAWAY)
		(void)on_goaway(c, &f->goaway);
	if ((f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA) ||
	    (f->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
		return 0;
	r = nghttp2_session_get_stream_user_data(ng, f->hd.stream_id);
	if (r == NULL || r->state != H2_OPEN)
		return 0;
	if (r->status < 200) {
		err_set(&r->e, CALA_NET, "an answer without a status");
		give_up(c, r);
		return 0;
	}
	r->state = H2_WHOLE;
	log_wire(c->log, "< %u %s", r->status, str_q(r->path));
	/* answered before all was sent: the rest is in vain (pbs.md 15) */
	if (nghttp2_session_get_stream_local_close(ng, f->hd.stream_id) == 0)
		(void)nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE,
		    f->hd.stream_id, NGHTTP2_CANCEL);
	return 0;
}

static int
on_trouble(nghttp2_session *ng, int code, const char *msg, size_t n,
    void *arg)
{
	struct h2_core *c = arg;
	char text[256];

	(void)ng, (void)code;
	if (n >= sizeof(text))
		n = sizeof(text) - 1;
	memcpy(text, msg, n);
	text[n] = '\0';
	log_wire(c->log, "HTTP/2: %s", str_q(text));
	return 0;
}

/* ---- what we send ---- */

static int
on_sent(nghttp2_session *ng, const nghttp2_frame *f, void *arg)
{
	struct h2_core *c = arg;

	(void)ng;
	if (f->hd.type != NGHTTP2_PING)
		c->moved = true;
	return 0;
}

/* Which bytes are next: nghttp2 asks on_body to send them, uncopied. */
static ssize_t
on_read(nghttp2_session *ng, int32_t id, uint8_t *p, size_t n,
    uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct h2_core *c = arg;
	struct h2_req *r = source->ptr;

	(void)ng, (void)id, (void)p;
	if (!its_turn(c, r)) {
		r->waits = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (n > r->left)
		n = r->left;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n == r->left)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static ssize_t
on_length(nghttp2_session *ng, uint8_t type, int32_t id, int32_t connection,
    int32_t stream, uint32_t frame, void *arg)
{
	struct h2_core *c = arg;
	size_t n = c->frame;

	(void)ng, (void)type, (void)id;
	if (n > frame)
		n = frame;
	if (n > (size_t)connection)
		n = (size_t)connection;
	return n < (size_t)stream ? (ssize_t)n : stream;
}

static int
on_body(nghttp2_session *ng, nghttp2_frame *f, const uint8_t *head,
    size_t n, nghttp2_data_source *source, void *arg)
{
	struct h2_core *c = arg;
	struct h2_req *r = source->ptr;
	const struct iovec *v;
	size_t k;

	(void)ng, (void)f;
	if (c->out(c->arg, head, 9, &c->e) == -1)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	for (; n > 0; n -= k) {
		v = &r->body[r->at];
		k = v->iov_len - r->off;
		if (k > n)
			k = n;
		if (c->out(c->arg, (const char *)v->iov_base + r->off, k,
		    &c->e) == -1)
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		r->off += k;
		r->left -= k;
		if (r->off == v->iov_len) {
			r->at++;
			r->off = 0;
		}
	}
	if (r->left == 0)
		leave_line(c, r);
	/* back to the caller, who may have had enough for now */
	c->paused = true;
	return NGHTTP2_ERR_PAUSE;
}

static nghttp2_nv
field(const char *name, const char *value, uint8_t flags)
{
	nghttp2_nv v = { (uint8_t *)(uintptr_t)name,
	    (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), flags };

	return v;
}

void
h2_core_submit(struct h2_core *c, struct h2_req *r)
{
	nghttp2_data_provider body = { { .ptr = r }, on_read };
	nghttp2_nv nv[7];
	char length[24];
	size_t n = 0;

	r->state = H2_OPEN;
	r->prev = NULL;
	r->next = c->open;
	if (c->open != NULL)
		c->open->prev = r;
	c->open = r;
	c->nopen++;
	get_in_line(c, r);
	nv[n++] = field(":method", r->method, 0);
	nv[n++] = field(":scheme", "https", 0);
	nv[n++] = field(":authority", "localhost:8007", 0);
	/* never twice the same: not worth a place in the table */
	nv[n++] = field(":path", r->path, NGHTTP2_NV_FLAG_NO_INDEX);
	nv[n++] = field("user-agent", "cala-pbs/" CALA_VERSION, 0);
	if (r->type != NULL)
		nv[n++] = field("content-type", r->type, 0);
	if (r->left > 0) {
		snprintf(length, sizeof(length), "%zu", r->left);
		nv[n++] = field("content-length", length,
		    NGHTTP2_NV_FLAG_NO_INDEX);
	}
	log_wire(c->log, "> %s %s", r->method, str_q(r->path));
	r->id = c->leaving ? NGHTTP2_ERR_START_STREAM_NOT_ALLOWED :
	    nghttp2_submit_request(c->ng, NULL, nv, n,
	    r->left > 0 ? &body : NULL, r);
	if (r->id >= 0)
		return;
	r->state = H2_BROKEN;
	if (c->leaving)
		r->e = c->e;
	else
		err_set(&r->e, CALA_NET, "no more requests on this "
		    "connection: %s", nghttp2_strerror(r->id));
	end(c, r);
}

/* ---- the session ---- */

static int
make(struct h2_core *c, nghttp2_session_callbacks *cb)
{
	nghttp2_option *o;
	int n;

	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb,
	    on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_sent);
	nghttp2_session_callbacks_set_error_callback2(cb, on_trouble);
	nghttp2_session_callbacks_set_send_data_callback(cb, on_body);
	nghttp2_session_callbacks_set_data_source_read_length_callback(cb,
	    on_length);
	/* none before the server has said how many: it would refuse them */
	if ((n = nghttp2_option_new(&o)) != 0)
		return n;
	nghttp2_option_set_peer_max_concurrent_streams(o, 0);
	n = nghttp2_session_client_new2(&c->ng, cb, c, o);
	nghttp2_option_del(o);
	return n;
}

int
h2_core_start(struct h2_core *c, struct err *e)
{
	static const nghttp2_settings_entry ours[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW },
		{ NGHTTP2_SETTINGS_MAX_FRAME_SIZE, FRAME },
	};
	nghttp2_session_callbacks *cb = NULL;
	int n;

	n = nghttp2_session_callbacks_new(&cb);
	if (n == 0)
		n = make(c, cb);
	nghttp2_session_callbacks_del(cb);
	if (n == 0)
		n = nghttp2_submit_settings(c->ng, NGHTTP2_FLAG_NONE, ours,
		    sizeof(ours) / sizeof(*ours));
	if (n == 0)
		n = nghttp2_session_set_local_window_size(c->ng,
		    NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW);
	return n == 0 ? 0 : err_set(e, CALA_FAIL, "HTTP/2 can't start: %s",
	    nghttp2_strerror(n));
}

void
h2_core_fini(struct h2_core *c)
{
	nghttp2_session_del(c->ng);
	c->ng = NULL;
}

static int
broken(struct h2_core *c, ssize_t n, struct err *e)
{
	if (n == NGHTTP2_ERR_CALLBACK_FAILURE && *c->e.msg != '\0') {
		*e = c->e;
		return -1;
	}
	return err_set(e, CALA_NET, "HTTP/2: %s", nghttp2_strerror((int)n));
}

int
h2_core_feed(struct h2_core *c, const void *p, size_t n, struct err *e)
{
	ssize_t k = nghttp2_session_mem_recv(c->ng, p, n);

	return k < 0 ? broken(c, k, e) : 0;
}

int
h2_core_send(struct h2_core *c, struct err *e)
{
	const uint8_t *p;
	ssize_t n;

	c->paused = false;
	n = nghttp2_session_mem_send(c->ng, &p);
	if (n > 0)
		return c->out(c->arg, p, (size_t)n, e) == -1 ? -1 : 1;
	if (n < 0)
		return broken(c, n, e);
	return c->paused;
}

int
h2_core_over(struct h2_core *c, struct err *e)
{
	if (nghttp2_session_want_read(c->ng) != 0 ||
	    nghttp2_session_want_write(c->ng) != 0)
		return 0;
	if (c->leaving) {
		*e = c->e;
		return -1;
	}
	return err_set(e, CALA_NET, "what the server sends is not HTTP/2");
}

void
h2_core_ping(struct h2_core *c)
{
	(void)nghttp2_submit_ping(c->ng, NGHTTP2_FLAG_NONE, NULL);
}

void
h2_core_goodbye(struct h2_core *c)
{
	(void)nghttp2_submit_goaway(c->ng, NGHTTP2_FLAG_NONE,
	    nghttp2_session_get_last_proc_stream_id(c->ng),
	    NGHTTP2_NO_ERROR, NULL, 0);
}

void
h2_core_fail(struct h2_core *c, const struct err *e)
{
	struct h2_req *r;

	while ((r = c->open) != NULL) {
		if (r->state == H2_OPEN) {
			r->state = H2_BROKEN;
			r->e = *e;
		}
		/* nghttp2 must not ask for its body, or name it, again */
		if (r->id > 0)
			(void)nghttp2_session_set_stream_user_data(c->ng,
			    r->id, NULL);
		end(c, r);
	}
}
