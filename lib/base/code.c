#include "base/code.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"

static const char std[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void
hex_put(const void *v, size_t n, char *out)
{
	static const char d[] = "0123456789abcdef";
	const unsigned char *p = v;
	size_t i;

	for (i = 0; i < n; i++) {
		out[2 * i] = d[p[i] >> 4];
		out[2 * i + 1] = d[p[i] & 15];
	}
	out[2 * n] = '\0';
}

static int
nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int
hex_get(const char *s, size_t n, void *out)
{
	unsigned char *p = out;
	size_t i;
	int a, b;

	for (i = 0; i < n; i++) {
		if ((a = nibble(s[2 * i])) == -1 ||
		    (b = nibble(s[2 * i + 1])) == -1)
			return -1;
		p[i] = (unsigned char)(a << 4 | b);
	}
	return 0;
}

static void
put(struct buf *b, const unsigned char *p, size_t n, const char *abc, bool pad)
{
	char out[4];
	uint32_t v;

	for (; n >= 3; p += 3, n -= 3) {
		v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
		out[0] = abc[v >> 18];
		out[1] = abc[v >> 12 & 63];
		out[2] = abc[v >> 6 & 63];
		out[3] = abc[v & 63];
		buf_add(b, out, 4);
	}
	if (n == 0)
		return;
	v = (uint32_t)p[0] << 16 | (n == 2 ? (uint32_t)p[1] << 8 : 0);
	out[0] = abc[v >> 18];
	out[1] = abc[v >> 12 & 63];
	out[2] = n == 2 ? abc[v >> 6 & 63] : '=';
	out[3] = '=';
	buf_add(b, out, pad ? 4 : n + 1);
}

static int
get(struct buf *b, const char *s, size_t n, const char *abc, bool pad)
{
	uint32_t v = 0;
	size_t i, tail, start = b->len;
	const char *at;
	unsigned char byte;
	unsigned bits = 0;

	if (pad) {
		if (n % 4 != 0)
			return -1;
		for (i = 0; i < 2 && n > 0 && s[n - 1] == '='; i++)
			n--;
	}
	tail = n % 4;
	if (tail == 1)
		return -1;
	for (i = 0; i < n; i++) {
		if (s[i] == '\0' || (at = strchr(abc, s[i])) == NULL)
			goto bad;
		v = v << 6 | (uint32_t)(at - abc);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			byte = (unsigned char)(v >> bits);
			v &= (1u << bits) - 1;
			if (buf_add(b, &byte, 1) == -1)
				goto bad;
		}
	}
	if (v != 0)
		goto bad;
	return 0;
bad:
	buf_cut(b, start);
	return -1;
}

void
b64_put(struct buf *b, const void *p, size_t n)
{
	put(b, p, n, std, true);
}

void
b64url_put(struct buf *b, const void *p, size_t n)
{
	put(b, p, n, url, false);
}

int
b64_get(struct buf *b, const char *s, size_t n)
{
	return get(b, s, n, std, true);
}

int
b64url_get(struct buf *b, const char *s, size_t n)
{
	return get(b, s, n, url, false);
}
