# What the scripts of the hosts share; to be sourced. Leaves the shell in the project's root. They
# share an installed copy and its data too: run one at a time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Where they work. The name has what is hard on scripts and tools, a space, a letter outside ASCII
# and the library's own name: what works here works wherever the checkout lies.
hosts=$PWD/target/hosts/'ä b'/libvaekl

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# apt_install PACKAGE...
apt_install() {
  echo "installing $*" >&2
  local install=(apt-get install -y --no-install-recommends "$@")
  as_root "${install[@]}" >/dev/null 2>&1 ||
    { as_root apt-get update >/dev/null && as_root "${install[@]}" >/dev/null; }
}

# need COMMAND PACKAGE...: installs the packages where the command is missing.
need() {
  # The program, not what the shell has of its own: the tests run kill.
  type -P "$1" >/dev/null || apt_install "${@:2}"
}

# The Debian archive that apt uses, or the public one.
debian_mirror() {
  local mirror
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' |
    awk '/^http/ && !n++')
  mirror=${mirror:-http://deb.debian.org/debian}
  echo "${mirror%/}"
}

# The library, installed as a user would, and the pictures to compare with:
#   VAEKL_PREFIX      what `make install` gave
#   VAEKL_TEST_DATA   what scripts/hosts/data.py lists
#   VAEKL_COMMAND     the command
prepare() {
  need make make
  need pkg-config pkg-config
  export VAEKL_PREFIX=$hosts/prefix VAEKL_TEST_DATA=$hosts/data
  export VAEKL_COMMAND=$VAEKL_PREFIX/bin/vaekl
  export PKG_CONFIG_PATH=$VAEKL_PREFIX/lib/pkgconfig LD_LIBRARY_PATH=$VAEKL_PREFIX/lib
  rm -rf "$VAEKL_PREFIX"
  make --silent install PREFIX="$VAEKL_PREFIX"
  python3 scripts/hosts/data.py "$VAEKL_COMMAND" "$VAEKL_TEST_DATA"
}

# pkg_flags ARGUMENT...: sets `flags` to the words that pkg-config prints, quoted for a shell.
pkg_flags() {
  local printed
  printed=$(pkg-config "$@")
  eval "flags=($printed)"
}
