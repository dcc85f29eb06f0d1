#ifndef CALA_TESTS_UNIT_H
#define CALA_TESTS_UNIT_H

/* What cmocka.h needs before it, and our error object in assertions. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"

/* assert_ok(call, &e): the call returned 0; says e's message if not. */
#define assert_ok(call, e) do {						\
	if ((call) != 0)						\
		fail_msg("%s: %s", #call, (e)->msg);			\
} while (0)

#endif
