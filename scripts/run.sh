#!/bin/sh
# Start the engine the way a newcomer should meet it: store in ./data, shipped rules, and a word on
# where to look. Arguments after the binary are handed through.
set -eu
binary=$1
shift
address="127.0.0.1:${METRICS_PORT:-9090}"
cat <<TEXT

  tocsin keeps its store in ./data and reads the rules in rules.d/.
  Look:   http://$address/        alerts, inbox, receivers, sources
  Push:   curl http://$address/v1/events -d '{"kind":"request","app":"demo","method":"GET","route":"/","status":500,"duration_ms":12}'
  Ask:    $binary query instant http://$address 'demo_requests_total'
  Stop:   Ctrl-C

TEXT
exec "$binary" serve "$@"
