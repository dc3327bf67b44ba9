#!/bin/bash
# The first minute: the README's own lines, run in a Debian that has nothing but its essential packages.
#   first.sh SUITE ARCHITECTURE user|root BLOCK …        (root; mmdebstrap; arm64: qemu-user-static, Linux 6.7)
# Each BLOCK is one of: build (with the package and the single file), clone (starts it, and talks), tests.
# The tree gets a clone, this machine's settings of apt and pip, its certificates, and for a user an
# account that may use sudo. FIRST_TESTS: pytest's arguments for the tests' line. FIRST_LIMIT: seconds for a line.
set -eu
here=$(dirname "$(readlink -f "$0")")
if [ "$1" != --inside ]; then
	suite=$1 arch=$2
	tar=$("$here/rootfs.sh" "$suite" "$arch" bare)
	work=$(mktemp -d /var/tmp/chat-relay-first.XXXXXX)
	trap 'rm -rf --one-file-system "$work"' EXIT
	mkdir "$work/root"
	tar -C "$work/root" -xf "$tar"
	clone=$work/root/opt/chat-relay
	mkdir "$clone"
	(cd "$here/../.." && git ls-files -z | xargs -0 tar -cf - --) | tar -C "$clone" -xf -
	wrap="unshare --mount"
	[ "$arch" = "$(dpkg --print-architecture)" ] || wrap="python3 $here/with-arm64-binfmt.py"
	$wrap unshare --pid --fork --kill-child bash "$0" --inside "$work/root" "$@"
	exit
fi

root=$2 suite=$3 arch=$4 who=$5
shift 5
limit=${FIRST_LIMIT:-600} began=$SECONDS
about="$suite $arch $who"
clone=/opt/chat-relay
home=/root
say() { echo "$1 $about: $2"; }
fail() {
	say FAIL "$1"
	[ -z "${2:-}" ] || tail -n 25 "$2" | sed 's/^/  | /'
	exit 1
}

