#!/bin/sh
# make dist: jacksync-VERSION.tar.gz of what is committed, the same bytes from
# the same commit wherever it is made.
set -eu
cd "$(dirname "$0")"/../..
version=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" jacksync.control)
name=jacksync-$version
out=${DIST:-.}/$name.tar.gz
git rev-parse --git-dir >/dev/null 2>&1 || { echo "make dist needs a git checkout" >&2; exit 1; }
git -c core.autocrlf=false archive --format=tar --prefix="$name/" HEAD | gzip -9n >"$out"
echo "$out"
