#include "pbs/arena.h"

#include <string.h>
#include <sys/mman.h>

#include "base/err.h"

int
arena_init(struct arena *a, size_t size, struct err *e)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
	    MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	memset(a, 0, sizeof(*a));
	if (p == MAP_FAILED)
		return err_oom(e);
	a->p = p;
	a->size = size;
	return 0;
}

void
arena_fini(struct arena *a)
{
	if (a->p != NULL)
		munmap(a->p, a->size);
	memset(a, 0, sizeof(*a));
}

/* The gap behind s (NULL: that in front of all): where it begins; its length. */
static unsigned char *
behind(const struct arena *a, const struct span *s, size_t *len)
{
	unsigned char *from = s == NULL ? a->p : s->p + s->len;
	const struct span *next = s == NULL ? a->first : s->next;

	*len = (size_t)((next == NULL ? a->p + a->size : next->p) - from);
	return from;
}

/* s is at p, behind the span after. */
static void
insert(struct arena *a, struct span *s, unsigned char *p, size_t n,
    struct span *after)
{
	s->p = p;
	s->len = n;
	s->prev = after;
	s->next = after == NULL ? a->first : after->next;
	if (s->prev == NULL)
		a->first = s;
	else
		s->prev->next = s;
	if (s->next == NULL)
		a->last = s;
	else
		s->next->prev = s;
}

bool
arena_take(struct arena *a, struct span *s, size_t n)
{
	struct span *at = a->rover;
	unsigned char *p;
	size_t len;

	do {
		p = behind(a, at, &len);
		if (n <= len) {
			insert(a, s, p, n, at);
			a->rover = s;
			return true;
		}
		/* behind the last one comes what is in front of all */
		at = at == NULL ? a->first : at->next;
	} while (at != a->rover);
	return false;
}

bool
arena_take_end(struct arena *a, struct span *s, size_t n)
{
	struct span *at;
	unsigned char *p;
	size_t len;

	for (at = a->last;; at = at->prev) {
		p = behind(a, at, &len);
		if (n <= len) {
			insert(a, s, p + (len - n), n, at);
			return true;
		}
		if (at == NULL)
			return false;
	}
}

void
arena_give(struct arena *a, struct span *s)
{
	if (s->p == NULL)
		return;
	if (s->prev == NULL)
		a->first = s->next;
	else
		s->prev->next = s->next;
	if (s->next == NULL)
		a->last = s->prev;
	else
		s->next->prev = s->prev;
	if (a->rover == s)
		a->rover = s->prev;
	memset(s, 0, sizeof(*s));
}
