#!/bin/bash
# Runs as root INSIDE a freshly booted Debian, with old.deb, new.deb and chat.py beside it. Made for a container
# that is thrown away; on a spare Raspberry Pi it removes what it installed, and its data.
# Prints "ok what" or "FAIL what"; the last line is E2E PASS or E2E FAIL. Exit code 100 asks for a reboot, after
# which it goes on with its second part.
set -u
cd "$(dirname "$0")"
state=/var/lib/e2e
mkdir -p $state
bad=$(cat $state/bad 2>/dev/null || echo 0)
unit=relay.service watchdog=10 data=/var/lib/relay backups=/var/lib/relay/backups

ok() { echo "ok   $*"; }
fail() {
	bad=$((bad + 1))
	echo $bad >$state/bad
	echo "FAIL $*"
	journalctl -u $unit -n 12 --no-pager -o cat 2>/dev/null | sed 's/^/  | /'
}
is() { if [ "$2" = "$3" ]; then ok "$1 ($3)"; else fail "$1: wanted '$2', got '$3'"; fi; }
show() { systemctl show -P "$1" "${2:-$unit}"; }
chat() { PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$state/client timeout "${patience:-60}" python3 chat.py "$@"; }
say() { chat say "$(cat $state/token1)" User2 "$@" 2>/dev/null; }
active() { for _ in $(seq 150); do [ "$(show ActiveState)" = active ] && return 0; sleep 0.2; done; return 1; }
# The listening socket's inode in the kernel: the same one as before means that the port was never closed.
listening() { awk '$2 ~ /:223D$/ && $4 == "0A" {print $10}' /proc/net/tcp6 /proc/net/tcp; }
version() { dpkg-deb -f "$1" Version | sed 's/~dev/.dev/'; }
install() {
	DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Options::=--force-confdef \
		-o Dpkg::Options::=--force-confold --allow-downgrades install "$1" >$state/apt.log 2>&1 ||
		{ tail -n 5 $state/apt.log; return 1; }
}
begin() { # a conversation, and newcomers beside it
	rm -f $state/stop
	patience=600 chat converse "$(cat $state/token1)" "$(cat $state/token2)" $state/stop >$state/conversation 2>&1 &
	conversation=$!
	sleep 2
}
end() { # the same; "end gently" also wants that nobody was cut off
	sleep 2
	touch $state/stop
	wait $conversation
	tail -n 1 $state/conversation | sed 's/^/#    /'
	figure() { tail -n 1 $state/conversation | python3 -c "import json,sys; print(json.load(sys.stdin)['$1'])" 2>/dev/null; }
	is "$1: no connection refused" 0 "$(figure refused)"
	is "$1: no message lost, changed, doubled or wrongly refused" "0 0 0 []" "$(figure lost) $(figure differ) $(figure twice) $(figure wrong)"
	[ "$(figure sent)" -gt 50 ] 2>/dev/null && ok "$1: they talked" || fail "$1: they hardly talked"
	if [ "${2:-}" = gently ]; then
		is "$1: nobody who was accepted is cut off" 0 "$(figure cut)"
		is "$1: conversations end with 1012" "['1012']" "$(figure closed | python3 -c "import ast,sys; print([one for one in ast.literal_eval(sys.stdin.read()) if one != '503'])")"
	fi
}

# The lines of a chapter of `relay help upgrade`, typed as they stand by somebody who may do everything.
typed() { # chapter
	awk -v chapter="$1" '$0 == chapter {on = 1; next} /^[A-Z][A-Za-z ]*$/ {on = 0} on && /^  sudo / {print substr($0, 3)} on && /^Messages since/ {exit}' $state/help |
		sed "s#chat-relay_NEW_ARCH.deb#$(basename "$stick_new")#; s#chat-relay_OLD_ARCH.deb#$(basename "$stick_old")#; s#/media/usb#$stick#; s#apt install#apt-get install -y#"
}
follow() { # what one line of it says; doctor may find something in a container
	local line=$1
	echo "#    $line"
	case $line in *doctor*) PATH=$state/bin:$PATH sh -c "$line" >$state/doctor 2>&1; return 0 ;; esac
	PATH=$state/bin:$PATH DEBIAN_FRONTEND=noninteractive sh -ec "$line" >$state/followed 2>&1 ||
		fail "$line: $(tail -n 3 $state/followed)"
}
store_version() { python3 -c 'import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute("PRAGMA user_version").fetchone())' "$1"; }

