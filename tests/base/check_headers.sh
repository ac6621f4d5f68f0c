#!/bin/sh
# Goal: every public header of base/ and model/ compiles on its own and twice. Method: one syntax
# check per header with the project's own compiler.
# Usage: check_headers.sh <source root> <compiler> [<argument>...]
set -u
root=$1
shift
count=0
failed=0
headers=$(cd "$root" && ls base/*.h model/*.h)
echo "TAP version 13"
for header in $headers; do
    count=$((count + 1))
    if printf '#include "%s"\n#include "%s"\nint header_check;\n' "$header" "$header" |
        "$@" -std=c17 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$root" \
            -x c -; then
        echo "ok $count - $header"
    else
        failed=$((failed + 1))
        echo "not ok $count - $header"
    fi
done
echo "1..$count"
[ "$failed" -eq 0 ]
