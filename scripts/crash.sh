#!/usr/bin/env bash
# The crash campaigns at length, one after the other; each prints the seeds that repeat it.
#   scripts/crash.sh BUILD_DIR      (CRASH_SEED: the first seed, default 100000)
set -euo pipefail
crash="$1/tests/crash"
seed="${CRASH_SEED:-100000}"
"$crash/killloop" --writer "$crash/crash_writer" --cycles 20000 --seed "$seed"
"$crash/powerloss" --writer "$crash/crash_writer" --shim "$PWD/$crash/libcrash_shim.so" \
  --tocsin "$1/tocsin" --states 200000 --seed "$seed"
"$crash/bitflip" --writer "$crash/crash_writer" --flips 100000 --tocsin "$1/tocsin" --seed "$seed"
for fault in eio enospc; do
  "$crash/killloop" --writer "$crash/crash_writer" --cycles 2000 --fault "$fault" --seed "$seed"
done
