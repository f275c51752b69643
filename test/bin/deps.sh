#!/bin/sh
# Installs what is missing to build and demonstrate jacksync on Debian; with
# the argument "tests", also what only tests need.  Does nothing, quickly, if
# all is there.
set -eu

missing=
need() { missing="$missing $1"; }

command -v make >/dev/null || need make
command -v gcc >/dev/null || need gcc
command -v pkg-config >/dev/null || need pkg-config
command -v python3 >/dev/null || [ -x /usr/bin/python3 ] || need python3
pkg-config --exists libcurl 2>/dev/null || need libcurl4-openssl-dev
perl -MIPC::Run -e 1 2>/dev/null || need libipc-run-perl

# the server: the one of PG_CONFIG, else the newest that is installed
pg=${PG_CONFIG:-}
if [ -z "$pg" ]; then
	for v in 18 17 15; do
		[ -x /usr/lib/postgresql/$v/bin/postgres ] && { pg=/usr/lib/postgresql/$v/bin/pg_config; break; }
	done
fi
if [ -z "$pg" ]; then
	# the major that this Debian has
	case $(. /etc/os-release 2>/dev/null && echo "${VERSION_ID:-}") in
		12) need "postgresql-15 postgresql-server-dev-15" ;;
		13) need "postgresql-17 postgresql-server-dev-17" ;;
		*) need "postgresql postgresql-server-dev-all" ;;
	esac
else
	version=$(echo "$pg" | sed -n 's,^/usr/lib/postgresql/\([0-9]*\)/bin/pg_config$,\1,p')
	if [ -n "$version" ]; then
		[ -x /usr/lib/postgresql/"$version"/bin/postgres ] || need "postgresql-$version"
		[ -f /usr/include/postgresql/"$version"/server/postgres.h ] ||
			need "postgresql-$version postgresql-server-dev-$version"
	fi
fi

sudo=
[ "$(id -u)" = 0 ] || sudo=$(command -v sudo || true)

# install PACKAGES
install() {
	local log
	if [ "$(id -u)" != 0 ] && [ -z "$sudo" ]; then
		echo "jacksync needs these packages, and sudo is not there to install them: $*" >&2
		return 1
	fi
	command -v apt-get >/dev/null || {
		echo "jacksync needs these packages (names of Debian): $*" >&2
		return 1
	}
	echo "installing: $*"
	log=$(mktemp)
	if ! { $sudo apt-get update -q && $sudo env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -q --no-install-recommends "$@"; } >"$log" 2>&1; then
		tail -20 "$log" >&2
		rm -f "$log"
		return 1
	fi
	rm -f "$log"
}

[ -z "$missing" ] || install $missing || exit 1

# without nghttpx a test is skipped, and says so; in CI it fails instead.  Its
# package also brings a service, which nobody wants here.
if [ "${1:-}" = tests ] && [ ! -x /usr/sbin/nghttpx ] && ! command -v nghttpx >/dev/null; then
	[ ! -d /run/systemd/system ] || $sudo systemctl mask nghttpx.service >/dev/null 2>&1 || true
	install nghttp2-proxy || [ -z "${JACKSYNC_REQUIRE_NGHTTPX:-}" ] || exit 1
fi
