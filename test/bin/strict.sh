#!/bin/bash
# Builds with every warning an error: for CI, never for users.
set -euo pipefail
. "$(dirname "$0")"/common.sh
make_place strict
trap 'rm -rf "$place"' EXIT
copy_source
build COPT="-Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-clobbered -Wno-cast-function-type"
echo "no warnings with PostgreSQL $version"
