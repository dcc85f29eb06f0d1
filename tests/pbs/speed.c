/*
 * speed [MIB [PROGRAM...]]: bytes that can't be compressed, in chunks of 4 MiB
 * through TLS and HTTP/2 to a peer that drops them, and back; CPU seconds of
 * both sides.  PROGRAM is a proxy: it is run with the peer's port in $PORT, and
 * writes its own to the file $FILE (delay.py).
 */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../unit/pbs_peer.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/when.h"
#include "pbs/h2.h"
#include "pbs/session.h"
#include "pbs/target.h"

enum { CHUNK = 4 << 20, SLOTS = 16 };

static double
cpu(int who)
{
	struct rusage r;

	getrusage(who, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
	    (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static int
pass(struct h2 *h, bool up, uint64_t mib, const void *data, struct err *e)
{
	struct h2_req r[SLOTS];
	struct buf b[SLOTS];
	struct iovec v = { (void *)(uintptr_t)data, CHUNK };
	double wall = when_mono(), self = cpu(RUSAGE_SELF);
	size_t i, n = mib / 4, k;
	int ret = 0;

	memset(r, 0, sizeof(r));
	for (i = 0; i < SLOTS; i++)
		buf_init(&b[i], CHUNK);
	for (i = 0; i < n + SLOTS && ret == 0; i++) {
		k = i % SLOTS;
		if (i >= SLOTS && i - SLOTS < n)
			ret = h2_wait(h, &r[k], e) == 0 ? h2_outcome(&r[k],
			    "chunk", e) : -1;
		if (ret == 0 && i < n) {
			buf_reset(&b[k]);
			memset(&r[k], 0, sizeof(r[k]));
			r[k].method = up ? "POST" : "GET";
			r[k].path = up ? "/sink" : "/give?4194304";
			r[k].body = &v;
			r[k].nbody = up;
			r[k].answer = &b[k];
			ret = h2_send(h, &r[k], e);
		}
	}
	wall = when_mono() - wall;
	self = cpu(RUSAGE_SELF) - self;
	printf("%s %ju MiB: %.2f s, %.0f MB/s, %.2f CPU seconds here, "
	    "%.2f per GiB\n", up ? "up" : "down", (uintmax_t)mib, wall,
	    (double)mib * 1.048576 / wall, self, self * 1024 / (double)mib);
	for (i = 0; i < SLOTS; i++)
		buf_fini(&b[i]);
	return ret;
}

/* The port of a proxy in front of the peer's. */
static uint16_t
proxy(char **argv, uint16_t port, pid_t *pid)
{
	char name[] = "/tmp/cala-speed-XXXXXX", text[16] = "";
	int fd = mkstemp(name);
	ssize_t n = 0;

	close(fd);
	snprintf(text, sizeof(text), "%u", port);
	setenv("PORT", text, 1);
	setenv("FILE", name, 1);
	if ((*pid = fork()) == 0) {
		execvp(argv[0], argv);
		_exit(127);
	}
	while (n <= 0 && waitpid(*pid, NULL, WNOHANG) == 0) {
		poll(NULL, 0, 20);
		if ((fd = open(name, O_RDONLY)) != -1) {
			n = read(fd, text, sizeof(text) - 1);
			close(fd);
		}
	}
	unlink(name);
	text[n > 0 ? n : 0] = '\0';
	return (uint16_t)strtoul(text, NULL, 10);
}

int
main(int argc, char **argv)
{
	uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 1024;
	struct pbs_target t = { .host = "127.0.0.1", .pinned = true,
	    .datastore = "store1", .token_id = "a@b!c" };
	struct pbs_snap s = { .id = "x", .time = 1 };
	struct secret secret = SECRET_INIT;
	struct err e = ERR_INIT;
	struct log log;
	struct peer p;
	struct h2 *h;
	char *data = malloc(CHUNK);
	int ret = 1, i;
	pid_t pid, between = 0;

	log_init(&log, stderr, "speed");
	peer_open(&p, "localhost", NULL);
	if (data == NULL || secret_set(&secret, "x", 1, &e) == -1)
		return 1;
	for (i = 0; i < CHUNK; i++)
		data[i] = (char)rand();
	if ((pid = fork()) == 0) {
		peer_one(&p);
		printf("peer: %.2f CPU seconds\n", cpu(RUSAGE_SELF));
		fflush(stdout);
		_exit(0);
	}
	memcpy(t.pin, p.pin, sizeof(t.pin));
	t.port = argc > 2 ? proxy(argv + 2, p.port, &between) : p.port;
	t.token_secret = &secret;
	if ((h = pbs_session(&t, "backup", &s, &log, &e)) != NULL &&
	    pass(h, true, mib, data, &e) == 0 &&
	    pass(h, false, mib, data, &e) == 0)
		ret = 0;
	if (ret != 0)
		log_error(&log, &e);
	h2_free(h);
	if (ret != 0)
		kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	if (between != 0) {
		kill(between, SIGTERM);
		waitpid(between, NULL, 0);
	}
	secret_free(&secret);
	peer_close(&p);
	log_fini(&log);
	free(data);
	return ret;
}
