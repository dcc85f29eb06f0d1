# An S3 service of our own for a suite, and what to ask of it.
# shellcheck shell=bash
#
#	s3_start [OPTION...]     start it (server.py); a bucket "bkt"; sets S3_URL,
#	                         S3_TLS_URL and S3_CA (with --tls), S3_DIR
#	s3_stop                  end it by its id; in teardown
#	s3_conf FILE [LINE...]   a configuration "c" for it, with more lines
#	s3_env                   the same for tools alone: AWS_…
#	s3_do WORD [K=V...]      one word to its side port (side.py, control.py)
#	s3_fault ACTION [K=V...] arm a rule (faults.py)
#	s3_count [K=V...]        how many requests have these fields
#	s3_keys, s3_uploads      what is stored, and open uploads
#	s3_bytes KEY             an object as it is stored
#	s3_sound [FILE...]       what must hold after every test

# Nothing that the machine itself knows of any service.
unset AWS_CA_BUNDLE AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN \
	AWS_DEFAULT_REGION AWS_ENDPOINT_URL_S3

S3_ACCESS=AKIDEXAMPLE
S3_SECRET=test/Secret+Key0123456789
s3_home=$(cd "$BATS_TEST_DIRNAME/../s3" && pwd)
# shellcheck source=/dev/null
source "$s3_home/side.bash"

# The suites give it options.
# shellcheck disable=SC2120
s3_start() {
	S3_DIR=${S3_DIR:-$BATS_TEST_TMPDIR/s3}
	mkdir -p "$S3_DIR"
	# uploads are noted there, and not among this machine's
	export XDG_STATE_HOME=${XDG_STATE_HOME:-$BATS_TEST_TMPDIR/state}
	rm -f "$S3_DIR/ports"
	PYTHONPYCACHEPREFIX=${CALA_BUILD:-$top/build}/pycache \
		python3 "$s3_home/server.py" "$S3_DIR" --bucket bkt "$@" \
		</dev/null >>"$S3_DIR/out" 2>>"$S3_DIR/err" 3>&- &
	S3_PID=$!
	while [ ! -f "$S3_DIR/ports" ]; do
		kill -0 "$S3_PID" || { cat "$S3_DIR/err"; return 1; }
		sleep 0.02
	done
	read -r S3_PORT S3_TLS S3_SIDE <"$S3_DIR/ports"
	S3_URL=http://127.0.0.1:$S3_PORT
	S3_TLS_URL=https://localhost:$S3_TLS
	S3_CA=$S3_DIR/ca.pem
}

s3_stop() {
	[ -n "${S3_PID:-}" ] || return 0
	kill "$S3_PID" 2>/dev/null || :
	wait "$S3_PID" || :
	S3_PID=
}

