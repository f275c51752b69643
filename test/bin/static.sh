#!/bin/bash
# Static analysis of the C code: gcc -fanalyzer, cppcheck, clang-tidy.  What
# they say is mended, or explained where it stands by a comment that silences
# it.
#   static.sh [gcc|cppcheck|tidy ...]
set -euo pipefail
. "$(dirname "$0")"/common.sh
make_place static
trap 'rm -rf "$place"' EXIT
copy_source
unset JACKSYNC_CCACHE
cd "$place/src"
includes="-I$("$PG_CONFIG" --includedir-server) $(pkg-config --cflags libcurl) -Isrc"
echo '#define JACKSYNC_VERSION "0"' >version.h
defines="-include version.h -DPGDLLEXPORT= -D_GNU_SOURCE"
tools=${*:-gcc cppcheck tidy}
for command in gcc:gcc cppcheck:cppcheck tidy:clang-tidy; do
	case " $tools " in *" ${command%%:*} "*) ;; *) continue ;; esac
	command -v "${command#*:}" >/dev/null || {
		apt-get update -q >/dev/null
		DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${command#*:}" >/dev/null
	}
done
bad=0

for tool in $tools; do
	case $tool in
	gcc)
		# Off: leaks (it loses what is linked into a list), and what might be NULL
		# (it knows neither ereport() nor that allocations do not fail)
		printf '%s\n' src/*.c | xargs -P "$(nproc)" -I{} sh -c \
			"gcc -std=gnu99 -O2 -fanalyzer -fdiagnostics-plain-output -fdiagnostics-path-format=none -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
			 -Wno-missing-field-initializers -Wno-cast-function-type -Wno-clobbered -Wno-analyzer-too-complex -Wno-analyzer-malloc-leak -Wno-analyzer-null-dereference -Wno-analyzer-null-argument -Wno-analyzer-possible-null-dereference \
			 -Werror $includes $defines -c {} -o /dev/null" || bad=1
		;;
	cppcheck)
		cppcheck --quiet --enable=warning,performance,portability --std=c99 --inline-suppr \
			--template=gcc --error-exitcode=1 -j "$(nproc)" \
			--suppress=missingInclude src/*.c || bad=1
		;;
	tidy)
		# Off: what might be NULL (an empty List is NULL, and PostgreSQL's own macros
		# for lists are what it complains about)
		checks='-*,bugprone-*,clang-analyzer-*,cert-*,portability-*'
		checks+=',-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier'
		checks+=',-bugprone-macro-parentheses,-bugprone-assignment-in-if-condition'
		checks+=',-bugprone-narrowing-conversions,-bugprone-signed-char-misuse,-bugprone-branch-clone'
		checks+=',-bugprone-implicit-widening-of-multiplication-result,-clang-analyzer-core.NullDereference,-clang-analyzer-core.NonNullParamChecker'
		checks+=',-cert-dcl37-c,-cert-dcl51-cpp,-cert-str34-c,-cert-err33-c,-cert-err34-c'
		printf '%s\n' src/*.c | xargs -P "$(nproc)" -I{} \
			clang-tidy --quiet --warnings-as-errors='*' -checks="$checks" {} -- -std=gnu99 $includes $defines \
			2>/dev/null || bad=1
		;;
	esac
done
[ "$bad" = 0 ] || exit 1
echo "no findings: $tools"
