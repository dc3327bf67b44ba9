#!/bin/bash
# Make the Debian tree that a test runs in, unless it is there already.
#   rootfs.sh SUITE ARCHITECTURE [bare]       prints where it is
# With systemd, Python and what a test of the package needs; a bare one has nothing but Debian's essential packages.
# Needs root, mmdebstrap and arch-test; another architecture needs qemu-user-static and some minutes.
set -eu
here=$(dirname "$(readlink -f "$0")")
cache=${ROOTFS_CACHE:-$here/../../build/rootfs}
mkdir -p "$cache"
tar=$(readlink -f "$cache")/${3:+$3-}$1-$2.tar
include=--include=systemd,systemd-sysv,dbus,python3,iproute2,procps,init-system-helpers,udev,kmod
[ "${3:-}" != bare ] || include=
exec 9>"$tar.lock"
flock 9
if [ ! -s "$tar" ]; then
	wrap=
	[ "$2" = "$(dpkg --print-architecture)" ] || wrap="python3 $here/with-arm64-binfmt.py"
	nice $wrap mmdebstrap --quiet --format=tar --variant=minbase --architectures="$2" \
		$include "$1" "$tar.new" ${MIRROR:+"$MIRROR"} >&2
	mv "$tar.new" "$tar"
fi
echo "$tar"