s3_conf() {
	local file=$1
	shift
	cat >"$file" <<-END
	[configuration "c"]
	disk = s3
	endpoint = ${S3_ENDPOINT:-$S3_URL}
	region = us-east-1
	bucket = ${S3_BUCKET:-bkt}
	access-key = $S3_ACCESS
	secret-key = $S3_SECRET
	maintenance = no
	END
	[ $# -eq 0 ] || printf '%s\n' "$@" >>"$file"
	chmod 600 "$file"
	export CALA_CONFIG=$file
}

s3_env() {
	export AWS_ACCESS_KEY_ID=$S3_ACCESS AWS_SECRET_ACCESS_KEY=$S3_SECRET
	export AWS_REGION=us-east-1 AWS_ENDPOINT_URL=${S3_ENDPOINT:-$S3_URL}
	export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
}

s3_do() {
	side_do "$S3_SIDE" "$@"
}

s3_fault() {
	s3_do fault "action=$1" "${@:2}"
}

s3_count() {
	s3_do log "$@" count=true
}

s3_keys() {
	s3_do keys "bucket=${S3_BUCKET:-bkt}"
}

s3_uploads() {
	s3_do uploads "bucket=${S3_BUCKET:-bkt}"
}

s3_bytes() {
	s3_do bytes "bucket=${S3_BUCKET:-bkt}" "key=$1"
}

# s3_sound [FILE...]: no upload is left open, every request was signed right
# at the first try (S3_UNSIGNED=may: not with clocks, tokens and redirects),
# the server met nothing it could not handle, and neither its own log nor any
# FILE holds the secret or a key made of it.
s3_sound() {
	local left f
	left=$(s3_uploads)
	if [ -n "$left" ] && [ "${S3_LEFT:-}" != may ]; then
		echo "open uploads: $left"
		return 1
	fi
	if [ "${S3_UNSIGNED:-}" != may ] && [ "$(s3_count signed=false)" != 0 ]; then
		echo "requests that were not signed right:"
		s3_do log signed=false
		return 1
	fi
	if [ -s "$S3_DIR/err" ]; then
		echo "the server: "
		cat "$S3_DIR/err"
		return 1
	fi
	for f in "$S3_DIR/log" "$@"; do
		if grep -F -e "$S3_SECRET" -e "AWS4$S3_SECRET" "$f"; then
			echo "the secret is in $f"
			return 1
		fi
	done
}

# s3_peer NAME: the same as peer, into S3_PROGRAM.
s3_peer() {
	peer "$1" && S3_PROGRAM=$PEER
}

s3_free_port() {
	python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

s3_client() {
	PYTHONPYCACHEPREFIX=${CALA_BUILD:-$top/build}/pycache \
		python3 "$s3_home/client.py" "$@"
}

# s3_service KIND FOLDER: ours, minio or versitygw, with the buckets
# "bkt" and "locked"; sets S3_PID, S3_URL and S3_BUCKET.
s3_service() {
	local port tries=0
	S3_DIR=$2
	mkdir -p "$S3_DIR/data"
	port=$(s3_free_port)
	S3_URL=http://127.0.0.1:$port
	S3_BUCKET=bkt
	case $1 in
	ours)
		s3_start
		;;
	minio)
		s3_peer minio
		env MINIO_ROOT_USER="$S3_ACCESS" MINIO_ROOT_PASSWORD="$S3_SECRET" \
			MINIO_BROWSER=off MINIO_CI_CD=1 HOME="$S3_DIR" \
			"$S3_PROGRAM" server --quiet --address "127.0.0.1:$port" \
			"$S3_DIR/data" </dev/null >"$S3_DIR/out" 2>&1 3>&- &
		S3_PID=$!
		;;
	versitygw)
		s3_peer versitygw
		mkdir -p "$S3_DIR/versions"
		env ROOT_ACCESS_KEY="$S3_ACCESS" ROOT_SECRET_KEY="$S3_SECRET" \
			"$S3_PROGRAM" --quiet --port "127.0.0.1:$port" posix \
			--versioning-dir "$S3_DIR/versions" "$S3_DIR/data" \
			</dev/null >"$S3_DIR/out" 2>&1 3>&- &
		S3_PID=$!
		;;
	esac
	s3_env
	until s3_client ls bkt >"$S3_DIR/probe" 2>&1 ||
		grep -q NoSuchBucket "$S3_DIR/probe"; do
		if ! kill -0 "$S3_PID" || [ $((tries += 1)) -gt 60 ]; then
			cat "$S3_DIR/probe" "$S3_DIR/out"
			return 1
		fi
		sleep 0.2
	done
	! grep -q NoSuchBucket "$S3_DIR/probe" || s3_client make bkt
	s3_client make locked lock
}

# s3_peak FILE COMMAND...: run it; its peak memory in KiB goes to FILE.
s3_peak() {
	python3 -c 'import os, sys
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss, file=open(sys.argv[1], "w"))
sys.exit(os.waitstatus_to_exitcode(status) & 255)' "$@"
}

# s3_blob BYTES: so many that do not repeat, the same every time, quickly.
s3_blob() {
	openssl enc -aes-128-ctr -K 00112233445566778899aabbccddeeff \
		-iv 00000000000000000000000000000000 -in /dev/zero 2>/dev/null |
		head -c "$1"
}

# s3_same KEY FILE: the stored object is exactly that file.
s3_same() {
	s3_bytes "$1" | cmp - "$2"
}

# s3_unsanitized: skips where an address sanitizer makes memory its own.
s3_unsanitized() {
	[ -z "${CALA_SANITIZE:-}" ] || skip "memory is the sanitizer's here"
}
