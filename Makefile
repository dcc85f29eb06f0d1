# cala: plain GNU make.  `make` builds, `make demo` and `make check` install
# what they need first.  CC, CFLAGS, CPPFLAGS, LDFLAGS, LDLIBS, PREFIX, DESTDIR
# are yours; lower-case names are ours.

VERSION    := 0.1.0
PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
MANDIR     ?= $(PREFIX)/share/man
DOCDIR     ?= $(PREFIX)/share/doc/cala
BASHDIR    ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR     ?= $(PREFIX)/share/zsh/site-functions
FISHDIR    ?= $(PREFIX)/share/fish/vendor_completions.d
PKG_CONFIG ?= pkg-config
INSTALL    ?= install
CFLAGS     ?= -O2 -g
O          ?= build
PKGS       := libarchive libcurl expat libcrypto libssl libnghttp2 jansson \
              inih libzstd liblzma libdeflate zlib libxxhash libacl libsodium \
              libbrotlidec libbrotlienc
comma      := ,

# Drivers that speak for two disks, and disks whose driver has a short name:
# link:tool, made where the tool exists.
links      := cala-btrfs:cala-snap cala-zfs:cala-snap \
              cala-ddup-bak:cala-ddup cala-proxmox-backup-server:cala-pbs

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
ifdef WERROR
warn     += -Werror
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
cflags   += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all \
            -fno-omit-frame-pointer
ldflags  += -fsanitize=$(SANITIZE)
endif

