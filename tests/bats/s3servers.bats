# The S3 tools against a real service: our own here, MinIO and versitygw under
# the other two names of this file.  One service for all of its tests; each
# has keys of its own.

load common
load ../s3/s3

MIB=1048576

setup_file() {
	need python3 openssl jq
	case ${BATS_TEST_FILENAME##*/} in
	s3servers-minio.bats) kind=minio ;;
	s3servers-versitygw.bats) kind=versitygw ;;
	*) kind=ours ;;
	esac
	# uploads are noted there, and not among this machine's
	export XDG_STATE_HOME=$BATS_FILE_TMPDIR/state
	s3_service "$kind" "$BATS_FILE_TMPDIR/s3"
	s3_conf "$BATS_FILE_TMPDIR/cala.conf"
	S3_BUCKET=locked s3_conf "$BATS_FILE_TMPDIR/locked.conf"
	export S3_PID S3_URL S3_BUCKET S3_DIR kind
	s3_blob $((20 * MIB)) >"$BATS_FILE_TMPDIR/in"
}

teardown_file() {
	# The service is the child of a shell that has ended.
	[ -z "${S3_PID:-}" ] || kill "$S3_PID"
}

setup() {
	cd "$BATS_TEST_TMPDIR" || return
	export CALA_CONFIG=$BATS_FILE_TMPDIR/cala.conf
	in=$BATS_FILE_TMPDIR/in
	S=11111111-aaaa-4bbb-8ccc-$(printf %012d "$BATS_TEST_NUMBER")
	U=aaaa1111-0000-4000-8000-$(printf %012d "$BATS_TEST_NUMBER")
}

put() {
	cala-s3put -c c "$@"
}

get() {
	cala-s3get -c c "$@"
}

# stored KEY FILE: the object is exactly that file, by another client's eyes.
stored() {
	s3_client get "$S3_BUCKET" "$1" | cmp - "$2"
}

# closed [KEY]: no upload is left open.
closed() {
	[ -z "$(s3_client uploads "$S3_BUCKET" ${1:+"$1"})" ]
}

@test "round trips of sizes around every boundary" {
	for n in 1 $((5 * MIB)) $((8 * MIB - 1)) $((8 * MIB)) $((8 * MIB + 1)) \
	    $((10 * MIB)) $((20 * MIB)); do
		head -c "$n" "$in" >part
		put "size/$n" < <(cat part)
		stored "size/$n" part
		get "size/$n" | cmp - part
	done
	put --allow-empty size/0 </dev/null
	[ "$(get size/0 | wc -c)" -eq 0 ]
	closed
}

@test "some hundred MiB of unknown length, there and back" {
	s3_blob $((250 * MIB)) | tee >(sha256sum >sum) | put large
	get large | sha256sum | cmp - sum
	closed large
	s3_client rm "$S3_BUCKET" large
}

@test "keys with everything that has to be encoded" {
	for k in 'a b' 'ü+=&@:,;$' "quo'te(1)!*~" 'per%20cent'; do
		head -c 1000 "$in" >part
		put "odd/$k" <part
		stored "odd/$k" part
		get "odd/$k" | cmp - part
	done
}

@test "metadata, tags and content type" {
	put --meta origin=test --tag team=ops --content-type text/plain m <"$in"
	s3_client head "$S3_BUCKET" m >shown
	grep -qi '^x-amz-meta-origin: test' shown
	grep -qi '^content-type: text/plain' shown
	put --meta origin=test --tag team=ops s <<<x
	s3_client head "$S3_BUCKET" s | grep -qi '^x-amz-meta-origin: test'
}

@test "--if-absent does not replace" {
	put --if-absent once <<<first
	run put --if-absent once <<<second
	[ "$status" -eq 15 ]
	run put --if-absent once <"$in"
	[ "$status" -eq 15 ]
	[ "$(get once)" = first ]
	closed once
}

@test "a producer that fails stores nothing" {
	run put failed -- sh -c 'cat "$1"; exit 5' _ "$in"
	[ "$status" -eq 4 ]
	run get failed
	[ "$status" -eq 10 ]
	closed failed
}

