#include "driver/record.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "base/when.h"

enum { SKEW = 3600 };           /* seconds two clocks may differ */

static const char *const known[] = {
	"v", "uuid", "server", "name", "group", "locked", "created",
	"completed", "disk", "configuration", "size", "files", "stored",
	"checksum", "ignored", "complete", "changed", "sockets",
	"warnings_count", "warnings", "host", "version", "foreign",
	"unverified", NULL
};

void
record_init(struct record *r)
{
	memset(r, 0, sizeof(*r));
	r->complete = true;
}

static void
list_free(char **v, size_t n)
{
	while (n > 0)
		free(v[--n]);
	free(v);
}

void
record_fini(struct record *r)
{
	free(r->name);
	free(r->group);
	free(r->disk);
	free(r->configuration);
	free(r->sum_type);
	free(r->sum_value);
	free(r->host);
	free(r->version);
	list_free(r->ignored, r->nignored);
	list_free(r->warnings, r->nwarnings);
	json_decref(r->extra);
	record_init(r);
}

int
record_set(char **to, const char *s, struct err *e)
{
	char *copy = NULL;

	if (s != NULL && (copy = strdup(s)) == NULL)
		return err_oom(e);
	free(*to);
	*to = copy;
	return 0;
}

int
record_push(char ***list, size_t *n, const char *s, size_t max,
    struct err *e)
{
	char **v = *list;

	if (*n >= max)
		return 0;
	/* Room doubles at each power of two. */
	if ((*n & (*n - 1)) == 0) {
		v = realloc(v, (*n == 0 ? 1 : 2 * *n) * sizeof(*v));
		if (v == NULL)
			return err_oom(e);
		*list = v;
	}
	if ((v[*n] = strdup(s)) == NULL)
		return err_oom(e);
	++*n;
	return 0;
}

static void
put_list(struct jw *j, const char *key, char *const *v, size_t n)
{
	size_t i;

	jw_open(j, key, '[');
	for (i = 0; i < n; i++)
		jw_str(j, NULL, v[i]);
	jw_close(j, ']');
}

static void
put_opt(struct jw *j, const char *key, const char *s)
{
	if (s != NULL && *s != '\0')
		jw_str(j, key, s);
}

static void
put_extra(struct jw *j, json_t *extra)
{
	const char *key;
	json_t *v;
	char *text;

	json_object_foreach(extra, key, v) {
		text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
		if (text == NULL) {
			j->b->failed = true;
			return;
		}
		/* The key through the writer, the value as it was. */
		jw_open(j, key, ' ');
		buf_str(j->b, text);
		j->comma = true;
		free(text);
	}
}

static void
put_all(const struct record *r, struct buf *b, size_t nwarnings)
{
	bool own = !r->foreign;
	struct jw j;

	jw_begin(&j, b);
	jw_open(&j, NULL, '{');
	jw_u64(&j, "v", 1);
	jw_str(&j, "uuid", r->uuid);
	put_opt(&j, "server", r->server);
	put_opt(&j, "name", r->name);
	put_opt(&j, "group", r->group);
	if (own || r->locked)
		jw_bool(&j, "locked", r->locked);
	if (r->created.tv_sec != 0)
		jw_time(&j, "created", r->created);
	if (r->completed.tv_sec != 0)
		jw_time(&j, "completed", r->completed);
	put_opt(&j, "disk", r->disk);
	put_opt(&j, "configuration", r->configuration);
	if (r->has_size)
		jw_u64(&j, "size", r->size);
	if (r->has_files)
		jw_u64(&j, "files", r->files);
	if (r->has_stored)
		jw_u64(&j, "stored", r->stored);
	if (r->sum_type != NULL && r->sum_value != NULL) {
		jw_open(&j, "checksum", '{');
		jw_str(&j, "type", r->sum_type);
		jw_str(&j, "value", r->sum_value);
		jw_close(&j, '}');
	}
	if (own || r->nignored > 0)
		put_list(&j, "ignored", r->ignored, r->nignored);
	if (own || !r->complete)
		jw_bool(&j, "complete", r->complete);
	if (own || r->changed > 0)
		jw_u64(&j, "changed", r->changed);
	if (r->sockets > 0)
		jw_u64(&j, "sockets", r->sockets);
	if (own || r->warnings_count > 0)
		jw_u64(&j, "warnings_count", r->warnings_count);
	if (own || nwarnings > 0)
		put_list(&j, "warnings", r->warnings, nwarnings);
	put_opt(&j, "host", r->host);
	put_opt(&j, "version", r->version);
	if (r->foreign)
		jw_bool(&j, "foreign", true);
	if (r->unverified)
		jw_bool(&j, "unverified", true);
	if (r->extra != NULL)
		put_extra(&j, r->extra);
	jw_close(&j, '}');
}

