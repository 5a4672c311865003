# Installs the command, and the library for programs in C and in what links C: headers, shared and
# static library, pkg-config and CMake files, on Linux. Needs Rust. PREFIX, BINDIR, LIBDIR,
# INCLUDEDIR and DESTDIR are what they are elsewhere: absolute paths, with any characters that
# `paths` lets through. TARGET is a Rust target to build for, the machine's own if empty.

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
# What rustc prints that the static library needs, less -lgcc_s: the compiler adds that by itself,
# and -lgcc_eh in its place with -static. scripts/hosts/c compares.
STATIC_LIBS := -lutil -lrt -lpthread -lm -ldl -lc

BUILT := $(or $(CARGO_TARGET_DIR),target)/$(if $(TARGET),$(TARGET)/)release

# A word for the shell, whatever it contains.
quoted = '$(subst ','\'',$1)'
built := $(call quoted,$(BUILT))
bin := $(call quoted,$(DESTDIR)$(BINDIR))
lib := $(call quoted,$(DESTDIR)$(LIBDIR))
include := $(call quoted,$(DESTDIR)$(INCLUDEDIR))

space := $(subst ,, )
# A path as sed's replacement, for vaekl.pc, where a space has a backslash before it.
for_pc = $(subst |,\|,$(subst &,\&,$(subst $(space),\\$(space),$1)))
# The same for `=PATH`, relative to the prefix where it is below. The sign holds the place:
# patsubst, which needs none, would take a path with a space for two.
below_prefix = $(call for_pc,$(subst =$(PREFIX)/,=$${prefix}/,=$1))

.PHONY: build paths install uninstall

build:
	$(CARGO) build --release --workspace --features capi --quiet $(if $(TARGET),--target $(TARGET))

install: paths build
	$(INSTALL) -d $(bin) $(include) $(lib)/pkgconfig $(lib)/cmake/vaekl
	$(INSTALL) -m 755 $(built)/vaekl $(bin)
	$(INSTALL) -m 644 include/vaekl.h bindings/cpp/vaekl.hpp $(include)
	$(INSTALL) -m 755 $(built)/libvaekl.so $(lib)/libvaekl.so.$(VERSION)
	ln -sf libvaekl.so.$(VERSION) $(lib)/$(SONAME)
	ln -sf $(SONAME) $(lib)/libvaekl.so
	$(INSTALL) -m 644 $(built)/libvaekl.a $(lib)
	sed -e $(call quoted,s|@PREFIX@|$(call for_pc,$(PC_PREFIX))|) \
	  -e $(call quoted,s|=@LIBDIR@|$(call below_prefix,$(LIBDIR))|) \
	  -e $(call quoted,s|=@INCLUDEDIR@|$(call below_prefix,$(INCLUDEDIR))|) \
	  -e 's|@VERSION@|$(VERSION)|' -e 's|@STATIC_LIBS@|$(STATIC_LIBS)|' \
	  packaging/vaekl.pc.in > $(lib)/pkgconfig/vaekl.pc
	$(INSTALL) -m 644 packaging/cmake/*.cmake $(lib)/cmake/vaekl

uninstall: paths
	rm -f $(bin)/vaekl $(include)/vaekl.h $(include)/vaekl.hpp \
	  $(lib)/libvaekl.so $(lib)/$(SONAME) $(lib)/libvaekl.so.$(VERSION) \
	  $(lib)/libvaekl.a $(lib)/pkgconfig/vaekl.pc
	rm -rf $(lib)/cmake/vaekl

# Refuses, before anything is written, the paths that would lead elsewhere: `$x`, which make reads
# as a variable, relative ones, and those that pkg-config would not give back.
paths:
	@:$(foreach name,DESTDIR PREFIX BINDIR LIBDIR INCLUDEDIR,$(call refuse_lost_dollar,$(name)))\
	$(foreach name,BINDIR LIBDIR INCLUDEDIR,$(call refuse_relative,$(name)))\
	$(if $(PC_PREFIX:$${pcfiledir}%=),$(call refuse_relative,PC_PREFIX))\
	$(foreach name,PC_PREFIX LIBDIR INCLUDEDIR,$(call refuse_for_pc,$(name)))\
	$(if $(findstring $(newline),$(DESTDIR)$(BINDIR)),$(error a path has a line break))\
	$(if $(filter =-%,$(firstword =$(DESTDIR))),$(error DESTDIR begins with -))

define newline


endef
tab := $(shell printf '\t')
open := (
close := )
unheld := " ' \ \# $$ $(open) $(close)
refuse_lost_dollar = $(if $(findstring $$,$(subst $${,,$(subst $$$(open),,$(subst \
  $$$$,,$(value $1))))),$(error $1=$(value $1): write $$$$ for a dollar sign))
refuse_relative = $(if $(filter =/%,$(firstword =$($1))),,$(error $1=$($1): not an absolute path))
refuse_for_pc = $(foreach sign,$(unheld),$(if $(findstring $(sign),$($1:$${pcfiledir}%=%)),$(error \
  $($1): pkg-config does not take a path with $(sign))))$(if $(findstring \
  $(tab),$($1))$(findstring $(newline),$($1)),$(error $($1): pkg-config does not take a path \
  with a tab or line break))
