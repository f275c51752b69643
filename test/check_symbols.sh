#!/bin/sh
# Only what the server calls may leave the library: libraries are loaded with
# RTLD_GLOBAL, so every other symbol could meet another extension's.
bad=$(nm -D --defined-only jacksync.so | awk '{print $3}' |
	grep -Ev '^(_PG_init|Pg_magic_func|pg_finfo_jacksync_[a-z_]+|jacksync_[a-z_]+)$')
if [ -n "$bad" ]; then
	echo "symbols: these leave the library:"
	echo "$bad"
	exit 1
fi
echo "symbols: ok"
