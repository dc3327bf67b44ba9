#!/bin/bash
# The life of an installation under a real systemd: PID 1 of a Debian in a container.
#   nspawn.sh OLD.deb NEW.deb [SUITE]                 (root; systemd-container, mmdebstrap)
# The container has no network. E2E_LIMIT: seconds for all of it, 600 by default.
set -eu
here=$(dirname "$(readlink -f "$0")")
old=$1 new=$2 suite=${3:-bookworm}
tar=$("$here/rootfs.sh" "$suite" "$(dpkg --print-architecture)")
work=$(mktemp -d /var/tmp/chat-relay-e2e.XXXXXX) pid=
finish() {
	if [ -n "$pid" ]; then
		for child in $(cat /proc/$pid/task/*/children 2>/dev/null); do kill -KILL $child 2>/dev/null || :; done
		kill -KILL $pid 2>/dev/null || :
		sleep 0.3
	fi
	rm -rf --one-file-system "$work" 2>/dev/null || :
}
trap finish EXIT
root=$work/root
mkdir "$root"
tar -C "$root" -xf "$tar"
mkdir -p "$root/opt/e2e"
cp "$here/guest.sh" "$here/chat.py" "$root/opt/e2e/"
cp "$old" "$root/opt/e2e/old.deb"
cp "$new" "$root/opt/e2e/new.deb"
cat >"$root/etc/systemd/system/e2e.service" <<U
[Unit]
After=basic.target dbus.service
[Service]
Type=oneshot
TimeoutStartSec=900
Environment=HOME=/root
StandardOutput=append:/opt/e2e/log
StandardError=append:/opt/e2e/log
ExecStart=/bin/bash /opt/e2e/guest.sh
SuccessExitStatus=100
ExecStopPost=/bin/sh -c 'systemctl --no-block poweroff 2>/dev/null'
U
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../e2e.service "$root/etc/systemd/system/multi-user.target.wants/e2e.service"
touch "$root/opt/e2e/log"
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
end=$((SECONDS + ${E2E_LIMIT:-600}))
# Once to live through, and once more after a reboot.
for _ in 1 2; do
	systemd-nspawn -q --boot -D "$root" --register=no --keep-unit --private-network \
		--system-call-filter="bpf adjtimex clock_adjtime" --console=pipe </dev/null >>"$work/console" 2>&1 &
	pid=$!
	while kill -0 $pid 2>/dev/null && [ $SECONDS -lt $end ]; do sleep 0.5; done
	if kill -0 $pid 2>/dev/null; then break; fi
	wait $pid || :
	pid=
	[ -e "$root/var/lib/e2e/rebooting" ] || break
done
cat "$root/opt/e2e/log"
if [ -n "$pid" ]; then
	echo "E2E FAIL (still running after ${E2E_LIMIT:-600} s)"
	tail -n 5 "$work/console"
	exit 1
fi
tail -n 1 "$root/opt/e2e/log" | grep -q '^E2E PASS'
