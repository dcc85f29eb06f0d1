/*
 * fuzz: the small parsers of base: numbers, times, UUIDs, base64, JSON, and
 * the escape that stands between foreign bytes and a terminal.
 *
 * Every parser sees every input, as a string up to its first NUL or as bytes.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/code.h"
#include "base/err.h"
#include "base/json.h"
#include "base/str.h"
#include "base/uuid.h"
#include "base/when.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(int ok)
{
	if (!ok)
		abort();
}

static void
numbers(const char *s)
{
	struct timespec now = { 1700000000, 0 }, t, u;
	char text[WHEN_TEXT], human[STR_HUMAN], id[UUID_TEXT];
	uint64_t n;
	bool b;

	if (str_u64(s, 5, 500, &n) == 0)
		must(n >= 5 && n <= 500);
	if (str_size(s, &n) == 0)
		must(strlen(str_human(n, human)) < STR_HUMAN);
	(void)str_rate(s, &n);
	(void)str_duration(s, &n);
	(void)str_bool(s, &b);
	(void)when_parse(s, now, &t);
	/* What we print we read, and as the same moment. */
	if (when_rfc3339(s, &t) == 0 && t.tv_sec >= -62167219200 &&
	    t.tv_sec <= 253402300799) {
		must(when_rfc3339(when_utc(t, text), &u) == 0);
		must(when_cmp(t, u) == 0);
	}
	if (uuid_norm(s, id) == 0)
		must(uuid_ok(id) && uuid_prefix(id));
	must(strlen(str_q(s)) < 512);
}

/* Nothing escaped moves a cursor, and good text stays as it is. */
static void
escapes(const uint8_t *p, size_t n)
{
	struct buf b;
	size_t i;

	buf_init(&b, 4 * n + 1);
	str_esc(&b, p, n);
	must(!b.failed && (n == 0 || str_utf8(b.p, b.len)));
	for (i = 0; i < b.len; i++)
		must((unsigned char)b.p[i] >= 0x20 && b.p[i] != 0x7f);
	buf_fini(&b);
}

static void
base64(const uint8_t *p, size_t n)
{
	struct buf a, b;

	buf_init(&a, 2 * n + 4);
	buf_init(&b, 2 * n + 4);
	if (b64_get(&a, (const char *)p, n) == 0) {
		b64_put(&b, a.p, a.len);
		must(b.len == n && memcmp(b.p, p, n) == 0);
	} else {
		must(a.len == 0);
	}
	buf_reset(&a);
	buf_reset(&b);
	b64url_put(&a, p, n);
	must(b64url_get(&b, a.p, a.len) == 0 && b.len == n);
	must(n == 0 || memcmp(b.p, p, n) == 0);
	buf_fini(&a);
	buf_fini(&b);
}

/* What the JSON writer makes of any bytes, the JSON reader takes back. */
static void
json(const uint8_t *p, size_t n)
{
	struct err e = ERR_INIT;
	struct buf b, raw;
	struct jw j;
	json_t *o;
	const char *s;

	json_decref(json_parse(p, n, "input", &e));
	if (n > 0 && memchr(p, '\0', n) != NULL)
		return;
	buf_init(&b, 16 * n + 64);
	buf_init(&raw, n);
	jw_begin(&j, &b);
	jw_open(&j, NULL, '{');
	jw_bytes(&j, "p", p, n);
	jw_close(&j, '}');
	must(!b.failed);
	o = json_parse(b.p, b.len, "own", &e);
	must(o != NULL);
	if ((s = json_get_str(o, "p_b64")) != NULL) {
		must(b64_get(&raw, s, strlen(s)) == 0);
	} else {
		s = json_get_str(o, "p");
		must(s != NULL && buf_str(&raw, s) == 0);
	}
	must(raw.len == n && memcmp(raw.p, p, n) == 0);
	json_decref(o);
	buf_fini(&raw);
	buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char *s = malloc(n + 1);

	if (s == NULL)
		return 0;
	memcpy(s, p, n);
	s[n] = '\0';
	numbers(s);
	free(s);
	escapes(p, n);
	base64(p, n);
	json(p, n);
	return 0;
}
