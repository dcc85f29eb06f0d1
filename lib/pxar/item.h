#ifndef CALA_PXAR_ITEM_H
#define CALA_PXAR_ITEM_H

/*
 * item: the pieces that a pxar archive consists of, and the hash of names.
 *
 * An item is a type and a size (of the whole item, these 16 bytes included),
 * both 64 bits little-endian, and the rest.  A type is the SipHash-2-4 of a
 * name.
 */

#include <stddef.h>
#include <stdint.h>

struct buf;

#define PXAR_FORMAT_VERSION	UINT64_C(0x730f6c75df16a40d)
#define PXAR_PRELUDE		UINT64_C(0xe309d79d9f7b771b)
#define PXAR_ENTRY		UINT64_C(0xd5956474e588acef)
#define PXAR_ENTRY_V1		UINT64_C(0x11da850a1c1cceff)
#define PXAR_FILENAME		UINT64_C(0x16701121063917b3)
#define PXAR_SYMLINK		UINT64_C(0x27f971e7dbf5dc5f)
#define PXAR_DEVICE		UINT64_C(0x9fc9e906586d5ce9)
#define PXAR_XATTR		UINT64_C(0x0dab0229b57dcd03)
#define PXAR_ACL_USER		UINT64_C(0x2ce8540a457d55b8)
#define PXAR_ACL_GROUP		UINT64_C(0x136e3eceb04c03ab)
#define PXAR_ACL_GROUP_OBJ	UINT64_C(0x10868031e9582876)
#define PXAR_ACL_DEFAULT	UINT64_C(0xbbbb13415a6896f5)
#define PXAR_ACL_DEFAULT_USER	UINT64_C(0xc89357b40532cd1f)
#define PXAR_ACL_DEFAULT_GROUP	UINT64_C(0xf90a8a5816038ffe)
#define PXAR_FCAPS		UINT64_C(0x2da9dd9db5f7fb67)
#define PXAR_QUOTA_PROJID	UINT64_C(0xe07540e82f7d1cbb)
#define PXAR_HARDLINK		UINT64_C(0x51269c8422bd7275)
#define PXAR_PAYLOAD		UINT64_C(0x28147a1b0b7c1a25)
#define PXAR_PAYLOAD_REF	UINT64_C(0x419d3d6bc4ba977e)
#define PXAR_GOODBYE		UINT64_C(0x2fec4fa642d5731d)
#define PXAR_GOODBYE_TAIL	UINT64_C(0xef5eed5b753e1555)
#define PXAR_PAYLOAD_START	UINT64_C(0x834c68c2194a4ed2)
#define PXAR_PAYLOAD_END	UINT64_C(0x6c72b78b984c81b5)

enum {
	PXAR_HEAD = 16,
	PXAR_STAT = 40,                 /* content of ENTRY */
	PXAR_STAT_V1 = 32,
	PXAR_NAME_MAX = 4096,           /* of a name, a target */
	PXAR_XATTR_SIZE = 255 + 65536,  /* name, NUL and value */
	PXAR_REC = 24,                  /* a record of GOODBYE */
	PXAR_DIRENT_MIN = 43            /* the smallest FILENAME and HARDLINK */
};

/* A permission of ACL_DEFAULT that is not there. */
#define PXAR_ACL_NONE UINT64_MAX

/*
 * item_head(b, type, n): what begins an item of n more bytes.
 * item_u64s(b, type, n, v): an item of n numbers.
 */
void item_head(struct buf *, uint64_t, uint64_t);
void item_u64s(struct buf *, uint64_t, unsigned, const uint64_t *);

/* siphash(k0, k1, p, n): SipHash-2-4.  pxar_hash(p, n): with pxar's key. */
uint64_t siphash(uint64_t, uint64_t, const void *, size_t);
uint64_t pxar_hash(const void *, size_t);

/*
 * pxar_attrs(chattr), pxar_chattr(flags): the attribute bits of ENTRY from and
 * to those of FS_IOC_GETFLAGS; bits that have no equal are dropped.
 */
uint64_t pxar_attrs(uint32_t);
uint32_t pxar_chattr(uint64_t);

/* A record of a GOODBYE item: where a name's entry is. */
struct pxar_rec {
	uint64_t hash;
	uint64_t offset;        /* from the start of the GOODBYE item back */
	uint64_t size;
};

/*
 * pxar_goodbye(n, at): which of n records, sorted by hash, stands at
 * index at of the table: a complete binary search tree, level by level.
 */
size_t pxar_goodbye(size_t, size_t);

#endif
