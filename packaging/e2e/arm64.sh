#!/bin/bash
# Install the arm64 package in an arm64 Debian, and chat with what it runs, under qemu-user.
#   arm64.sh PACKAGE_arm64.deb [SUITE]       (root, Linux 6.7 or newer, qemu-user-static, mmdebstrap)
# There is no systemd in it: the relay is started by hand, as its own user. E2E_LIMIT: seconds for all of it.
set -eu
here=$(dirname "$(readlink -f "$0")")
if [ "${1:-}" != --inside ]; then
	tar=$("$here/rootfs.sh" "${2:-bookworm}" arm64)
	work=$(mktemp -d /var/tmp/chat-relay-arm64.XXXXXX)
	trap 'rm -rf --one-file-system "$work"' EXIT
	mkdir "$work/root"
	tar -C "$work/root" -xf "$tar"
	cp "$1" "$work/root/opt/relay.deb"
	cp "$here/chat.py" "$work/root/opt/"
	timeout "${E2E_LIMIT:-500}" python3 "$here/with-arm64-binfmt.py" bash "$0" --inside "$work/root"
	exit
fi
root=$2
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
since() { echo "$((($(date +%s%N) - $1) / 1000000)) ms"; }
clean="/usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive"
inside() { chroot "$root" $clean "$@"; }
as_relay() { exec chroot "$root" setpriv --reuid relay --regid relay --clear-groups $clean STATE_DIRECTORY=/var/lib/relay RUNTIME_DIRECTORY=/run/relay "$@"; }
fail() { echo "ARM64 FAIL $*"; exit 1; }
echo "# $(inside uname -m), $(inside python3 -V)"
began=$(date +%s%N)
inside apt-get -y -q install /opt/relay.deb >"$root/opt/apt.log" 2>&1 || { tail -n 20 "$root/opt/apt.log"; fail install; }
echo "ok   installed ($(since $began))"
inside getent passwd relay >/dev/null || fail "no user"
began=$(date +%s%N)
echo "ok   relay version: $(inside relay version) ($(since $began))"
inside install -d -o relay -g relay /run/relay
port=$((20000 + RANDOM % 20000))
began=$(date +%s%N)
(as_relay relay serve --listen 127.0.0.1:$port 2>"$root/opt/serve.log") &
relay=$!
trap 'kill -KILL $relay 2>/dev/null || :' EXIT
for _ in $(seq 200); do grep -q 'listening on' "$root/opt/serve.log" && break; sleep 0.1; done
grep -q 'listening on' "$root/opt/serve.log" || { cat "$root/opt/serve.log"; fail "does not listen"; }
echo "ok   listens ($(since $began) from exec)"
for user in User1 User2; do
	(as_relay relay user add $user) >/dev/null || fail "relay user add"
	(as_relay relay device add $user --json) >"$root/opt/$user"
done
token() { python3 -c 'import json,sys; print(json.load(sys.stdin)["token"])' <"$root/opt/$1"; }
began=$(date +%s%N)
chroot "$root" $clean PYTHONPATH=/usr/lib/chat-relay PYTHONDONTWRITEBYTECODE=1 RELAY_PORT=$port \
	timeout 180 python3 /opt/chat.py converse "$(token User1)" "$(token User2)" /opt/stop --messages 100 \
	>"$root/opt/conversation" 2>&1 || { cat "$root/opt/conversation"; fail "chat"; }
python3 - "$root/opt/conversation" <<-'C' || fail "chat: $(cat "$root/opt/conversation")"
	import json, sys
	said = json.load(open(sys.argv[1]))
	assert said["sent"] >= 100, said
	assert not (said["refused"] or said["cut"] or said["lost"] or said["twice"] or said["differ"] or said["wrong"]), said
	print(f"ok   {said['sent']} messages went from one user to another, {said['knocks']} newcomers were answered")
C
kill -TERM $relay
wait $relay || fail "SIGTERM: exit code $?"
echo "ok   stops on SIGTERM"
inside apt-get -y -q purge chat-relay >"$root/opt/apt.log" 2>&1 || fail "purge"
inside test -s /var/lib/relay/relay.db || fail "purge: messages are gone"
inside test ! -e /usr/lib/chat-relay || fail "purge: the program is still there"
echo "ok   purged, messages kept"
echo "ARM64 PASS"
