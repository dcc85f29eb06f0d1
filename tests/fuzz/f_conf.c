/* Any bytes as a configuration file: errors, never a crash; edits keep it. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "config/conf.h"
#include "config/files.h"
#include "config/ini.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct conf_paths paths = { .system = "/nonexistent" };
	struct conf_files fs = { NULL, 0, true };
	const struct conf_section *s;
	struct err e = ERR_INIT;
	struct conf *c = NULL;
	struct conf_file *f;
	size_t i;

	if (n > INI_FILE / 4 || (f = files_add(&fs, "f", &e)) == NULL)
		return 0;
	buf_add(&f->text, p, n);
	if (conf_build(&c, &fs, &paths, NULL, &e) == 0) {
		/* What was accepted can be asked for. */
		for (i = 0; (s = conf_nth(c, "configuration", i)) != NULL; i++)
			if (conf_u64(s, "jobs") > 1024)
				abort();
		conf_free(c);
	} else if (e.code == 0 || e.msg[0] == '\0') {
		abort();
	}
	files_free(&fs);
	return 0;
}
