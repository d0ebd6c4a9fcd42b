# crisp's build. `make help` lists the targets.
#
# Folders are libraries: every .c of a folder goes into build/FOLDER.a, and a program takes what it uses from them.
# A new file needs no line here.

PREFIX     ?= /usr
SYSCONFDIR ?= /etc
DESTDIR    ?=
SANITIZE   ?=
WERROR     ?=

ifeq ($(origin CC),default)
CC        := gcc
endif
PROTOC_C  ?= protoc-c
PKGCONFIG ?= pkg-config

comma := ,
B := build$(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))

VERSION := $(shell cat VERSION)

WARNINGS := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla \
            -Wformat=2 -Wundef -Wwrite-strings -Wno-missing-field-initializers -Wno-unused-parameter \
            -Wno-deprecated-declarations
override CPPFLAGS += -D_GNU_SOURCE -I. -I$B/gen -I$B/gen/api -DCRISP_VERSION='"$(VERSION)"'
CFLAGS   ?= -O2 -g
override CFLAGS   += -std=c17 -fno-strict-aliasing -ffunction-sections -fdata-sections -fstack-protector-strong
override CFLAGS   += $(WARNINGS) $(if $(WERROR),-Werror)
override LDFLAGS  += -Wl,--gc-sections
ifdef SANITIZE
override CFLAGS   += -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all
override LDFLAGS  += -fsanitize=$(SANITIZE)
endif

# ---- what there is ----

LIBRARIES := base api api/ttrpc network image image/fetch image/trust oci cri/stream cri cli conmon
PROGRAMS  := crisp crisp-image crisp-trust crisp-monitor crisp-pause crisp-exec

api_PROTOS := cri/runtime_v1 crisp/v1/crisp ttrpc/ttrpc ttrpc/status google/protobuf/any google/protobuf/empty google/protobuf/timestamp \
              $(addprefix shim/,cgroup1_metrics cgroup2_metrics event events_v1 metrics mount platform runc_options runtimeoptions_v1 sandbox_v1 \
                task task_events task_v2)
api_GEN_C  := $(api_PROTOS:%=$B/gen/api/%.pb-c.c)
api_GEN_H  := $(api_PROTOS:%=$B/gen/api/%.pb-c.h)

