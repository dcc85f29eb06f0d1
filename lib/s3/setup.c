#include "s3/setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/str.h"
#include "config/conf.h"
#include "s3/creds.h"

enum {
	TAGS = 10,
	CONNECTIONS = 64,       /* whatever [cala] jobs says of threads */
	RETRIES = 10            /* the key's default: then an outage is sat out */
};

struct own {
	struct creds_from from;
	struct s3_creds creds;
	struct secret customer;
	const char *tags[2 * TAGS + 1];
	char **text;            /* what was made here */
	size_t n;
	/* do the variables and the profile count? */
	bool ambient;
	char *const *env;
	const struct conf_section *cfg;
};

static const char *
keep(struct own *o, char *s, struct err *e)
{
	char **v = s == NULL ? NULL :
	    reallocarray(o->text, o->n + 1, sizeof(*v));

	if (v == NULL) {
		free(s);
		err_oom(e);
		return NULL;
	}
	o->text = v;
	return v[o->n++] = s;
}

int
s3_url(const char *text, char **bucket, char **key, struct err *e)
{
	const char *p, *slash;
	char *b, *k;

	if (strncasecmp(text, "s3://", 5) != 0)
		return 1;
	p = text + 5;
	slash = p + strcspn(p, "/");
	if (slash == p)
		return err_set(e, CALA_USAGE, "'%s': no bucket", str_q(text));
	if (strlen(slash) > S3_KEY_MAX + 1)
		return err_set(e, CALA_USAGE, "'%s': a key has at most %d "
		    "bytes", str_q(text), (int)S3_KEY_MAX);
	b = str_ndup(p, (size_t)(slash - p));
	k = strdup(*slash == '/' ? slash + 1 : "");
	if (b == NULL || k == NULL) {
		free(b);
		free(k);
		return err_oom(e);
	}
	*bucket = b;
	*key = k;
	return 0;
}

/* A variable, where they count. */
static const char *
var(const struct own *o, const char *name)
{
	return o->ambient ? creds_env(o->env, name) : NULL;
}

/* A key of the profile, where it counts; "" is none. */
static const char *
profile(const struct own *o, const char *parent, const char *key)
{
	const char *v = o->ambient || o->from.named ?
	    creds_profile(&o->from, parent, key) : NULL;

	return v != NULL && *v != '\0' ? v : NULL;
}

static const char *
ours(const struct own *o, const char *key)
{
	return o->cfg != NULL ? conf_get(o->cfg, key) : NULL;
}

static const char *
first(const char *a, const char *b)
{
	return a != NULL ? a : b;
}

static bool
yes(const char *s)
{
	bool b;

	return s != NULL && str_bool(s, &b) == 0 && b;
}

static void
region(struct s3_setup *u, struct own *o)
{
	struct s3_target *t = &u->target;

	t->region = first(u->opt_region, ours(o, "region"));
	if (t->region == NULL)
		t->region = var(o, "AWS_REGION");
	if (t->region == NULL)
		t->region = var(o, "AWS_DEFAULT_REGION");
	if (t->region == NULL)
		t->region = profile(o, "", "region");
}

/* endpoint_url of the section [services NAME] that the profile names. */
static const char *
of_services(const struct own *o)
{
	const char *name = profile(o, "", "services"), *v;

	if (name == NULL)
		return NULL;
	v = awsfile_get(&o->from.config, "services", name, "s3",
	    "endpoint_url");
	return v != NULL && *v != '\0' ? v : NULL;
}

/* AWS has other names for dual-stack and FIPS hosts (s3.md §5.3). */
static int
aws_host(struct s3_setup *u, struct own *o, struct err *e)
{
	const char *r = u->target.region, *dual, *fips;
	char *s;

	dual = first(var(o, "AWS_USE_DUALSTACK_ENDPOINT"),
	    profile(o, "", "use_dualstack_endpoint"));
	fips = first(var(o, "AWS_USE_FIPS_ENDPOINT"),
	    profile(o, "", "use_fips_endpoint"));
	if (!yes(dual) && !yes(fips))
		return 0;
	if (r == NULL)
		r = "us-east-1";
	if (asprintf(&s, "https://s3%s%s.%s.amazonaws.com%s", yes(fips) ?
	    "-fips" : "", yes(dual) ? ".dualstack" : "", r,
	    strncmp(r, "cn-", 3) == 0 ? ".cn" : "") == -1)
		s = NULL;
	u->target.endpoint = keep(o, s, e);
	return u->target.endpoint != NULL ? 0 : -1;
}