@test "a cala stream cut short stores nothing" {
	mkdir t
	cp "$in" t/x
	cala-pack -C t . >whole
	head -c 18000000 whole >short
	run put cut.tar.zst <short
	[ "$status" -eq 4 ]
	closed cut.tar.zst
	put whole.tar.zst <whole
	stored whole.tar.zst whole
}

@test "wrong credentials and an absent bucket are told apart" {
	run cala-s3put -c c s3://not-there/k <<<x
	[ "$status" -eq 10 ]
	sed 's/^secret-key = .*/secret-key = wrong-secret/' "$CALA_CONFIG" >wrong
	chmod 600 wrong
	CALA_CONFIG=$PWD/wrong run put k <<<x
	[ "$status" -eq 12 ]
	CALA_CONFIG=$PWD/wrong run get k
	[ "$status" -eq 12 ]
}

@test "parts of a download" {
	put ranges <"$in"
	for span in '0 1' "$((8 * MIB - 1)) 2" "$((20 * MIB - 5)) 5" '1000 9000000'; do
		read -r offset length <<<"$span"
		tail -c +$((offset + 1)) "$in" | head -c "$length" |
			cmp - <(get ranges --offset "$offset" --length "$length")
	done
}

@test "--checksum of every kind that the service has" {
	for sum in md5 crc32 crc32c sha256 crc64nvme; do
		put --checksum "$sum" "sum/$sum" <"$in"
		stored "sum/$sum" "$in"
		put --checksum "$sum" "sum/$sum.s" <<<x
	done
	closed
}

@test "backup, list, ls, cat, get and rm of the driver" {
	mkdir -p t/world
	seq 1 100000 >t/world/level.dat
	cp "$in" t/big
	cala-pack -C t . | cala-s3 put -c c -s $S --uuid $U --name one
	[ "$(cala-s3 list -c c -s $S | jq -r .uuid)" = $U ]
	cala-s3 ls -c c -b $U --json | jq -e 'select(.path == "world").type == "d"'
	cala-s3 cat -c c -b $U world/level.dat | cmp - t/world/level.dat
	mkdir out
	cala-s3 get -c c -b $U | cala-unpack -C out
	diff -r t out
	cala-s3 verify -c c -b $U --read-data
	cala-s3 set -c c -b $U --lock
	run cala-s3 rm -c c -b $U
	[ "$status" -eq 22 ]
	cala-s3 set -c c -b $U --no-lock
	cala-s3 rm -c c -b $U
	[ -z "$(cala-s3 list -c c -s $S)" ]
	[ -z "$(s3_client ls "$S3_BUCKET" "$S/")" ]
}

@test "kill -9 midway stores nothing, and gc removes what it left" {
	mkfifo f
	cala-s3 put -c c -s $S --uuid $U --no-check <f >out 2>err &
	pid=$!
	exec 7>f
	s3_blob $((60 * MIB)) >&7
	# Until then it has not been told of its upload.
	until find "$XDG_STATE_HOME" -name '*.upload' -size +0 | grep -q .; do
		kill -0 $pid
		sleep 0.05
	done
	kill -KILL $pid
	wait $pid || true
	exec 7>&-
	[ -z "$(cala-s3 list -c c -s $S)" ]
	cala-s3 gc -c c
	closed "$S/$U.tar.zst"
	closed "$S/$U.tar"
	closed
}

@test "check tries every step" {
	run --separate-stderr cala-s3 check -c c
	echo "$output"
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -ge 6 ]
	closed
}

@test "an object that the service locks is not removed" {
	sed -i '/^object-lock/d' "$BATS_FILE_TMPDIR/locked.conf"
	printf 'object-lock-mode = governance\nobject-lock-retention = 1d\n' \
		>>"$BATS_FILE_TMPDIR/locked.conf"
	export CALA_CONFIG=$BATS_FILE_TMPDIR/locked.conf
	head -c 100000 "$in" >part
	put locked.bin <part
	put locked.large <"$in"
	s3_client get locked locked.large | cmp - "$in"
	s3_client head locked locked.bin >shown
	cat shown
	grep -qi '^x-amz-object-lock-mode: GOVERNANCE' shown
	v=$(sed -n 's/^x-amz-version-id: //p' shown | tr -d '\r')
	[ -n "$v" ]
	run s3_client rm locked locked.bin "$v"
	[ "$status" -ne 0 ]
}
