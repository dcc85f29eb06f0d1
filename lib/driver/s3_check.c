/*
 * s3_check: everything that a backup needs of a store, tried in order; what
 * fails says what to do.
 */

#include "driver/s3.h"

#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/io.h"
#include "base/str.h"
#include "driver/stored.h"
#include "s3/target.h"
#include "s3/xml.h"

enum { PROBE = 64 << 10, FROM = 12345, LENGTH = 4321, SKEW = 60 };

struct check {
	struct driver_call *call;
	struct s3_disk *d;
	struct s3_place place;
	char key[sizeof(S3DISK_CHECK) + 32];
	unsigned char *data;
	bool stored, open;      /* something must be removed again */
	char id[S3_ID];
};

static int
failed(struct check *c, const char *step, struct err *e)
{
	return stored_failed(c->call, step, e);
}

/* ---- the way to the bucket ---- */

static int
resolve(struct check *c, struct err *e)
{
	const struct s3_target *t = &c->d->setup.target;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	char host[PLACE_HOST + 256], text[NI_MAXHOST], *name = host;
	enum s3_style style;
	struct buf b;
	size_t n;
	int r;

	if (t->endpoint != NULL) {
		if (s3_place_parse(t->endpoint, &c->place, e) == -1)
			return failed(c, "endpoint", e);
	} else {
		s3_place_aws(t->region != NULL ? t->region : "us-east-1",
		    &c->place);
	}
	style = s3_place_style(&c->place, t->bucket, t->style);
	driver_say(c->call, "ok: bucket %s at %s, %s style", str_q(t->bucket),
	    t->endpoint != NULL ? str_q(t->endpoint) : c->place.host,
	    style == S3_VIRTUAL ? "virtual-host" : "path");
	if (!c->place.tls)
		driver_say(c->call, "note: not encrypted: who is on the way "
		    "can read the backups");
	if (t->proxy != NULL) {
		driver_say(c->call, "note: by a proxy of the environment; "
		    "it resolves the name");
		return 0;
	}
	buf_init(&b, sizeof(host) - 1);
	s3_place_host(&c->place, style, t->bucket, &b);
	snprintf(host, sizeof(host), "%s", b.p);
	buf_fini(&b);
	/* the port, and the brackets of IPv6 */
	if (*name == '[') {
		name++;
		name[strcspn(name, "]")] = '\0';
	} else {
		n = strcspn(name, ":");
		name[n] = '\0';
	}
	if ((r = getaddrinfo(name, NULL, &hints, &list)) != 0) {
		err_set(e, CALA_NET, "%s: %s", str_q(name), gai_strerror(r));
		err_hint(e, style == S3_VIRTUAL ? "is the endpoint spelled "
		    "right? A server of your own may need path-style = yes" :
		    "is the endpoint spelled right, and does this machine "
		    "reach a name server?");
		return failed(c, "resolve", e);
	}
	r = getnameinfo(list->ai_addr, list->ai_addrlen, text, sizeof(text),
	    NULL, 0, NI_NUMERICHOST);
	driver_say(c->call, "ok: %s is %s", str_q(name), r == 0 ? text :
	    "known");
	freeaddrinfo(list);
	return 0;
}

static bool
is_signature(const char *code)
{
	static const char *const t[] = { "SignatureDoesNotMatch",
	    "InvalidAccessKeyId", "ExpiredToken", "InvalidToken",
	    "TokenRefreshRequired", "RequestTimeTooSkewed",
	    "AuthorizationHeaderMalformed", "AuthFailure",
	    "InvalidClientTokenId", "XMinioInvalidAccessKeyId" };
	size_t i;

	for (i = 0; i < sizeof(t) / sizeof(*t); i++)
		if (strcmp(code, t[i]) == 0)
			return true;
	return false;
}