int
record_put(const struct record *r, struct buf *b, struct err *e)
{
	size_t n = r->nwarnings;
	struct buf text;
	int ret = -1;

	buf_init(&text, RECORD_MAX);
	put_all(r, &text, n);
	/*
	 * The count stays exact; of the texts as many as a reader will accept.
	 * A backup must not fail because too much can be said about it.
	 */
	while (text.failed && n > 0) {
		n /= 2;
		buf_reset(&text);
		put_all(r, &text, n);
	}
	if (buf_failed(&text, e) == -1) {
		err_ctx(e, "record");
		goto out;
	}
	buf_add(b, text.p, text.len);
	if (buf_failed(b, e) == -1)
		goto out;
	ret = 0;
out:
	buf_fini(&text);
	return ret;
}

/* A reader of one record's members; the first finding sticks. */
struct get {
	const json_t *o;
	const char *what;
	struct err *e;
	bool failed;
};

static void
bad(struct get *g, const char *key, const char *why)
{
	if (!g->failed)
		err_set(g->e, CALA_INTEGRITY, "%s: member '%s': %s", g->what,
		    key, why);
	g->failed = true;
}

/* NULL when absent or null. */
static const json_t *
member(struct get *g, const char *key)
{
	const json_t *v = json_object_get(g->o, key);

	return json_is_null(v) ? NULL : v;
}

static size_t
characters(const char *s)
{
	size_t n = 0;

	for (; *s != '\0'; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

static void
get_text(struct get *g, const char *key, char **to, size_t max)
{
	const json_t *v = member(g, key);
	const char *s;

	if (v == NULL)
		return;
	if ((s = json_string_value(v)) == NULL)
		bad(g, key, "not a string");
	else if (characters(s) > max)
		bad(g, key, "too long");
	else if (record_set(to, s, g->e) == -1)
		g->failed = true;
}

static void
get_uuid(struct get *g, const char *key, char out[UUID_TEXT])
{
	const json_t *v = member(g, key);
	const char *s;

	if (v == NULL)
		return;
	s = json_string_value(v);
	if (s == NULL || uuid_norm(s, out) == -1)
		bad(g, key, "not a UUID");
}

static void
get_bool(struct get *g, const char *key, bool *to)
{
	const json_t *v = member(g, key);

	if (v == NULL)
		return;
	if (!json_is_boolean(v))
		bad(g, key, "neither true nor false");
	else
		*to = json_is_true(v);
}

static bool
get_count(struct get *g, const char *key, uint64_t *to)
{
	const json_t *v = member(g, key);

	if (v == NULL)
		return false;
	if (!json_is_integer(v) || json_integer_value(v) < 0) {
		bad(g, key, "not a count");
		return false;
	}
	*to = (uint64_t)json_integer_value(v);
	return true;
}

static void
get_time(struct get *g, const char *key, struct timespec *to)
{
	const json_t *v = member(g, key);
	const char *s;

	if (v == NULL)
		return;
	s = json_string_value(v);
	if (s == NULL || when_rfc3339(s, to) == -1)
		bad(g, key, "not a time (RFC 3339)");
}

static void
get_list(struct get *g, const char *key, char ***list, size_t *n, size_t max)
{
	const json_t *v = member(g, key);
	const char *s;
	size_t i;

	if (v == NULL)
		return;
	if (!json_is_array(v)) {
		bad(g, key, "not a list");
		return;
	}
	if (json_array_size(v) > max) {
		bad(g, key, "too many");
		return;
	}
	for (i = 0; i < json_array_size(v) && !g->failed; i++) {
		s = json_string_value(json_array_get(v, i));
		if (s == NULL)
			bad(g, key, "holds something that is no string");
		else if (record_push(list, n, s, max, g->e) == -1)
			g->failed = true;
	}
}

static void
get_sum(struct get *g, struct record *r)
{
	const json_t *v = member(g, "checksum");
	struct get in = { v, g->what, g->e, false };

	if (v == NULL)
		return;
	if (!json_is_object(v)) {
		bad(g, "checksum", "not an object");
		return;
	}
	get_text(&in, "type", &r->sum_type, 64);
	get_text(&in, "value", &r->sum_value, 1024);
	g->failed |= in.failed;
	if (!g->failed && (r->sum_type == NULL || r->sum_value == NULL))
		bad(g, "checksum", "type or value is missing");
}

static bool
is_known(const char *key)
{
	size_t i;

	for (i = 0; known[i] != NULL; i++)
		if (strcmp(known[i], key) == 0)
			return true;
	return false;
}

static void
get_extra(struct get *g, struct record *r)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)g->o, key, v) {
		if (is_known(key))
			continue;
		if (r->extra == NULL)
			r->extra = json_object();
		if (json_object_set(r->extra, key, v) == -1) {
			err_oom(g->e);
			g->failed = true;
			return;
		}
	}
}

