#!/bin/bash
# Check the files that build.py makes: lintian has nothing against the packages, two builds give the same bytes, and
# the single file runs without HOME and on a read-only system.
#   check.sh [DIRECTORY]     checks what was built there before; without one it builds first
# Needs uv, dpkg-deb and lintian; as root it also tries a read-only system.
set -eu
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d /var/tmp/chat-relay-check.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
built=${1:-}
if [ -z "$built" ]; then
	built=$work/first
	uv run "$here/build.py" --out "$built" >/dev/null
fi

# Another time, place and mask must not show.
umask 022
(umask 077 && cd / && TZ=Asia/Tokyo uv run --project "$here/.." "$here/build.py" --out "$work/second" >/dev/null)
for one in "$built"/*; do
	[ -f "$one" ] || continue
	cmp "$one" "$work/second/$(basename "$one")"
	echo "ok   built twice, the same bytes: $(basename "$one")"
done

lintian --fail-on error,warning "$built"/*.deb
echo "ok   lintian has no errors and no warnings"
for one in "$built"/*.deb; do
	dpkg-deb -c "$one" >"$work/list"
	! grep -E '\.pyc|/tests?/|\.cpp$' "$work/list" || { echo "FAIL $one holds what nobody needs"; exit 1; }
	for python in 311 312 313 314; do
		grep -q "msgspec/_core.cpython-$python" "$work/list" || { echo "FAIL $one: not for Python $python"; exit 1; }
	done
done
echo "ok   packages hold compiled modules for every Python"

# A copy: what was built may lie where the read-only system below has something else.
relay=$work/relay
cp "$built/relay" "$relay"
version=$(sed -n 's/__version__ = "\(.*\)"/\1/p' "$here/../relay/__init__.py")
clean="env -i PATH=$PATH"
[ "$($clean HOME="$work/home" "$relay" version)" = "$version" ]
[ "$($clean CHAT_RELAY_CACHE="$work/cache" "$relay" version)" = "$version" ]
echo "ok   the single file runs with HOME or with one directory"
said=$($clean "$relay" version 2>&1) && { echo "FAIL runs without any directory"; exit 1; }
case $said in *CHAT_RELAY_CACHE=*) echo "ok   and says what it needs where it has neither" ;; *) echo "FAIL $said"; exit 1 ;; esac
if [ "$(id -u)" = 0 ]; then
	mkdir "$work/data"
	unshare --mount sh -ec '
		mount --bind "$1" "$1"
		mount -o remount,bind,ro / && mount -t tmpfs -o ro,noexec none /tmp
		'"$clean"' "$2" user add User1 --data "$1" >/dev/null
		'"$clean"' "$2" user list --data "$1" | grep -q User1
	' sh "$work/data" "$relay"
	echo "ok   and on a read-only system with nothing but a data directory"
fi
