#ifndef CALA_S3_XML_H
#define CALA_S3_XML_H

/*
 * xml: the documents that a store answers with (s3.md 6.6).
 *
 * Whatever the document does, memory stays small: no DOCTYPE, at most
 * XML_DEPTH levels, XML_TEXT bytes of text in an element.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;

enum { XML_DEPTH = 16, XML_TEXT = 64 << 10, XML_PATH = 1024 };

/*
 * Called at the end of each element: its path of local names from the root
 * ("ListBucketResult/Contents/Key") and the text right inside it.  Not 0 ends
 * the walk.
 */
typedef int xml_fn(void *, const char *, const char *, struct err *);

/*
 * xml_walk(p, n, fn, arg, e): leading white space and a byte order mark are
 * skipped.  CALA_INTEGRITY when it is no document within the limits; what fn
 * returned when that was not 0.
 * xml_root(p, n, out, size): the local name of the root; "" when there is
 * none to be seen.
 * xml_esc(b, s): append s as text: & < > escaped, control bytes as references.
 */
int  xml_walk(const char *, size_t, xml_fn *, void *, struct err *);
void xml_root(const char *, size_t, char *, size_t);
void xml_esc(struct buf *, const char *);

/* An error document; what is missing is "". */
struct xml_error {
	char code[64], region[64], time[40];
	char request[128], host_id[128];
	char message[256], endpoint[256];
};

/* xml_error(p, n, x): false when the n bytes are no error document. */
bool xml_error(const char *, size_t, struct xml_error *);

#endif
