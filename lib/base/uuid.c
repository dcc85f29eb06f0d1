#include "base/uuid.h"

#include <ctype.h>
#include <string.h>

#include <openssl/evp.h>
#include <sys/random.h>

#include "base/code.h"
#include "base/err.h"

static bool
fits(const char *s, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (s[i] != '-')
				return false;
		} else if (!isxdigit((unsigned char)s[i]))
			return false;
	return true;
}

bool
uuid_ok(const char *s)
{
	return strlen(s) == 36 && fits(s, 36);
}

bool
uuid_prefix(const char *s)
{
	size_t n = strlen(s);

	return n >= 4 && n <= 36 && fits(s, n);
}

int
uuid_norm(const char *s, char out[UUID_TEXT])
{
	size_t i;

	if (!uuid_ok(s))
		return -1;
	for (i = 0; i < UUID_TEXT; i++)
		out[i] = (char)tolower((unsigned char)s[i]);
	return 0;
}

static void
text(unsigned char id[16], int version, char out[UUID_TEXT])
{
	char hex[33];

	id[6] = (unsigned char)((id[6] & 0x0f) | version << 4);
	id[8] = (unsigned char)((id[8] & 0x3f) | 0x80);
	hex_put(id, 16, hex);
	memcpy(out, hex, 8);
	memcpy(out + 9, hex + 8, 4);
	memcpy(out + 14, hex + 12, 4);
	memcpy(out + 19, hex + 16, 4);
	memcpy(out + 24, hex + 20, 12);
	out[8] = out[13] = out[18] = out[23] = '-';
	out[36] = '\0';
}

int
uuid_new(char out[UUID_TEXT], struct err *e)
{
	unsigned char id[16];

	if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return err_sys(e, "get randomness for a uuid");
	text(id, 4, out);
	return 0;
}

void
uuid_named(const char *name, char out[UUID_TEXT])
{
	/* v5("cala") in 6ba7b810-9dad-11d1-80b4-00c04fd430c8 (DNS) */
	static const unsigned char space[16] = {
		0x5f, 0x4e, 0x24, 0xdf, 0x0c, 0xe6, 0x59, 0xda,
		0xb7, 0xe7, 0x7d, 0x49, 0xa6, 0x44, 0xbb, 0xd4
	};
	unsigned char md[20], in[16 + 1024];
	size_t n = strnlen(name, 1024);

	memcpy(in, space, 16);
	memcpy(in + 16, name, n);
	EVP_Digest(in, 16 + n, md, NULL, EVP_sha1(), NULL);
	text(md, 5, out);
}
