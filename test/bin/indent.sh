#!/bin/bash
# Is the C code laid out as pgindent would?  With -i it is laid out so.
# pg_bsd_indent must be 2.1.1 (bookworm) or 2.1.2; another one is not asked.
set -euo pipefail
. "$(dirname "$0")"/common.sh
cd "$top"
command -v pg_bsd_indent >/dev/null || {
	apt-get update -q >/dev/null
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends pg-bsd-indent >/dev/null || {
		echo "indent.sh: skipped, there is no pg_bsd_indent"
		exit 0
	}
}
make_place indent
trap 'rm -rf "$place"' EXIT
copy_source
build >/dev/null
# ours, and those of PostgreSQL that we use: the objects know them
{
	cat src/typedefs.list
	find "$place/src/src" -name '*.o' -exec objdump -Wi {} + 2>/dev/null |
		awk '/DW_TAG_typedef/ {f = 1} f && /DW_AT_name/ {print $NF; f = 0}' | grep -v '^_' || true
} | grep -vx text | sort -u >"$place/typedefs"	# we have more variables of that name
bad=0
for file in src/*.c src/*.h; do
	cp "$file" "$place/x.c"
	# it leaves a backup where it is called
	(cd "$place" && pg_bsd_indent -bad -bap -bbb -bc -bl -cli1 -cp33 -cdb -nce -d0 -di12 -nfc1 -i4 -l79 -lp -lpl -nip -npro -sac -tpg -ts4 \
		-U"$place/typedefs" x.c >/dev/null 2>&1) || true
	cmp -s "$file" "$place/x.c" && continue
	bad=$((bad + 1))
	if [ "${1:-}" = -i ]; then
		cat "$place/x.c" >"$file"
		echo "laid out: $file"
	else
		diff -u "$file" "$place/x.c" | sed "2s,$place/x.c,$file," | head -${SHOW:-20} || true
	fi
done
[ "${1:-}" = -i ] && exit 0
[ "$bad" = 0 ] || { echo "$bad files are not laid out as pgindent would: make indent"; exit 1; }
echo "all files are laid out as pgindent would"
