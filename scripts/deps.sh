#!/bin/sh
# Install what is missing on Debian 12; does nothing when all is there.
#   scripts/deps.sh build   compiler, meson, libraries
#   scripts/deps.sh test    the same plus the peers, clients and tools the test suite talks to
set -eu
what=${1:-build}
root=$(cd "$(dirname "$0")/.." && pwd)

build_packages="gcc g++ make meson ninja-build pkg-config liblmdb-dev libmicrohttpd-dev
 libsnappy-dev libyaml-dev libcurl4-gnutls-dev libgnutls28-dev libprotobuf-c-dev
 protobuf-c-compiler libre2-dev libsimdjson-dev libxxhash-dev libzstd-dev zlib1g-dev
 libdeflate-dev libcmocka-dev ca-certificates tzdata git"
test_packages="clang clang-format libclang-rt-14-dev python3 python3-venv curl strace prometheus
 prometheus-alertmanager victoria-metrics"

packages=$build_packages
[ "$what" = test ] && packages="$packages $test_packages"

missing=""
for package in $packages; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done

if [ -n "$missing" ]; then
    echo "installing:$missing" >&2
    sudo=""
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            echo "error: these packages are missing and neither root nor sudo is there:$missing" >&2
            exit 1
        fi
        sudo=sudo
    fi
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get update -qq
    # The peers' packages start services on their default ports; the suite starts its own.
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        $missing >/dev/null
    for service in prometheus prometheus-alertmanager victoria-metrics; do
        case "$missing" in
        *"$service"*)
            if [ -d /run/systemd/system ]; then
                $sudo systemctl disable --now "$service" >/dev/null 2>&1 ||
                    echo "note: could not stop the $service service" >&2
            fi
            ;;
        esac
    done
fi

if [ "$what" = test ]; then
    venv="$root/.venv"
    wanted="$root/tests/requirements.txt"
    if ! cmp -s "$wanted" "$venv/requirements.installed" 2>/dev/null; then
        echo "creating .venv with tests/requirements.txt" >&2
        python3 -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted"
        cp "$wanted" "$venv/requirements.installed"
    fi
fi
