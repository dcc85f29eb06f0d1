#include "pbs/answer.h"

#include <string.h>

#include "base/err.h"
#include "base/str.h"

/* Words of both generations of servers (pbs.md 2.5, 13, 15). */
static const struct {
	const char *word;
	int code;
} words[] = {
	{ "No space left", CALA_NOSPACE },
	{ "ENOSPC", CALA_NOSPACE },
	{ "quota exceeded", CALA_NOSPACE },
	{ "Quota exceeded", CALA_NOSPACE },
	{ "EDQUOT", CALA_NOSPACE },
	{ "os error 28", CALA_NOSPACE },
	{ "os error 122", CALA_NOSPACE },
	{ "maintenance mode", CALA_MAINTENANCE },
	{ "is not mounted", CALA_MAINTENANCE },
	{ "being deleted", CALA_MAINTENANCE },
	{ "owner check failed", CALA_AUTH },
	{ "permission check failed", CALA_AUTH },
	{ "another backup is already running", CALA_LOCKED },
	{ "backup is running", CALA_LOCKED },
	{ "unable to acquire", CALA_LOCKED },
	{ "snapshot lock", CALA_LOCKED },
	{ "possibly running or in use", CALA_LOCKED },
	{ "locked by another operation", CALA_LOCKED },
	{ "is older than last backup", CALA_EXISTS },
	{ "already exists", CALA_EXISTS },
	{ "protected", CALA_PROTECTED },
	{ "does not exist", CALA_NOTFOUND },
	{ "not found", CALA_NOTFOUND },
	{ "no such ", CALA_NOTFOUND },
	{ "No such file or directory", CALA_NOTFOUND },
	{ "unknown datastore", CALA_NOTFOUND },
};

static int
code_of(unsigned status, const char *text)
{
	size_t i;

	switch (status) {
	case 401: case 403: case 407:
		return CALA_AUTH;
	case 404:
		return CALA_NOTFOUND;
	case 408: case 429:
		return CALA_NET;
	case 413: case 507:
		return CALA_NOSPACE;
	default:
		break;
	}
	for (i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strstr(text, words[i].word) != NULL)
			return words[i].code;
	/* what a proxy in front of it says, and not the server */
	return status >= 500 || (status >= 300 && status < 400) ? CALA_NET :
	    CALA_FAIL;
}

int
pbs_refused(struct err *e, const char *what, unsigned status,
    const char *text)
{
	size_t n = strcspn(text, "\r\n");
	char line[PBS_TEXT];
	int code = code_of(status, text);

	/* its first line; several bad parameters come one a line */
	if (n >= sizeof(line))
		n = sizeof(line) - 1;
	memcpy(line, text, n);
	line[n] = '\0';
	err_set(e, code, "%s: server said %u%s%s%s", what, status,
	    n > 0 ? ": " : "", str_q(line), text[n] != '\0' &&
	    text[n + strspn(text + n, "\r\n")] != '\0' ? " ..." : "");
	switch (code) {
	case CALA_AUTH:
		if (status == 401)
			err_hint(e, "is the token's id and secret right, and "
			    "the token enabled and not expired?");
		else if (status == 403)
			err_hint(e, "the token needs a role of its own on the "
			    "datastore: DatastorePowerUser or more");
		break;
	case CALA_NOSPACE:
		err_hint(e, "prune, and run garbage collection on the server");
		break;
	case CALA_LOCKED:
		err_hint(e, "try again when the other operation has ended");
		break;
	default:
		break;
	}
	return -1;
}
