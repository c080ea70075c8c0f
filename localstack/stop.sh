#!/bin/sh
# Ends the LocalStack that localstack/start.sh started. It is no error when none is running.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
home=${LOCALSTACK_DIRECTORY:-$root/.cache/localstack}
[ -f "$home/pid" ] || exit 0
pid=$(cat "$home/pid")

# The process id may have been given to something else since.
ours() { ps -p "$pid" -o args= 2>/dev/null | grep -q 'localstack\.runtime\.main'; }

attempts=0
while ours; do
  # It has nothing to save: a second of grace is enough.
  if [ "$attempts" -lt 10 ]; then kill "$pid" 2>/dev/null || true; else kill -9 "$pid" 2>/dev/null || true; fi
  attempts=$((attempts + 1))
  [ "$attempts" -le 100 ] || { echo "localstack: process $pid does not end" >&2; exit 1; }
  sleep 0.1
done
rm -f "$home/pid" "$home/port"
