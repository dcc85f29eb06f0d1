/*
 * creds_net: credentials that a service hands out: STS for a web identity, the
 * container's agent, the EC2 instance.  Each is asked once, briefly, and only
 * where somebody said so: a game host that is no EC2 instance would stall.
 */

#include "s3/creds.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>
#include <expat.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/str.h"
#include "base/when.h"
#include "s3/setup.h"

enum { ANSWER_MAX = 64 << 10, ROLE_MAX = 64, TOKEN_MAX = 64 << 10 };

static const char imds_url[] = "http://169.254.169.254";
static const char ecs_url[] = "http://169.254.170.2";

/* One request; header lines are "name: value". */
struct ask {
	const char *method, *url, *body;
	const char *header[3];
	long connect_ms, seconds;
	const char *proxy, *cacert;
};

static size_t
keep(char *p, size_t one, size_t n, void *ctx)
{
	(void)one;
	return buf_add(ctx, p, n) == 0 ? n : 0;
}

/* Everything into out (emptied); -1 unless the answer is 200. */
static int
ask(const struct ask *a, struct buf *out, struct err *e)
{
	char text[CURL_ERROR_SIZE] = "";
	struct curl_slist *head = NULL, *more;
	CURL *c = curl_easy_init();
	long status = 0;
	CURLcode r;
	size_t i;
	int ret = -1;

	buf_reset(out);
	if (c == NULL)
		return err_oom(e);
	for (i = 0; i < 3 && a->header[i] != NULL; i++) {
		if ((more = curl_slist_append(head, a->header[i])) == NULL) {
			err_oom(e);
			goto out;
		}
		head = more;
	}
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, text);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, a->connect_ms);
	curl_easy_setopt(c, CURLOPT_TIMEOUT, a->seconds);
	curl_easy_setopt(c, CURLOPT_PROXY, a->proxy != NULL ? a->proxy : "");
	if (a->cacert != NULL)
		curl_easy_setopt(c, CURLOPT_CAINFO, a->cacert);
	curl_easy_setopt(c, CURLOPT_URL, a->url);
	if (a->body != NULL)
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, a->body);
	curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, a->method);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, head);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, out);
	if ((r = curl_easy_perform(c)) != CURLE_OK) {
		err_set(e, CALA_AUTH, "%s", *text != '\0' ? text :
		    curl_easy_strerror(r));
		goto out;
	}
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		err_set(e, CALA_AUTH, "answered %ld", status);
	else
		ret = 0;
out:
	curl_slist_free_all(head);
	curl_easy_cleanup(c);
	return ret;
}

static void
drop(struct buf *b)
{
	secret_wipe(b->p, b->len);
	buf_fini(b);
}

/* The few values of STS' answer that count (names without namespace). */
struct sts {
	XML_Parser parser;
	struct buf *now;        /* where text goes, or NULL */
	struct buf id, secret, token, expires, code, message;
};

static void XMLCALL
on_start(void *ctx, const XML_Char *name, const XML_Char **attrs)
{
	struct sts *s = ctx;
	const struct { const char *name; struct buf *to; } t[] = {
		{ "AccessKeyId", &s->id }, { "SecretAccessKey", &s->secret },
		{ "SessionToken", &s->token }, { "Expiration", &s->expires },
		{ "Code", &s->code }, { "Message", &s->message },
	};
	size_t i;

	(void)attrs;
	s->now = NULL;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++)
		if (strcmp(name, t[i].name) == 0) {
			s->now = t[i].to;
			buf_reset(s->now);
		}
}

static void XMLCALL
on_end(void *ctx, const XML_Char *name)
{
	(void)name;
	((struct sts *)ctx)->now = NULL;
}

static void XMLCALL
on_text(void *ctx, const XML_Char *p, int n)
{
	struct sts *s = ctx;

	if (s->now != NULL)
		buf_add(s->now, p, (size_t)n);
}

