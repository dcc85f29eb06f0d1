/*
 * proxy: which proxy the environment names for a host.
 */

#include "s3/setup.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "s3/creds.h"

enum { ADDR = 16 };

/* An address of either family in 16 bytes; how many bits it has, or 0. */
static unsigned
address(const char *s, unsigned char out[ADDR])
{
	memset(out, 0, ADDR);
	if (inet_pton(AF_INET, s, out) == 1)
		return 32;
	return inet_pton(AF_INET6, s, out) == 1 ? 128 : 0;
}

/* "10.0.0.0/8" and 10.1.2.3 */
static bool
in_network(const char *host, const char *word, size_t n)
{
	unsigned char h[ADDR], w[ADDR];
	unsigned bits, i;
	char text[64], *slash, *end;
	unsigned long len;

	if (n >= sizeof(text))
		return false;
	memcpy(text, word, n);
	text[n] = '\0';
	if ((slash = strchr(text, '/')) != NULL)
		*slash = '\0';
	bits = address(text, w);
	if (bits == 0 || address(host, h) != bits)
		return false;
	len = bits;
	if (slash != NULL) {
		len = strtoul(slash + 1, &end, 10);
		if (*end != '\0' || end == slash + 1 || len > bits)
			return false;
	}
	for (i = 0; i < len; i++)
		if (((h[i / 8] ^ w[i / 8]) & 0x80 >> i % 8) != 0)
			return false;
	return true;
}

/* "example.org" and ".example.org" cover example.org and all below it. */
static bool
covers(const char *host, const char *word, size_t n)
{
	size_t have = strlen(host);

	if (n == 1 && *word == '*')
		return true;
	if (in_network(host, word, n))
		return true;
	if (n > 0 && *word == '.')
		word++, n--;
	if (n == 0 || n > have || strncasecmp(host + have - n, word, n) != 0)
		return false;
	return n == have || host[have - n - 1] == '.';
}

static bool
excepted(const char *list, const char *host)
{
	size_t n;

	while (list != NULL && *list != '\0') {
		list += strspn(list, ", \t");
		n = strcspn(list, ", \t");
		if (n > 0 && covers(host, list, n))
			return true;
		list += n;
	}
	return false;
}

static const char *
either(char *const *env, const char *a, const char *b)
{
	const char *v = creds_env(env, a);

	return v != NULL ? v : creds_env(env, b);
}

const char *
s3_proxy(char *const *env, const char *endpoint, const char *host)
{
	bool plain = endpoint != NULL &&
	    strncasecmp(endpoint, "http://", 7) == 0;
	const char *p;

	if (excepted(either(env, "no_proxy", "NO_PROXY"), host))
		return NULL;
	/* HTTP_PROXY may be a request header in a CGI program. */
	p = plain ? creds_env(env, "http_proxy") :
	    either(env, "https_proxy", "HTTPS_PROXY");
	return p != NULL ? p : either(env, "all_proxy", "ALL_PROXY");
}
