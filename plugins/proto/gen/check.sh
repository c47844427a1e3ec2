#!/bin/sh
# Exits 1 when the generated code in plugins/pb differs from what the .proto
# files give.
set -eu
cd "$(dirname "$0")"
exec go run . -check