static void XMLCALL
on_doctype(void *ctx, const XML_Char *name, const XML_Char *sys,
    const XML_Char *pub, int internal)
{
	(void)name;
	(void)sys;
	(void)pub;
	(void)internal;
	XML_StopParser(((struct sts *)ctx)->parser, XML_FALSE);
}

static int
sts_read(const struct buf *b, struct s3_creds *out, struct err *e)
{
	struct timespec until;
	struct sts s;
	int ret = -1;

	memset(&s, 0, sizeof(s));
	buf_init(&s.id, ANSWER_MAX);
	buf_init(&s.secret, ANSWER_MAX);
	buf_init(&s.token, ANSWER_MAX);
	buf_init(&s.expires, ANSWER_MAX);
	buf_init(&s.code, ANSWER_MAX);
	buf_init(&s.message, ANSWER_MAX);
	if ((s.parser = XML_ParserCreate(NULL)) == NULL) {
		err_oom(e);
		goto out;
	}
	XML_SetUserData(s.parser, &s);
	XML_SetElementHandler(s.parser, on_start, on_end);
	XML_SetCharacterDataHandler(s.parser, on_text);
	XML_SetStartDoctypeDeclHandler(s.parser, on_doctype);
	if (XML_Parse(s.parser, b->p, (int)b->len, 1) != XML_STATUS_OK)
		err_set(e, CALA_AUTH, "the answer is no XML");
	else if (s.id.len == 0 || s.secret.len == 0)
		err_set(e, CALA_AUTH, "the answer has no key: %s %s",
		    str_q(s.code.p), str_q(s.message.p));
	else if (when_rfc3339(s.expires.p, &until) == -1)
		err_set(e, CALA_AUTH, "Expiration '%s' is no time",
		    str_q(s.expires.p));
	else if (creds_take(out, s.id.p, s.secret.p, s.token.p, e) == 0) {
		out->expires = until.tv_sec;
		ret = 0;
	}
	XML_ParserFree(s.parser);
out:
	drop(&s.id);
	drop(&s.secret);
	drop(&s.token);
	drop(&s.expires);
	drop(&s.code);
	drop(&s.message);
	return ret;
}

/* name=value of a form. */
static void
field(struct buf *b, const char *name, const char *value, size_t n)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t i;
	char c;

	buf_printf(b, "%s%s=", b->len > 0 ? "&" : "", name);
	for (i = 0; i < n; i++) {
		c = value[i];
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		    (c >= '0' && c <= '9') || strchr("-._~", c) != NULL) {
			buf_chr(b, c);
		} else {
			buf_chr(b, '%');
			buf_chr(b, hex[(unsigned char)c >> 4]);
			buf_chr(b, hex[(unsigned char)c & 15]);
		}
	}
}

static char *
sts_url(const struct creds_from *c)
{
	const char *v = creds_env(c->env, "AWS_ENDPOINT_URL_STS");
	const char *r = c->target->region;
	char *s;

	if (v != NULL)
		return strdup(v);
	if (r == NULL)
		return strdup("https://sts.amazonaws.com/");
	return asprintf(&s, "https://sts.%s.amazonaws.com%s/", r,
	    str_begins(r, "cn-") ? ".cn" : "") == -1 ? NULL : s;
}

