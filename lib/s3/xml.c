#include "s3/xml.h"

#include <stdio.h>
#include <string.h>

#include <expat.h>

#include "base/buf.h"
#include "base/err.h"

struct walk {
	XML_Parser x;
	xml_fn *fn;
	void *arg;
	struct err *e;
	char path[XML_PATH];
	size_t len, depth;
	size_t at[XML_DEPTH];           /* where text of each level begins */
	struct buf text;
	int ret;
	const char *why;
};

static void
end_walk(struct walk *w, const char *why)
{
	if (w->why == NULL)
		w->why = why;
	XML_StopParser(w->x, XML_FALSE);
}

static const char *
local(const char *name)
{
	const char *colon = strrchr(name, ':');

	return colon != NULL ? colon + 1 : name;
}

static void XMLCALL
on_start(void *arg, const XML_Char *name, const XML_Char **atts)
{
	struct walk *w = arg;
	size_t n;

	(void)atts;
	name = local(name);
	n = strlen(name);
	if (w->depth == XML_DEPTH || n + 2 > sizeof(w->path) - w->len) {
		end_walk(w, "nested too deep");
		return;
	}
	if (w->depth > 0)
		w->path[w->len++] = '/';
	memcpy(w->path + w->len, name, n + 1);
	w->len += n;
	w->at[w->depth++] = w->text.len;
}

static void XMLCALL
on_text(void *arg, const XML_Char *p, int n)
{
	struct walk *w = arg;

	if (buf_add(&w->text, p, (size_t)n) == -1)
		end_walk(w, "too much text in an element");
}

static void XMLCALL
on_end(void *arg, const XML_Char *name)
{
	struct walk *w = arg;
	char *slash;

	(void)name;
	/* expat still delivers ends after it was told to stop */
	if (w->why != NULL || w->ret != 0)
		return;
	w->depth--;
	w->ret = w->fn(w->arg, w->path, w->text.p + w->at[w->depth], w->e);
	if (w->ret != 0) {
		end_walk(w, "stopped");
		return;
	}
	buf_cut(&w->text, w->at[w->depth]);
	slash = strrchr(w->path, '/');
	w->len = slash != NULL ? (size_t)(slash - w->path) : 0;
	w->path[w->len] = '\0';
}

static void XMLCALL
on_doctype(void *arg, const XML_Char *name, const XML_Char *sys,
    const XML_Char *pub, int internal)
{
	(void)name, (void)sys, (void)pub, (void)internal;
	end_walk(arg, "it has a DOCTYPE");
}

static size_t
blanks(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && (strchr(" \t\r\n", p[i]) != NULL ||
	    (n - i >= 3 && memcmp(p + i, "\xef\xbb\xbf", 3) == 0)))
		i += strchr(" \t\r\n", p[i]) != NULL ? 1 : 3;
	return i;
}

int
xml_walk(const char *p, size_t n, xml_fn *fn, void *arg, struct err *e)
{
	struct walk w = { .fn = fn, .arg = arg, .e = e };
	size_t skip = blanks(p, n), k;
	enum XML_Status s = XML_STATUS_OK;

	if ((w.x = XML_ParserCreate(NULL)) == NULL)
		return err_oom(e);
	buf_init(&w.text, XML_TEXT);
	XML_SetUserData(w.x, &w);
	XML_SetElementHandler(w.x, on_start, on_end);
	XML_SetCharacterDataHandler(w.x, on_text);
	XML_SetStartDoctypeDeclHandler(w.x, on_doctype);
	/* expat counts in int */
	for (p += skip, n -= skip; s == XML_STATUS_OK; p += k, n -= k) {
		k = n < 1 << 20 ? n : 1 << 20;
		s = XML_Parse(w.x, p, (int)k, k == n);
		if (k == n)
			break;
	}
	if (w.ret == 0 && s != XML_STATUS_OK)
		w.ret = err_set(e, CALA_INTEGRITY, "the answer is no XML "
		    "that cala takes: %s", w.why != NULL ? w.why :
		    XML_ErrorString(XML_GetErrorCode(w.x)));
	XML_ParserFree(w.x);
	buf_fini(&w.text);
	return w.ret;
}

void
xml_root(const char *p, size_t n, char *out, size_t size)
{
	size_t i = blanks(p, n), k;
	const char *name;

	*out = '\0';
	while (i + 1 < n && p[i] == '<' && (p[i + 1] == '?' ||
	    p[i + 1] == '!')) {
		while (i < n && p[i] != '>')
			i++;
		i += i < n;
		i += blanks(p + i, n - i);
	}
	if (i >= n || p[i] != '<')
		return;
	name = p + ++i;
	for (k = 0; i + k < n && strchr(" \t\r\n/>", name[k]) == NULL; k++)
		if (name[k] == ':') {
			name += k + 1;
			i += k + 1;
			k = (size_t)-1;
		}
	if (i + k < n && k < size) {
		memcpy(out, name, k);
		out[k] = '\0';
	}
}

void
xml_esc(struct buf *b, const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == '&')
			buf_str(b, "&amp;");
		else if (*s == '<')
			buf_str(b, "&lt;");
		else if (*s == '>')
			buf_str(b, "&gt;");
		else if ((unsigned char)*s < ' ')
			buf_printf(b, "&#%d;", *s);
		else
			buf_chr(b, *s);
	}
}

static int
on_error(void *arg, const char *path, const char *text, struct err *e)
{
	struct xml_error *x = arg;
	const struct { const char *name; char *to; size_t n; } t[] = {
		{ "Error/Code", x->code, sizeof(x->code) },
		{ "Error/Message", x->message, sizeof(x->message) },
		{ "Error/Region", x->region, sizeof(x->region) },
		{ "Error/Endpoint", x->endpoint, sizeof(x->endpoint) },
		{ "Error/ServerTime", x->time, sizeof(x->time) },
		{ "Error/RequestId", x->request, sizeof(x->request) },
		{ "Error/HostId", x->host_id, sizeof(x->host_id) },
	};
	size_t i;

	(void)e;
	for (i = 0; i < sizeof(t) / sizeof(*t); i++)
		if (strcmp(path, t[i].name) == 0)
			snprintf(t[i].to, t[i].n, "%s", text);
	return 0;
}

bool
xml_error(const char *p, size_t n, struct xml_error *x)
{
	struct err e = ERR_INIT;
	char root[16];

	memset(x, 0, sizeof(*x));
	xml_root(p, n, root, sizeof(root));
	if (strcmp(root, "Error") != 0)
		return false;
	/* a cut document may still have told its code */
	return xml_walk(p, n, on_error, x, &e) == 0 || x->code[0] != '\0';
}
