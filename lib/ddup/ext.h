#ifndef CALA_DDUP_EXT_H
#define CALA_DDUP_EXT_H

/*
 * ext: the block of an archive that other readers skip: bytes between the
 * bodies and the entries that no entry refers to.
 *
 *	extras      raw deflate: what entries have beyond the format
 *	map         for each chunk used: varint id, varint length, 32 bytes hash
 *	u8 version 1; u8 flags; 6 zero bytes
 *	u64 entries; u64 length of extras; u64 chunks; u64 length of map
 *	32 bytes    BLAKE2b-256 of all of the above
 *	u64         length of all of the above
 *	"CALAEXT1"  ends where the entries begin
 *
 * extras begin with u8 1 and the root's attributes (mode, uid, gid, zigzag
 * seconds, nanoseconds, xattrs), or u8 0.  Then items until the end: varint how
 * many entries to pass over since the last item, varint EXT_* bits, and for
 * each bit in the order of the bits what it says.  EXT_GHOST is an entry that
 * the format has no type for, standing before the entry that comes next: u8
 * type, varint depth of its directory, name, mode, uid, gid, zigzag seconds,
 * varint major, minor.
 */

enum {
	EXT_NSEC = 1,                   /* varint nanoseconds */
	EXT_SEC = 2,                    /* zigzag seconds: before 1970 */
	EXT_NAME = 4,                   /* exact bytes */
	EXT_TARGET = 8,
	EXT_XATTRS = 16,                /* varint n; n times name, value */
	EXT_LINK = 32,                  /* varint number of the file */
	EXT_SPARSE = 64,                /* varint n; n times gap, length */
	EXT_GHOST = 128,
	EXT_ALL = 255
};

enum {
	EXT_VERSION = 1,
	EXT_SORTED = 1,                 /* flags: siblings in byte order */
	EXT_FIXED = 8 + 4 * 8,
	EXT_DIGEST = 32,
	EXT_TAIL = 16,                  /* length and magic */
	EXT_LEAST = EXT_FIXED + EXT_DIGEST
};

#define EXT_MAGIC "CALAEXT1"

#endif
