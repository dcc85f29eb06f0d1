#include "s3/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "s3/attr.h"

struct verify {
	struct verify_facts f;
	bool parts;             /* the ETag is that of parts */
	unsigned nparts;        /* that it speaks of */
	unsigned char want[SUM_MAX];
	uint64_t pos;           /* bytes seen */
	uint64_t end;           /* of the part that pos lies in */
	struct sum *sum;        /* of the whole, or of the part */
	struct sum *of_parts;
	unsigned seen;
	unsigned char crc[SUM_MAX];
};

int
layout_parse(const char *text, struct layout *out)
{
	struct layout l = { .runs = 0 };
	char size[24], count[8];
	uint64_t n, k, parts = 0;
	int used;

	for (;;) {
		used = 0;
		if (l.runs == LAYOUT_RUNS || sscanf(text,
		    "%20[0-9]x%6[0-9]%n", size, count, &used) != 2 ||
		    used == 0 || str_u64(size, 1, S3_PART_MAX, &n) == -1 ||
		    str_u64(count, 1, S3_PARTS, &k) == -1 ||
		    (parts += k) > S3_PARTS)
			return -1;
		l.run[l.runs].size = n;
		l.run[l.runs++].count = (unsigned)k;
		text += used;
		if (*text == '\0')
			break;
		if (*text++ != ',')
			return -1;
	}
	*out = l;
	return 0;
}

bool
layout_part(const struct layout *l, uint64_t off, uint64_t total,
    uint64_t *begin, uint64_t *end)
{
	uint64_t at = 0, len;
	unsigned i;

	for (i = 0; i < l->runs; i++) {
		/* at most 10,000 parts of 5 GiB: no overflow */
		len = l->run[i].size * l->run[i].count;
		if (off - at < len) {
			*begin = at + (off - at) / l->run[i].size *
			    l->run[i].size;
			*end = *begin + l->run[i].size;
			if (*end > total)
				*end = total;
			return true;
		}
		at += len;
	}
	return false;
}

/* How many parts the layout gives an object of that size; 0: too few. */
static unsigned
count_parts(const struct layout *l, uint64_t total)
{
	uint64_t at = 0, len;
	unsigned i, n = 0;

	for (i = 0; i < l->runs; i++) {
		len = l->run[i].size * l->run[i].count;
		if (total - at <= len)
			return n + (unsigned)((total - at + l->run[i].size -
			    1) / l->run[i].size);
		at += len;
		n += l->run[i].count;
	}
	return 0;
}

struct verify *
verify_new(const struct verify_facts *f, struct err *e)
{
	struct verify *v;
	enum s3_sum a = S3_SUM_NONE;

	if ((v = calloc(1, sizeof(*v))) == NULL) {
		err_oom(e);
		return NULL;
	}
	v->f = *f;
	if (f->sum != S3_SUM_NONE) {
		a = f->sum;
		memcpy(v->want, f->value, sizeof(v->want));
		if (sum_crc(a) && sum_once(a, "", 0, v->crc, e) == -1)
			goto fail;
	} else if (!f->opaque && attr_etag(f->etag, v->want)) {
		a = S3_SUM_MD5;
	} else if (!f->opaque && f->has_layout && f->total > 0 &&
	    attr_etag_parts(f->etag, v->want, &v->nparts) &&
	    count_parts(&f->layout, f->total) == v->nparts) {
		a = S3_SUM_MD5;
		v->parts = true;
		if ((v->of_parts = sum_new(a, e)) == NULL)
			goto fail;
	}
	if (a == S3_SUM_NONE || (v->sum = sum_new(a, e)) == NULL)
		goto fail;
	v->f.sum = a;
	return v;
fail:
	verify_free(v);
	return NULL;
}

enum s3_sum
verify_piece(const struct verify *v, uint64_t off, uint64_t len)
{
	uint64_t begin, end;

	if (sum_crc(v->f.sum))
		return v->f.sum;
	if (v->parts && layout_part(&v->f.layout, off, v->f.total, &begin,
	    &end) && begin == off && end == off + len)
		return S3_SUM_MD5;
	return S3_SUM_NONE;
}

void
verify_fold(struct verify *v, const unsigned char sum[SUM_MAX], uint64_t len)
{
	if (v->parts) {
		sum_add(v->of_parts, sum, sum_len(S3_SUM_MD5));
		v->seen++;
	} else {
		sum_join(v->f.sum, v->crc, sum, len);
	}
	v->pos += len;
	v->end = v->pos;
}

void
verify_bytes(struct verify *v, const void *p, size_t n)
{
	unsigned char md[SUM_MAX];
	const unsigned char *q = p;
	uint64_t begin;
	size_t k;

	if (sum_crc(v->f.sum)) {
		sum_add(v->sum, q, n);
		sum_end(v->sum, md);
		sum_join(v->f.sum, v->crc, md, n);
		v->pos += n;
		return;
	}
	while (v->parts && n > 0) {
		if (v->pos >= v->end && !layout_part(&v->f.layout, v->pos,
		    v->f.total, &begin, &v->end))
			break;
		k = n < v->end - v->pos ? n : (size_t)(v->end - v->pos);
		sum_add(v->sum, q, k);
		v->pos += k;
		q += k;
		n -= k;
		if (v->pos == v->end) {
			sum_end(v->sum, md);
			sum_add(v->of_parts, md, sum_len(S3_SUM_MD5));
			v->seen++;
		}
	}
	sum_add(v->sum, q, n);
	v->pos += n;
}

int
verify_end(struct verify *v)
{
	unsigned char md[SUM_MAX];

	if (v->pos != v->f.total)
		return 0;
	if (sum_crc(v->f.sum))
		memcpy(md, v->crc, sizeof(md));
	else if (v->parts)
		sum_end(v->of_parts, md);
	else
		sum_end(v->sum, md);
	return memcmp(md, v->want, sum_len(v->f.sum)) == 0 &&
	    (!v->parts || v->seen == v->nparts);
}

const char *
verify_word(const struct verify *v)
{
	return sum_word(v->f.sum);
}

void
verify_free(struct verify *v)
{
	if (v == NULL)
		return;
	sum_free(v->sum);
	sum_free(v->of_parts);
	free(v);
}
