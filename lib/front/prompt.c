#include "front/prompt.h"

#include <fcntl.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/secret.h"
#include "base/stop.h"

int
front_secret(const char *what, struct secret *out, struct err *e)
{
	struct secret line = SECRET_INIT;
	struct termios old, quiet;
	size_t n = 0;
	ssize_t k = 0;
	int fd, ret = -1;

	if (!isatty(0))
		return secret_read_fd(out, 0, "standard input", e);
	if ((fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)) == -1)
		return err_sys(e, "terminal");
	if (tcgetattr(fd, &old) == -1) {
		err_sys(e, "terminal");
		close(fd);
		return -1;
	}
	quiet = old;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	if (secret_alloc(&line, 4096, e) == -1 ||
	    tcsetattr(fd, TCSAFLUSH, &quiet) == -1) {
		if (e->code == 0)
			err_sys(e, "terminal");
		goto out;
	}
	dprintf(fd, "%s: ", what);
	/* A signal ends the read; the echo comes back in any case. */
	while (n < line.len && (k = read(fd, line.p + n, 1)) == 1 &&
	    line.p[n] != '\n')
		n++;
	tcsetattr(fd, TCSAFLUSH, &old);
	dprintf(fd, "\n");
	if (stop_check(e) == -1)
		goto out;
	if (k == -1)
		err_sys(e, "terminal");
	else
		ret = secret_set(out, line.p, n, e);
out:
	secret_free(&line);
	close(fd);
	return ret;
}
