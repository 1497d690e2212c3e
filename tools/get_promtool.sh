#!/usr/bin/env bash
# Put Prometheus' promtool, of Debian's or Ubuntu's package, into a folder: get_promtool.sh FOLDER
#
# Only that program: the package itself would start a server. Without it some tests are skipped.
set -euo pipefail
folder=$1
command -v promtool >/dev/null && exit
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "promtool is neither here nor, without apt-get, to be had: the tests of alerts skip." >&2
    exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Where root downloads, apt would have another user write into the folder.
download() { (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download prometheus); }

if ! download 2>"$work/said"; then
    [ "$(id -u)" != 0 ] || apt-get update -qq
    if ! download 2>"$work/said"; then
        cat "$work/said" >&2
        echo "promtool cannot be had: run apt-get update as root. The tests of alerts skip." >&2
        exit
    fi
fi
dpkg-deb -x "$work"/prometheus_*.deb "$work/package"
install -m 755 "$work/package/usr/bin/promtool" "$folder/promtool"
