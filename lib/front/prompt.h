#ifndef CALA_FRONT_PROMPT_H
#define CALA_FRONT_PROMPT_H

struct err;
struct secret;

/*
 * front_secret(what, out, e): a secret from standard input, less a trailing
 * newline; where that is a terminal, asked for on /dev/tty without echo.
 */
int front_secret(const char *, struct secret *, struct err *);

#endif