/* One request tells them all apart: connection, certificate, key, list. */
static int
reach(struct check *c, struct err *e)
{
	static const char *const query[] = { "list-type", "2", "max-keys",
	    "1", "prefix", S3DISK_CHECK, NULL };
	struct s3_call r = { .method = "GET", .query = query };
	const char *id = c->d->setup.target.creds->id;
	int ret = s3_call(c->d->s3, &r, e);
	long off;

	if (r.status == 0 && ret == -1) {
		if (e->code == CALA_TLS) {
			if (e->hint[0] == '\0')
				err_hint(e, "a private authority's certificate "
				    "is named by cacert");
			return failed(c, "TLS", e);
		}
		if (e->code == CALA_NET && e->hint[0] == '\0')
			err_hint(e, "is the service up, the port right (and "
			    "%s what it speaks), and does a firewall let us "
			    "out?", c->place.tls ? "https" : "http");
		return failed(c, "connect", e);
	}
	driver_say(c->call, c->place.tls ? "ok: connected; its certificate is "
	    "%s" : "ok: connected", c->d->setup.target.insecure ?
	    "not checked (tls-verify = no)" : "trusted");
	if (ret == -1 && is_signature(r.code)) {
		if (e->hint[0] == '\0')
			err_hint(e, "compare access-key, secret-key and region "
			    "with what the provider says");
		return failed(c, "signature", e);
	}
	if (ret == -1 && e->code == CALA_NOTFOUND) {
		err_hint(e, "make the bucket, or compare bucket and endpoint "
		    "with what the provider says");
		return failed(c, "bucket", e);
	}
	if (ret == -1) {
		if (e->code == CALA_AUTH)
			err_hint(e, "allow s3:ListBucket on the bucket and "
			    "s3:GetObject, s3:PutObject, s3:DeleteObject and "
			    "s3:AbortMultipartUpload below it");
		return failed(c, "list", e);
	}
	if (c->d->setup.target.creds->anonymous)
		driver_say(c->call, "ok: answered without a signature");
	else
		driver_say(c->call, "ok: the signature of %s is accepted", id);
	off = (long)(s3_date(c->d->s3) - time(NULL));
	if (off > SKEW || off < -SKEW)
		driver_say(c->call, "note: our clock is %ld seconds %s; at "
		    "900 stores refuse requests", off > 0 ? off : -off,
		    off > 0 ? "slow" : "fast");
	driver_say(c->call, "ok: listed the bucket");
	return 0;
}

/* ---- an object, whole and in parts ---- */

/* As a backup would be stored, with all that the configuration wants. */
static int
put(struct check *c, struct err *e)
{
	const struct s3_target *t = &c->d->setup.target;
	struct s3_upload how = { .type = "application/octet-stream" };
	struct sink *up = NULL;
	int ret;

	c->stored = true;
	/* A locked object would stay: that is tried by the bucket's rules. */
	if (t->lock_mode != NULL || t->legal_hold)
		ret = s3_put(c->d->s3, c->key, how.type, c->data, PROBE,
		    false, e);
	else
		ret = (up = s3_upload(c->d->s3, c->key, &how, e)) == NULL ||
		    sink_write(up, c->data, PROBE, e) == -1 ||
		    sink_commit(up, e) == -1 ? -1 : 0;
	sink_free(up);
	if (ret == -1) {
		if (e->hint[0] == '\0')
			err_hint(e, e->code == CALA_AUTH ? "allow "
			    "s3:PutObject (with tags s3:PutObjectTagging)" :
			    "compare storage-class, tags and sse with what the "
			    "provider can");
		return failed(c, "put", e);
	}
	driver_say(c->call, "ok: stored %d bytes%s%s", (int)PROBE,
	    how.verified != NULL ? ", verified by " : "",
	    how.verified != NULL ? how.verified : "");
	return 0;
}

static int
differs(struct check *c, const char *step, struct err *e)
{
	err_set(e, CALA_INTEGRITY, "what was read is not what was stored");
	err_hint(e, "a proxy or the store changes contents: don't trust it "
	    "with a backup");
	return failed(c, step, e);
}

static int
read_back(struct check *c, struct err *e)
{
	struct ranged *rg = NULL;
	unsigned char part[LENGTH];
	struct buf b;
	int ret = -1;

	buf_init(&b, PROBE + 1);
	if (s3_get(c->d->s3, c->key, &b, PROBE + 1, e) == -1) {
		if (e->code == CALA_AUTH)
			err_hint(e, "allow s3:GetObject, or no backup can be "
			    "restored");
		failed(c, "read back", e);
		goto out;
	}
	if (b.len != PROBE || memcmp(b.p, c->data, PROBE) != 0) {
		differs(c, "read back", e);
		goto out;
	}
	driver_say(c->call, "ok: read the same bytes back");
	rg = s3_ranged(c->d->s3, c->key, NULL, 0, e);
	if (rg == NULL || ranged_read(rg, part, LENGTH, FROM, e) == -1) {
		failed(c, "ranged get", e);
		goto out;
	}
	if (memcmp(part, c->data + FROM, LENGTH) != 0) {
		differs(c, "ranged get", e);
		goto out;
	}
	driver_say(c->call, "ok: read a range of them");
	ret = 0;
out:
	ranged_close(rg);
	buf_fini(&b);
	return ret;
}

