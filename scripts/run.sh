#!/bin/sh
# Start the engine the way a newcomer should meet it: store in ./data, shipped rules, and the main
# job visible. Arguments after the binary are handed through.
set -eu
binary=$1
shift
exec "$binary" serve "$@"
