#!/bin/sh
# Builds GraphiQL into server/static/, where the server finds it. Quick where nothing changed.
# `build.sh --packages` installs the npm packages that the tests need, and builds nothing. See scripts/build.mjs.
exec "$(dirname -- "$0")/node" "$(dirname -- "$0")/scripts/build.mjs" "$@"
