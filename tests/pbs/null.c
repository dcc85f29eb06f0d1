/*
 * null FOLDER: a Proxmox Backup Server that only verifies digests, for
 * measuring clients; it has nothing of lib/pbs.
 *
 * TLS on 127.0.0.1 with FOLDER/cert.pem and key.pem; the port goes to
 * FOLDER/port.  Everyone may do everything.  With "keep" as a second word
 * chunks are kept in FOLDER/chunks, and can be read; without it they are
 * forgotten.  One thread a connection; ends with SIGTERM.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <jansson.h>
#include <nghttp2/nghttp2.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <zlib.h>
#include <zstd.h>

enum {
	DIGEST = 32, HEAD = 12, CHUNK_MAX = 16 << 20, WINDOW = 32 << 20,
	FRAME = 4 << 20, FILES = 8, SNAPS = 64, WIDS = 8, SLOTS = 1 << 20
};

#define ROOM ((size_t)64 << 30)         /* of address space, for chunks */

struct bytes {
	unsigned char *p;
	size_t n, room;
};

struct file {
	char name[64];
	struct bytes b;
};

struct snap {
	char id[128];
	int64_t time;
	bool whole;
	char *notes;
	struct file file[FILES];
	size_t nfile;
};

struct chunk {
	unsigned char digest[DIGEST];
	size_t off, len, size;          /* len 0: a free slot */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct snap snaps[SNAPS];
static size_t nsnap;
static struct chunk *chunks;
static unsigned char *kept;             /* NULL: chunks are forgotten */
static size_t nkept;

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static void
add(struct bytes *b, const void *p, size_t n)
{
	if (b->n + n > b->room) {
		b->room = (b->n + n) * 2;
		if ((b->p = realloc(b->p, b->room)) == NULL)
			die("memory");
	}
	if (n > 0)
		memcpy(b->p + b->n, p, n);
	b->n += n;
}

static void
put_le64(unsigned char *p, uint64_t v)
{
	int i;

	for (i = 0; i < 8; i++)
		p[i] = (unsigned char)(v >> (8 * i));
}

static bool
unhex(const char *s, unsigned char *out)
{
	unsigned v;
	int i;

	for (i = 0; i < DIGEST; i++) {
		if (sscanf(s + 2 * i, "%2x", &v) != 1)
			return false;
		out[i] = (unsigned char)v;
	}
	return true;
}

/* The slot of a chunk: its own, or the free one where it belongs. */
static struct chunk *
slot(const unsigned char *digest)
{
	size_t i;

	memcpy(&i, digest, sizeof(i));
	for (i %= SLOTS; chunks[i].len != 0; i = (i + 1) % SLOTS)
		if (memcmp(chunks[i].digest, digest, DIGEST) == 0)
			break;
	return &chunks[i];
}

/* ---- one connection ---- */

struct stream {
	int32_t id;
	char method[8], path[512];
	struct bytes body;
	struct bytes answer;            /* or lent: */
	const unsigned char *out;
	size_t nout, at;
	struct stream *next;
};

struct writer {
	struct snap *snap;
	char name[64];
	struct bytes entries;
	uint64_t end;
	size_t count;
};

struct conn {
	SSL *ssl;
	struct snap *snap, *before;
	bool reader;
	struct writer w[WIDS];
	unsigned nw;
	nghttp2_session *h;
	struct stream *streams;
	EVP_MD_CTX *md;
	EVP_MD *sha;
	ZSTD_DCtx *z;
	unsigned char *plain;
};

static bool
param(const char *path, const char *name, char *out, size_t room)
{
	const char *p = strchr(path, '?');
	size_t n = strlen(name), i = 0;
	unsigned v;

	for (; p != NULL; p = strchr(p, '&')) {
		p++;
		if (strncmp(p, name, n) != 0 || p[n] != '=')
			continue;
		for (p += n + 1; *p != '\0' && *p != '&' && i + 1 < room; p++)
			if (*p == '%' && sscanf(p + 1, "%2x", &v) == 1) {
				out[i++] = (char)v;
				p += 2;
			} else
				out[i++] = *p;
		out[i] = '\0';
		return true;
	}
	return false;
}

static uint64_t
number(const char *path, const char *name)
{
	char text[32];

	return param(path, name, text, sizeof(text)) ?
	    strtoull(text, NULL, 10) : 0;
}

static void
sha256(struct conn *c, const void *p, size_t n, unsigned char *out)
{
	if (EVP_DigestInit_ex2(c->md, c->sha, NULL) != 1 ||
	    EVP_DigestUpdate(c->md, p, n) != 1 ||
	    EVP_DigestFinal_ex(c->md, out, NULL) != 1)
		die("sha256");
}

static struct file *
file_of(struct snap *s, const char *name, bool make)
{
	size_t i;

	for (i = 0; i < s->nfile; i++)
		if (strcmp(s->file[i].name, name) == 0)
			return &s->file[i];
	if (!make || s->nfile == FILES)
		return NULL;
	snprintf(s->file[s->nfile].name, sizeof(s->file[0].name), "%s", name);
	return &s->file[s->nfile++];
}

static int
chunk(struct conn *c, struct stream *s)
{
	static const unsigned char packed[] = {
		0x31, 0xb9, 0x58, 0x42, 0x6f, 0xb6, 0xa3, 0x7f };
	const unsigned char *data = s->body.p + HEAD;
	unsigned char want[DIGEST], has[DIGEST];
	size_t n = s->body.n - HEAD, size = number(s->path, "size");
	char hex[80];
	struct chunk *k;

	if (s->body.n <= HEAD || size > CHUNK_MAX ||
	    !param(s->path, "digest", hex, sizeof(hex)) || !unhex(hex, want))
		return 400;
	if (memcmp(s->body.p, packed, sizeof(packed)) == 0) {
		n = ZSTD_decompressDCtx(c->z, c->plain, CHUNK_MAX, data, n);
		data = c->plain;
	}
	if (n != size)
		return 400;
	sha256(c, data, n, has);
	if (memcmp(has, want, DIGEST) != 0)
		return 400;
	pthread_mutex_lock(&lock);
	k = slot(want);
	if (k->len == 0) {
		memcpy(k->digest, want, DIGEST);
		k->len = s->body.n;
		k->size = size;
		k->off = nkept;
		if (kept != NULL) {
			memcpy(kept + nkept, s->body.p, s->body.n);
			nkept += s->body.n;
		}
	}
	pthread_mutex_unlock(&lock);
	add(&s->answer, "{\"data\":\"", 9);
	add(&s->answer, hex, strlen(hex));
	add(&s->answer, "\"}", 2);
	return 200;
}

static int
append(struct conn *c, struct stream *s)
{
	json_t *j = json_loadb((char *)s->body.p, s->body.n, 0, NULL);
	json_t *d = json_object_get(j, "digest-list"), *v;
	json_t *o = json_object_get(j, "offset-list");
	size_t wid = (size_t)json_integer_value(json_object_get(j, "wid")), i;
	unsigned char e[8 + DIGEST];
	int ret = wid >= 1 && wid <= c->nw ? 200 : 400;
	struct writer *w;
	struct chunk *k;

	json_array_foreach(d, i, v) {
		if (ret != 200 || !unhex(json_string_value(v), e + 8))
			break;
		w = &c->w[wid - 1];
		k = slot(e + 8);
		if (k->len == 0 || (uint64_t)json_integer_value(
		    json_array_get(o, i)) != w->end) {
			ret = 400;
			break;
		}
		w->end += k->size;
		w->count++;
		put_le64(e, w->end);
		add(&w->entries, e, sizeof(e));
	}
	json_decref(j);
	add(&s->answer, "{\"data\":null}", 13);
	return ret;
}

static int
close_index(struct conn *c, struct stream *s)
{
	static const unsigned char magic[] = {
		0x1c, 0x91, 0x4e, 0xa5, 0x19, 0xba, 0xb3, 0xcd };
	size_t wid = number(s->path, "wid");
	unsigned char head[4096] = { 0 }, want[DIGEST];
	struct writer *w;
	struct file *f;
	char hex[80];

	if (wid < 1 || wid > c->nw ||
	    !param(s->path, "csum", hex, sizeof(hex)) || !unhex(hex, want))
		return 400;
	w = &c->w[wid - 1];
	memcpy(head, magic, sizeof(magic));
	sha256(c, w->entries.p, w->entries.n, head + 32);
	if (memcmp(head + 32, want, DIGEST) != 0 ||
	    w->count != number(s->path, "chunk-count") ||
	    w->end != number(s->path, "size") ||
	    (f = file_of(c->snap, w->name, true)) == NULL)
		return 400;
	add(&f->b, head, sizeof(head));
	add(&f->b, w->entries.p, w->entries.n);
	free(w->entries.p);
	memset(&w->entries, 0, sizeof(w->entries));
	add(&s->answer, "{\"data\":null}", 13);
	return 200;
}

/*
 * The manifest gets what only the end of a session writes; it may have come
 * compressed, and the notes are in it.
 */
static void
finish(struct snap *s)
{
	static const unsigned char magic[] = {
		0x42, 0xab, 0x38, 0x07, 0xbe, 0x83, 0x70, 0xa1 };
	struct file *f = file_of(s, "index.json.blob", false);
	char *plain = malloc(1 << 20), *text;
	unsigned char head[HEAD];
	const char *notes;
	json_t *j, *more;
	uint32_t crc;
	size_t n;

	if (f == NULL || plain == NULL)
		die("no manifest");
	n = ZSTD_decompress(plain, 1 << 20, f->b.p + HEAD, f->b.n - HEAD);
	j = ZSTD_isError(n) ?
	    json_loadb((char *)f->b.p + HEAD, f->b.n - HEAD, 0, NULL) :
	    json_loadb(plain, n, 0, NULL);
	more = json_object_get(j, "unprotected");
	notes = json_string_value(json_object_get(more, "notes"));
	if (notes != NULL)
		s->notes = strdup(notes);
	json_object_set_new(more, "chunk_upload_stats", json_pack(
	    "{s:i,s:i,s:i,s:i}", "count", 0, "size", 0, "compressed_size", 0,
	    "duplicates", 0));
	if ((text = json_dumps(j, JSON_COMPACT)) == NULL)
		die("manifest");
	crc = (uint32_t)crc32(0, (unsigned char *)text, (uInt)strlen(text));
	memcpy(head, magic, sizeof(magic));
	for (n = 0; n < 4; n++)
		head[8 + n] = (unsigned char)(crc >> (8 * n));
	f->b.n = 0;
	add(&f->b, head, sizeof(head));
	add(&f->b, text, strlen(text));
	free(text);
	free(plain);
	json_decref(j);
}

static int
backup(struct conn *c, struct stream *s)
{
	char name[64], text[64];
	struct file *f;
	size_t n = strcspn(s->path, "?");
	bool post = strcmp(s->method, "POST") == 0;

#define IS(x) (n == strlen(x) && memcmp(s->path, x, n) == 0)
	if (IS("/dynamic_chunk"))
		return chunk(c, s);
	if (IS("/dynamic_index") && !post)
		return append(c, s);
	if (IS("/dynamic_index") && c->nw < WIDS &&
	    param(s->path, "archive-name", name, sizeof(name))) {
		snprintf(c->w[c->nw++].name, sizeof(name), "%s", name);
		snprintf(text, sizeof(text), "{\"data\":%u}", c->nw);
		add(&s->answer, text, strlen(text));
		return 200;
	}
	if (IS("/dynamic_close"))
		return close_index(c, s);
	if (IS("/blob") && param(s->path, "file-name", name, sizeof(name)) &&
	    (f = file_of(c->snap, name, true)) != NULL) {
		add(&f->b, s->body.p, s->body.n);
		add(&s->answer, "{\"data\":null}", 13);
		return 200;
	}
	if (IS("/previous_backup_time")) {
		if (c->before != NULL)
			snprintf(text, sizeof(text), "{\"data\":%" PRId64 "}",
			    c->before->time);
		add(&s->answer, c->before != NULL ? text : "{\"data\":null}",
		    c->before != NULL ? strlen(text) : 13);
		return 200;
	}
	if (IS("/previous") && c->before != NULL &&
	    param(s->path, "archive-name", name, sizeof(name)) &&
	    (f = file_of(c->before, name, false)) != NULL) {
		s->out = f->b.p;
		s->nout = f->b.n;
		return 200;
	}
	if (IS("/finish")) {
		finish(c->snap);
		c->snap->whole = true;
		add(&s->answer, "{\"data\":null}", 13);
		return 200;
	}
	return 404;
}

static int
reader(struct conn *c, struct stream *s)
{
	unsigned char digest[DIGEST];
	char name[80];
	struct file *f;
	struct chunk *k;

	if (strncmp(s->path, "/download?", 10) == 0 &&
	    param(s->path, "file-name", name, sizeof(name)) &&
	    (f = file_of(c->snap, name, false)) != NULL) {
		s->out = f->b.p;
		s->nout = f->b.n;
		return 200;
	}
	if (strncmp(s->path, "/chunk?", 7) == 0 && kept != NULL &&
	    param(s->path, "digest", name, sizeof(name)) &&
	    unhex(name, digest) && (k = slot(digest))->len != 0) {
		s->out = kept + k->off;
		s->nout = k->len;
		return 200;
	}
	return 404;
}

/* ---- HTTP/2 ---- */

static ssize_t
give(nghttp2_session *h, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
    nghttp2_data_source *src, void *arg)
{
	struct stream *s = src->ptr;
	size_t n = s->nout - s->at;

	(void)h, (void)id, (void)arg;
	if (n > room)
		n = room;
	memcpy(to, s->out + s->at, n);
	s->at += n;
	if (s->at == s->nout)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static ssize_t
frame_size(nghttp2_session *h, uint8_t type, int32_t id, int32_t window,
    int32_t stream, uint32_t most, void *arg)
{
	(void)h, (void)type, (void)id, (void)arg;
	if (window < stream)
		stream = window;
	return stream < (int32_t)most ? stream : (ssize_t)most;
}

static int
answer(struct conn *c, struct stream *s)
{
	int status = c->reader ? reader(c, s) : backup(c, s);
	nghttp2_data_provider body = { .read_callback = give };
	char text[8];
	nghttp2_nv nv = { .flags = 0 };

	if (s->out == NULL) {
		s->out = s->answer.p;
		s->nout = s->answer.n;
	}
	if (status != 200)
		fprintf(stderr, "%d %s %s\n", status, s->method, s->path);
	snprintf(text, sizeof(text), "%d", status);
	nv.name = (uint8_t *)(uintptr_t)":status";
	nv.namelen = 7;
	nv.value = (uint8_t *)text;
	nv.valuelen = 3;
	body.source.ptr = s;
	free(s->body.p);
	memset(&s->body, 0, sizeof(s->body));
	return nghttp2_submit_response(c->h, s->id, &nv, 1, &body);
}

static int
on_begin(nghttp2_session *h, const nghttp2_frame *f, void *arg)
{
	struct conn *c = arg;
	struct stream *s = calloc(1, sizeof(*s));

	if (s == NULL)
		die("memory");
	s->id = f->hd.stream_id;
	s->next = c->streams;
	c->streams = s;
	return nghttp2_session_set_stream_user_data(h, s->id, s);
}

static int
on_header(nghttp2_session *h, const nghttp2_frame *f, const uint8_t *name,
    size_t nname, const uint8_t *value, size_t nvalue, uint8_t flags, void *arg)
{
	struct stream *s = nghttp2_session_get_stream_user_data(h,
	    f->hd.stream_id);

	(void)flags, (void)arg;
	if (s == NULL)
		return 0;
	if (nname == 7 && memcmp(name, ":method", 7) == 0)
		snprintf(s->method, sizeof(s->method), "%.*s", (int)nvalue,
		    (const char *)value);
	if (nname == 5 && memcmp(name, ":path", 5) == 0)
		snprintf(s->path, sizeof(s->path), "%.*s", (int)nvalue,
		    (const char *)value);
	return 0;
}

static int
on_data(nghttp2_session *h, uint8_t flags, int32_t id, const uint8_t *p,
    size_t n, void *arg)
{
	struct stream *s = nghttp2_session_get_stream_user_data(h, id);
	size_t all;

	(void)flags, (void)arg;
	if (s == NULL)
		return 0;
	if (s->body.p == NULL && (all = number(s->path, "encoded-size")) > 0 &&
	    all <= CHUNK_MAX + 44) {
		s->body.room = all;
		if ((s->body.p = malloc(all)) == NULL)
			die("memory");
	}
	add(&s->body, p, n);
	return 0;
}

static int
on_frame(nghttp2_session *h, const nghttp2_frame *f, void *arg)
{
	struct stream *s;

	if ((f->hd.type != NGHTTP2_DATA && f->hd.type != NGHTTP2_HEADERS) ||
	    (f->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
		return 0;
	s = nghttp2_session_get_stream_user_data(h, f->hd.stream_id);
	return s != NULL ? answer(arg, s) : 0;
}

static int
on_close(nghttp2_session *h, int32_t id, uint32_t code, void *arg)
{
	struct conn *c = arg;
	struct stream *s = nghttp2_session_get_stream_user_data(h, id), **at;

	(void)code;
	for (at = &c->streams; s != NULL && *at != NULL; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			break;
		}
	if (s != NULL) {
		free(s->body.p);
		free(s->answer.p);
		free(s);
	}
	return 0;
}

static bool
flush(struct conn *c)
{
	const uint8_t *p;
	ssize_t n;

	while ((n = nghttp2_session_mem_send(c->h, &p)) > 0)
		if (SSL_write(c->ssl, p, (int)n) != n)
			return false;
	return n == 0;
}

static void
session(struct conn *c)
{
	nghttp2_session_callbacks *cb;
	nghttp2_settings_entry set[] = {
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW },
		{ NGHTTP2_SETTINGS_MAX_FRAME_SIZE, FRAME },
	};
	static _Thread_local unsigned char in[1 << 16];
	int n;

	if (nghttp2_session_callbacks_new(&cb) != 0)
		die("nghttp2");
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
	nghttp2_session_callbacks_set_data_source_read_length_callback(cb,
	    frame_size);
	if (nghttp2_session_server_new(&c->h, cb, c) != 0)
		die("nghttp2");
	nghttp2_session_callbacks_del(cb);
	nghttp2_submit_settings(c->h, 0, set, 2);
	nghttp2_session_set_local_window_size(c->h, 0, 0, WINDOW);
	while (flush(c) && (n = SSL_read(c->ssl, in, sizeof(in))) > 0)
		if (nghttp2_session_mem_recv(c->h, in, (size_t)n) != n)
			break;
	while (c->streams != NULL)
		on_close(c->h, c->streams->id, 0, c);
	nghttp2_session_del(c->h);
}

/* ---- HTTP/1.1 ---- */

static void
say(struct conn *c, const char *json)
{
	char head[160];
	int n = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\n"
	    "content-type: application/json;charset=UTF-8\r\n"
	    "content-length: %zu\r\n\r\n", strlen(json));

	SSL_write(c->ssl, head, n);
	SSL_write(c->ssl, json, (int)strlen(json));
}

static void
list(struct conn *c)
{
	json_t *all = json_array(), *out, *row, *files;
	size_t i, k, n;
	char *text;

	for (i = 0; i < nsnap; i++) {
		if (!snaps[i].whole)
			continue;
		files = json_array();
		for (k = 0; k < snaps[i].nfile; k++)
			json_array_append_new(files, json_pack("{s:s,s:s,s:I}",
			    "filename", snaps[i].file[k].name, "crypt-mode",
			    "none", "size", (json_int_t)snaps[i].file[k].b.n));
		row = json_pack("{s:s,s:s,s:I,s:s,s:b,s:I,s:o}", "backup-type",
		    "host", "backup-id", snaps[i].id, "backup-time",
		    (json_int_t)snaps[i].time, "owner", "cala@pbs!node1",
		    "protected", 0, "size", (json_int_t)1, "files", files);
		if (snaps[i].notes != NULL) {
			n = strcspn(snaps[i].notes, "\n");
			json_object_set_new(row, "comment",
			    json_stringn(snaps[i].notes, n));
		}
		json_array_append_new(all, row);
	}
	out = json_pack("{s:o}", "data", all);
	text = json_dumps(out, JSON_COMPACT);
	say(c, text);
	free(text);
	json_decref(out);
}

static struct snap *
find(const char *path)
{
	int64_t when = (int64_t)number(path, "backup-time");
	char id[128];
	size_t i;

	if (!param(path, "backup-id", id, sizeof(id)))
		return NULL;
	for (i = 0; i < nsnap; i++)
		if (snaps[i].time == when && strcmp(snaps[i].id, id) == 0)
			return &snaps[i];
	return NULL;
}

/* A file of a snapshot, as it is stored. */
static void
download(struct conn *c, const char *path)
{
	struct snap *s = find(path);
	struct file *f = NULL;
	char name[80], head[160];
	int n;

	if (s != NULL && param(path, "file-name", name, sizeof(name)))
		f = file_of(s, name, false);
	n = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\ncontent-type: "
	    "application/octet-stream\r\ncontent-length: %zu\r\n\r\n",
	    f != NULL ? "200 OK" : "404 Not Found", f != NULL ? f->b.n : 0);
	SSL_write(c->ssl, head, n);
	if (f != NULL)
		SSL_write(c->ssl, f->b.p, (int)f->b.n);
}

/* The snapshot that an upgrade is about; its previous one for a backup. */
static bool
begin(struct conn *c, const char *path)
{
	size_t i;

	c->reader = strncmp(path, "/api2/json/reader", 17) == 0;
	if (c->reader)
		return (c->snap = find(path)) != NULL;
	pthread_mutex_lock(&lock);
	if (nsnap < SNAPS) {
		c->snap = &snaps[nsnap++];
		param(path, "backup-id", c->snap->id, sizeof(c->snap->id));
		c->snap->time = (int64_t)number(path, "backup-time");
		for (i = 0; i < nsnap - 1; i++)
			if (snaps[i].whole && strcmp(snaps[i].id,
			    c->snap->id) == 0)
				c->before = &snaps[i];
	}
	pthread_mutex_unlock(&lock);
	return c->snap != NULL;
}

static bool
request(struct conn *c)
{
	static const char switched[] = "HTTP/1.1 101 Switching Protocols\r\n"
	    "connection: upgrade\r\nupgrade: proxmox-backup-%sprotocol-v1\r\n"
	    "\r\n";
	char head[8192], method[8], path[2048], text[256];
	const char *call;
	size_t n = 0;

	while (n < sizeof(head) - 1 && (n < 4 ||
	    memcmp(head + n - 4, "\r\n\r\n", 4) != 0)) {
		if (SSL_read(c->ssl, head + n, 1) != 1)
			return false;
		n++;
	}
	head[n] = '\0';
	if (sscanf(head, "%7s %2047s", method, path) != 2)
		return false;
	if (strcasestr(head, "\r\nupgrade:") != NULL) {
		if (!begin(c, path))
			return false;
		n = (size_t)snprintf(text, sizeof(text), switched,
		    c->reader ? "reader-" : "");
		SSL_write(c->ssl, text, (int)n);
		session(c);
		return false;
	}
	call = strrchr(path, '/');
	if (strncmp(path, "/api2/json/version", 18) == 0)
		say(c, "{\"data\":{\"version\":\"3.2\",\"release\":\"4\","
		    "\"repoid\":\"0\"}}");
	else if (call != NULL && strncmp(call, "/snapshots", 10) == 0)
		list(c);
	else if (call != NULL && strncmp(call, "/download?", 10) == 0)
		download(c, path);
	else if (call != NULL && strncmp(call, "/status", 7) == 0)
		say(c, "{\"data\":{\"total\":1000000000000,\"used\":0,"
		    "\"avail\":1000000000000}}");
	else
		say(c, "{\"data\":null}");
	return true;
}

static void *
serve(void *arg)
{
	struct conn c = { .ssl = arg };

	c.md = EVP_MD_CTX_new();
	c.sha = EVP_MD_fetch(NULL, "SHA256", NULL);
	c.z = ZSTD_createDCtx();
	c.plain = malloc(CHUNK_MAX);
	if (c.md == NULL || c.sha == NULL || c.z == NULL || c.plain == NULL)
		die("memory");
	if (SSL_accept(c.ssl) == 1)
		while (request(&c))
			continue;
	close(SSL_get_fd(c.ssl));
	SSL_free(c.ssl);
	EVP_MD_CTX_free(c.md);
	EVP_MD_free(c.sha);
	ZSTD_freeDCtx(c.z);
	free(c.plain);
	return NULL;
}

static void
keep(void)
{
	int fd = open("chunks", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd == -1 || ftruncate(fd, (off_t)ROOM) == -1)
		die("chunks");
	kept = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (kept == MAP_FAILED)
		die("mmap");
	close(fd);
}

int
main(int argc, char **argv)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);
	SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
	pthread_t thread;
	int s, fd, one = 1;
	FILE *f;
	SSL *ssl;

	if (argc < 2 || chdir(argv[1]) == -1)
		die("null FOLDER [keep]");
	if ((chunks = calloc(SLOTS, sizeof(*chunks))) == NULL)
		die("memory");
	if (argc > 2)
		keep();
	signal(SIGPIPE, SIG_IGN);
	if (SSL_CTX_use_certificate_file(tls, "cert.pem",
	    SSL_FILETYPE_PEM) != 1 || SSL_CTX_use_PrivateKey_file(tls,
	    "key.pem", SSL_FILETYPE_PEM) != 1)
		die("certificate");
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s == -1 || bind(s, (struct sockaddr *)&at, len) == -1 ||
	    listen(s, 64) == -1 ||
	    getsockname(s, (struct sockaddr *)&at, &len) == -1)
		die("socket");
	if ((f = fopen("port.new", "w")) == NULL)
		die("port");
	fprintf(f, "%u\n", ntohs(at.sin_port));
	if (fclose(f) != 0 || rename("port.new", "port") == -1)
		die("port");
	while ((fd = accept(s, NULL, NULL)) != -1 || errno == EINTR) {
		if (fd == -1)
			continue;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if ((ssl = SSL_new(tls)) == NULL || SSL_set_fd(ssl, fd) != 1 ||
		    pthread_create(&thread, NULL, serve, ssl) != 0)
			die("thread");
		pthread_detach(thread);
	}
	die("accept");
}
