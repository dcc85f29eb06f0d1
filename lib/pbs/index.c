#include "pbs/index.h"

#include <string.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/hash.h"
#include "pbs/blob.h"

enum {
	MAGIC = 8,
	SIZE_AT = 64, STEP_AT = 72      /* of a .fidx */
};

static const unsigned char didx[MAGIC] =
    { 0x1c, 0x91, 0x4e, 0xa5, 0x19, 0xba, 0xb3, 0xcd };
static const unsigned char fidx[MAGIC] =
    { 0x2f, 0x7f, 0x41, 0xed, 0x91, 0xfd, 0x0f, 0xcd };

static int
bad(struct err *e, const char *what)
{
	return err_set(e, CALA_INTEGRITY, "index: %s", what);
}

static uint64_t
end_of(const struct pbs_index *ix, size_t i)
{
	return get_le64(ix->entries + i * PBS_DIDX_ENTRY);
}

static int
open_dynamic(struct pbs_index *ix, size_t n, struct err *e)
{
	uint64_t at = 0, end;
	size_t i;

	if (n % PBS_DIDX_ENTRY != 0)
		return bad(e, "its length is not that of whole entries");
	ix->n = n / PBS_DIDX_ENTRY;
	for (i = 0; i < ix->n; i++, at = end) {
		end = end_of(ix, i);
		if (end <= at)
			return bad(e, "its chunks do not ascend");
		if (end - at > PBS_CHUNK_MAX)
			return bad(e, "a chunk is too long");
	}
	ix->size = at;
	return 0;
}

static int
open_fixed(struct pbs_index *ix, const unsigned char *head, size_t n,
    struct err *e)
{
	ix->fixed = true;
	ix->size = get_le64(head + SIZE_AT);
	ix->step = get_le64(head + STEP_AT);
	if (ix->step == 0 || (ix->step & (ix->step - 1)) != 0 ||
	    ix->step > PBS_CHUNK_MAX)
		return bad(e, "its chunk size is none");
	if (n % PBS_FIDX_ENTRY != 0 || n == 0)
		return bad(e, "its length is not that of whole entries");
	ix->n = n / PBS_FIDX_ENTRY;
	if (ix->size == 0 || (ix->size - 1) / ix->step != ix->n - 1)
		return bad(e, "it has another number of chunks than its size "
		    "needs");
	return 0;
}

int
pbs_index_open(struct pbs_index *ix, const void *p, size_t n, struct err *e)
{
	const unsigned char *head = p;
	struct pbs_index is = { .n = 0 };
	int ret;

	if (n < PBS_INDEX_HEAD)
		return bad(e, "cut short");
	is.entries = head + PBS_INDEX_HEAD;
	n -= PBS_INDEX_HEAD;
	if (memcmp(head, didx, MAGIC) == 0)
		ret = open_dynamic(&is, n, e);
	else if (memcmp(head, fidx, MAGIC) == 0)
		ret = open_fixed(&is, head, n, e);
	else
		ret = bad(e, "it is none");
	if (ret == -1 || sha256(is.entries, n, is.csum, e) == -1)
		return -1;
	*ix = is;
	return 0;
}

uint64_t
pbs_index_start(const struct pbs_index *ix, size_t i)
{
	return ix->fixed ? i * ix->step : i == 0 ? 0 : end_of(ix, i - 1);
}

size_t
pbs_index_length(const struct pbs_index *ix, size_t i)
{
	uint64_t at = pbs_index_start(ix, i);

	if (!ix->fixed)
		return (size_t)(end_of(ix, i) - at);
	return (size_t)(ix->size - at < ix->step ? ix->size - at : ix->step);
}

const unsigned char *
pbs_index_digest(const struct pbs_index *ix, size_t i)
{
	return ix->entries + (ix->fixed ? i * PBS_FIDX_ENTRY :
	    i * PBS_DIDX_ENTRY + 8);
}

size_t
pbs_index_find(const struct pbs_index *ix, uint64_t off)
{
	size_t lo = 0, hi = ix->n, mid;

	if (ix->fixed)
		return (size_t)(off / ix->step);
	/* The first that ends behind it. */
	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (end_of(ix, mid) > off)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

void
pbs_csum_add(struct sha256 *h, uint64_t end,
    const unsigned char digest[PBS_DIGEST])
{
	unsigned char entry[PBS_DIDX_ENTRY];

	put_le64(entry, end);
	memcpy(entry + 8, digest, PBS_DIGEST);
	sha256_add(h, entry, sizeof(entry));
}
