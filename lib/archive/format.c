/*
 * format: the names and levels of the archive formats
 * (spec calagopus §5.1: configuration names, extensions, MIME types, levels).
 */

#include "archive/archive.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

/*
 * gz: libdeflate goes to 12.  lz4: libarchive's filter ends at 9, so that
 * Calagopus' best_compression (12) means 9 here.
 */
const struct archive_info archive_info[ARCHIVE_FORMATS] = {
	[ARCHIVE_TAR] = { "tar", "tar", "application/x-tar", 0, 0, 0 },
	[ARCHIVE_TAR_GZ] =
	    { "tar.gz", "tar_gz", "application/gzip", 1, 12, 1 },
	[ARCHIVE_TAR_XZ] = { "tar.xz", "tar_xz", "application/x-xz", 0, 9, 1 },
	[ARCHIVE_TAR_LZ] =
	    { "tar.lz", "tar_lzip", "application/x-lzip", 0, 9, 1 },
	[ARCHIVE_TAR_BZ2] =
	    { "tar.bz2", "tar_bz2", "application/x-bzip2", 1, 9, 1 },
	[ARCHIVE_TAR_LZ4] =
	    { "tar.lz4", "tar_lz4", "application/x-lz4", 1, 9, 1 },
	[ARCHIVE_TAR_ZST] =
	    { "tar.zst", "tar_zstd", "application/zstd", 1, 19, 1 },
	[ARCHIVE_ZIP] = { "zip", "zip", "application/zip", 0, 9, 1 },
	[ARCHIVE_7Z] =
	    { "7z", "seven_zip", "application/x-7z-compressed", 0, 9, 1 }
};

/* What else people and files call them. */
static const struct alias {
	const char *name;
	enum archive_format f;
} aliases[] = {
	{ "tgz", ARCHIVE_TAR_GZ }, { "gz", ARCHIVE_TAR_GZ },
	{ "gzip", ARCHIVE_TAR_GZ }, { "tar_gzip", ARCHIVE_TAR_GZ },
	{ "txz", ARCHIVE_TAR_XZ }, { "xz", ARCHIVE_TAR_XZ },
	{ "tlz", ARCHIVE_TAR_LZ }, { "lz", ARCHIVE_TAR_LZ },
	{ "lzip", ARCHIVE_TAR_LZ }, { "tar_lz", ARCHIVE_TAR_LZ },
	{ "tbz2", ARCHIVE_TAR_BZ2 }, { "tbz", ARCHIVE_TAR_BZ2 },
	{ "bz2", ARCHIVE_TAR_BZ2 }, { "bzip2", ARCHIVE_TAR_BZ2 },
	{ "tlz4", ARCHIVE_TAR_LZ4 }, { "lz4", ARCHIVE_TAR_LZ4 },
	{ "tzst", ARCHIVE_TAR_ZST }, { "zst", ARCHIVE_TAR_ZST },
	{ "zstd", ARCHIVE_TAR_ZST }, { "tar_zst", ARCHIVE_TAR_ZST },
	{ "7zip", ARCHIVE_7Z }, { "7-zip", ARCHIVE_7Z },
	{ "seven-zip", ARCHIVE_7Z }, { NULL, ARCHIVE_FORMATS }
};

int
archive_word(const char *name, enum archive_format *f)
{
	const struct alias *a;
	unsigned i;

	if (*name == '.')
		name++;
	for (i = 0; i < ARCHIVE_FORMATS; i++)
		if (strcasecmp(name, archive_info[i].ext) == 0 ||
		    strcasecmp(name, archive_info[i].calagopus) == 0) {
			*f = (enum archive_format)i;
			return 0;
		}
	for (a = aliases; a->name != NULL; a++)
		if (strcasecmp(name, a->name) == 0) {
			*f = a->f;
			return 0;
		}
	return -1;
}

/* Is a the word b, but for case and '-' standing for '_'? */
static bool
same_word(const char *a, const char *b)
{
	for (; *a != '\0' && *b != '\0'; a++, b++)
		if ((*a == '-' ? '_' : tolower((unsigned char)*a)) != *b)
			return false;
	return *a == *b;
}

int
archive_level(enum archive_format f, const char *text, int *level)
{
	static const char *const word[] = { "best_speed", "good_speed",
	    "good_compression", "best_compression" };
	static const int deflate[] = { 1, 4, 6, 9 };
	static const int zstd[] = { 1, 8, 13, 19 };
	static const int lz4[] = { 1, 5, 8, 9 };
	const struct archive_info *info = &archive_info[f];
	const int *t = f == ARCHIVE_TAR_ZST ? zstd :
	    f == ARCHIVE_TAR_LZ4 ? lz4 : deflate;
	uint64_t n;
	unsigned i;

	for (i = 0; i < 4; i++)
		if (same_word(text, word[i])) {
			*level = f == ARCHIVE_TAR ? 0 : t[i];
			return 0;
		}
	if (str_u64(text, (uint64_t)info->level_min,
	    (uint64_t)info->level_max, &n) == -1)
		return -1;
	*level = (int)n;
	return 0;
}

/* Does file end in "." ext, with something in front? */
static bool
has_ending(const char *file, const char *ext)
{
	size_t n = strlen(file), k = strlen(ext);

	return n > k + 1 && file[n - k - 1] == '.' &&
	    strcasecmp(file + n - k, ext) == 0;
}

int
archive_by_name(const char *file, enum archive_format *f)
{
	const struct alias *a;
	unsigned i;

	for (i = 0; i < ARCHIVE_FORMATS; i++)
		if (has_ending(file, archive_info[i].ext)) {
			*f = (enum archive_format)i;
			return 0;
		}
	/* Of the others only "tgz" and its kind are endings of archives. */
	for (a = aliases; a->name != NULL; a++)
		if (a->name[0] == 't' && strchr(a->name, '_') == NULL &&
		    has_ending(file, a->name)) {
			*f = a->f;
			return 0;
		}
	return -1;
}
