/*
 * secret_run: a secret that a program prints.
 */

#include "base/secret.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/proc.h"
#include "base/stop.h"
#include "base/when.h"

int
secret_read_command(struct secret *s, const char *const *argv,
    unsigned seconds, struct err *e)
{
	struct proc_spec spec = PROC_SPEC_INIT;
	struct proc p = { .pidfd = -1 };
	char says[PROC_TEXT];
	struct stat st;
	double begun;
	int fd, ret = -1;

	fd = memfd_create("cala-secret", MFD_CLOEXEC);
	if (fd == -1)
		return err_sys(e, "memory for a secret");
	spec.argv = argv;
	spec.fd[1] = fd;
	spec.group = true;
	if (proc_start(&p, &spec, e) == -1)
		goto out;
	/* Looked at often: one that never stops talking fills the memory. */
	begun = when_mono();
	while (proc_poll(&p, 1, 0.05) > 0) {
		if (stop_check(e) == -1)
			break;
		if (when_mono() - begun >= seconds) {
			err_set(e, CALA_AUTH, "%s: no end after %u seconds",
			    p.name, seconds);
			break;
		}
		if (fstat(fd, &st) == 0 && st.st_size >= SECRET_MAX) {
			err_set(e, CALA_USAGE, "%s: says more than %d bytes",
			    p.name, SECRET_MAX - 1);
			break;
		}
	}
	if (!p.done) {
		proc_end(&p, 1, 1);
		goto out;
	}
	if (p.status != 0) {
		err_set(e, CALA_AUTH, "%s: %s", p.name, proc_says(&p, says));
		goto out;
	}
	if (lseek(fd, 0, SEEK_SET) == -1)
		err_sys(e, "%s", p.name);
	else
		ret = secret_read_fd(s, fd, p.name, e);
out:
	close(fd);
	return ret;
}
