# A Proxmox Backup Server of our own for a suite, and what to ask of it.
# shellcheck shell=bash
#
#	pbs_start [OPTION...]     start it (server.py); a datastore "store1"; sets
#	                          PBS_URL, PBS_FINGERPRINT, PBS_DIR
#	pbs_stop                  end it by its id; in teardown
#	pbs_conf FILE [LINE...]   a configuration "c" for it, with more lines
#	pbs_do WORD [K=V...]      one word to its side port (side.py, control.py)
#	pbs_fault ACTION op=GLOB [K=V...]  arm a rule (faults.py)
#	pbs_count [K=V...]        how many requests have these fields
#	pbs_snapshots             what is stored: ns type/id/time, whole or broken
#	pbs_sound [FILE...]       what must hold after every test: decode and
#	                          compare all that is stored (sound.py)
#	pbs_client WORD...        another client (client.py)
#	pbs_python [ARG...]       Python with the modules of tests/pbs; on stdin
#	pbs_folder ID TIME        where the server keeps a snapshot
#	pbs_chunks                the files of all chunks
#	pbs_wire                  wire is lib/pbs alone (wire.c), with no settings

unset PBS_REPOSITORY PBS_PASSWORD PBS_ENCRYPTION_PASSWORD

pbs_home=$(cd "$BATS_TEST_DIRNAME/../pbs" && pwd)
# shellcheck source=/dev/null
source "$pbs_home/../s3/side.bash"
export PBS_TOKEN='cala@pbs!node1' PBS_SECRET=3f0c52ae-test-secret-0123456789ab
export PBS_STORE=store1 PBS_NS=

# The Python that Debian's packages are for is not always the first.
pbs_need() {
	local p
	for p in python3 /usr/bin/python3; do
		if "$p" -c 'import h2, cryptography' 2>/dev/null; then
			PBS_PYTHON=$p
			return 0
		fi
	done
	[ -z "${CI:-}" ] || { echo "CI must have python3-h2" >&2; return 1; }
	skip "python3 has no h2 or cryptography"
}

pbs_run() {
	local script=$1
	shift
	PYTHONPYCACHEPREFIX=${CALA_BUILD:-$top/build}/pycache \
		"$PBS_PYTHON" "$pbs_home/$script" "$@"
}

pbs_python() {
	PYTHONPYCACHEPREFIX=${CALA_BUILD:-$top/build}/pycache \
		PYTHONPATH=$pbs_home "$PBS_PYTHON" - "$@"
}

# The suites give it options.
# shellcheck disable=SC2120
pbs_start() {
	pbs_need
	PBS_DIR=${PBS_DIR:-$BATS_TEST_TMPDIR/pbs}
	mkdir -p "$PBS_DIR"
	rm -f "$PBS_DIR/ports"
	PYTHONPYCACHEPREFIX=${CALA_BUILD:-$top/build}/pycache \
		"$PBS_PYTHON" "$pbs_home/server.py" "$PBS_DIR" "$@" \
		</dev/null >>"$PBS_DIR/out" 2>>"$PBS_DIR/err" 3>&- &
	PBS_PID=$!
	while [ ! -f "$PBS_DIR/ports" ]; do
		kill -0 "$PBS_PID" || { cat "$PBS_DIR/err"; return 1; }
		sleep 0.02
	done
	read -r PBS_PORT PBS_SIDE <"$PBS_DIR/ports"
	PBS_FINGERPRINT=$(cat "$PBS_DIR/fingerprint")
	PBS_URL=https://127.0.0.1:$PBS_PORT
	export PBS_URL PBS_FINGERPRINT
}

pbs_stop() {
	[ -n "${PBS_PID:-}" ] || return 0
	kill "$PBS_PID" 2>/dev/null || :
	wait "$PBS_PID" || :
	PBS_PID=
}

pbs_wire() {
	wire=${CALA_BUILD:-$top/build}/tests/pbs/wire
	if [ ! -x "$wire" ]; then
		[ -z "${CI:-}" ] || { echo "make test-programs" >&2; return 1; }
		skip "make test-programs has not made $wire"
	fi
	unset WIRE_CACERT WIRE_PROXY WIRE_STALL WIRE_ANSWER WIRE_DEBUG
}

pbs_conf() {
	local file=$1
	shift
	cat >"$file" <<-END
	[configuration "c"]
	disk = proxmox-backup-server
	url = $PBS_URL
	datastore = $PBS_STORE
	token-id = $PBS_TOKEN
	token-secret = $PBS_SECRET
	fingerprint = $PBS_FINGERPRINT
	maintenance = no
	END
	[ -z "$PBS_NS" ] || echo "namespace = $PBS_NS" >>"$file"
	[ $# -eq 0 ] || printf '%s\n' "$@" >>"$file"
	chmod 600 "$file"
	export CALA_CONFIG=$file
}

pbs_do() {
	side_do "$PBS_SIDE" "$@"
}

pbs_fault() {
	pbs_do fault "action=$1" "${@:2}"
}

pbs_count() {
	pbs_do log "$@" count=true
}

pbs_snapshots() {
	pbs_do snapshots "store=$PBS_STORE"
}

pbs_folder() {
	printf '%s/%s/host/%s/%s' "$PBS_DIR" "$PBS_STORE" "$1" \
		"$(date -u -d "@$2" +%Y-%m-%dT%H:%M:%SZ)"
}

pbs_chunks() {
	find "$PBS_DIR/$PBS_STORE/.chunks" -type f
}

# pbs_sound [FILE...]: all snapshots decode, by a decoder of their own, to what
# their manifests say (keys: PBS_KEY, PBS_KEY_PASSWORD; PBS_BROKEN=may: running
# or broken ones may be there); the server met nothing it could not handle, no
# client did anything odd (PBS_ODD=may), nothing is locked, and neither its log
# nor any FILE holds the secret.
pbs_sound() {
	local f
	pbs_do idle || return
	pbs_run sound.py check "$PBS_DIR" || return
	if [ -s "$PBS_DIR/err" ]; then
		echo "the server: "
		cat "$PBS_DIR/err"
		return 1
	fi
	if [ -s "$PBS_DIR/flags" ] && [ "${PBS_ODD:-}" != may ]; then
		echo "what a client did: "
		cat "$PBS_DIR/flags"
		return 1
	fi
	for f in "$PBS_DIR/log" "$@"; do
		if grep -F -e "$PBS_SECRET" "$f"; then
			echo "the secret is in $f"
			return 1
		fi
	done
}

pbs_client() {
	pbs_run client.py "$@"
}
