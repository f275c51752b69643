#!/bin/bash
# make deb: builds the Debian packages, for every PostgreSQL that is installed
# with its headers, and tries one.  DEBS is where they go (default: nowhere).
set -euo pipefail
cd "$(dirname "$0")"/../..
need=
for package in debhelper postgresql-server-dev-all dpkg-dev fakeroot; do
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || need="$need $package"
done
if [ -n "$need" ]; then
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update -q >/dev/null
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $need >/dev/null
fi
test/bin/deps.sh
place=$(mktemp -d /tmp/jacksync-deb.XXXXXX)
trap 'rm -rf "$place"' EXIT
version=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" jacksync.control)
mkdir "$place/jacksync-$version"
tar cf - --exclude=.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' . | tar xf - -C "$place/jacksync-$version"
cd "$place/jacksync-$version"
cp -r doc/packaging/debian debian
pg_buildext updatecontrol
dpkg-buildpackage -b -us -uc >"$place/log" 2>&1 || { tail -40 "$place/log"; exit 1; }
for deb in "$place"/postgresql-*-jacksync_*.deb; do
	files=$(dpkg-deb -c "$deb" | awk '{print $6}')
	for file in jacksync.so jacksync.control "jacksync--$version.sql"; do
		grep -q "/$file\$" <<<"$files" || { echo "$(basename "$deb") lacks $file" >&2; exit 1; }
	done
	echo "$(basename "$deb"): $(dpkg-deb -f "$deb" Depends)"
	[ -z "${DEBS:-}" ] || cp "$deb" "$DEBS"
done
