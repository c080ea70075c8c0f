#!/bin/sh
# Starts LocalStack (S3 only) without Docker, on a free port of the loopback interface, and prints the settings that
# lead to it as lines for `export`:
#
#   eval "$(localstack/start.sh | sed 's/^/export /')"
#
# The first run installs LocalStack from PyPI by name into .cache/localstack (about 20 s, 200 MB). Where one that this
# script started still answers, its settings are printed again and nothing is started; two runs at once end with one
# server. localstack/stop.sh ends it. What it stores is kept in memory and ends with it.
#
#   LOCALSTACK_PORT   a fixed port instead of a free one
#   LOCALSTACK_DIRECTORY   where it is installed and keeps its files, instead of .cache/localstack
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
home=${LOCALSTACK_DIRECTORY:-$root/.cache/localstack}
python=$home/venv/bin/python
# 4.13.1 is the newest version that runs on Python 3.10 and 3.11 and needs no account. Newer releases of the other three
# no longer have what it uses, and it does not bound them itself.
packages='localstack-core[base-runtime]==4.13.1 cbor2<5.9 service-identity<26 pyopenssl<26'

say() { printf 'localstack: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Only a healthy answer on the recorded port counts: a process id alone may by now belong to something else.
healthy() {
  "$python" - "$1" 2>/dev/null <<'PYTHON'
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(f'http://127.0.0.1:{sys.argv[1]}/_localstack/health', timeout=5) as answer:
    sys.exit(0 if b'"s3"' in answer.read() else 1)
PYTHON
}

print_settings() {
  printf 'AWS_ENDPOINT_URL_S3=http://127.0.0.1:%s\n' "$1"
  printf 'AWS_ACCESS_KEY_ID=test\nAWS_SECRET_ACCESS_KEY=test\nAWS_REGION=us-east-1\n'
}

running() {
  [ -f "$home/pid" ] && [ -f "$home/port" ] && [ -x "$python" ] && kill -0 "$(cat "$home/pid")" 2>/dev/null &&
    healthy "$(cat "$home/port")"
}

# One start at a time: the directory is the lock, and names its owner so that a lock left by a killed run is no obstacle.
lock() {
  attempts=0
  until mkdir "$home/lock" 2>/dev/null; do
    owner=$(cat "$home/lock/pid" 2>/dev/null || true)
    if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
      rm -rf "$home/lock"
      continue
    fi
    attempts=$((attempts + 1))
    [ "$attempts" -le 300 ] || die "another start holds \"$home/lock\" since 5 minutes"
    sleep 1
  done
  echo $$ >"$home/lock/pid"
  trap 'rm -rf "$home/lock"' EXIT
  trap 'exit 1' HUP INT TERM
}

install() {
  [ -f "$home/installed" ] && [ "$(cat "$home/installed")" = "$packages" ] && [ -x "$python" ] && return
  command -v python3 >/dev/null || die 'python3 is needed'
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die 'Python 3.10 or newer is needed'
  say "installing $packages"
  rm -rf "$home/venv"
  python3 -m venv "$home/venv" >&2 || die 'python3 -m venv failed; on Debian it is in the package python3-venv'
  # shellcheck disable=SC2086 # one word a package
  "$python" -m pip install --quiet --disable-pip-version-check $packages >&2
  printf '%s' "$packages" >"$home/installed"
}

free_port() {
  "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start() {
  port=${LOCALSTACK_PORT:-$(free_port)}
  rm -f "$home/pid" "$home/port"
  # XDG_CACHE_HOME: the plugin list that LocalStack caches would otherwise be shared with every other version in $HOME.
  # The redirections let go of the caller's pipes, so that $(start.sh) ends.
  SERVICES=s3 GATEWAY_LISTEN=127.0.0.1:$port GATEWAY_SERVER=hypercorn SKIP_SSL_CERT_DOWNLOAD=1 DISABLE_EVENTS=1 \
    DNS_ADDRESS=0 FILESYSTEM_ROOT=$home/root XDG_CACHE_HOME=$home/cache \
    nohup "$python" -m localstack.runtime.main </dev/null >"$home/log" 2>&1 &
  pid=$!
  echo "$pid" >"$home/pid"
  attempts=0
  until healthy "$port"; do
    kill -0 "$pid" 2>/dev/null || { tail -n 20 "$home/log" >&2; rm -f "$home/pid"; die "it ended; see \"$home/log\""; }
    attempts=$((attempts + 1))
    if [ "$attempts" -gt 120 ]; then
      kill "$pid" 2>/dev/null || true
      rm -f "$home/pid"
      die "it did not answer within a minute; see \"$home/log\""
    fi
    sleep 0.5
  done
  echo "$port" >"$home/port"
}

mkdir -p "$home"
lock
install
if running; then
  say "already running"
else
  start
fi
print_settings "$(cat "$home/port")"
