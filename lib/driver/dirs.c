#include "driver/dirs.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "entry/match.h"
#include "fs/extract.h"
#include "fs/fs.h"

int
dirs_rules(struct driver_call *call, size_t max, struct match **out,
    struct err *e)
{
	struct record *rec = call->record;
	struct match *m = match_new(e);
	const char *rule;
	size_t i;
	int r;

	if ((*out = m) == NULL)
		return -1;
	if (call->exclude_from == NULL)
		return 0;
	r = match_add_file(m, AT_FDCWD, call->exclude_from, max, call->log, e);
	if (r == 1)
		return err_set(e, CALA_NOTFOUND, "%s: no such file",
		    str_q(call->exclude_from));
	if (r == -1 || rec->nignored > 0)
		return r;
	for (i = 0; i < match_count(m); i++) {
		rule = match_rule(m, i);
		if (str_utf8(rule, strlen(rule)) &&
		    record_push(&rec->ignored, &rec->nignored, rule,
		    RECORD_IGNORED, e) == -1)
			return -1;
	}
	return 0;
}

int
dirs_warned(struct driver_call *call, struct err *e)
{
	struct record *rec = call->record;
	struct log *log = call->log;
	size_t i;

	rec->warnings_count = log_warnings(log);
	rec->complete = rec->complete && rec->warnings_count == 0;
	for (i = rec->nwarnings; i < log->nkept; i++)
		if (record_push(&rec->warnings, &rec->nwarnings,
		    log->kept[i], RECORD_WARNINGS, e) == -1)
			return -1;
	return 0;
}

/* As cala-pack: nothing is more likely a mistake than a backup. */
int
dirs_not_empty(const struct driver_call *call, struct reader *walk,
    struct err *e)
{
	struct fs_walked walked;

	fs_reader_facts(walk, &walked);
	if (call->allow_empty || call->tally.files > 0 ||
	    call->tally.entries > 1)
		return 0;
	err_set(e, CALA_INCOMPLETE, walked.excluded > 0 ?
	    "the rules exclude everything: nothing is stored" :
	    "the source is empty: nothing is stored");
	return err_hint(e, "--allow-empty stores it nevertheless");
}

/* 0, or -1 when files had to be left out. */
static int
nothing_lost(struct writer *w, struct err *e)
{
	struct fs_extracted made;

	fs_writer_facts(w, &made);
	if (made.lost == 0)
		return 0;
	err_set(e, CALA_INTEGRITY, "%ju files are damaged and were left out; "
	    "all others are restored", (uintmax_t)made.lost);
	return err_hint(e, "--no-check restores what is left of them, too, "
	    "with zeros for what is lost");
}

int
dirs_restore(struct driver_call *call,
    int (*open_reader)(struct driver_call *, struct reader **, struct err *),
    struct err *e)
{
	struct fs_extract how = { .jobs = call->jobs, .overwrite = true,
	    .owners = geteuid() == 0, .xattrs = true, .sparse = true,
	    .limit_write = call->limit_write, .go_on = true };
	struct reader *in = NULL;
	struct writer *w = NULL;
	struct stat st;
	int dirfd, ret = -1;

	if ((dirfd = file_opendir(AT_FDCWD, call->dir, e)) == -1)
		return -1;
	if (fstat(dirfd, &st) == 0) {
		how.uid = st.st_uid;
		how.gid = st.st_gid;
	}
	if (open_reader(call, &in, e) == 0 &&
	    (w = fs_writer(dirfd, &how, call->log, e)) != NULL &&
	    pump(in, w, &call->tally, e) == 0 && writer_commit(w, e) == 0)
		ret = nothing_lost(w, e);
	writer_free(w);
	reader_close(in);
	close(dirfd);
	return ret;
}
