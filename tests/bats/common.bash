# What every suite loads: the built tools first in PATH, bats' helper
# libraries, a configuration of its own, and a few real trees.

bats_require_minimum_version 1.5.0

for lib in support assert file; do
	for dir in "${BATS_LIB_PATH:-}" /usr/lib/bats /usr/share/bats; do
		if [ -n "$dir" ] && [ -f "$dir/bats-$lib/load.bash" ]; then
			# shellcheck disable=SC1090,SC1091
			source "$dir/bats-$lib/load.bash"
			break
		fi
	done
done

top=$(cd "${BATS_TEST_DIRNAME}/../.." && pwd)
PATH=${CALA_BUILD:-$top/build}:$PATH
export LC_ALL=C.UTF-8 TZ=UTC

# No test may see the machine's own configuration or terminal habits.
unset CALA_CONFIG CREDENTIALS_DIRECTORY CALA_KEY_FILE JOURNAL_STREAM NOTIFY_SOCKET
export CALA_CONFIG=/dev/null
# Nor the locks of a suite beside it, whose servers may have the same UUIDs.
export RUNTIME_DIRECTORY=${BATS_TEST_TMPDIR:-${BATS_FILE_TMPDIR:-/nonexistent}}/run

# need PROGRAM...: skip by name where the machine can't have one.  In CI a
# missing program is a failure: make check installs it.
need() {
	local p
	for p; do
		command -v "$p" >/dev/null && continue
		[ -z "${CI:-}" ] || { echo "CI must have $p" >&2; return 1; }
		skip "$p is not installed"
	done
}

# inapplicable WHY: the case asks for what the subject is not made to do; no
# machine would run it, so tests/run counts it nowhere.
inapplicable() {
	skip "does not apply: $1"
}

# peer NAME: PEER is the path of a foreign program that tests/peers has compiled;
# skips by name where this machine can't have it.
peer() {
	local folder found f
	folder=${CALA_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/cala-peers}
	for f in "$folder/$1"@*/"$1"; do
		if [ -x "$f" ]; then
			PEER=$f
			return 0
		fi
	done
	for found in "$folder/$1"@*.why; do
		[ ! -f "$found" ] || skip "no $1: $(cat "$found")"
	done
	[ -z "${CI:-}" ] || { echo "CI must have $1: tests/peers" >&2; return 1; }
	skip "$1 is not compiled (tests/peers does)"
}

# d VERB [ARGUMENT...]: the suite's $driver, with the configuration $cfg or "c".
d() {
	local verb=$1
	shift
	"$driver" "$verb" -c "${cfg:-c}" "$@"
}

# listed [OPTION...]: the backups that it lists.
listed() {
	d list "$@" | jq -r .uuid | sort | tr '\n' ' '
}

# fails STATUS COMMAND...: it does, and says why, on stderr alone.
fails() {
	fails_with "$1" '' "${@:2}"
}

# fails_with STATUS PATTERN COMMAND...: and the reason has this in it.
fails_with() {
	report_fails "$@" || return
	if [ -n "$output" ]; then
		echo "stdout is not empty: ${output:0:2000}"
		return 1
	fi
}

# report_fails STATUS PATTERN COMMAND...: what it did is on stdout.
report_fails() {
	local want=$1 text=$2
	shift 2
	run --separate-stderr "$@"
	if [ "$status" -ne "$want" ] || [[ $stderr != *error:*$text* ]]; then
		echo "status $status, not $want with '$text': $*"
		echo "stdout: ${output:0:2000}"
		echo "stderr: $stderr"
		return 1
	fi
}

# sample DIR: a small tree with every kind of thing a file system can hold.
sample() {
	mkdir -p "$1"/world/region "$1"/plugins "$1"/empty "$1"/logs
	head -c 300000 /dev/urandom >"$1"/world/region/r.0.0.mca
	seq 1 20000 >"$1"/logs/latest.log
	printf 'motd=hello\n' >"$1"/server.properties
	: >"$1"/zero
	ln "$1"/server.properties "$1"/hard
	ln -s server.properties "$1"/soft
	ln -s "$(printf 'x%.0s' $(seq 300))" "$1"/long-target
	mkfifo "$1"/fifo
	truncate -s 10M "$1"/sparse
	printf 'tail' | dd of="$1"/sparse bs=1 seek=5000000 conv=notrunc status=none
	printf 'n\n' >"$1/new
line"
	printf 'l\n' >"$1"/$'latin-\xe9'
	printf 'd\n' >"$1/plugins/$(printf 'd%.0s' $(seq 200))"
	chmod 0640 "$1"/server.properties
	chmod 0700 "$1"/plugins
	touch -h -d '2001-02-03T04:05:06.123456789Z' "$1"/soft
	touch -d '2001-02-03T04:05:06.987654321Z' "$1"/zero "$1"/empty
	if [ "$(id -u)" = 0 ]; then
		chown 1234:2345 "$1"/zero
		mknod "$1"/null c 1 3
	fi
	setfattr -n user.note -v 'hello' "$1"/zero 2>/dev/null || true
	setfacl -m u:1234:r "$1"/server.properties 2>/dev/null || true
}

# facts DIR: everything comparable about a tree, one line an object.
facts() {
	(
		cd "$1" || exit 1
		find . -printf '%p\0' | LC_ALL=C sort -z |
		while IFS= read -r -d '' f; do
			stat -c '%n|%F|%a|%u:%g|%h|%y|%t:%T' -- "$f" | tr '\n' ' '
			[ -L "$f" ] && readlink -- "$f"
			if [ -f "$f" ] && [ ! -L "$f" ]; then
				stat -c '%s' -- "$f"
				sha256sum -- "$f" | cut -c1-65
			fi
			getfattr -h -d -m - --absolute-names -- "$f" 2>/dev/null |
				grep -v '^#' | grep .
			echo
		done
	)
}
