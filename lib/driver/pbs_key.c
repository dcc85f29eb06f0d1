/* pbs_key: the key of the configuration; key files made, shown, changed. */

#include "driver/pbs_put.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/rand.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "base/when.h"
#include "config/conf.h"
#include "front/front.h"
#include "front/prompt.h"
#include "pbs/crypt.h"
#include "pbs/keyfile.h"

int
pbs_key(const struct conf *conf, const struct conf_section *cfg,
    struct pbs_crypt **out, struct err *e)
{
	struct secret text = SECRET_INIT, pass = SECRET_INIT;
	struct pbs_keyfile f;
	int ret;

	*out = NULL;
	memset(&f, 0, sizeof(f));
	if ((ret = conf_secret(conf, cfg, "encryption-key", &text, e)) != 1)
		return ret;
	ret = -1;
	if (pbs_keyfile_parse(&f, text.p, text.len, e) == -1 ||
	    (f.kdf != PBS_KDF_NONE && conf_secret(conf, cfg,
	    "encryption-password", &pass, e) == -1))
		goto out;
	if (pbs_keyfile_open(&f, &pass, out, e) == 0)
		ret = 1;
	else if (e->code == CALA_AUTH && pass.len == 0)
		err_hint(e, "encryption-password, or encryption-password-file, "
		    "has it");
out:
	pbs_keyfile_fini(&f);
	secret_free(&text);
	secret_free(&pass);
	return ret;
}

/* ---- cala-pbs key ---- */

static const char usage[] =
    "cala-pbs key create [options] FILE\n"
    "       cala-pbs key show [--json] FILE\n"
    "       cala-pbs key change [options] FILE";
static const char example[] =
    "example:\n"
    "  cala-pbs key create --kdf none /etc/cala/pbs.key";

struct keyjob {
	struct front f;
	const char *kdf, *hint, *pass_file, *new_file;
	bool json;
	const char *path;
	struct pbs_keyfile old;
	struct pbs_crypt *crypt;
};

/* From a file, else from standard input or the terminal. */
static int
passphrase(const char *file, const char *what, struct secret *out,
    struct err *e)
{
	return file != NULL ? secret_read_file(out, file, e) :
	    front_secret(what, out, e);
}

static int
choose(const struct keyjob *k, enum pbs_kdf def, enum pbs_kdf *kdf,
    struct err *e)
{
	*kdf = def == PBS_KDF_PBKDF2 ? PBS_KDF_SCRYPT : def;
	if (k->kdf == NULL)
		return 0;
	if (strcmp(k->kdf, "none") == 0)
		*kdf = PBS_KDF_NONE;
	else if (strcmp(k->kdf, "scrypt") == 0)
		*kdf = PBS_KDF_SCRYPT;
	else
		return err_set(e, CALA_USAGE,
		    "--kdf: '%s' is neither scrypt nor none", str_q(k->kdf));
	return 0;
}

static int
store(const struct keyjob *k, const struct pbs_keyfile *f, bool fresh,
    struct err *e)
{
	struct afile out = AFILE_INIT;
	struct secret text = SECRET_INIT;
	const char *name = strrchr(k->path, '/');
	char *dir;
	int dirfd = -1, ret = -1;

	name = name != NULL ? name + 1 : k->path;
	dir = name == k->path ? strdup(".") : str_ndup(k->path,
	    name - 1 == k->path ? 1 : (size_t)(name - 1 - k->path));
	if (dir == NULL)
		return err_oom(e);
	if (pbs_keyfile_put(f, &text, e) == -1 ||
	    (dirfd = file_opendir(AT_FDCWD, dir, e)) == -1 ||
	    afile_open(&out, dirfd, name, e) == -1)
		goto out;
	if (file_write_all(out.fd, text.p, text.len) == -1) {
		err_sys(e, "write %s", str_q(k->path));
		goto out;
	}
	ret = afile_commit(&out, 0600, fresh ? AFILE_NOREPLACE : 0, e);
out:
	afile_abort(&out);
	if (dirfd != -1)
		close(dirfd);
	secret_free(&text);
	free(dir);
	return ret;
}

static void
print(const struct pbs_crypt *c)
{
	char text[PBS_PRINT];

	printf("%s\n", pbs_print_text(pbs_crypt_print(c), text));
}

static int
create(struct keyjob *k, struct err *e)
{
	struct secret raw = SECRET_INIT, pass = SECRET_INIT;
	struct pbs_keyfile f;
	enum pbs_kdf kdf;
	int ret = -1;

	memset(&f, 0, sizeof(f));
	if (choose(k, PBS_KDF_SCRYPT, &kdf, e) == -1)
		return -1;
	/* Before somebody thinks of a passphrase. */
	if (access(k->path, F_OK) == 0)
		return err_set(e, CALA_EXISTS, "%s: exists already",
		    str_q(k->path));
	if (secret_alloc(&raw, PBS_KEY, e) == -1)
		return -1;
	if (RAND_priv_bytes(raw.p, PBS_KEY) != 1) {
		err_set(e, CALA_FAIL, "there is no randomness");
		goto out;
	}
	if ((k->crypt = pbs_crypt_new(raw.p, e)) == NULL ||
	    (kdf != PBS_KDF_NONE && passphrase(k->new_file, "passphrase",
	    &pass, e) == -1) ||
	    pbs_keyfile_make(&f, k->crypt, kdf, &pass, k->hint, e) == -1 ||
	    store(k, &f, true, e) == -1)
		goto out;
	print(k->crypt);
	log_note(&k->f.log, "made a key in %s; keep a copy in another safe "
	    "place: without it nothing that it encrypts can be read",
	    str_q(k->path));
	ret = 0;
out:
	pbs_keyfile_fini(&f);
	secret_free(&raw);
	secret_free(&pass);
	return ret;
}