# An upgrade from a USB stick and the way back, as `relay help upgrade` has them. The earlier package is installed.
stick() {
	stick=/media/usb
	mkdir -p $stick $state/bin
	printf '#!/bin/sh\nexec "$@"\n' >$state/bin/sudo
	chmod +x $state/bin/sudo
	mount -t tmpfs -o noexec,nodev,nosuid,mode=755 usb $stick
	stick_new=$stick/chat-relay_$(dpkg-deb -f "$new" Version)_$(dpkg --print-architecture).deb
	stick_old=$stick/chat-relay_$(dpkg-deb -f "$old" Version)_$(dpkg --print-architecture).deb
	cp "$new" "$stick_new"
	cp "$old" "$stick_old"
	dpkg-deb --fsys-tarfile "$new" | tar -xO ./usr/lib/chat-relay/relay/help/upgrade.txt >$state/help
	local earlier=$(store_version $data/relay.db)
	local said=$(say "before the upgrade")
	typed Upgrading >$state/lines
	is "stick: the help has lines to type" 3 "$(wc -l <$state/lines)"
	while read -r line; do follow "$line"; done <$state/lines
	active
	is "stick: the new version runs" "$(version $new)" "$(show StatusText | sed 's/.*version //')"
	[ -s $stick/before.tar ] && ok "stick: the backup is on it" || fail "stick: no backup"
	local newer=$(store_version $data/relay.db)
	if [ "$newer" != "$earlier" ]; then
		is "stick: the copy of before is beside the store" "$earlier" "$(store_version $data/relay-$earlier-to-$newer.db)"
	fi
	is "stick: messages go on" $((said + 1)) "$(say "after the upgrade")"
	relay check >/dev/null 2>&1 && ok "stick: relay check finds nothing wrong" || fail "stick: relay check: $(relay check 2>&1 | grep -v '^ok' | head -n 3)"

	if [ "$newer" != "$earlier" ]; then
		# Somebody who only installs the earlier package is told.
		install "$old"
		for _ in $(seq 50); do journalctl -u $unit -n 20 -o cat --no-pager | grep -q 'written by a newer relay' && break; sleep 0.2; done
		journalctl -u $unit -n 20 -o cat --no-pager | grep -q 'written by a newer relay' && ok "way back: the earlier relay says that the store is newer" || fail "way back: the earlier relay does not say why it does not start"
		relay doctor 2>&1 | grep -q 'a newer relay wrote the file' && ok "way back: and so does relay doctor" || fail "way back: relay doctor does not say it"
		is "way back: it leaves the store alone" "$newer" "$(store_version $data/relay.db)"
		typed "The way back" >$state/lines
		is "way back: the help has lines to type" 8 "$(wc -l <$state/lines)"
		while read -r line; do follow "$line"; done <$state/lines
		active
		is "way back: the earlier version runs" "$(version $old)" "$(show StatusText | sed 's/.*version //')"
		is "way back: with the store of before" "$earlier $((said + 1))" "$(store_version $data/relay.db) $(say "after the way back")"
		is "way back: what was said since is put aside" yes "$([ -s $data/newer/relay.db ] && echo yes)"
		is "way back: the store is the relay's alone" "640 relay" "$(stat -c '%a %U' $data/relay.db)"
		relay check >/dev/null 2>&1 && ok "way back: relay check finds nothing wrong" || fail "way back: relay check: $(relay check 2>&1 | grep -v '^ok' | head -n 3)"
		rm -r $data/newer
	else
		echo "# both packages have the same store: there is no way back to try"
		install "$old"
		active
	fi
	umount $stick
}