static void
get_all(struct get *g, struct record *r)
{
	uint64_t v = 0;

	if (!get_count(g, "v", &v))
		bad(g, "v", "missing");
	else if (v != 1)
		bad(g, "v", "a version that this program does not know");
	get_uuid(g, "uuid", r->uuid);
	if (r->uuid[0] == '\0')
		bad(g, "uuid", "missing");
	get_uuid(g, "server", r->server);
	get_text(g, "name", &r->name, RECORD_NAME);
	get_text(g, "group", &r->group, RECORD_NAME);
	get_bool(g, "locked", &r->locked);
	get_time(g, "created", &r->created);
	get_time(g, "completed", &r->completed);
	get_text(g, "disk", &r->disk, RECORD_NAME);
	get_text(g, "configuration", &r->configuration, RECORD_NAME);
	r->has_size = get_count(g, "size", &r->size);
	r->has_files = get_count(g, "files", &r->files);
	r->has_stored = get_count(g, "stored", &r->stored);
	get_sum(g, r);
	get_list(g, "ignored", &r->ignored, &r->nignored, RECORD_IGNORED);
	get_bool(g, "complete", &r->complete);
	get_count(g, "changed", &r->changed);
	get_count(g, "sockets", &r->sockets);
	get_count(g, "warnings_count", &r->warnings_count);
	get_list(g, "warnings", &r->warnings, &r->nwarnings,
	    RECORD_WARNINGS);
	get_text(g, "host", &r->host, RECORD_NAME);
	get_text(g, "version", &r->version, RECORD_NAME);
	get_bool(g, "foreign", &r->foreign);
	get_bool(g, "unverified", &r->unverified);
	/* Their names may be what is damaged: no lock is lost by default. */
	if (!r->foreign && member(g, "locked") == NULL)
		bad(g, "locked", "missing");
	if (!r->foreign && member(g, "complete") == NULL)
		bad(g, "complete", "missing");
	get_extra(g, r);
}

int
record_get(struct record *r, const void *p, size_t n, const char *what,
    struct err *e)
{
	struct get g = { NULL, what, e, false };
	json_t *o;

	record_init(r);
	if (n > RECORD_MAX)
		return err_set(e, CALA_INTEGRITY,
		    "%s: larger than %d bytes", what, (int)RECORD_MAX);
	if ((o = json_parse(p, n, what, e)) == NULL)
		return -1;
	g.o = o;
	if (json_is_object(o))
		get_all(&g, r);
	else
		g.failed = err_set(e, CALA_INTEGRITY, "%s: not a record",
		    what) == -1;
	json_decref(o);
	if (!g.failed)
		return 0;
	record_fini(r);
	return -1;
}

int
record_name(const char *what, const char *s, struct err *e)
{
	if (!str_utf8(s, strlen(s)))
		return err_set(e, CALA_USAGE, "%s: not valid UTF-8", what);
	if (characters(s) > RECORD_NAME)
		return err_set(e, CALA_USAGE, "%s: longer than %d characters",
		    what, (int)RECORD_NAME);
	return 0;
}

int
record_cmp(const struct record *a, const struct record *b)
{
	int c = when_cmp(a->created, b->created);

	return c != 0 ? c : strcmp(a->uuid, b->uuid);
}

bool
record_ahead(const struct record *r, time_t now)
{
	return r->created.tv_sec > now && r->created.tv_sec - now > SKEW;
}

static bool
text_same(const char *a, const char *b)
{
	return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

bool
record_same(const struct record *a, const struct record *b)
{
	return a->locked == b->locked && text_same(a->name, b->name) &&
	    text_same(a->group, b->group) && strcmp(a->server, b->server) == 0;
}

/*
 * The newest or oldest; a whole one always beats a partial one.  What a clock
 * has dated ahead hides none that was really made since.
 */
static int
pick_end(struct record *const *v, size_t n, bool latest, size_t *out,
    struct err *e)
{
	time_t now = when_now().tv_sec;
	size_t i, best = 0;
	int c, rank, first = -1;

	if (n == 0)
		return err_set(e, CALA_NOTFOUND, "there is no backup");
	for (i = 0; i < n; i++) {
		rank = (v[i]->complete ? 2 : 0) +
		    (record_ahead(v[i], now) ? 0 : 1);
		if (rank < first)
			continue;
		c = record_cmp(v[i], v[best]);
		if (rank > first || (latest ? c > 0 : c < 0))
			best = i;
		first = rank;
	}
	*out = best;
	return 0;
}

int
record_pick(struct record *const *v, size_t n, const char *what,
    size_t *out, struct err *e)
{
	size_t i, len = strlen(what), found = n;

	if (strcmp(what, "latest") == 0 || strcmp(what, "oldest") == 0)
		return pick_end(v, n, *what == 'l', out, e);
	if (!uuid_ok(what) && !uuid_prefix(what)) {
		err_set(e, CALA_USAGE, "'%s' names no backup", str_q(what));
		return err_hint(e, "give a UUID, at least four characters of "
		    "one, 'latest' or 'oldest'");
	}
	for (i = 0; i < n; i++) {
		if (strncasecmp(v[i]->uuid, what, len) != 0)
			continue;
		if (found < n && strcmp(v[found]->uuid, v[i]->uuid) != 0)
			return err_set(e, CALA_USAGE, "'%s' is ambiguous: "
			    "%s and %s", what, v[found]->uuid, v[i]->uuid);
		if (found == n)
			found = i;
	}
	if (found == n)
		return err_set(e, CALA_NOTFOUND, "no backup %s", what);
	*out = found;
	return 0;
}
