#include "pbs/net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/str.h"
#include "base/when.h"
#include "pbs/target.h"

enum {
	SLICE = 250,            /* ms between two looks at the stop flag */
	CONNECT = 10,           /* seconds */
	HEAD_MAX = 8 << 10,
	/*
	 * A peer that is gone is noticed after some minutes, a server that
	 * only works long is not: the kernel answers for it.  No
	 * TCP_USER_TIMEOUT: it would end what waits for a slow reader, too.
	 */
	KEEP_IDLE = 60, KEEP_EVERY = 15, KEEP_COUNT = 8
};

int
net_wait(int fd, short events, double deadline, struct err *e)
{
	struct pollfd p = { .fd = fd, .events = events };
	double left;
	int n;

	for (;;) {
		if (stop_check(e) == -1)
			return -1;
		left = (deadline - when_mono()) * 1000;
		if (left <= 0)
			return 0;
		n = poll(&p, 1, left < SLICE ? (int)left + 1 : SLICE);
		if (n > 0)
			return 1;
		if (n == -1 && errno != EINTR && errno != EAGAIN)
			return err_sys(e, "poll");
	}
}

/* Buffers are left to the kernel, which grows them with the round trip. */
static void
options(int fd)
{
	static const struct { int level, name, value; } o[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE },
		{ IPPROTO_TCP, TCP_KEEPINTVL, KEEP_EVERY },
		{ IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT },
	};
	size_t i;

	/* each is a help and none a need */
	for (i = 0; i < sizeof(o) / sizeof(*o); i++)
		(void)setsockopt(fd, o[i].level, o[i].name, &o[i].value,
		    sizeof(o[i].value));
}

static int
try_address(const struct addrinfo *a, double deadline, struct err *e)
{
	socklen_t len = sizeof(int);
	int fd, n, sys = 0;

	fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
	    0);
	if (fd == -1)
		return err_sys(e, "socket");
	options(fd);
	if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
		return fd;
	if (errno != EINPROGRESS) {
		err_sys(e, "connect");
		goto fail;
	}
	n = net_wait(fd, POLLOUT, deadline, e);
	if (n == 0)
		err_set(e, CALA_NET, "no answer to connect");
	if (n != 1)
		goto fail;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &len) == -1)
		sys = errno;
	if (sys == 0)
		return fd;
	errno = sys;
	err_sys(e, "connect");
fail:
	close(fd);
	return -1;
}

static int
dial(const char *host, uint16_t port, unsigned seconds, struct log *log,
    struct err *e)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
	    .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG };
	struct addrinfo *list = NULL, *a;
	char text[8], addr[NI_MAXHOST];
	int n, fd = -1;

	snprintf(text, sizeof(text), "%u", port);
	/* loopback counts as no address of a machine without network */
	n = getaddrinfo(host, text, &hints, &list);
	if (n != 0) {
		hints.ai_flags = AI_NUMERICSERV;
		n = getaddrinfo(host, text, &hints, &list);
	}
	if (n != 0)
		return err_set(e, CALA_NET, "host %s: %s", str_q(host),
		    n == EAI_SYSTEM ? strerror(errno) : gai_strerror(n));
	for (a = list; a != NULL && fd == -1; a = a->ai_next) {
		if (getnameinfo(a->ai_addr, a->ai_addrlen, addr, sizeof(addr),
		    NULL, 0, NI_NUMERICHOST) != 0)
			snprintf(addr, sizeof(addr), "?");
		log_wire(log, "connecting to %s port %u", addr, port);
		fd = try_address(a, when_mono() + seconds, e);
		if (fd == -1 && e->code >= CALA_SIGNAL)
			break;
		if (fd == -1) {
			e->code = CALA_NET;
			err_ctx(e, "%s port %u", addr, port);
		}
	}
	freeaddrinfo(list);
	return fd;
}

/* ---- through a proxy (RFC 9110 9.3.6) ---- */

static int
exchange(int fd, const struct buf *ask, char *head, size_t size,
    double deadline, struct err *e)
{
	size_t at = 0, n = 0;
	ssize_t k;

	while (at < ask->len) {
		k = send(fd, ask->p + at, ask->len - at, MSG_NOSIGNAL);
		if (k > 0)
			at += (size_t)k;
		else if (errno != EAGAIN && errno != EINTR)
			return err_sys(e, "send");
		else if ((k = net_wait(fd, POLLOUT, deadline, e)) != 1)
			goto late;
	}
	/* a byte at a time: what follows is not ours to take */
	while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) {
		if (n == size - 1)
			return err_set(e, CALA_NET, "too long an answer");
		k = recv(fd, head + n, 1, 0);
		if (k == 0)
			return err_set(e, CALA_NET, "closed the connection");
		if (k > 0)
			n++;
		else if (errno != EAGAIN && errno != EINTR)
			return err_sys(e, "recv");
		else if ((k = net_wait(fd, POLLIN, deadline, e)) != 1)
			goto late;
	}
	head[n] = '\0';
	return 0;
late:
	return k == 0 ? err_set(e, CALA_NET, "no answer") : -1;
}

static int
ask_proxy(int fd, const struct pbs_target *t, double deadline,
    struct err *e)
{
	bool v6 = strchr(t->host, ':') != NULL;
	char head[HEAD_MAX];
	unsigned status = 0;
	struct buf ask;
	int ret = -1;

	buf_init(&ask, 2 * HEAD_MAX);
	buf_printf(&ask, "CONNECT %s%s%s:%u HTTP/1.1\r\nHost: %s%s%s:%u\r\n"
	    "\r\n", v6 ? "[" : "", t->host, v6 ? "]" : "", t->port,
	    v6 ? "[" : "", t->host, v6 ? "]" : "", t->port);
	if (buf_failed(&ask, e) == -1 ||
	    exchange(fd, &ask, head, sizeof(head), deadline, e) == -1)
		goto out;
	if (sscanf(head, "HTTP/%*u.%*u %3u", &status) != 1)
		err_set(e, CALA_NET, "it speaks no HTTP");
	else if (status / 100 == 2)
		ret = 0;
	else
		err_set(e, status == 407 ? CALA_AUTH : CALA_NET, "it said %u",
		    status);
out:
	buf_fini(&ask);
	return ret;
}

static int
by_proxy(const struct pbs_target *t, unsigned seconds, struct log *log,
    struct err *e)
{
	struct pbs_target p = { .port = 0 };
	int fd;

	if (pbs_target_proxy(&p, t->proxy, e) == -1)
		return -1;
	if ((fd = dial(p.host, p.port, seconds, log, e)) == -1)
		return err_ctx(e, "proxy");
	if (ask_proxy(fd, t, when_mono() + seconds, e) == -1) {
		if (e->code < CALA_SIGNAL && e->code != CALA_AUTH)
			e->code = CALA_NET;
		close(fd);
		return err_ctx(e, "proxy %s port %u", str_q(p.host), p.port);
	}
	return fd;
}

int
net_open(const struct pbs_target *t, struct log *log, struct err *e)
{
	unsigned seconds = t->timeout != 0 ? t->timeout : CONNECT;

	return t->proxy != NULL ? by_proxy(t, seconds, log, e) :
	    dial(t->host, t->port, seconds, log, e);
}