# Run Python in the sandbox of the relay's unit, and print its output.
in_the_unit() {
	cat >/opt/e2e/clock.py <<-'PYTHON'
		import ctypes, struct
		call = ctypes.CDLL(None, use_errno=True).adjtimex
		asked = call(ctypes.create_string_buffer(512)) >= 0
		tick = 0x4000
		set_it = call(ctypes.create_string_buffer(struct.pack("I", tick), 512)) >= 0
		print("asked" if asked else "not asked", "set" if set_it else "denied")
	PYTHON
	systemctl cat $unit | sed -e 's/^Type=.*/Type=oneshot/' -e '/^Restart/d' -e '/^Sockets=/d' -e '/^Watchdog/d' -e '/^Exec/d' \
		-e '/^RuntimeDirectory/d' -e '/^Requires=/d' >/run/systemd/system/$1-probe.service
	printf '[Service]\nExecStart=/usr/bin/python3 /opt/e2e/%s.py\nStandardOutput=file:/run/%s-probe\n' $1 $1 >>/run/systemd/system/$1-probe.service
	systemctl daemon-reload
	systemctl start $1-probe.service
	cat /run/$1-probe
}

part1() {
	echo "# $(. /etc/os-release; echo "$PRETTY_NAME"), $(uname -rm), $(systemctl --version | head -n 1), $(python3 -V), in $(systemd-detect-virt)"
	old=$PWD/old.deb new=$PWD/new.deb
	touch $state/began
	local began=$(date +%s%N)
	install "$old" || { fail "install"; return; }
	ok "one file installs without a network ($((($(date +%s%N) - began) / 1000000)) ms)"
	cp -r /usr/lib/chat-relay $state/client
	mkdir -p /etc/systemd/system/$unit.d
	# HOME is for people: nothing here may need it. The watchdog is quick so that the test is.
	printf '[Service]\nUnsetEnvironment=HOME\nWatchdogSec=%s\n' $watchdog >/etc/systemd/system/$unit.d/e2e.conf
	active
	is "active after the install" active "$(show ActiveState)"
	echo "# $(show StatusText); exec to READY $((($(show ActiveEnterTimestampMonotonic) - $(show ExecMainStartTimestampMonotonic)) / 1000)) ms"
	for one in $unit relay.socket relay-backup.timer; do is "enabled: $one" enabled "$(systemctl is-enabled $one)"; done
	is "systemd-analyze verify" "" "$(systemd-analyze verify --man=no $unit relay.socket relay-backup.service relay-backup.timer 2>&1)"
	for one in $unit relay-backup.service; do
		exposure=$(systemd-analyze security --no-pager --offline=true $one | sed -n 's/.*: \([0-9.]*\) .*/\1/p' | tail -n 1)
		awk "BEGIN {exit !(\"$exposure\" != \"\" && $exposure <= 0.5)}" && ok "exposure of $one ($exposure)" || fail "exposure of $one: $exposure"
	done
	systemctl daemon-reload
	systemctl restart $unit
	active

	for user in User1 User2; do relay user add $user >/dev/null || fail "relay user add $user"; done
	relay device add User1 --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["token"])' >$state/token1
	relay device add User2 --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["token"])' >$state/token2
	is "a WebSocket chat is answered" 1 "$(say hello)"
	python3 - "$(cat $state/token1)" <<-'PYTHON' && ok "a file goes up and comes down" || fail "files"
		import json, os, sys, urllib.request
		def call(path, body=None):
		    request = urllib.request.Request("http://127.0.0.1:8765" + path, body, {"Authorization": "Bearer " + sys.argv[1]})
		    return urllib.request.urlopen(request, timeout=20).read()
		sent = os.urandom(3_000_000)
		sys.exit(call(json.loads(call("/files", sent))["url"]) != sent)
	PYTHON
	stick
	useradd -G relay admin1 && useradd stranger1
	runuser -u admin1 -- relay status --json >/dev/null 2>&1 && ok "a member of the group relay may ask" || fail "a member of the group relay may not ask"
	runuser -u stranger1 -- relay status --json >/dev/null 2>&1 && fail "a stranger may ask" || ok "a stranger may not ask"

	local pid=$(show MainPID)
	is "its own user" relay "$(ps -o user= -p $pid)"
	is "no capabilities" 0000000000000000 "$(awk '/CapEff/ {print $2}' /proc/$pid/status)"
	is "no new privileges" 1 "$(awk '/NoNewPrivs/ {print $2}' /proc/$pid/status)"
	is "system calls are filtered" 2 "$(awk '/^Seccomp:/ {print $2}' /proc/$pid/status)"
	is "no network of its own" 1 "$(grep -c : /proc/$pid/net/dev)"
	is "the system is read-only" ro "$(awk '$5 == "/" {split($6, option, ","); print option[1]}' /proc/$pid/mountinfo | tail -n 1)"
	is "HOME is not set" 0 "$(tr '\0' '\n' </proc/$pid/environ | grep -c ^HOME=)"
	is "strangers cannot read the file" "640 relay" "$(stat -c '%a %U' $data/relay.db)"
	is "byte code was made at the install" yes "$(ls /usr/lib/chat-relay/trio/__pycache__/*.pyc >/dev/null 2>&1 && echo yes)"
	memory() { awk '/VmRSS/ {printf "%.1f MiB", $2 / 1024}' /proc/$(show MainPID)/status; }
	systemctl restart $unit
	active
	echo "# RSS at the start: $(memory); exec to READY $((($(show ActiveEnterTimestampMonotonic) - $(show ExecMainStartTimestampMonotonic)) / 1000)) ms"
	: >$state/idle
	chat idle "$(cat $state/token1)" 100 >$state/idle & local holding=$!
	for _ in $(seq 50); do grep -q ready $state/idle && break; sleep 0.2; done
	echo "# RSS with 100 idle connections: $(memory)"
	kill $holding; wait $holding 2>/dev/null

	# The machine's own limits, where this kernel lends them to a container.
	if grep -qs memory /sys/fs/cgroup/cgroup.controllers; then
		[ "$(cat "/sys/fs/cgroup$(show ControlGroup)/memory.max")" != max ] && ok "MemoryMax reaches the kernel" || fail "MemoryMax does not reach the kernel"
	fi
	ip link set lo up
	ip address add 203.0.113.5/32 dev lo
	ip address add 192.168.77.5/32 dev lo
	[ -n "$(say there --from 192.168.77.5)" ] && ok "the local network is served" || fail "the local network is not served"
	is "the rest of the world is not" "" "$(say there --from 203.0.113.5)"

	# Killed and hung.
	pid=$(show MainPID)
	sleep $((watchdog * 2 + 2))
	is "a healthy relay is left alone by the watchdog" $pid "$(show MainPID)"
	begin
	kill -KILL $pid
	sleep 0.3
	[ -n "$(say again)" ] && ok "SIGKILL: who comes next is served" || fail "SIGKILL: who comes next is not served"
	active
	pid=$(show MainPID)
	end SIGKILL
	kill -STOP $pid
	local stopped=$(date +%s)
	for _ in $(seq 120); do [ "$(show MainPID)" != $pid ] && active && break; sleep 0.3; done
	[ "$(show MainPID)" != $pid ] && ok "SIGSTOP: replaced after $(($(date +%s) - stopped)) s (WatchdogSec=$watchdog)" || fail "SIGSTOP: not replaced"
	journalctl -u $unit --no-pager -o cat | grep -q 'Watchdog timeout' && ok "the journal says that it was the watchdog" || fail "the journal does not say why"
	journalctl -u $unit --no-pager -o cat | grep -q 'most recent call first' && ok "and where the relay hung" || fail "the journal does not say where it hung"
	[ -n "$(say again)" ] && ok "SIGSTOP: serves again" || fail "SIGSTOP: does not serve"

	# Wrong settings, corrected after a while.
	cp /etc/relay/relay.toml $state/
	echo 'nonsense = [' >>/etc/relay/relay.toml
	systemctl restart $unit 2>/dev/null
	sleep 20
	patience=40 say waited >$state/waited & local waiting=$!
	sleep 1
	cat $state/relay.toml >/etc/relay/relay.toml
	wait $waiting
	[ -s $state/waited ] && ok "wrong settings: who came meanwhile is served once they are mended" || fail "wrong settings: the port stays dead"
	is "reload is understood" "0 active" "$(systemctl reload $unit; echo "$? $(show ActiveState)")"
	sleep 0.5
	is "and ends" running "$(show SubState)"
	is "no failed units" 0 "$(systemctl --failed --no-legend | wc -l)"

	# TLS as an admin sets it up, who types as root.
	relay tls init >/dev/null || fail "relay tls init"
	sed -i '/^\[tls\]/,/^\[/s/^#* *on = .*/on = true/' /etc/relay/relay.toml
	systemctl restart $unit
	active
	python3 - $data/tls/ca.crt <<-'PYTHON' && ok "TLS is spoken, with a certificate for this machine" || fail "TLS"
		import ssl, sys, urllib.request
		context = ssl.create_default_context(cafile=sys.argv[1])
		urllib.request.urlopen("https://127.0.0.1:8765/healthz", timeout=20, context=context).read()
	PYTHON
	cat $state/relay.toml >/etc/relay/relay.toml
	systemctl restart $unit

	# Restarts and an upgrade with people talking.
	active
	local socket=$(listening)
	begin
	systemctl restart $unit
	sleep 1
	systemctl restart $unit
	end restart gently
	is "restart: the socket was never closed" "$socket" "$(listening)"
	echo '# edited by the admin' >>/etc/relay/relay.toml
	local before=$(say before)
	begin
	install "$new" && ok "upgrade" || fail "upgrade"
	end upgrade gently
	is "upgrade: the socket was never closed" "$socket" "$(listening)"
	is "upgrade: the new version runs" "$(version $new)" "$(show StatusText | sed 's/.*version //')"
	[ "$(say after)" -gt "$before" ] && ok "upgrade: data is kept" || fail "upgrade: data is lost"
	is "the unit may ask whether NTP keeps the clock, and may not set it" "asked denied" "$(in_the_unit clock)"
	is "upgrade: edited settings are kept" 1 "$(grep -c 'edited by the admin' /etc/relay/relay.toml)"
	is "upgrade: its settings are still right" 0 "$(relay config check >/dev/null 2>&1; echo $?)"
	systemctl disable -q $unit relay-backup.timer
	install "$old"
	is "an admin's disable survives" "disabled disabled" "$(systemctl is-enabled $unit) $(systemctl is-enabled relay-backup.timer)"
	systemctl enable -q $unit relay-backup.timer
	install "$new"
	systemctl start $unit relay-backup.timer
	active

	# A backup by the timer, put back.
	mkdir -p /run/systemd/system/relay-backup.timer.d
	printf '[Timer]\nOnCalendar=\nOnActiveSec=1\nRandomizedDelaySec=0\nAccuracySec=1ms\n' >/run/systemd/system/relay-backup.timer.d/e2e.conf
	systemctl daemon-reload
	before=$(say kept)
	systemctl restart relay-backup.timer
	for _ in $(seq 100); do [ -s $backups/latest.tar ] && break; sleep 0.2; done
	rm -r /run/systemd/system/relay-backup.timer.d
	systemctl daemon-reload
	systemctl restart relay-backup.timer
	[ -s $backups/latest.tar ] && ok "the timer makes a backup ($(stat -c '%U %a %s bytes' $backups/latest.tar))" || fail "no backup: $(journalctl -u relay-backup.service -n 5 -o cat --no-pager)"
	systemctl start relay-backup.service && [ -s $backups/previous.tar ] && ok "the one before is kept" || fail "the one before is not kept"
	say "after the backup" >/dev/null
	systemctl stop relay.socket $unit 2>/dev/null
	rm -f $data/relay.db*
	relay restore $backups/previous.tar --yes >$state/restore 2>&1 || fail "restore: $(cat $state/restore)"
	systemctl start relay.socket $unit
	active
	is "a backup restores" "$((before + 1))" "$(say restored)"
	relay check >/dev/null 2>&1 && ok "relay check finds nothing wrong" || fail "relay check: $(relay check 2>&1 | grep -v '^ok' | head -n 5)"

	is "nothing is written but to its own directories" "" "$(find / -xdev \( -path /proc -o -path /sys -o -path /tmp -o -path $data -o -path /run \) -prune -o -newer $state/began -user relay -print 2>/dev/null | head -n 5)"
	say "before the reboot" >$state/rebooting
	sync
	exit 100
}