static int
endpoint(struct s3_setup *u, struct own *o, struct err *e)
{
	const char *v = first(u->opt_endpoint, ours(o, "endpoint"));

	if (v == NULL && !yes(var(o, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")) &&
	    !yes(profile(o, "", "ignore_configured_endpoint_urls"))) {
		v = first(var(o, "AWS_ENDPOINT_URL_S3"), of_services(o));
		if (v == NULL)
			v = first(var(o, "AWS_ENDPOINT_URL"),
			    profile(o, "", "endpoint_url"));
	}
	u->target.endpoint = v;
	return v != NULL ? 0 : aws_host(u, o, e);
}

/* The host of an endpoint without port and brackets, for no_proxy. */
static char *
host_of(const struct s3_target *t)
{
	const char *p = t->endpoint, *s;
	char *out;

	if (p == NULL)
		return asprintf(&out, "s3.%s.amazonaws.com", t->region != NULL ?
		    t->region : "us-east-1") == -1 ? NULL : out;
	if ((s = strstr(p, "://")) != NULL)
		p = s + 3;
	if (*p == '[')
		return str_ndup(p + 1, strcspn(p + 1, "]"));
	return str_ndup(p, strcspn(p, ":/"));
}

static int
network(struct s3_setup *u, struct own *o, struct err *e)
{
	struct s3_target *t = &u->target;
	uint64_t n;
	char *host;

	if (t->cacert == NULL)
		t->cacert = ours(o, "cacert");
	if (t->cacert == NULL)
		t->cacert = first(var(o, "AWS_CA_BUNDLE"),
		    profile(o, "", "ca_bundle"));
	if (t->cacert == NULL)
		t->cacert = creds_env(o->env, "SSL_CERT_FILE");
	if (t->proxy == NULL) {
		if ((host = host_of(t)) == NULL)
			return err_oom(e);
		t->proxy = s3_proxy(o->env, t->endpoint, host);
		free(host);
	}
	if (o->cfg != NULL) {
		t->insecure |= !conf_bool(o->cfg, "tls-verify");
		if (t->answer == 0)
			t->answer = (unsigned)conf_u64(o->cfg, "timeout");
		/* Who waits less for an answer does not wait to connect. */
		if (t->timeout == 0 && t->answer < 10)
			t->timeout = t->answer;
		if (t->stall == 0)
			t->stall = (unsigned)conf_u64(o->cfg,
			    "stall-timeout");
		n = conf_u64(o->cfg, "retries");
		if (t->retries == 0 && n != RETRIES)
			t->retries = (unsigned)n + 1;
	} else if (t->retries == 0) {
		const char *s = first(var(o, "AWS_MAX_ATTEMPTS"),
		    profile(o, "", "max_attempts"));

		if (s != NULL && str_u64(s, 1, 100, &n) == 0)
			t->retries = (unsigned)n;
	}
	return 0;
}

/* What the profile says in place of a configuration. */
static int
tuning(struct s3_setup *u, struct own *o, struct err *e)
{
	const char *s = profile(o, "s3", "addressing_style"), *v;
	struct s3_target *t = &u->target;
	uint64_t n;

	if (t->style == S3_AUTO && s != NULL)
		t->style = strcmp(s, "path") == 0 ? S3_PATH :
		    strcmp(s, "virtual") == 0 ? S3_VIRTUAL : S3_AUTO;
	s = profile(o, "s3", "multipart_chunksize");
	if (t->part_size == 0 && s != NULL) {
		if (str_size(s, &n) == -1)
			return err_set(e, CALA_USAGE, "multipart_chunksize: "
			    "'%s' is no size", str_q(s));
		t->part_size = n;
	}
	s = profile(o, "s3", "max_concurrent_requests");
	if (t->jobs == 0 && s != NULL && str_u64(s, 1, 64, &n) == 0)
		t->jobs = (unsigned)n;
	v = first(var(o, "AWS_REQUEST_CHECKSUM_CALCULATION"),
	    profile(o, "", "request_checksum_calculation"));
	if (t->sum == S3_SUM_AUTO && v != NULL &&
	    strcasecmp(v, "when_required") == 0)
		t->sum = S3_SUM_MD5;
	return 0;
}

static void
style(struct s3_target *t, const char *s)
{
	if (t->style == S3_AUTO && s != NULL)
		t->style = strcmp(s, "yes") == 0 ? S3_PATH :
		    strcmp(s, "no") == 0 ? S3_VIRTUAL : S3_AUTO;
}

static int
encryption(struct s3_target *t, struct own *o, const struct conf *conf,
    struct err *e)
{
	static const struct { const char *name; enum s3_sse sse; } t_sse[] = {
		{ "AES256", S3_SSE_S3 }, { "aws:kms", S3_SSE_KMS },
		{ "aws:kms:dsse", S3_SSE_DSSE },
		{ "customer", S3_SSE_CUSTOMER },
	};
	const char *s = conf_get(o->cfg, "sse");
	struct secret text = SECRET_INIT;
	struct buf raw;
	size_t i;
	int r;

	for (i = 0; t->sse == S3_SSE_NONE && i < sizeof(t_sse) / sizeof(*t_sse);
	    i++)
		if (strcmp(s, t_sse[i].name) == 0)
			t->sse = t_sse[i].sse;
	if (t->kms_key == NULL)
		t->kms_key = conf_get(o->cfg, "sse-kms-key-id");
	t->bucket_key |= conf_bool(o->cfg, "sse-bucket-key");
	if (t->sse != S3_SSE_CUSTOMER || t->customer_key != NULL)
		return 0;
	r = conf_secret(conf, o->cfg, "sse-customer-key", &text, e);
	if (r != 1)
		return r == -1 ? -1 : err_set(e, CALA_USAGE, "%s: "
		    "sse = customer needs sse-customer-key",
		    conf_where(o->cfg, "sse"));
	buf_init(&raw, 64);
	if (b64_get(&raw, (const char *)text.p, text.len) == -1 ||
	    raw.len != 32)
		r = err_set(e, CALA_USAGE, "%s: sse-customer-key: not 32 "
		    "bytes in base64", conf_where(o->cfg, NULL));
	else
		r = secret_set(&o->customer, raw.p, raw.len, e);
	secret_wipe(raw.p, raw.len);
	buf_fini(&raw);
	secret_free(&text);
	t->customer_key = &o->customer;
	return r;
}

static int
tags(struct s3_target *t, struct own *o, struct err *e)
{
	const char *key, *value;
	size_t i;

	if (t->tags != NULL)
		return 0;
	for (i = 0; i < TAGS && conf_map(o->cfg, "tags", i, &key, &value) == 0;
	    i++) {
		o->tags[2 * i] = key;
		o->tags[2 * i + 1] = value;
	}
	if (conf_map(o->cfg, "tags", i, &key, &value) == 0)
		return err_set(e, CALA_USAGE, "tags: more than %d", TAGS);
	if (i > 0)
		t->tags = o->tags;
	return 0;
}

/* What the configuration says of the bucket and of new objects. */
static int
objects(struct s3_setup *u, struct own *o, const struct conf *conf,
    struct err *e)
{
	const struct conf_section *c = o->cfg;
	struct s3_target *t = &u->target;
	const char *s;

	style(t, conf_get(c, "path-style"));
	s = conf_get(c, "unsigned-payload");
	t->sign_payload |= strcmp(s, "no") == 0;
	t->insecure_unsigned |= strcmp(s, "yes") == 0;
	if (t->part_size == 0)
		t->part_size = conf_u64(c, "part-size");
	t->exact_parts |= conf_bool(c, "exact-parts");
	/* The default is not a finding: the endpoint may know better. */
	if (t->max_parts == 0 && conf_u64(c, "max-parts") != S3_PARTS)
		t->max_parts = (unsigned)conf_u64(c, "max-parts");
	if (t->spool == NULL)
		t->spool = conf_get(c, "spool-directory");
	if (t->storage_class == NULL)
		t->storage_class = conf_get(c, "storage-class");
	if (t->owner == NULL)
		t->owner = conf_get(c, "expected-bucket-owner");
	t->requester_pays |= conf_bool(c, "requester-pays");
	if (t->memory == 0)
		t->memory = conf_u64(c, "memory");
	if (t->jobs == 0)
		t->jobs = (unsigned)conf_u64(c, "jobs");
	if (t->jobs > CONNECTIONS)
		t->jobs = CONNECTIONS;
	s = conf_get(c, "object-lock-mode");
	if (t->lock_mode == NULL && strcmp(s, "none") != 0) {
		t->lock_mode = strcmp(s, "compliance") == 0 ? "COMPLIANCE" :
		    "GOVERNANCE";
		t->lock_seconds = conf_u64(c, "object-lock-retention");
		if (t->lock_seconds == 0)
			return err_set(e, CALA_USAGE, "%s: object-lock-mode "
			    "needs object-lock-retention",
			    conf_where(c, "object-lock-mode"));
	}
	t->legal_hold |= conf_bool(c, "object-lock-legal-hold");
	if (tags(t, o, e) == -1)
		return -1;
	return encryption(t, o, conf, e);
}

/* Who may say where the credentials come from. */
static int
credentials(struct s3_setup *u, struct own *o, struct err *e)
{
	struct creds_from *f = &o->from;
	const char *p = ours(o, "aws-profile");

	if (p != NULL && ours(o, "access-key") != NULL)
		return err_set(e, CALA_USAGE, "%s: access-key and aws-profile "
		    "exclude each other", conf_where(o->cfg, "aws-profile"));
	f->file = u->opt_credentials;
	f->named = u->opt_profile != NULL || p != NULL;
	f->profile = first(u->opt_profile, p);
	if (f->profile == NULL)
		f->profile = creds_env(o->env, "AWS_PROFILE");
	if (f->profile == NULL)
		f->profile = creds_env(o->env, "AWS_DEFAULT_PROFILE");
	if (f->profile == NULL)
		f->profile = "default";
	f->imds = u->opt_imds || (o->cfg != NULL && conf_bool(o->cfg, "imds"));
	o->ambient = o->cfg == NULL || (ours(o, "access-key") == NULL &&
	    !conf_bool(o->cfg, "anonymous"));
	return o->ambient || f->named ? creds_files(f, e) : 0;
}

int
s3_setup_conf(struct s3_setup *u, const struct conf *conf,
    const struct conf_section *cfg, char *const *env, struct log *log,
    struct err *e)
{
	struct own *o = calloc(1, sizeof(*o));
	struct s3_target *t = &u->target;

	if (o == NULL)
		return err_oom(e);
	u->own = o;
	o->cfg = cfg;
	o->env = env;
	o->from.conf = conf;
	o->from.cfg = cfg;
	o->from.env = env;
	o->from.log = log;
	o->from.target = t;
	if (credentials(u, o, e) == -1)
		return -1;
	region(u, o);
	if (endpoint(u, o, e) == -1)
		return -1;
	if (u->opt_bucket != NULL)
		t->bucket = u->opt_bucket;
	else if (t->bucket == NULL)
		t->bucket = ours(o, "bucket");
	if (t->bucket == NULL)
		return err_set(e, CALA_USAGE, "no bucket is named");
	if ((cfg != NULL && objects(u, o, conf, e) == -1) ||
	    tuning(u, o, e) == -1 || network(u, o, e) == -1)
		return -1;
	if (u->opt_anonymous)
		o->creds.anonymous = true;
	else if (creds_get(&o->from, &o->creds, e) == -1)
		return -1;
	t->creds = &o->creds;
	t->refresh = o->creds.anonymous ? NULL : creds_refresh;
	t->refresh_arg = &o->from;
	return 0;
}

void
s3_setup_fini(struct s3_setup *u)
{
	struct own *o = u->own;

	if (o == NULL)
		return;
	creds_fini(&o->creds);
	creds_files_fini(&o->from);
	secret_free(&o->customer);
	while (o->n > 0)
		free(o->text[--o->n]);
	free(o->text);
	free(o);
	memset(u, 0, sizeof(*u));
}
