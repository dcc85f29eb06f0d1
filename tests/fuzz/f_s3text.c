/*
 * Any bytes as what a store or an AWS file says: keys of a bucket, profiles,
 * the document of a credential process, s3:// URLs.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "driver/s3.h"
#include "s3/awsfile.h"
#include "s3/creds.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* What counts as a backup is spelled in one way only. */
static void
keys(const char *text)
{
	char server[UUID_TEXT], uuid[UUID_TEXT], key[S3DISK_KEY];
	struct s3_stored o;

	memset(&o, 0, sizeof(o));
	if (s3disk_name(text, &o) && (strcmp(o.key, text) != 0 ||
	    strncmp(text, o.server, UUID_TEXT - 1) != 0 ||
	    strncmp(text + UUID_TEXT, o.uuid, UUID_TEXT - 1) != 0 ||
	    strcmp(text + 2 * UUID_TEXT, archive_info[o.format].ext) != 0))
		__builtin_trap();
	if (s3disk_side(text, server, uuid)) {
		s3disk_side_key(server, uuid, key);
		if (strcmp(key, text) != 0)
			__builtin_trap();
	}
}

static void
files(const void *p, size_t n)
{
	static const char *const names[] = { "default", "ops", "" };
	struct err e = ERR_INIT;
	struct awsfile f;
	size_t i;

	for (i = 0; i < 2; i++) {
		if (awsfile_parse(&f, p, n, i == 1, &e) == -1)
			continue;
		for (size_t k = 0; k < 3; k++) {
			(void)awsfile_has(&f, "profile", names[k]);
			(void)awsfile_get(&f, "profile", names[k], "",
			    "region");
			(void)awsfile_get(&f, "services", names[k], "s3",
			    "endpoint_url");
		}
		awsfile_fini(&f);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct err e = ERR_INIT;
	char *text = malloc(n + 1), *bucket, *key;
	struct s3_creds c;

	if (text == NULL)
		return 0;
	memcpy(text, p, n);
	text[n] = '\0';
	keys(text);
	files(p, n);
	memset(&c, 0, sizeof(c));
	if (creds_json(text, n, "document", &c, &e) == 0 &&
	    (c.id[0] == '\0' || c.secret.len == 0))
		__builtin_trap();
	creds_fini(&c);
	if (s3_url(text, &bucket, &key, &e) == 0) {
		if (*bucket == '\0' || strlen(key) > S3_KEY_MAX)
			__builtin_trap();
		free(bucket);
		free(key);
	}
	free(text);
	return 0;
}