sources = $(wildcard $1/*.c)
objects = $(patsubst %.c,$B/%.o,$(call sources,$1))
library = $B/$(subst /,-,$1).a

libs = $(foreach l,$1,$(call library,$l))

## all            the programs, in build/ (what a plain `make` does)
.PHONY: all
all: $(PROGRAMS:%=$B/%)

# ---- libraries other people keep ----

# gRPC is linked statically: with unused sections dropped it costs the daemon a third less memory than the shared one.
ABSL_LIBS  := $(patsubst -l%,-l:lib%.a,$(sort $(filter -labsl%,$(shell $(PKGCONFIG) --libs --static grpc_unsecure 2>/dev/null))))
GRPC_LIBS  := -Wl,--start-group $(addsuffix .a,$(addprefix -l:lib,grpc_unsecure gpr address_sorting upb re2 cares z)) \
              $(ABSL_LIBS) -Wl,--end-group -l:libstdc++.a
# Except with ThreadSanitizer: it tells what is not built with it by the library that it is in.
ifneq ($(filter thread,$(subst $(comma), ,$(SANITIZE))),)
GRPC_LIBS := -lgrpc_unsecure -lgpr -lz
endif
DAEMON_PKG := libprotobuf-c jansson libmd libseccomp libsystemd yaml-0.1
IMAGE_PKG  := libcurl libarchive libisal zlib libzstd libcrypto libseccomp jansson libmd
DAEMON_LIBS := $(GRPC_LIBS) $(shell $(PKGCONFIG) --libs $(DAEMON_PKG) 2>/dev/null) -lwslay -lm -lpthread -ldl
IMAGE_LIBS  := $(shell $(PKGCONFIG) --libs $(IMAGE_PKG) 2>/dev/null) -lpthread
TRUST_PKG   := gpgme libcrypto jansson libmd
TRUST_LIBS  := $(shell $(PKGCONFIG) --libs $(TRUST_PKG) 2>/dev/null) -lpthread

# ---- programs ----

$B/crisp: $B/cmd/crisp.o $(call libs,cli cri cri/stream oci image network api base)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(DAEMON_LIBS)

$B/crisp-image: $B/cmd/crisp-image.o $(call libs,image/fetch image base)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(IMAGE_LIBS)

$B/crisp-trust: $B/cmd/crisp-trust.o $(call libs,image/trust image base)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(TRUST_LIBS)

# The monitor, the pod holder and crisp-exec are static and use libc alone; a hundred of them share nearly all their pages. They are
# built without sanitizers, which need a dynamic libc; the tests build conmon's code once more with them.
STATIC_CFLAGS = $(filter-out -fsanitize% -fno-sanitize%,$(CFLAGS)) -Os
STATIC_OBJECTS := $(patsubst %.c,$B/static/%.o,$(wildcard conmon/*.c))

$B/crisp-monitor $B/crisp-pause $B/crisp-exec: $B/crisp-%: $B/static/cmd/crisp-%.o $(STATIC_OBJECTS)
	$(CC) $(STATIC_CFLAGS) -static -Wl,--gc-sections -o $@ $^

$B/static/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(STATIC_CFLAGS) -MMD -MP -c -o $@ $<

# ---- objects ----

$B/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(OWN_FLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Generated code is compiled as it comes: its warnings are not ours.
$B/gen/%.o: $B/gen/%.c
	$(CC) $(CPPFLAGS) $(CFLAGS) -w -MMD -MP -c -o $@ $<

$B/gen/api/%.pb-c.c $B/gen/api/%.pb-c.h &: api/%.proto
	@mkdir -p $(@D)
	$(PROTOC_C) --c_out=$B/gen/api --proto_path=api api/$*.proto

define library_rule
$$(call library,$1): $$(call objects,$1)
	@rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach l,$(filter-out api%,$(LIBRARIES)),$(eval $(call library_rule,$l)))

$(call library,api): $(api_GEN_C:.c=.o) $(call objects,api) $(call objects,api/ttrpc)
	@rm -f $@
	ar rcs $@ $^

# Whoever includes generated headers needs them first.
$(call objects,api/ttrpc) $(call objects,cri) $(call objects,oci) $(call objects,cli): | $(api_GEN_H)

# Where things are when installed. What is compiled with such a path is compiled again when it changes.
LIBEXECDIR := $(PREFIX)/libexec/crisp
PATH_FLAGS := -DCRISP_LIBEXECDIR='"$(LIBEXECDIR)"' -DCRISP_SYSCONFDIR='"$(SYSCONFDIR)"'

$B/base/program.o $B/cri/config_load.o: private OWN_FLAGS := $(PATH_FLAGS)
$B/base/program.o $B/cri/config_load.o: $B/paths

.PHONY: always
$B/paths: always
	@mkdir -p $(@D)
	@echo "$(PATH_FLAGS)" | cmp -s - $@ || echo "$(PATH_FLAGS)" > $@

# ---- tests ----

# Tests hand literals to what takes any string.
$B/test/unit/%.o: override CFLAGS += -Wno-write-strings

UNIT_TESTS := $(patsubst test/unit/%.c,$B/test/%,$(wildcard test/unit/test_*.c))
.SECONDARY:

$B/test/%: $B/test/unit/%.o $(call libs,cli cri cri/stream oci image/fetch image/trust image network conmon api base)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(IMAGE_LIBS) $(TRUST_LIBS) $(DAEMON_LIBS) -lcmocka

$(patsubst test/unit/%.c,$B/test/unit/%.o,$(wildcard test/unit/test_*.c)): | $(api_GEN_H)

# The corpus of each fuzz target runs again in the ordinary tests.
FUZZERS      := $(patsubst test/fuzz/%.c,%,$(wildcard test/fuzz/fuzz_*.c))
FUZZ_REPLAYS := $(FUZZERS:%=$B/test/%)

$B/test/fuzz_%: $B/test/fuzz/fuzz_%.o $B/test/fuzz/replay.o $(call libs,cli cri cri/stream oci image/fetch image/trust image network conmon api base)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(IMAGE_LIBS) $(TRUST_LIBS) $(DAEMON_LIBS)

.PHONY: check unit integration includes
## check          all tests: includes, coverage, unit, integration
check: includes coverage unit integration

## unit           the unit tests and the fuzz targets' corpora; with SANITIZE=address,undefined or thread under that
unit: $(UNIT_TESTS) $(FUZZ_REPLAYS)
	@test/run-unit $^

## integration    the real daemon over its socket, with a registry, CNI plugins and runtimes; as root
integration: all
	test/integration/run --build $B

## coverage       docs/cri-coverage.md against the protocol; the tests that it and docs/features.md name
.PHONY: coverage
coverage:
	@test/check-coverage

## includes       which way the sources' #include lines look
includes:
	@test/check-includes

# ---- fuzzing ----

FUZZ_SECONDS  ?= 30
# 0: another one each time
FUZZ_SEED     ?= 0
FUZZ_SANITIZE := fuzzer-no-link,address,undefined
FUZZ_B        := build-$(subst $(comma),-,$(FUZZ_SANITIZE))

$B/fuzz/%: $B/test/fuzz/%.o $(call libs,cli cri cri/stream oci image/fetch image/trust image network conmon api base)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(IMAGE_LIBS) $(TRUST_LIBS) $(DAEMON_LIBS)

## fuzz           each fuzz target for FUZZ_SECONDS (30), with clang; what is found stays in build-fuzzer-*/fuzz, with a log of each.
##                FUZZ="reference policy" runs these alone; with -j several at once; FUZZ_SEED=1 goes the same way again
FUZZ ?= $(FUZZERS:fuzz_%=%)
.PHONY: fuzz
fuzz:
	$(MAKE) CC=clang SANITIZE=$(FUZZ_SANITIZE) $(FUZZ:%=$(FUZZ_B)/fuzz/%.ran)

# FILE.ran never comes to be: each call fuzzes anew.
.PHONY: $(FUZZ:%=$(FUZZ_B)/fuzz/%.ran)
$(FUZZ:%=$(FUZZ_B)/fuzz/%.ran): $(FUZZ_B)/fuzz/%.ran: $(FUZZ_B)/fuzz/fuzz_%
	@mkdir -p $(FUZZ_B)/fuzz/$*.corpus
	@$< -max_total_time=$(FUZZ_SECONDS) -seed=$(FUZZ_SEED) -artifact_prefix=$(FUZZ_B)/fuzz/$*. $(FUZZ_B)/fuzz/$*.corpus test/fuzz/corpus/$* \
		>$(FUZZ_B)/fuzz/$*.log 2>&1 && echo "$*: $$(tail -n 1 $(FUZZ_B)/fuzz/$*.log)" || \
		{ grep -v '^#[0-9]' $(FUZZ_B)/fuzz/$*.log | tail -n 60; echo "$*: FAILED, its log: $(FUZZ_B)/fuzz/$*.log"; false; }

# ---- measuring ----

## bench          times of each call and memory, beside the limits, and beside containerd where it is installed
.PHONY: bench
bench: all
	test/bench/run --build $B $(BENCH)

# ---- how the source looks ----

OUR_C  := $(foreach d,$(LIBRARIES) cmd test/unit test/fuzz,$(wildcard $d/*.c))
OUR_H  := $(foreach d,$(LIBRARIES),$(wildcard $d/*.h))

## fmt            formats all sources
## fmt-check      fails where `make fmt` would change something
.PHONY: fmt fmt-check
fmt:
	clang-format -i $(OUR_C) $(OUR_H)
fmt-check:
	@clang-format --version >/dev/null
	@clang-format --dry-run --Werror $(OUR_C) $(OUR_H) 2>&1 | sed -n 's/^\([^ :]*\):[0-9].*/\1: not formatted: make fmt/p' | \
	sort -u | { ! grep . >&2; }

# A source is looked at again when its object is older than what it is made from; what clang-tidy looks for is in .clang-tidy.
LINT := $(OUR_C:%.c=$B/lint/%.c.ok) $(OUR_H:%=$B/lint/%.ok)

$B/lint/%.c.ok: $B/%.o .clang-tidy
	@mkdir -p $(@D)
	@clang-tidy --quiet --warnings-as-errors='*' $*.c -- $(CPPFLAGS) $(PATH_FLAGS) -std=c17 $(WARNINGS) \
	$(if $(filter base/error,$*),,-include test/lint.h) 2>$@.said || \
	{ cat $@.said; exit 1; }
	@touch $@

# A header compiles alone.
$B/lint/%.h.ok: %.h $(OUR_H) | $(api_GEN_H)
	@mkdir -p $(@D)
	@$(CC) $(CPPFLAGS) -std=c17 $(WARNINGS) -Werror -fsyntax-only -x c $<
	@touch $@

## lint           fmt-check, includes, clang-tidy on every source, and each header compiled alone
.PHONY: lint
lint: fmt-check includes $(LINT)

# ---- installing ----

# What names /usr in a text is written for PREFIX.
install_text = sed 's|/usr/|$(PREFIX)/|g' $1 > $B/$(notdir $1) && install -D -m 0644 $B/$(notdir $1) $2

## install        into DESTDIR, with PREFIX (/usr) and SYSCONFDIR (/etc)
.PHONY: install
install: all
	install -D -m 0755 $B/crisp $(DESTDIR)$(PREFIX)/bin/crisp
	for p in $(filter-out crisp,$(PROGRAMS)); do install -D -m 0755 $B/$$p $(DESTDIR)$(LIBEXECDIR)/$$p || exit; done
	$(call install_text,contrib/crisp.service,$(DESTDIR)$(PREFIX)/lib/systemd/system/crisp.service)
	install -D -m 0644 docs/crisp.8 $(DESTDIR)$(PREFIX)/share/man/man8/crisp.8
	install -D -m 0644 docs/crisp-images.8 $(DESTDIR)$(PREFIX)/share/man/man8/crisp-images.8
	install -D -m 0644 docs/crisp.toml.5 $(DESTDIR)$(PREFIX)/share/man/man5/crisp.toml.5
	install -D -m 0644 contrib/completions/crisp.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/crisp
	test -e $(DESTDIR)$(SYSCONFDIR)/crisp/crisp.toml || install -D -m 0644 contrib/crisp.toml $(DESTDIR)$(SYSCONFDIR)/crisp/crisp.toml
	install -D -m 0644 contrib/10-crisp-bridge.conflist $(DESTDIR)$(PREFIX)/share/doc/crisp/examples/10-crisp-bridge.conflist

# The sources as links beside contrib/debian's files, where dpkg-buildpackage wants them: what is built there is built on.
DEB      := $B/deb/crisp
DEB_ARCH  = $(shell dpkg --print-architecture)

## deb            a Debian package, as build/deb/crisp_VERSION_ARCH.deb; lintian must have nothing to say
.PHONY: deb
deb:
	@dpkg-parsechangelog -l contrib/debian/changelog -S Version | grep -qxF '$(VERSION)' || \
	{ echo "contrib/debian/changelog: its first version is not $(VERSION)" >&2; exit 1; }
	@awk '!/^#/ && $$2 == "build" && $$1 != "build-essential" { print $$1 }' contrib/packages | while read -r p; do \
	grep -qE "[ ,]$$p(,|$$)" contrib/debian/control || { echo "contrib/debian/control: no $$p in Build-Depends" >&2; exit 1; }; done
	mkdir -p $(DEB)
	ln -sfn $(addprefix $(CURDIR)/,Makefile README.md VERSION $(sort $(foreach l,$(LIBRARIES) cmd contrib docs test,$(firstword $(subst /, ,$l))))) $(DEB)/
	rm -rf $(DEB)/debian $(DEB)/build-* $B/deb/crisp_*
	cp -r contrib/debian $(DEB)/debian
	cd $(DEB) && env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS DEB_BUILD_OPTIONS="nocheck parallel=$$(nproc) $$DEB_BUILD_OPTIONS" \
	dpkg-buildpackage -b -us -uc -nc
	lintian --fail-on error,warning,info --suppress-tags bad-distribution-in-changes-file \
	$B/deb/crisp_$(VERSION)_$(DEB_ARCH).deb

## clean          removes everything that was built
.PHONY: clean
clean:
	rm -rf build build-*

# ---- help ----

## help           this
.PHONY: help
help:
	@echo "Targets:"
	@sed -n 's/^## /  /p' $(firstword $(MAKEFILE_LIST))
	@echo "Variables: CC, CFLAGS, PREFIX, DESTDIR, SYSCONFDIR, WERROR=1, SANITIZE=address,undefined or thread"

-include $(shell find $B -path $B/vm -prune -o -path $B/deb -prune -o -name '*.d' -type f -print 2>/dev/null)
