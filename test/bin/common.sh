# Sourced by the scripts beside it: a place to work, an ordinary user, and
# jacksync built and staged there.  Nothing is written outside of the place.

top=$(cd "$(dirname "$0")/../.." && pwd)
[ -f "$top/jacksync.control" ] || { echo "$0: $top is not the source of jacksync" >&2; exit 1; }

if [ -z "${PG_CONFIG:-}" ]; then
	for v in 18 17 15; do
		if [ -x /usr/lib/postgresql/$v/bin/postgres ] &&
			[ -f /usr/include/postgresql/$v/server/postgres.h ]; then
			PG_CONFIG=/usr/lib/postgresql/$v/bin/pg_config
			break
		fi
	done
	PG_CONFIG=${PG_CONFIG:-$(command -v pg_config || true)}
fi
[ -n "$PG_CONFIG" ] || { echo "pg_config was not found; set PG_CONFIG" >&2; exit 1; }
bindir=$("$PG_CONFIG" --bindir)
version=$("$bindir"/postgres --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')

# make_place NAME: sets $place and $run (prefix of commands of the user)
make_place() {
	place=$(mktemp -d "/tmp/jacksync-$1.XXXXXX")
	chmod 755 "$place"
	if [ "$(id -u)" = 0 ]; then
		user=postgres
		id "$user" >/dev/null 2>&1 || user=nobody
		run="setpriv --reuid=$user --regid=$(id -g $user) --clear-groups"
	else
		user=$(id -un)
		run=
	fi
	run="$run env -i PATH=$bindir:/usr/bin:/bin HOME=$place JACKSYNC_STAGE=$place/stage LC_ALL=C.UTF-8 TZ=UTC PG_CONFIG=$PG_CONFIG ${JACKSYNC_SHOTS:+JACKSYNC_SHOTS=$JACKSYNC_SHOTS} ${JACKSYNC_REQUIRE_CHROMIUM:+JACKSYNC_REQUIRE_CHROMIUM=1} ${JACKSYNC_REQUIRE_NGHTTPX:+JACKSYNC_REQUIRE_NGHTTPX=1} ${CRASH:+CRASH=$CRASH} ${SEED:+SEED=$SEED} ${MINUTES:+MINUTES=$MINUTES}"
}

# copy_source: the source into $place/src, without what was built
copy_source() {
	mkdir -p "$place/src" "$place/stage"
	(cd "$top" && tar cf - --exclude=.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' \
		--exclude=tmp_check --exclude=test/unit/build .) | tar xf - -C "$place/src" --no-same-owner
	[ "$(id -u)" = 0 ] && chown -R "$user" "$place"
	return 0
}

# fault_build: a second build, with the fault points (src/faultpoint.h); what
# has none of them need not be compiled again.  $place is its place from then.
fault_build() {
	local ordinary=$place
	place=$place/faults
	$run mkdir -p "$place/stage"
	$run cp -a "$ordinary/src" "$place/src"
	(cd "$place/src" && rm -f -- jacksync.so $(grep -l '^#include "faultpoint.h"' src/*.c | sed 's/c$/o/'))
	build COPT="${COPT:-} -DJACKSYNC_FAULTS"
}

# build: builds and stages; extra arguments go to make.  JACKSYNC_CCACHE=DIR
# (writable by the ordinary user) lets ccache remember what was compiled.
build() {
	local cache=
	if [ -n "${JACKSYNC_CCACHE:-}" ] && command -v ccache >/dev/null; then
		cache="env CCACHE_DIR=$JACKSYNC_CCACHE CCACHE_BASEDIR=$place CCACHE_NOHASHDIR=1 CCACHE_UMASK=000"
		set -- "$@" "CC=ccache gcc"
	fi
	$run $cache make -s -j"$(nproc)" -C "$place/src" with_llvm=no "PG_CONFIG=$PG_CONFIG" "$@" all
	$run make -s -C "$place/src" with_llvm=no "PG_CONFIG=$PG_CONFIG" "DESTDIR=$place/stage" "$@" install
	if [ "$version" -ge 18 ]; then
		printf "extension_control_path = '%s%s:\$system'\ndynamic_library_path = '%s%s:\$libdir'\n" \
			"$place/stage" "$("$PG_CONFIG" --sharedir)" \
			"$place/stage" "$("$PG_CONFIG" --pkglibdir)" >"$place/extra.conf"
	else
		printf "extension_destdir = '%s'\ndynamic_library_path = '%s%s:\$libdir'\n" \
			"$place/stage" "$place/stage" "$("$PG_CONFIG" --pkglibdir)" >"$place/extra.conf"
	fi
	chmod 644 "$place/extra.conf"
}