int
creds_web(struct creds_from *c, const char *file, const char *role,
    const char *session, struct s3_creds *out, struct err *e)
{
	struct ask a = { .method = "POST", .connect_ms = 10000, .seconds = 30,
	    .cacert = c->target->cacert };
	char *url = sts_url(c), *host = NULL;
	struct buf token, body, got;
	const char *p;
	int ret = -1;

	buf_init(&token, TOKEN_MAX);
	buf_init(&body, 4 * TOKEN_MAX);
	buf_init(&got, ANSWER_MAX);
	if (url == NULL) {
		err_oom(e);
		goto out;
	}
	if (file_slurp(&token, AT_FDCWD, file, e) == -1)
		goto out;
	while (token.len > 0 && strchr("\r\n", token.p[token.len - 1]) != NULL)
		buf_cut(&token, token.len - 1);
	p = strstr(url, "://");
	p = p != NULL ? p + 3 : url;
	if ((host = str_ndup(p, strcspn(p, ":/"))) == NULL) {
		err_oom(e);
		goto out;
	}
	field(&body, "Action", "AssumeRoleWithWebIdentity", 25);
	field(&body, "Version", "2011-06-15", 10);
	field(&body, "RoleArn", role, strlen(role));
	if (session == NULL)
		session = "cala";
	field(&body, "RoleSessionName", session, strlen(session));
	field(&body, "WebIdentityToken", token.p, token.len);
	if (buf_failed(&body, e) == -1)
		goto out;
	a.url = url;
	a.body = body.p;
	a.proxy = s3_proxy(c->env, url, host);
	ret = ask(&a, &got, e);
	if (ret == 0 || (e->code == CALA_AUTH && got.len > 0)) {
		/* What STS says about it helps more than its status. */
		struct err why = ERR_INIT;

		ret = sts_read(&got, out, &why);
		if (ret == -1)
			*e = why;
	}
out:
	drop(&token);
	drop(&body);
	drop(&got);
	free(url);
	free(host);
	return ret == 0 ? 0 : err_ctx(e, "web identity");
}

/*
 * Plain HTTP only to this machine and the agents of ECS and EKS: the token must
 * not go anywhere else.
 */
static bool
may_ask(const char *url)
{
	static const char *const hosts[] = { "127.0.0.1", "localhost", "[::1]",
	    "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]" };
	size_t i, n;

	if (strncasecmp(url, "https://", 8) == 0)
		return true;
	if (strncasecmp(url, "http://", 7) != 0)
		return false;
	for (i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
		n = strlen(hosts[i]);
		if (strncasecmp(url + 7, hosts[i], n) == 0 &&
		    (url[7 + n] == '\0' || strchr(":/", url[7 + n]) != NULL))
			return true;
	}
	return false;
}