/* Will the store tell two writers of one backup apart? */
static int
once(struct check *c, struct err *e)
{
	struct err own = ERR_INIT;
	const char *head[] = { "if-none-match: *", NULL };
	struct s3_call r = { .method = "PUT", .key = c->key, .headers = head,
	    .body = c->data, .body_len = PROBE, .md5 = true };

	if (c->d->setup.target.sse == S3_SSE_CUSTOMER)
		return 0;
	if (s3_call(c->d->s3, &r, &own) == -1 && own.code == CALA_EXISTS) {
		driver_say(c->call, "ok: refuses to replace an object "
		    "(If-None-Match)");
		return 0;
	}
	if (own.code == CALA_NET || own.code > CALA_SIGNAL) {
		*e = own;
		return failed(c, "conditional put", e);
	}
	driver_say(c->call, "note: replaces objects unasked: two machines that "
	    "write one UUID at once are not told apart");
	return 0;
}

static int
on_id(void *arg, const char *path, const char *text, struct err *e)
{
	struct check *c = arg;

	if (strcmp(path, "InitiateMultipartUploadResult/UploadId") == 0) {
		if (strlen(text) >= sizeof(c->id))
			return err_set(e, CALA_INTEGRITY, "an upload id of "
			    "%zu bytes", strlen(text));
		memcpy(c->id, text, strlen(text) + 1);
	}
	return 0;
}

static int
create(struct check *c, struct err *e)
{
	static const char *const query[] = { "uploads", "", NULL };
	struct s3_call r = { .method = "POST", .key = c->key, .query = query };
	struct buf b;
	int ret;

	buf_init(&b, 1 << 20);
	r.answer = &b;
	c->id[0] = '\0';
	if ((ret = s3_call(c->d->s3, &r, e)) == 0 &&
	    (ret = xml_walk(b.p, b.len, on_id, c, e)) == 0 &&
	    c->id[0] == '\0')
		ret = err_set(e, CALA_INTEGRITY, "no upload id came");
	c->open = ret == 0;
	buf_fini(&b);
	return ret;
}

static int
send_part(struct check *c, char etag[S3_ETAG], struct err *e)
{
	const char *query[] = { "partNumber", "1", "uploadId", c->id, NULL };
	struct s3_call r = { .method = "PUT", .key = c->key, .query = query,
	    .body = c->data, .body_len = PROBE, .md5 = true };

	if (s3_call(c->d->s3, &r, e) == -1)
		return -1;
	if (r.etag[0] == '\0')
		return err_set(e, CALA_INTEGRITY, "a part got no ETag");
	memcpy(etag, r.etag, S3_ETAG);
	return 0;
}

static int
complete(struct check *c, const char *etag, struct err *e)
{
	const char *query[] = { "uploadId", c->id, NULL };
	const char *head[] = { "content-type: application/xml", NULL };
	struct s3_call r = { .method = "POST", .key = c->key, .query = query,
	    .headers = head };
	struct buf b;
	int ret;

	buf_init(&b, 4096);
	buf_str(&b, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/"
	    "doc/2006-03-01/\"><Part><PartNumber>1</PartNumber><ETag>");
	xml_esc(&b, etag);
	buf_str(&b, "</ETag></Part></CompleteMultipartUpload>");
	r.body = b.p;
	r.body_len = b.len;
	if ((ret = buf_failed(&b, e)) == 0)
		ret = s3_call(c->d->s3, &r, e);
	buf_fini(&b);
	return ret;
}

static int
multipart(struct check *c, struct err *e)
{
	struct s3_object o;
	char etag[S3_ETAG];

	if (create(c, e) == -1 || send_part(c, etag, e) == -1 ||
	    complete(c, etag, e) == -1)
		goto fail;
	c->open = false;
	if (s3_head(c->d->s3, c->key, &o, e) == -1)
		goto fail;
	if (o.size != PROBE) {
		err_set(e, CALA_INTEGRITY, "the object has %" PRIu64 " bytes, "
		    "not %d", o.size, (int)PROBE);
		goto fail;
	}
	driver_say(c->call, "ok: uploaded in parts");
	if (create(c, e) == -1 || send_part(c, etag, e) == -1 ||
	    s3_abort(c->d->s3, c->key, c->id, e) == -1)
		goto fail;
	c->open = false;
	driver_say(c->call, "ok: aborted an upload");
	return 0;
fail:
	if (e->hint[0] == '\0' && e->code == CALA_AUTH)
		err_hint(e, "allow s3:PutObject and s3:AbortMultipartUpload");
	return failed(c, "multipart", e);
}

