#!/bin/bash
# The tests on PostgreSQL 17 and 18, and pg_upgrade from 15 to 17,
# in a chroot of Debian packages that is made once (JACKSYNC_CHROOT, by default /var/tmp/jacksync-chroot).  Inside,
# mounts, processes and network are its own; needs root.
#   multi.sh [VERSION ...]
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "multi.sh: skipped, needs root"; exit 0; }
root=${JACKSYNC_CHROOT:-/var/tmp/jacksync-chroot}
versions=${*:-17 18}

make_root() {
	local sources mirror
	sources=$(ls /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
	mirror=$(awk '/^URIs:/ {print $2; exit}' "${sources:-/dev/null}")
	[ -n "$mirror" ] || mirror=$(awk '$1 == "deb" {print $2; exit}' /etc/apt/sources.list)
	if ! command -v debootstrap >/dev/null; then
		apt-get update -q >/dev/null
		DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap >/dev/null
	fi
	rm -rf "$root"
	# the script of sid serves every suite that debootstrap does not know yet
	debootstrap --variant=minbase forky "$root" "$mirror" /usr/share/debootstrap/scripts/sid >/dev/null
	printf 'deb %s %s main\n' "$mirror" forky "$mirror" trixie "$mirror" bookworm >"$root/etc/apt/sources.list"
	rm -f "$root"/etc/apt/sources.list.d/*
	cat >"$root/etc/apt/apt.conf.d/90jacksync" <<-'EOT'
		APT::Install-Recommends "0";
		Acquire::Languages "none";
		Acquire::Check-Valid-Until "false";
		APT::Sandbox::User "root";
	EOT
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod +x "$root/usr/sbin/policy-rc.d"
	mkdir -p "$root/etc/postgresql-common"
	echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
	cp /etc/resolv.conf /etc/hosts "$root/etc/"
	mount -t proc proc "$root/proc"
	trap 'umount "$root/proc"' RETURN
	chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 sh -ec '
		apt-get update -q
		apt-get install -y -q postgresql-15 postgresql-17 postgresql-18 libpq-dev libcurl4-openssl-dev \
			libipc-run-perl nghttp2-proxy make gcc libc6-dev pkg-config python3-minimal python3
		# the headers alone: their package wants clang and llvm
		cd /tmp
		apt-get download -q postgresql-server-dev-15 postgresql-server-dev-17 postgresql-server-dev-18
		for package in postgresql-server-dev-*.deb; do dpkg -x $package /; done
		rm -f *.deb
		apt-get clean' >/dev/null
	touch "$root/made-by-jacksync-2"
}

if [ ! -f "$root/made-by-jacksync-2" ]; then
	echo "making a chroot with PostgreSQL 15, 17 and 18 in $root"
	make_root >"$root.log" 2>&1 || { tail -20 "$root.log"; exit 1; }
fi

# a package that tests need since the chroot was made
if [ ! -x "$root/usr/sbin/nghttpx" ]; then
	cp /etc/resolv.conf /etc/hosts "$root/etc/"
	chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 sh -ec '
		apt-get update -q
		apt-get install -y -q nghttp2-proxy
		apt-get clean' >"$root.log" 2>&1 || { tail -20 "$root.log"; exit 1; }
fi

# inside VERSION COMMAND
inside() {
	unshare --mount --pid --net --fork --kill-child --propagation private bash -ec '
		root=$1
		mount -t proc proc "$root/proc"
		mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
		mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
		mkdir -p "$root/src"
		mount --bind -o ro . "$root/src"
		ip link set lo up
		exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
			PG_CONFIG=/usr/lib/postgresql/$2/bin/pg_config CASES=100000 JACKSYNC_REQUIRE_NGHTTPX=1 \
			sh -c "cd /src && $3"' _ "$root" "$1" "$2"
}

for version in $versions; do
	inside "$version" "test/bin/strict.sh && test/bin/check.sh"
done
if [ $# = 0 ]; then
	# not on to 18: Debian's 17.12 dumps attribute options (pg_attver) that its
	# 18.6 does not know, so that pg_upgrade cannot restore the tables
	inside 17 "test/bin/upgrade.sh 15 17"
fi