static int
show(struct keyjob *k, struct err *e)
{
	static const char *const kdfs[] = { "none", "scrypt", "pbkdf2" };
	char text[PBS_PRINT], when[WHEN_TEXT];
	const struct pbs_keyfile *f = &k->old;
	struct pbs_crypt *c = NULL;
	const char *print_of = NULL;
	struct buf b;
	struct jw j;
	int ret;

	/* An old file may not tell; a bare key can be asked. */
	if (f->has_print)
		print_of = pbs_print_text(f->print, text);
	else if (f->kdf == PBS_KDF_NONE &&
	    pbs_keyfile_open(f, NULL, &c, e) == 0)
		print_of = pbs_print_text(pbs_crypt_print(c), text);
	pbs_crypt_free(c);
	if (!k->json) {
		printf("fingerprint  %s\nkdf          %s\n",
		    print_of != NULL ? print_of : "unknown", kdfs[f->kdf]);
		printf("created      %s\n", when_utc(f->created, when));
		printf("modified     %s\n", when_utc(f->modified, when));
		if (f->hint != NULL)
			printf("hint         %s\n", str_q(f->hint));
		return 0;
	}
	buf_init(&b, 64 << 10);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '{');
	jw_u64(&j, "v", 1);
	if (print_of != NULL)
		jw_str(&j, "fingerprint", print_of);
	jw_str(&j, "kdf", kdfs[f->kdf]);
	jw_time(&j, "created", f->created);
	jw_time(&j, "modified", f->modified);
	if (f->hint != NULL)
		jw_str(&j, "hint", f->hint);
	jw_close(&j, '}');
	if ((ret = buf_failed(&b, e)) == 0)
		printf("%s\n", b.p);
	buf_fini(&b);
	return ret;
}

static int
change(struct keyjob *k, struct err *e)
{
	struct secret pass = SECRET_INIT, fresh = SECRET_INIT;
	struct pbs_keyfile f;
	enum pbs_kdf kdf;
	int ret = -1;

	memset(&f, 0, sizeof(f));
	if (choose(k, k->old.kdf, &kdf, e) == -1)
		return -1;
	/* Standard input has room for one of both. */
	if (k->old.kdf != PBS_KDF_NONE && kdf != PBS_KDF_NONE &&
	    k->pass_file == NULL && k->new_file == NULL &&
	    !isatty(STDIN_FILENO))
		return err_set(e, CALA_USAGE, "two passphrases are needed: "
		    "--passphrase-file or --new-passphrase-file has one");
	if ((k->old.kdf != PBS_KDF_NONE && passphrase(k->pass_file,
	    "present passphrase", &pass, e) == -1) ||
	    pbs_keyfile_open(&k->old, &pass, &k->crypt, e) == -1 ||
	    (kdf != PBS_KDF_NONE && passphrase(k->new_file,
	    "new passphrase", &fresh, e) == -1) ||
	    pbs_keyfile_make(&f, k->crypt, kdf, &fresh, k->hint != NULL ?
	    k->hint : k->old.hint, e) == -1)
		goto out;
	f.created = k->old.created;
	if (store(k, &f, false, e) == 0) {
		print(k->crypt);
		ret = 0;
	}
out:
	pbs_keyfile_fini(&f);
	secret_free(&pass);
	secret_free(&fresh);
	return ret;
}

static int
run(struct keyjob *k, const struct opt_list *args, struct err *e)
{
	const char *verb = args->n > 0 ? args->v[0] : "";
	bool makes = strcmp(verb, "create") == 0;
	int ret;

	if (!makes && strcmp(verb, "show") != 0 &&
	    strcmp(verb, "change") != 0)
		return err_set(e, CALA_USAGE, args->n == 0 ?
		    "key: create, show or change?" :
		    "key: '%s' is none of create, show, change",
		    str_q(verb));
	if (args->n != 2)
		return err_set(e, CALA_USAGE, "key %s: one FILE is needed",
		    verb);
	k->path = args->v[1];
	if (makes)
		return create(k, e);
	if (pbs_keyfile_read(&k->old, k->path, e) == -1)
		return -1;
	ret = strcmp(verb, "show") == 0 ? show(k, e) : change(k, e);
	return ret == -1 ? err_ctx(e, "%s", str_q(k->path)) : 0;
}

int
pbs_key_main(int argc, char **argv)
{
	struct keyjob k = { .kdf = NULL };
	struct err e = ERR_INIT;
	struct opt_list args = { NULL, 0 };
	const struct opt table[] = {
		{ OPT_STR, 0, "kdf", "KDF", "scrypt: under a passphrase "
		    "(default); none: the bare key", &k.kdf, NULL },
		{ OPT_STR, 0, "hint", "TEXT", "what reminds of the "
		    "passphrase; stored in the clear", &k.hint, NULL },
		{ OPT_STR, 0, "passphrase-file", "FILE",
		    "change: the present passphrase", &k.pass_file, NULL },
		{ OPT_STR, 0, "new-passphrase-file", "FILE",
		    "create, change: the new one (default: standard input)",
		    &k.new_file, NULL },
		{ OPT_FLAG, 0, "json", NULL, "show: one JSON object",
		    &k.json, NULL },
		FRONT_OPTS(k.f),
		FRONT_END
	};
	int ret, status;

	front_init(&k.f, "cala-pbs", usage, example);
	front_keys();
	ret = front_parse(&k.f, table, argc - 1, argv + 1, &args, NULL, &e);
	if (ret == 0)
		ret = run(&k, &args, &e);
	pbs_keyfile_fini(&k.old);
	pbs_crypt_free(k.crypt);
	status = front_end(&k.f, ret == -1 ? &e : NULL);
	opt_list_free(&args);
	return status;
}