/* ---- the bucket's rules ---- */

struct says {
	const char *path;
	char text[32];
};

static int
on_says(void *arg, const char *path, const char *text, struct err *e)
{
	struct says *s = arg;

	(void)e;
	if (strcmp(path, s->path) == 0)
		snprintf(s->text, sizeof(s->text), "%s", text);
	return 0;
}

static int
ask(struct check *c, const char *what, struct says *s, struct err *e)
{
	const char *query[] = { what, "", NULL };
	struct s3_call r = { .method = "GET", .query = query };
	struct buf b;
	int ret;

	buf_init(&b, 1 << 20);
	r.answer = &b;
	if ((ret = s3_call(c->d->s3, &r, e)) == 0)
		ret = xml_walk(b.p, b.len, on_says, s, e);
	buf_fini(&b);
	return ret;
}

static int
rules(struct check *c, struct err *e)
{
	struct says versions = { "VersioningConfiguration/Status", "" };
	struct says lock = { "ObjectLockConfiguration/ObjectLockEnabled", "" };
	const struct s3_target *t = &c->d->setup.target;
	struct err own = ERR_INIT;

	if (ask(c, "versioning", &versions, &own) == 0 &&
	    strcmp(versions.text, "Enabled") == 0)
		driver_say(c->call, "note: the bucket keeps versions: rm needs "
		    "s3:DeleteObjectVersion, or space is freed only by the "
		    "bucket's own rules");
	if (t->lock_mode == NULL && !t->legal_hold)
		return 0;
	if (ask(c, "object-lock", &lock, e) == -1 ||
	    strcmp(lock.text, "Enabled") != 0) {
		if (e->code == 0)
			err_set(e, CALA_USAGE, "the bucket locks no objects");
		err_hint(e, "object-lock-mode needs a bucket that was made "
		    "with object lock");
		return failed(c, "object lock", e);
	}
	driver_say(c->call, "ok: the bucket locks objects");
	return 0;
}

static int
clean(struct check *c, struct err *e)
{
	struct s3_object o;

	if (c->open && s3_abort(c->d->s3, c->key, c->id, e) == -1)
		return -1;
	c->open = false;
	if (c->stored && s3disk_forget(c->call, c->d, c->key, e) == -1)
		return -1;
	c->stored = false;
	if (s3_head(c->d->s3, c->key, &o, e) == 0)
		return err_set(e, CALA_FAIL, "%s is still there", c->key);
	if (e->code != CALA_NOTFOUND && e->code != CALA_AUTH)
		return -1;
	err_clear(e);
	return 0;
}

static int
random_name(struct check *c, struct err *e)
{
	unsigned char r[8];
	char hex[2 * sizeof(r) + 1];

	if (getrandom(r, sizeof(r), 0) != sizeof(r) ||
	    getrandom(c->data, 256, 0) != 256)
		return err_sys(e, "get randomness");
	hex_put(r, sizeof(r), hex);
	snprintf(c->key, sizeof(c->key), "%s%s", S3DISK_CHECK, hex);
	memset(c->data + 256, 0xa5, PROBE - 256);
	memcpy(c->data + FROM, c->data, 256);
	return 0;
}

int
s3disk_check(struct driver_call *call, struct err *e)
{
	struct check c = { .call = call };
	struct err own = ERR_INIT;
	int ret = -1;

	if ((c.d = s3disk_open(call, e)) == NULL)
		return stored_failed(call, "set up", e);
	if ((c.data = malloc(PROBE)) == NULL)
		return err_oom(e);
	if (random_name(&c, e) == 0 && resolve(&c, e) == 0 &&
	    reach(&c, e) == 0 && rules(&c, e) == 0 && put(&c, e) == 0 &&
	    read_back(&c, e) == 0 && once(&c, e) == 0)
		ret = multipart(&c, e);
	if (ret == 0 && clean(&c, e) == -1) {
		if (e->code == CALA_AUTH)
			err_hint(e, "allow s3:DeleteObject, or nothing is ever "
			    "removed");
		ret = failed(&c, "delete", e);
	} else if (ret == 0) {
		driver_say(call, "ok: deleted what was stored");
	} else if ((c.stored || c.open) && clean(&c, &own) == -1) {
		driver_say(call, "note: %s may be left: %s", c.key, own.msg);
	}
	free(c.data);
	return ret;
}
