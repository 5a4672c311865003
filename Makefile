# Installs the command, and the library for programs in C and in what links C: headers, shared and
# static library, pkg-config and CMake files, on Linux. Needs Rust. PREFIX, BINDIR, LIBDIR,
# INCLUDEDIR and DESTDIR are what they are elsewhere, and may have spaces; TARGET is a Rust target
# to build for, the machine's own if empty.

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
# Where vaekl.pc says that it was installed; scripts/package makes it relative.
PC_PREFIX ?= $(PREFIX)
TARGET ?= $(CARGO_BUILD_TARGET)
CARGO ?= cargo
INSTALL ?= install

VERSION := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml)
SONAME := libvaekl.so.0
# What the static library needs, as rustc prints it; scripts/hosts/c compares.
STATIC_LIBS := -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc

BUILT := $(or $(CARGO_TARGET_DIR),target)/$(if $(TARGET),$(TARGET)/)release
bin := $(DESTDIR)$(BINDIR)
lib := $(DESTDIR)$(LIBDIR)
include := $(DESTDIR)$(INCLUDEDIR)

space := $(subst ,, )
# A path for vaekl.pc, where a space has a backslash before it; sed writes one for two.
for_pc = $(subst &,\&,$(subst $(space),\\$(space),$1))
# The same for `=PATH`, relative to the prefix where it is below. The sign holds the place:
# patsubst, which needs none, would take a path with a space for two.
below_prefix = $(call for_pc,$(subst =$(PREFIX)/,=$${prefix}/,=$1))

.PHONY: build install uninstall

build:
	$(CARGO) build --release --workspace --features capi --quiet $(if $(TARGET),--target $(TARGET))

install: build
	$(INSTALL) -d "$(bin)" "$(include)" "$(lib)/pkgconfig" "$(lib)/cmake/vaekl"
	$(INSTALL) -m 755 "$(BUILT)/vaekl" "$(bin)"
	$(INSTALL) -m 644 include/vaekl.h bindings/cpp/vaekl.hpp "$(include)"
	$(INSTALL) -m 755 "$(BUILT)/libvaekl.so" "$(lib)/libvaekl.so.$(VERSION)"
	ln -sf libvaekl.so.$(VERSION) "$(lib)/$(SONAME)"
	ln -sf $(SONAME) "$(lib)/libvaekl.so"
	$(INSTALL) -m 644 "$(BUILT)/libvaekl.a" "$(lib)"
	sed -e 's|@PREFIX@|$(call for_pc,$(PC_PREFIX))|' \
	  -e 's|=@LIBDIR@|$(call below_prefix,$(LIBDIR))|' \
	  -e 's|=@INCLUDEDIR@|$(call below_prefix,$(INCLUDEDIR))|' \
	  -e 's|@VERSION@|$(VERSION)|' -e 's|@STATIC_LIBS@|$(STATIC_LIBS)|' \
	  packaging/vaekl.pc.in > "$(lib)/pkgconfig/vaekl.pc"
	$(INSTALL) -m 644 packaging/cmake/*.cmake "$(lib)/cmake/vaekl"

uninstall:
	rm -f "$(bin)/vaekl" "$(include)/vaekl.h" "$(include)/vaekl.hpp" \
	  "$(lib)/libvaekl.so" "$(lib)/$(SONAME)" "$(lib)/libvaekl.so.$(VERSION)" \
	  "$(lib)/libvaekl.a" "$(lib)/pkgconfig/vaekl.pc"
	rm -rf "$(lib)/cmake/vaekl"
