#ifndef CALA_BASE_STR_H
#define CALA_BASE_STR_H

/*
 * str: numbers and sizes as people write them, foreign bytes as people may see
 * them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

/*
 * str_u64(s, min, max, &n): the whole of s as a decimal number in range.
 * str_size(s, &n): bytes, with coreutils' suffixes: K M G T P and KiB ... are
 * powers of 1024, KB ... powers of 1000, case-insensitive, B alone is bytes.
 * str_rate(s, &n): as str_size with an optional "/s" behind.
 * str_bool(s, &b): yes/no, true/false, on/off, 1/0.
 * str_duration(s, &sec): "90s 15m 36h 7d 2w" combined in any order without
 * spaces, bare numbers are seconds; calendar months and years are in when.h.
 * All return 0, or -1 (output untouched) for anything else, also for "".
 */
int str_u64(const char *, uint64_t, uint64_t, uint64_t *);
int str_size(const char *, uint64_t *);
int str_rate(const char *, uint64_t *);
int str_bool(const char *, bool *);
int str_duration(const char *, uint64_t *);

/*
 * str_human(n, out): "1.5 GiB", "312 B" for people; out holds STR_HUMAN bytes;
 * returns out.
 */
enum { STR_HUMAN = 16 };
const char *str_human(uint64_t, char [STR_HUMAN]);

/*
 * str_esc(b, p, n): append n foreign bytes so that a terminal can't be fooled:
 * control characters, invalid UTF-8, bidirectional overrides and backslash as
 * \n, \t, \\ or \xNN.
 * str_q(s): the same for a string in a message, in one of eight rotating
 * buffers per thread; longer ones end in "...".
 */
void str_esc(struct buf *, const void *, size_t);
const char *str_q(const char *);

/* str_utf8(p, n): is it valid UTF-8 without NUL? */
bool str_utf8(const void *, size_t);

/* str_begins(s, prefix), str_ends(s, suffix) */
bool str_begins(const char *, const char *);
bool str_ends(const char *, const char *);

/* str_trim(s): cut white space off both ends, in place; returns the start. */
char *str_trim(char *);

/*
 * str_ndup(p, n): n bytes, which need no NUL behind them, as a heap string;
 * NULL without memory.
 */
char *str_ndup(const char *, size_t);

/*
 * str_join(dir, name): "dir/name" on the heap ("name" when dir is ""), or
 * NULL without memory.
 */
char *str_join(const char *, const char *);

#endif
