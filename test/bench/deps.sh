#!/bin/sh
# Contenders of the benchmark that come as Debian packages: an application's
# own loop (psycopg2), and pgq.  What cannot be installed is left out, aloud.
#
#   deps.sh MAJOR      of the server
set -u
missing=
/usr/bin/python3 -c 'import psycopg2' 2>/dev/null || missing="$missing python3-psycopg2"
[ -e "$("$PG_CONFIG" --sharedir)/extension/pgq.control" ] || missing="$missing postgresql-$1-pgq3"
[ -z "$missing" ] && exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo="sudo -n"
for package in $missing; do
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$package" >/dev/null 2>&1 ||
		{ $sudo apt-get update -q && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$package"; } >/dev/null 2>&1 ||
		echo "not compared: package $package could not be installed"
done