tools    := $(basename $(notdir $(sort $(wildcard bin/*.c))))
libsrc   := $(sort $(wildcard lib/*/*.c))
libobjs  := $(libsrc:%.c=$(O)/%.o)
binobjs  := $(tools:%=$(O)/bin/%.o)
units    := $(basename $(notdir $(sort $(wildcard tests/unit/t_*.c))))
fuzzers  := $(basename $(notdir $(sort $(wildcard tests/fuzz/f_*.c))))
helpers  := $(patsubst %.c,$(O)/%,$(sort $(wildcard tests/pxar/*.c \
              tests/pbs/*.c)))
unitbins := $(units:%=$(O)/tests/%)
fuzzbins := $(fuzzers:%=$(O)/tests/%)
testobjs := $(units:%=$(O)/tests/unit/%.o) $(fuzzers:%=$(O)/tests/fuzz/%.o) \
            $(O)/tests/fuzz/replay.o $(helpers:%=%.o)
aliases  := $(foreach l,$(links),$(if $(filter $(lastword $(subst :, ,$l)),\
              $(tools)),$l))
manpages := $(sort $(wildcard man/*.[157]))
examples := $(sort $(wildcard contrib/examples/*))
extras   := $(sort $(wildcard contrib/systemd/* contrib/cron/*))

# One short line a step; V=1 shows the commands, -s nothing.
say       = $(if $(V),,@$(if $(findstring s,$(firstword -$(MAKEFLAGS))),,\
            echo '  $1';))

all: $(O)/libcala.a $(tools:%=$(O)/%) $(foreach l,$(aliases),\
    $(O)/$(firstword $(subst :, ,$l)))

$(O)/libcala.a: $(libobjs)
	$(call say,AR $@)rm -f $@ && $(AR) rcs $@ $(libobjs)
$(tools:%=$(O)/%): $(O)/%: $(O)/bin/%.o $(O)/libcala.a
	$(call say,LD $@)$(CC) $(ldflags) -o $@ $^ $(ldlibs)
$(O)/%.o: %.c $(O)/libs
	@mkdir -p $(@D)
	$(call say,CC $<)$(CC) $(cppflags) $(cflags) -MMD -MP -c -o $@ $<
$(unitbins): $(O)/tests/%: $(O)/tests/unit/%.o $(O)/libcala.a
	$(call say,LD $@)$(CC) $(ldflags) -o $@ $^ $(ldlibs) $(shell $(PKG_CONFIG) --libs cmocka)
$(fuzzbins): $(O)/tests/%: $(O)/tests/fuzz/%.o $(O)/tests/fuzz/replay.o \
    $(O)/libcala.a
	$(call say,LD $@)$(CC) $(ldflags) -o $@ $^ $(ldlibs)

$(helpers): %: %.o $(O)/libcala.a
	$(call say,LD $@)$(CC) $(ldflags) -o $@ $^ $(ldlibs)

# Which drivers share a program is a link beside it, here as after install.
define alias
$(O)/$(firstword $(subst :, ,$1)): $(O)/$(lastword $(subst :, ,$1))
	ln -sf $$(<F) $$@
endef
$(foreach l,$(aliases),$(eval $(call alias,$l)))

# Every object depends on the compiler, the flags and the list of sources (a
# removed one must leave the library); compared when make starts, so that
# nothing to do is nothing done.
flags    := $(CC) $(cppflags) $(cflags) $(ldflags) $(libsrc)
ifneq ($(flags),$(file <$(O)/flags))
$(shell mkdir -p $(O))$(file >$(O)/flags,$(flags))
endif
$(O)/libs: $(O)/flags
	@$(PKG_CONFIG) --print-errors --exists $(PKGS) || { echo \
	    "libraries are missing: tests/deps build installs them," \
	    "tests/deps -n build names them" >&2; exit 1; }
	@touch $@

# The packages come first: what pkg-config answers is read when make starts,
# so the work itself is a second make.  TESTS= narrows: unit, bats, fuzz, or
# names of files.
check:
	@tests/deps build test
	@$(if $(TESTS),:,tests/peers || :)
	@$(MAKE) --no-print-directory check-built
test-programs: $(unitbins) $(fuzzbins) $(helpers)
check-built: all test-programs
	@O='$(O)' SANITIZE='$(SANITIZE)' tests/run $(TESTS)
unit:
	@$(MAKE) --no-print-directory check-built TESTS=unit

demo:
	@tests/deps build demo
	@$(MAKE) --no-print-directory all
	@O='$(O)' tests/demo

# Some have peers, and a program, of their own.
bench_of  = bench$(patsubst %,-%,$(filter s3 ddup kopia pbs restic,$(BENCH)))
bench:
	@tests/deps build $(bench_of)
	@$(if $(filter s3 kopia restic,$(BENCH)),tests/peers test bench,:)
	@$(MAKE) --no-print-directory all \
	    $(if $(filter pbs,$(BENCH)),$(O)/tests/pbs/null)
	@O='$(O)' BENCH='$(BENCH)' tests/$(bench_of)

lint:
	@tests/deps build test lint
	@O='$(O)' tests/lint

# Coverage-guided, with clang; what it finds new is kept under $(O)/fuzz.
FUZZ_SECONDS ?= 60
fuzz:
	@tests/deps build fuzz
	@$(MAKE) --no-print-directory O=build-fuzz CC=clang \
	    SANITIZE=fuzzer-no-link,address,undefined fuzz-built
fuzz-built: $(fuzzers:%=$(O)/fuzz/%)
	@set -e; for f in $(fuzzers); do \
	    n=$${f#f_}; mkdir -p $(O)/fuzz/new-$$n; echo "== $$f"; \
	    $(O)/fuzz/$$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 \
	        -rss_limit_mb=1024 -print_final_stats=0 -verbosity=0 \
	        -artifact_prefix=$(O)/fuzz/ \
	        $(O)/fuzz/new-$$n tests/fuzz/corpus/$$n; \
	done
$(fuzzers:%=$(O)/fuzz/%): $(O)/fuzz/%: $(O)/tests/fuzz/%.o $(O)/libcala.a
	@mkdir -p $(@D)
	$(call say,LD $@)$(CC) $(ldflags) -fsanitize=fuzzer -o $@ $^ $(ldlibs)

install: all
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(DOCDIR)/examples \
	    $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR) \
	    $(foreach n,1 5 7,$(DESTDIR)$(MANDIR)/man$n)
	$(if $(tools),$(INSTALL) -m 755 $(tools:%=$(O)/%) \
	    $(DESTDIR)$(BINDIR))
	$(foreach l,$(aliases),ln -sf $(lastword $(subst :, ,$l)) \
	    $(DESTDIR)$(BINDIR)/$(firstword $(subst :, ,$l)) &&) :
	$(foreach m,$(manpages),$(INSTALL) -m 644 $m \
	    $(DESTDIR)$(MANDIR)/man$(patsubst .%,%,$(suffix $m)) &&) :
	$(INSTALL) -m 644 README COPYING $(DESTDIR)$(DOCDIR)
	$(foreach x,$(examples) $(extras),$(INSTALL) -m \
	    $(if $(findstring .conf,$x)$(filter contrib/systemd/%,$x)$(filter \
	    contrib/cron/%,$x),644,755) $x $(DESTDIR)$(DOCDIR)/examples &&) :
	sed 's,/usr/local/bin/cala ,$(BINDIR)/cala ,' \
	    contrib/systemd/cala@.service \
	    >'$(DESTDIR)$(DOCDIR)/examples/cala@.service'
	$(INSTALL) -m 644 completions/bash/cala $(DESTDIR)$(BASHDIR)
	$(INSTALL) -m 644 completions/zsh/_cala $(DESTDIR)$(ZSHDIR)
	$(INSTALL) -m 644 completions/fish/cala.fish $(DESTDIR)$(FISHDIR)
	$(foreach t,$(filter-out cala,$(tools)),\
	    ln -sf cala $(DESTDIR)$(BASHDIR)/$t && \
	    ln -sf cala.fish $(DESTDIR)$(FISHDIR)/$t.fish &&) :

# Only what install put there, and only folders of our own, when empty.
uninstall:
	rm -f $(tools:%=$(DESTDIR)$(BINDIR)/%) \
	    $(foreach l,$(aliases),\
	        $(DESTDIR)$(BINDIR)/$(firstword $(subst :, ,$l))) \
	    $(foreach m,$(manpages),$(DESTDIR)$(MANDIR)/man$(patsubst \
	        .%,%,$(suffix $m))/$(notdir $m)) \
	    $(foreach x,$(examples) $(extras),\
	        $(DESTDIR)$(DOCDIR)/examples/$(notdir $x)) \
	    $(DESTDIR)$(DOCDIR)/README $(DESTDIR)$(DOCDIR)/COPYING \
	    $(tools:%=$(DESTDIR)$(BASHDIR)/%) $(DESTDIR)$(ZSHDIR)/_cala \
	    $(tools:%=$(DESTDIR)$(FISHDIR)/%.fish) \
	    $(DESTDIR)$(BASHDIR)/cala $(DESTDIR)$(FISHDIR)/cala.fish
	-rmdir $(DESTDIR)$(DOCDIR)/examples $(DESTDIR)$(DOCDIR)

dist:
	@mkdir -p $(O)
	git archive --prefix=cala-$(VERSION)/ HEAD | \
	    gzip -9n >$(O)/cala-$(VERSION).tar.gz

clean:
	rm -rf build build-*

.PHONY: all check check-built test-programs unit demo bench lint fuzz fuzz-built install \
    uninstall dist clean
.DELETE_ON_ERROR:
.SECONDARY: $(testobjs)
-include $(libobjs:.o=.d) $(binobjs:.o=.d) $(testobjs:.o=.d)
