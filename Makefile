# cala: plain GNU make.  `make` builds, `make demo` and `make check` install
# what they need first.  CC, CFLAGS, CPPFLAGS, LDFLAGS, LDLIBS, PREFIX, DESTDIR
# are yours; lower-case names are ours.

VERSION    := 0.1.0
PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
MANDIR     ?= $(PREFIX)/share/man
DOCDIR     ?= $(PREFIX)/share/doc/cala
PKG_CONFIG ?= pkg-config
CFLAGS     ?= -O2 -g
O          ?= build
PKGS       := libarchive libcrypto jansson inih libzstd libdeflate zlib \
              libxxhash libacl
comma      := ,

warn     := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes \
            -Wmissing-prototypes -Wformat=2 -Wundef -Wvla -Wpointer-arith \
            -Wimplicit-fallthrough
harden   := -fstack-protector-strong -fPIE
hardld   := -pie -Wl,-z,relro,-z,now -Wl,--as-needed
ifeq ($(shell uname -m),x86_64)
harden   += -fcf-protection -fstack-clash-protection
endif
ifndef SANITIZE
harden   += -D_FORTIFY_SOURCE=2
endif

cppflags := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Ilib \
            -DCALA_VERSION='"$(VERSION)"' $(CPPFLAGS)
cflags   := -std=c11 $(warn) $(harden) -pthread $(CFLAGS) \
            $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
ldlibs   := -pthread $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null) \
            $(LDLIBS)
ldflags  := $(hardld) $(LDFLAGS)
ifdef SANITIZE
O        := build-$(subst $(comma),-,$(SANITIZE))
cflags   += -fsanitize=$(SANITIZE) -fno-omit-frame-pointer
ldflags  += -fsanitize=$(SANITIZE)
endif

tools    := $(basename $(notdir $(sort $(wildcard bin/*.c))))
libsrc   := $(sort $(wildcard lib/*/*.c))
libobjs  := $(libsrc:%.c=$(O)/%.o)
binobjs  := $(tools:%=$(O)/bin/%.o)
units    := $(basename $(notdir $(sort $(wildcard tests/unit/t_*.c))))

all: $(O)/libcala.a $(tools:%=$(O)/%)

$(O)/libcala.a: $(libobjs)
	rm -f $@ && $(AR) rcs $@ $^
$(tools:%=$(O)/%): $(O)/%: $(O)/bin/%.o $(O)/libcala.a
	$(CC) $(ldflags) -o $@ $^ $(ldlibs)
$(O)/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(CC) $(cppflags) $(cflags) -MMD -MP -c -o $@ $<
$(units:%=$(O)/%): $(O)/%: $(O)/tests/unit/%.o $(O)/libcala.a
	$(CC) $(ldflags) -o $@ $^ $(ldlibs) $(shell $(PKG_CONFIG) --libs cmocka)
$(O)/flags: FORCE
	@mkdir -p $(@D); echo '$(CC) $(cppflags) $(cflags)' | cmp -s - $@ || \
	    echo '$(CC) $(cppflags) $(cflags)' >$@

unit: $(units:%=$(O)/%)
	@set -e; for t in $^; do $$t; done

clean:
	rm -rf build build-*

.PHONY: all unit clean FORCE
.DELETE_ON_ERROR:
-include $(libobjs:.o=.d) $(binobjs:.o=.d) $(units:%=$(O)/tests/unit/%.d)
