# crisp's build. `make help` lists the targets.
#
# Folders are libraries: every .c of a folder goes into build/FOLDER.a, and a program takes what it uses from them.
# A new file needs no line here.

PREFIX     ?= /usr
SYSCONFDIR ?= /etc
DESTDIR    ?=
SANITIZE   ?=
WERROR     ?=

CC        ?= gcc
PROTOC_C  ?= protoc-c
PKGCONFIG ?= pkg-config

comma := ,
B := build$(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))

VERSION := $(shell cat VERSION)

WARNINGS := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla \
            -Wformat=2 -Wundef -Wwrite-strings -Wno-missing-field-initializers -Wno-unused-parameter
override CPPFLAGS += -D_GNU_SOURCE -I. -I$B/gen -DCRISP_VERSION='"$(VERSION)"' -DCRISP_LIBEXECDIR='"$(PREFIX)/libexec/crisp"'
CFLAGS   ?= -O2 -g
override CFLAGS   += -std=c17 -fno-strict-aliasing -ffunction-sections -fdata-sections -fstack-protector-strong
override CFLAGS   += $(WARNINGS) $(if $(WERROR),-Werror)
override LDFLAGS  += -Wl,--gc-sections
ifdef SANITIZE
override CFLAGS   += -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all
override LDFLAGS  += -fsanitize=$(SANITIZE)
endif

# ---- what there is ----

LIBRARIES := base api network image image/fetch oci cri conmon
PROGRAMS  := crisp crisp-image crisp-monitor crisp-pause

api_PROTOS := cri/runtime_v1
api_GEN_C  := $(api_PROTOS:%=$B/gen/api/%.pb-c.c)
api_GEN_H  := $(api_PROTOS:%=$B/gen/api/%.pb-c.h)

sources = $(wildcard $1/*.c)
objects = $(patsubst %.c,$B/%.o,$(call sources,$1))
library = $B/$(subst /,-,$1).a

libs = $(foreach l,$1,$(call library,$l))

.PHONY: all
all: $(PROGRAMS:%=$B/%)

# ---- libraries other people keep ----

# gRPC is linked statically: with unused sections dropped it costs the daemon a third less memory than the shared one.
ABSL_LIBS  := $(patsubst -l%,-l:lib%.a,$(sort $(filter -labsl%,$(shell $(PKGCONFIG) --libs --static grpc_unsecure 2>/dev/null))))
GRPC_LIBS  := -Wl,--start-group $(addsuffix .a,$(addprefix -l:lib,grpc_unsecure gpr address_sorting upb re2 cares z)) \
              $(ABSL_LIBS) -Wl,--end-group -l:libstdc++.a
# Except with ThreadSanitizer: it tells what is not built with it by the library that it is in.
ifneq ($(filter thread,$(subst $(comma), ,$(SANITIZE))),)
GRPC_LIBS := -lgrpc_unsecure -lgpr
endif
DAEMON_PKG := libprotobuf-c jansson libseccomp libsystemd
IMAGE_PKG  := libcurl libarchive libisal zlib libzstd libcrypto jansson
DAEMON_LIBS := $(GRPC_LIBS) $(shell $(PKGCONFIG) --libs $(DAEMON_PKG) 2>/dev/null) -lm -lpthread
IMAGE_LIBS  := $(shell $(PKGCONFIG) --libs $(IMAGE_PKG) 2>/dev/null) -lpthread

# ---- programs ----

$B/crisp: $B/cmd/crisp.o $(call libs,cri oci image network api base)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(DAEMON_LIBS)

$B/crisp-image: $B/cmd/crisp-image.o $(call libs,image/fetch image base)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(IMAGE_LIBS)

# The monitor and the pod holder are static and use libc alone; a hundred of them share nearly all their pages. They are
# built without sanitizers, which need a dynamic libc; the tests build conmon's code once more with them.
STATIC_CFLAGS = $(filter-out -fsanitize% -fno-sanitize%,$(CFLAGS)) -Os
STATIC_OBJECTS := $(patsubst %.c,$B/static/%.o,$(wildcard conmon/*.c))

$B/crisp-monitor $B/crisp-pause: $B/crisp-%: $B/static/cmd/crisp-%.o $(STATIC_OBJECTS)
	$(CC) $(STATIC_CFLAGS) -static -Wl,--gc-sections -o $@ $^

$B/static/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(STATIC_CFLAGS) -MMD -MP -c -o $@ $<

# ---- objects ----

$B/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Generated code is compiled as it comes: its warnings are not ours.
$B/gen/%.o: $B/gen/%.c
	$(CC) $(CPPFLAGS) $(CFLAGS) -w -MMD -MP -c -o $@ $<

$B/gen/api/%.pb-c.c $B/gen/api/%.pb-c.h &: api/%.proto
	@mkdir -p $(@D)
	$(PROTOC_C) --c_out=$B/gen --proto_path=. api/$*.proto

define library_rule
$$(call library,$1): $$(call objects,$1)
	@rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach l,$(filter-out api,$(LIBRARIES)),$(eval $(call library_rule,$l)))

$(call library,api): $(api_GEN_C:.c=.o) $(call objects,api)
	@rm -f $@
	ar rcs $@ $^

# Whoever includes generated headers needs them first.
$(call objects,cri) $(call objects,oci): | $(api_GEN_H)

# ---- tests ----

UNIT_TESTS := $(patsubst test/unit/%.c,$B/test/%,$(wildcard test/unit/test_*.c))
.SECONDARY:

$B/test/%: $B/test/unit/%.o $(call libs,cri oci image/fetch image network conmon api base)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(IMAGE_LIBS) $(DAEMON_LIBS) -lcmocka

$(patsubst test/unit/%.c,$B/test/unit/%.o,$(wildcard test/unit/test_*.c)): | $(api_GEN_H)

.PHONY: check unit integration includes
check: includes unit integration

unit: $(UNIT_TESTS)
	@test/run-unit $^

integration: all
	test/integration/run --build $B

includes:
	@test/check-includes

-include $(shell find $B -name '*.d' 2>/dev/null)
