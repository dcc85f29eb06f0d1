/*
 * replay: run a fuzz target over its saved corpus, without a fuzzer.
 *
 *	f_NAME NAME DIRECTORY
 *
 * One TAP line for the whole corpus; the input in work is named first, so
 * that a crash says which one it was.  An empty corpus is a failure: it would
 * prove nothing.
 */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* Whole files, in a block of exactly their size: overreads are found. */
static int
replay(const char *path)
{
	uint8_t *p = NULL;
	struct stat st;
	FILE *f = fopen(path, "rb");
	size_t n;
	int ret = -1;

	if (f == NULL || fstat(fileno(f), &st) == -1 || !S_ISREG(st.st_mode))
		goto out;
	n = (size_t)st.st_size;
	if ((p = malloc(n > 0 ? n : 1)) == NULL || fread(p, 1, n, f) != n)
		goto out;
	printf("# %s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(p, n);
	ret = 0;
out:
	free(p);
	if (f != NULL)
		fclose(f);
	return ret;
}

int
main(int argc, char **argv)
{
	struct dirent **names = NULL;
	char path[4096];
	unsigned done = 0, bad = 0;
	int i, n;

	if (argc != 3) {
		fprintf(stderr, "usage: %s NAME DIRECTORY\n", argv[0]);
		return 2;
	}
	n = scandir(argv[2], &names, NULL, alphasort);
	for (i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			snprintf(path, sizeof(path), "%s/%s", argv[2],
			    names[i]->d_name);
			if (replay(path) == 0)
				done++;
			else
				bad++;
		}
		free(names[i]);
	}
	free(names);
	if (bad > 0)
		printf("# %u inputs could not be read\n", bad);
	printf("1..1\n%sok 1 - %s: %u saved inputs\n",
	    done == 0 || bad > 0 ? "not " : "", argv[1], done);
	return done == 0 || bad > 0;
}
