#!/usr/bin/env bash
# The long mixed soak, under ThreadSanitizer and under AddressSanitizer with UBSan.
#   scripts/soak.sh      (SOAK_SECONDS: for each, default 600; CRASH_SEED: default 1)
set -euo pipefail
cd "$(dirname "$0")/.."
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1
export TSAN_OPTIONS=halt_on_error=1
for kind in tsan=thread asan=address,undefined; do
  dir="build-${kind%%=*}"
  if [ ! -f "$dir/build.ninja" ]; then
    CC=gcc CXX=g++ meson setup "$dir" "-Db_sanitize=${kind#*=}" -Dbuildtype=debugoptimized >/dev/null
  fi
  ninja -C "$dir" --quiet tests/crash/soak tocsin
  "$dir/tests/crash/soak" --seconds "${SOAK_SECONDS:-600}" --seed "${CRASH_SEED:-1}" \
    --tocsin "$dir/tocsin"
done
