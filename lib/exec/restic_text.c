/*
 * restic_text: what restic's words mean.  Until 0.17 nearly all of its failures
 * exit with 1, so that only the text tells them apart (kopia-restic §6).
 */

#include "exec/restic.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/code.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "base/when.h"
#include "entry/entry.h"

static const struct {
	const char *text;
	int code;
} meanings[] = {
	{ "Is there a repository at the following location?", CALA_NOTFOUND },
	{ "repository does not exist", CALA_NOTFOUND },
	{ "wrong password or no key found", CALA_AUTH },
	{ "an empty password is not", CALA_USAGE },
	{ "Resolving password failed", CALA_AUTH },
	{ "repository is already locked", CALA_LOCKED },
	{ "no matching ID found", CALA_NOTFOUND },
	{ "no snapshot found", CALA_NOTFOUND },
	{ "multiple IDs with prefix", CALA_USAGE },
	{ "not found in snapshot", CALA_NOTFOUND },
	{ "should be a file, but is", CALA_USAGE },
	{ "should be a dir, but is", CALA_NOTFOUND },
	{ "unknown flag", CALA_USAGE },
	{ "unknown command", CALA_USAGE },
	{ "ciphertext verification failed", CALA_INTEGRITY },
	{ "contains errors", CALA_INTEGRITY },
	{ "invalid data returned", CALA_INTEGRITY },
	{ "hash does not match", CALA_INTEGRITY },
	{ "hash mismatch", CALA_INTEGRITY },
	{ "unexpected EOF", CALA_INTEGRITY },
	{ "not found in repository", CALA_INTEGRITY },
	{ "not found in index", CALA_INTEGRITY },
	{ "x509:", CALA_TLS },
	{ "tls: ", CALA_TLS },
	{ "connection refused", CALA_NET },
	{ "no such host", CALA_NET },
	{ "no route to host", CALA_NET },
	{ "network is unreachable", CALA_NET },
	{ "i/o timeout", CALA_NET },
	{ "handshake timeout", CALA_NET },
	{ "connection reset by peer", CALA_NET },
	{ "Service Unavailable", CALA_NET },
	{ "Bad Gateway", CALA_NET },
	{ "Unauthorized", CALA_AUTH },
	{ "Forbidden", CALA_AUTH },
	{ "Access Denied", CALA_AUTH },
	{ "AccessDenied", CALA_AUTH },
	{ "InvalidAccessKeyId", CALA_AUTH },
	{ "Access Key Id you provided does not exist", CALA_AUTH },
	{ "signature we calculated does not match", CALA_AUTH },
	{ "no space left on device", CALA_NOSPACE },
	{ "disk quota exceeded", CALA_NOSPACE },
	{ "permission denied", CALA_AUTH },
};

int
restic_means(const char *line)
{
	size_t i;

	for (i = 0; i < sizeof(meanings) / sizeof(*meanings); i++)
		if (strstr(line, meanings[i].text) != NULL)
			return meanings[i].code;
	/* A folder of a snapshot: "path tmp: not found". */
	if (strstr(line, "path ") != NULL && str_ends(line, ": not found"))
		return CALA_NOTFOUND;
	return 0;
}

/* ---- nodes ---- */

/* Go's os.FileMode: type bits at the top, permissions at the bottom. */
enum {
	GO_SETUID = 1 << 23, GO_SETGID = 1 << 22, GO_STICKY = 1 << 20
};

static uint32_t
unix_mode(uint64_t m)
{
	uint32_t mode = m & 0777;

	if ((m & GO_SETUID) != 0)
		mode |= 04000;
	if ((m & GO_SETGID) != 0)
		mode |= 02000;
	if ((m & GO_STICKY) != 0)
		mode |= 01000;
	return mode;
}

static char
type_of(const char *s)
{
	static const struct { const char *name; char type; } t[] = {
		{ "file", ENTRY_FILE }, { "dir", ENTRY_DIR },
		{ "symlink", ENTRY_SYMLINK }, { "fifo", ENTRY_FIFO },
		{ "dev", ENTRY_BLOCK }, { "chardev", ENTRY_CHAR },
		{ "socket", ENTRY_SOCKET }
	};
	size_t i;

	for (i = 0; s != NULL && i < sizeof(t) / sizeof(*t); i++)
		if (strcmp(s, t[i].name) == 0)
			return t[i].type;
	return 0;
}

