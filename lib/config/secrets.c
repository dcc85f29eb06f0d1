/*
 * secrets: the value of a secret key, wherever the configuration says it is.
 */

#include "config/conf.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/proc.h"
#include "base/str.h"
#include "config/crypt.h"
#include "config/model.h"

enum { COMMAND_SECONDS = 30 };

/* What the command prints goes into memory that has no name. */
static int
from_command(const char *command, struct secret *out, struct err *e)
{
	struct proc_spec spec = PROC_SPEC_INIT;
	struct proc p = { .pidfd = -1 };
	char says[PROC_TEXT], **argv = NULL;
	int fd, ret = -1;

	if (conf_words(command, &argv, e) == -1)
		return -1;
	fd = memfd_create("cala-secret", MFD_CLOEXEC);
	if (fd == -1) {
		err_sys(e, "memory for a secret");
		goto out;
	}
	spec.argv = (const char *const *)argv;
	spec.fd[1] = fd;
	if (proc_start(&p, &spec, e) == -1)
		goto out;
	if (proc_wait(&p, 1, COMMAND_SECONDS, e) == -1) {
		proc_end(&p, 1, 1);
		goto out;
	}
	if (p.status != 0) {
		err_set(e, CALA_AUTH, "%s: %s", p.name, proc_says(&p, says));
		goto out;
	}
	if (lseek(fd, 0, SEEK_SET) == -1) {
		err_sys(e, "%s", p.name);
		goto out;
	}
	ret = secret_read_fd(out, fd, p.name, e);
out:
	if (fd != -1)
		close(fd);
	free(argv);
	return ret;
}

static int
from_token(const struct conf *c, const struct conf_section *s,
    const char *key, const char *token, struct secret *out, struct err *e)
{
	struct crypt_place at = { s->kind, s->name, key };
	struct crypt_keys keys = CRYPT_KEYS_INIT;
	int ret;

	if (c->key == NULL)
		return err_set(e, CALA_AUTH, "no key file is known");
	ret = crypt_keys_read(&keys, c->key, e);
	if (ret == 0)
		ret = crypt_open(&keys, &at, token, out, e);
	crypt_keys_free(&keys);
	return ret;
}

int
conf_secret(const struct conf *c, const struct conf_section *s,
    const char *key, struct secret *out, struct err *e)
{
	const struct conf_item *it = s != NULL ? item_find(s, key) : NULL;
	int ret;

	if (it == NULL)
		return 0;
	if (it->form == KEY_FROM_FILE)
		ret = secret_read_file(out, it->text, e);
	else if (it->form == KEY_FROM_COMMAND)
		ret = from_command(it->text, out, e);
	else if (str_begins(it->text, CRYPT_PREFIX))
		ret = from_token(c, s, key, it->text, out, e);
	else
		ret = secret_set(out, it->text, strlen(it->text), e);
	if (ret == -1)
		return err_ctx(e, "%s: [%s \"%s\"] %s", it->where, s->kind,
		    str_q(s->name), it->name);
	return 1;
}