part2() {
	new=$PWD/new.deb
	local before=$(cat $state/rebooting)
	rm $state/rebooting
	active
	is "reboot: started at boot" "active active" "$(show ActiveState) $(show ActiveState relay.socket)"
	[ "$(say "after the reboot")" -gt "$before" ] && ok "reboot: data is kept" || fail "reboot: data is lost"
	apt-get -y -q remove chat-relay >$state/apt.log 2>&1
	is "remove: stopped" "inactive inactive" "$(systemctl is-active $unit) $(systemctl is-active relay-backup.timer)"
	is "remove: the port is closed" "" "$(listening)"
	is "remove: the program is gone" "" "$(ls -d /usr/lib/chat-relay /usr/bin/relay 2>/dev/null)"
	is "remove: data and settings stay" "yes 1" "$([ -s $data/relay.db ] && echo yes) $(grep -c 'edited by the admin' /etc/relay/relay.toml)"
	before=$((before + 1))
	install "$new"
	active
	[ "$(say "installed again")" -gt "$before" ] && ok "install again: data is back" || fail "install again: data is lost"
	apt-get -y -q purge chat-relay >$state/apt.log 2>&1 || fail "purge: $(tail -n 2 $state/apt.log)"
	grep -q 'kept in /var/lib/relay' $state/apt.log && ok "purge: says that messages are kept" || fail "purge: says nothing of the messages"
	is "purge: messages are kept" yes "$([ -s $data/relay.db ] && echo yes)"
	rm -rf /etc/systemd/system/$unit.d
	systemctl daemon-reload
	is "purge: nothing else is left" "" "$(find /etc /usr /var/lib/systemd /var/lib/dpkg/info /run -xdev \( -name '*chat-relay*' -o -name 'relay.s*' -o -name 'relay-backup*' -o -path '/etc/relay*' -o -path '/run/relay*' \) ! -path '/run/systemd/units/*' ! -path '*/.#*' 2>/dev/null | tr '\n' ' ')"
	dpkg --audit | grep . && fail "dpkg --audit"
	install "$new"
	active
	[ -n "$(say "and again")" ] && ok "install after a purge: data is back" || fail "install after a purge: data is lost"
	CHAT_RELAY_PURGE_DATA=yes apt-get -y -q purge chat-relay >$state/apt.log 2>&1
	is "purge, asked to: messages are gone" "" "$(ls -d $data 2>/dev/null)"
}

if [ -e $state/rebooting ]; then part2; else part1; fi
[ "$bad" = 0 ] && echo "E2E PASS" || echo "E2E FAIL ($bad)"