/* A code point as UTF-8. */
static int
utf8_put(char *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/*
 * A name in a tree is quoted as Go does it: a byte that is no UTF-8 is \xNN, a
 * character that can't be printed \uNNNN.  Unquoted it is never longer.
 */
static char *
unquote(const char *s)
{
	static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
	char *out = malloc(strlen(s) + 1), *o = out;
	unsigned char b[4];
	const char *k;
	uint32_t c;
	size_t n, i;

	if (out == NULL)
		return NULL;
	while (*s != '\0') {
		if (*s != '\\') {
			*o++ = *s++;
			continue;
		}
		if (*++s == '\0')
			goto bad;
		if ((k = strchr(from, *s)) != NULL) {
			*o++ = to[k - from];
			s++;
			continue;
		}
		n = *s == 'x' ? 2 : *s == 'u' ? 4 : *s == 'U' ? 8 : 0;
		if (n == 0 || hex_get(++s, n / 2, b) == -1)
			goto bad;
		for (i = 0, c = 0; i < n / 2; i++)
			c = c << 8 | b[i];
		s += n;
		if (c == 0 || c > 0x10ffff)
			goto bad;
		if (n == 2)
			*o++ = (char)c;
		else
			o += utf8_put(o, c);
	}
	*o = '\0';
	return out;
bad:
	free(out);
	return NULL;
}

static bool
name_ok(const char *s)
{
	return *s != '\0' && strchr(s, '/') == NULL && strcmp(s, ".") != 0 &&
	    strcmp(s, "..") != 0;
}

static int
take_target(struct restic_node *n, json_t *j, struct err *e)
{
	const char *raw = json_get_str(j, "linktarget_raw");
	struct buf b;

	n->target = json_get_str(j, "linktarget");
	if (raw == NULL)
		return 0;
	buf_init(&b, ENTRY_PATH_MAX);
	if (b64_get(&b, raw, strlen(raw)) == -1 ||
	    memchr(b.p, '\0', b.len) != NULL) {
		buf_fini(&b);
		return err_set(e, CALA_INTEGRITY, "restic: a link's target is "
		    "garbled");
	}
	if ((n->own[1] = buf_detach(&b)) == NULL)
		return err_oom(e);
	n->target = n->own[1];
	return 0;
}

int
restic_node(struct restic_node *n, json_t *j, struct err *e)
{
	const char *s;
	uint64_t v;

	memset(n, 0, sizeof(*n));
	if ((s = json_get_str(j, "name")) == NULL)
		return err_set(e, CALA_INTEGRITY, "restic: a node without "
		    "name");
	n->path = json_get_str(j, "path");
	if (n->path != NULL) {
		/* A listing has names as text: what was no text is U+FFFD. */
		n->mangled = strstr(s, "\xef\xbf\xbd") != NULL;
		if ((n->own[0] = strdup(s)) == NULL)
			return err_oom(e);
	} else if ((n->own[0] = unquote(s)) == NULL) {
		return err_set(e, CALA_INTEGRITY, "restic: a node's name is "
		    "garbled");
	}
	n->name = n->own[0];
	if (!name_ok(n->name)) {
		restic_node_fini(n);
		return err_set(e, CALA_INTEGRITY, "restic: a node has a name "
		    "that is none");
	}
	n->type = type_of(json_get_str(j, "type"));
	n->size = n->type == ENTRY_FILE ? json_get_u64(j, "size", 0) : 0;
	n->mode = unix_mode(json_get_u64(j, "mode", 0));
	n->uid = (uint32_t)json_get_u64(j, "uid", 0);
	n->gid = (uint32_t)json_get_u64(j, "gid", 0);
	n->user = json_get_str(j, "user");
	n->group = json_get_str(j, "group");
	v = json_get_u64(j, "device", 0);
	n->rdev_major = (uint32_t)((v >> 8 & 0xfff) | (v >> 32 & ~0xfffu));
	n->rdev_minor = (uint32_t)((v & 0xff) | (v >> 12 & ~0xffu));
	if ((s = json_get_str(j, "mtime")) != NULL &&
	    when_rfc3339(s, &n->mtime) == -1)
		n->mtime = (struct timespec){ 0, 0 };
	if ((s = json_get_str(j, "subtree")) != NULL && strlen(s) == 64 &&
	    strspn(s, "0123456789abcdef") == 64)
		memcpy(n->subtree, s, 65);
	if (n->type == ENTRY_SYMLINK && take_target(n, j, e) == -1) {
		restic_node_fini(n);
		return -1;
	}
	return 0;
}

void
restic_node_fini(struct restic_node *n)
{
	free(n->own[0]);
	free(n->own[1]);
	n->own[0] = n->own[1] = NULL;
}
