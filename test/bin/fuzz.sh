#!/bin/sh
# fuzz.sh [SECONDS]: libFuzzer on the pure core; installs clang if need be.
set -eu
cd "$(dirname "$0")"/../unit
build=$(mktemp -d /tmp/jacksync-fuzz.XXXXXX)
trap 'rm -rf "$build"' EXIT
echo 'int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { (void) d; (void) n; return 0; }' >"$build/try.c"
if ! clang -fsanitize=fuzzer,address -o "$build/try" "$build/try.c" 2>/dev/null; then
	version=$(apt-cache depends clang | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p')
	apt-get update -q >/dev/null
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends clang "libclang-rt-$version-dev" >/dev/null
fi
make -s fuzz BUILD="$build" SECONDS="${1:-60}" >"$build/log" 2>&1 || { tail -30 "$build/log"; exit 1; }
tail -1 "$build/log"