# The machine's settings of package clients, and its certificates.
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
grep -lsE '^ *Acquire' /etc/apt/apt.conf.d/* | xargs -r cp -t "$root/etc/apt/apt.conf.d"
[ ! -d /etc/apt/auth.conf.d ] || cp -r /etc/apt/auth.conf.d "$root/etc/apt/"
# Under another name than Debian's: installing ca-certificates writes that file again.
bundle=/etc/ssl/certs/ca-certificates.crt certificates=/etc/ssl/machine.crt
mkdir -p "$root/etc/ssl"
[ ! -e $bundle ] || cp $bundle "$root$certificates"
settings=$(env | grep -E '^(PIP_|UV_(DEFAULT_)?INDEX|SSL_CERT_FILE=|[a-zA-Z]+_(proxy|PROXY)=)' |
	grep -v '^PIP_FIND_LINKS=' | sed "s#$bundle#$certificates#" || :)
for one in /etc/pip.conf ~/.config/pip/pip.conf; do
	[ ! -s "$one" ] || sed "s#$bundle#$certificates#; /file:\|find-links/d" "$one" | grep -v '^\[' || :
done | sed '1i [global]' >"$root/etc/pip.conf"
if [ "$who" = user ]; then
	home=/home/anna
	chroot "$root" sh -ec '
		export DEBIAN_FRONTEND=noninteractive
		apt-get -qq update && apt-get -qq -y install --no-install-recommends sudo
		useradd -m -s /bin/bash anna
		echo "anna ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/anna
		rm -rf /var/lib/apt/lists/*
		chown -R anna: /opt/chat-relay
	' >"$root/opt/prepared" 2>&1 || fail "no user with sudo" "$root/opt/prepared"
fi

# A line as the README has it; root has no sudo and leaves it out, as the README says.
block() { python3 "$here/readme.py" "$1" | if [ "$who" = root ]; then sed 's/\bsudo //g'; else cat; fi; }
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
typed() { # in a new terminal, in the clone
	local user=()
	[ "$who" = root ] || user=(setpriv --reuid anna --regid anna --init-groups)
	printf '%s\n' "cd $clone" "$1" >"$root/opt/line"
	local copy
	copy=$(mktemp "$root/opt/line.XXXXXX")
	mv "$root/opt/line" "$copy"
	chmod 644 "$copy"
	# Several relays may run on the machine that lends its network: the port is the one thing that is set.
	local listen=(RELAY_LISTEN=127.0.0.1:$port)
	[ -z "${2:-}" ] || listen=()
	timeout "$limit" chroot "$root" "${user[@]}" env -i $settings ${FIRST_TESTS:+"PYTEST_ADDOPTS=$FIRST_TESTS"} \
		HOME="$home" LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		"${listen[@]}" bash -e "/opt/$(basename "$copy")" </dev/null
}
log() { echo "$root/opt/$1.log"; }
run() { # a block that ends by itself
	local before=$SECONDS
	typed "$(block "$1")" alone >"$(log "$1")" 2>&1 || fail "the README's $1" "$(log "$1")"
	say "ok  " "the README's $1 ($((SECONDS - before)) s)"
}
serve() { # a block that starts a relay; then its first screen, and a message
	local before=$SECONDS relay=$2
	rm -rf "$root$home/.local/share/chat-relay"
	: >"$(log "$1")"
	typed "$(block "$1")" >"$(log "$1")" 2>&1 &
	local pid=$!
	while ! grep -q 'a token for a program' "$(log "$1")"; do
		kill -0 $pid 2>/dev/null || fail "the README's $1" "$(log "$1")"
		sleep 0.2
	done
	say "ok  " "the README's $1 serves ($((SECONDS - before)) s)"
	grep -E '^  \S+relay ' "$(log "$1")" | sed 's/    (.*//' >"$root/opt/screen"
	[ "$(wc -l <"$root/opt/screen")" = 2 ] || fail "the first screen" "$(log "$1")"
	typed "$(cat "$root/opt/screen")" >"$(log screen)" 2>&1 || fail "what the first screen says to type" "$(log screen)"
	say "ok  " "what the first screen says to type works"
	typed "$(block invite | sed "s#\.venv/bin/relay#$relay#")" >"$(log invite)" 2>&1 || fail invite "$(log invite)"
	grep -q '#invite=' "$(log invite)" || fail "no invite" "$(log invite)"
	typed "$(block listen | sed "s#\.venv/bin/relay#$relay#")" >"$(log listen)" 2>&1 &
	local listener=$!
	sleep 3
	typed "$(block talk | sed "s#\.venv/bin/relay#$relay#")" >"$(log talk)" 2>&1 || fail talk "$(log talk)"
	for _ in $(seq 300); do grep -q hello "$(log listen)" && break; sleep 0.1; done
	grep -q hello "$(log listen)" || fail "the message did not arrive" "$(log listen)"
	say "ok  " "a message arrives"
	kill $listener $pid 2>/dev/null || :
	wait $listener $pid 2>/dev/null || :
	# The shell of the line is gone; the relay it started may still be writing its last words.
	for _ in $(seq 100); do grep -qsa '[s]erve' "$root"/proc/[0-9]*/cmdline || break; sleep 0.1; done
}

for one; do
	case $one in
	clone)
		serve clone .venv/bin/relay
		# No file of the developers was installed.
		for tool in pytest mypy ruff playwright hypothesis uv; do
			[ ! -e "$root$clone/.venv/bin/$tool" ] || fail "serving brings $tool along"
		done
		say "ok  " "without the developers' tools: $(du -sm "$root$clone/.venv" | cut -f1) MB"
		;;
	build)
		run build
		run package
		typed 'relay --version && ! ls .venv/bin/pytest' >"$(log version)" 2>&1 || fail "relay --version" "$(log version)"
		serve file dist/relay
		;;
	tests)
		run tests
		say "ok  " "$(tail -n 1 "$(log tests)")"
		;;
	*) fail "there is no block $one" ;;
	esac
done
say "ok  " "all, in $((SECONDS - began)) s"