/* "Authorization: TOKEN" into b, or nothing. */
static int
container_token(struct creds_from *c, struct buf *b, struct err *e)
{
	const char *file = creds_env(c->env,
	    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	const char *token = creds_env(c->env,
	    "AWS_CONTAINER_AUTHORIZATION_TOKEN");
	size_t i;

	if (file == NULL && token == NULL)
		return 0;
	buf_str(b, "Authorization: ");
	if (file != NULL && file_slurp(b, AT_FDCWD, file, e) == -1)
		return -1;
	if (file == NULL)
		buf_str(b, token);
	while (b->len > 0 && strchr("\r\n", b->p[b->len - 1]) != NULL)
		buf_cut(b, b->len - 1);
	for (i = 0; i < b->len; i++)
		if (b->p[i] == '\r' || b->p[i] == '\n' || b->p[i] == '\0')
			return err_set(e, CALA_USAGE,
			    "the authorization token has more than one line");
	return buf_failed(b, e);
}

int
creds_container(struct creds_from *c, struct s3_creds *out, struct err *e)
{
	const char *rel = creds_env(c->env,
	    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = creds_env(c->env,
	    "AWS_CONTAINER_CREDENTIALS_FULL_URI");
	struct ask a = { .method = "GET", .connect_ms = 2000, .seconds = 10,
	    .cacert = c->target->cacert };
	struct buf url, head, got;
	int ret = -1;

	if (rel == NULL && full == NULL)
		return 1;
	buf_init(&url, 4096);
	buf_init(&head, TOKEN_MAX);
	buf_init(&got, ANSWER_MAX);
	if (rel != NULL)
		buf_printf(&url, "%s%s%s", ecs_url, *rel == '/' ? "" : "/",
		    rel);
	else
		buf_str(&url, full);
	if (buf_failed(&url, e) == -1)
		goto out;
	if (!may_ask(url.p)) {
		err_set(e, CALA_USAGE, "'%s': neither https nor this machine",
		    str_q(url.p));
		goto out;
	}
	if (container_token(c, &head, e) == -1)
		goto out;
	a.url = url.p;
	a.header[0] = head.len > 0 ? head.p : NULL;
	if (ask(&a, &got, e) == 0)
		ret = creds_json(got.p, got.len, "its answer", out, e);
out:
	drop(&head);
	drop(&got);
	buf_fini(&url);
	return ret == 0 ? 0 : err_ctx(e, "container credentials");
}

static bool
is_aws(const char *endpoint)
{
	const char *p;
	size_t n;

	if (endpoint == NULL)
		return true;
	p = strstr(endpoint, "://");
	p = p != NULL ? p + 3 : endpoint;
	n = strcspn(p, ":/");
	return (n > 14 && strncasecmp(p + n - 14, ".amazonaws.com", 14) == 0) ||
	    (n > 17 && strncasecmp(p + n - 17, ".amazonaws.com.cn", 17) == 0);
}

static int
imds_ask(struct ask *a, const char *base, const char *path, struct buf *got,
    struct err *e)
{
	struct buf url;
	int ret = -1;

	buf_init(&url, 4096);
	buf_printf(&url, "%s%s", base, path);
	a->url = url.p;
	if (buf_failed(&url, e) == 0)
		ret = ask(a, got, e);
	buf_fini(&url);
	return ret;
}

/* The first line, when it could be a role's name. */
static int
role_name(struct buf *got, char out[ROLE_MAX + 1], struct err *e)
{
	size_t n = strcspn(got->p, "\r\n");

	if (n == 0 || n > ROLE_MAX || n != strspn(got->p,
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	    "0123456789+=,.@_-"))
		return err_set(e, CALA_AUTH, "the instance has no role");
	memcpy(out, got->p, n);
	out[n] = '\0';
	return 0;
}

int
creds_imds(struct creds_from *c, struct s3_creds *out, struct err *e)
{
	static const char creds[] = "/latest/meta-data/iam/security-credentials/";
	const char *base = creds_env(c->env,
	    "AWS_EC2_METADATA_SERVICE_ENDPOINT");
	const char *off = creds_env(c->env, "AWS_EC2_METADATA_DISABLED");
	struct ask a = { .method = "PUT", .connect_ms = 1000, .seconds = 5 };
	char role[ROLE_MAX + 1], path[sizeof(creds) + ROLE_MAX];
	struct buf got, head;
	bool b;
	int ret = -1;

	if (!c->imds || (off != NULL && str_bool(off, &b) == 0 && b))
		return 1;
	if (!is_aws(c->target->endpoint))
		return err_set(e, CALA_USAGE, "the keys of an EC2 instance "
		    "are for AWS, not for %s", str_q(c->target->endpoint));
	buf_init(&got, ANSWER_MAX);
	buf_init(&head, ANSWER_MAX);
	if (base == NULL)
		base = imds_url;
	a.header[0] = "X-aws-ec2-metadata-token-ttl-seconds: 21600";
	if (imds_ask(&a, base, "/latest/api/token", &got, e) == -1)
		goto out;
	if (got.len == 0 || strcspn(got.p, "\r\n") != got.len) {
		err_set(e, CALA_AUTH, "no token came");
		goto out;
	}
	buf_printf(&head, "X-aws-ec2-metadata-token: %s", got.p);
	if (buf_failed(&head, e) == -1)
		goto out;
	a.method = "GET";
	a.header[0] = head.p;
	if (imds_ask(&a, base, creds, &got, e) == -1 ||
	    role_name(&got, role, e) == -1)
		goto out;
	snprintf(path, sizeof(path), "%s%s", creds, role);
	if (imds_ask(&a, base, path, &got, e) == 0)
		ret = creds_json(got.p, got.len, "its answer", out, e);
out:
	drop(&got);
	drop(&head);
	return ret == 0 ? 0 : err_ctx(e, "the EC2 instance");
}
