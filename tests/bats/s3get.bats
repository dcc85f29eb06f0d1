# cala-s3get: one generation of an object, every byte in order, or a failure.

load common
load ../s3/s3

MIB=1048576

setup() {
	need python3 openssl jq
	cd "$BATS_TEST_TMPDIR" || return
}

teardown() {
	s3_stop
}

# begin SIZE [OPTION...]: a service with an object "k" of so many bytes, as a
# foreign tool would have stored it; the file is "in".
begin() {
	local size=$1
	shift
	s3_start "$@"
	s3_conf "$BATS_TEST_TMPDIR/cala.conf"
	s3_blob "$size" >in
	s3_do put bucket=bkt key=k file="$PWD/in"
}

get() {
	cala-s3get -c c "$@"
}

# A run to "out" that is killed on its way.  It goes on at multiples of 16 MiB;
# with two requests at a time the fifth of 8 MiB can't be one of the first two.
interrupted() {
	local pid
	s3_fault stall op=GetObject when=response after=1000 nth=5 count=0
	cala-s3get -c c -j 2 k -o out 2>err &
	pid=$!
	until [ "$(stat -c %s out.part 2>/dev/null || echo 0)" -ge \
	    $((16 * MIB)) ]; do
		sleep 0.05
	done
	kill -KILL $pid
	wait $pid || true
}

@test "bytes come back as they are stored, whatever their number" {
	begin 1
	for n in 0 1 $((8 * MIB - 1)) $((8 * MIB)) $((8 * MIB + 1)) \
	    $((40 * MIB)); do
		s3_blob "$n" >in
		s3_do put bucket=bkt "key=n$n" file="$PWD/in"
		get "n$n" | cmp - in
		get "n$n" -o out
		cmp out in
		rm out
	done
	s3_sound
}

@test "every range after the first is pinned to what the first one saw" {
	begin $((40 * MIB))
	get k >out
	cmp out in
	n=$(s3_count op=GetObject)
	[ "$n" -ge 2 ]
	etag=$(s3_do about bucket=bkt key=k | jq -r .etag)
	[ "$(s3_count op=GetObject "if-match=\"$etag\"")" -ge $((n - 1)) ]
	s3_sound
}

@test "no byte is fetched twice" {
	begin $((40 * MIB))
	get k | cmp - in
	[ "$(s3_do log op=GetObject | jq -s 'map(.out) | add')" = $((40 * MIB)) ]
	s3_sound
}

@test "--offset and --length give that part" {
	begin $((20 * MIB))
	part() {
		tail -c +$(($1 + 1)) in | head -c "$2" |
			cmp - <(get k --offset "$1" --length "$2")
	}
	part 0 1
	part 1000 5000
	part $((8 * MIB - 1)) 2
	part $((20 * MIB - 1)) 1
	part 5 $((15 * MIB))
	tail -c +1001 in | cmp - <(get k --offset 1000)
	s3_sound
}

@test "s3://bucket/key with the usual variables" {
	begin 1000
	s3_env
	unset CALA_CONFIG
	cala-s3get s3://bkt/k | cmp - in
	s3_sound
}

@test "an absent key, bucket or service, and wrong credentials" {
	begin 1000
	fails 10 get nothing
	fails 10 cala-s3get -c c s3://other/k
	sed -i 's/^secret-key = .*/secret-key = wrong/' cala.conf
	fails 12 get k
	s3_stop
	fails 13 get --retries 1 k
	[ ! -e out ]
}

@test "a cut answer is resumed where it broke, byte for byte" {
	begin $((20 * MIB))
	s3_fault truncate op=GetObject after=1000000
	s3_fault truncate op=GetObject after=0 nth=2
	s3_fault reset op=GetObject when=response after=300000 nth=2
	get k >out
	cmp out in
	[ "$(s3_do used | tr '\n' ' ')" = '1 1 1 ' ]
	# Only what was missing is asked for again.
	[ "$(s3_do log op=GetObject | jq -s 'map(.out) | add')" -le \
		$((20 * MIB + 8 * 2 * MIB)) ]
	s3_sound
}

@test "an object that is replaced meanwhile is never mixed" {
	begin $((40 * MIB))
	s3_fault replace op=GetObject nth=3
	run --separate-stderr bash -c 'cala-s3get -c c k >out'
	[ "$status" -eq 14 ] || cmp out <(s3_bytes k)
	S3_LEFT=may s3_sound
}

@test "an object that is replaced, and a service that ignores If-Match" {
	begin $((40 * MIB))
	s3_do set no_if_match=true
	s3_fault replace op=GetObject nth=3
	run --separate-stderr bash -c 'cala-s3get -c c k >out'
	[ "$status" -eq 14 ] || cmp out <(s3_bytes k)
}

@test "answers that are not what was asked for" {
	begin $((40 * MIB))
	for rule in 'range shift=1' 'range shift=-1' 'range total=1' \
	    'range total=-1' 'range longer=5' 'whole'; do
		s3_do clear
		# shellcheck disable=SC2086
		s3_fault $rule op=GetObject nth=2 count=0
		status=0
		get k >out 2>err || status=$?
		echo "$rule: $status $(cat err)"
		if [ "$status" -eq 0 ]; then
			cmp out in
		else
			[ "$status" -eq 14 ]
			cmp -n "$(stat -c %s out)" out in
		fi
		[ "$(s3_do used)" -ge 1 ]
	done
}

@test "a byte that changed on its way is found" {
	begin 1000000
	s3_fault flip op=GetObject at=500000
	run bash -c 'cala-s3get -c c k >out'
	[ "$status" -eq 14 ]
}

@test "a byte that changed in the store is found" {
	begin 1000000
	s3_do damage bucket=bkt key=k at=500000
	run bash -c 'cala-s3get -c c k >out'
	[ "$status" -eq 14 ]
	# The same for an object of many parts.
	s3_blob $((30 * MIB)) | cala-s3put -c c m
	get m >/dev/null
	s3_do damage bucket=bkt key=m at=20000000
	run bash -c 'cala-s3get -c c m >out'
	[ "$status" -eq 14 ]
}

@test "parts of any size are proven, and damage in each is found" {
	begin 1
	s3_blob $((41 * MIB)) >in
	# Ranges that are parts, with one to the first boundary; without; none.
	for size in 5 7 8 21; do
		for sum in md5 crc64nvme; do
			cala-s3put -c c --checksum $sum --part-size ${size}MiB \
				--exact-parts --memory 128MiB m <in
			run --separate-stderr bash -c \
				'cala-s3get -v -c c m | cmp - in'
			[ "$status" -eq 0 ]
			[[ $stderr == *"$sum is right"* ]]
			for at in 6000000 9000000 42000000; do
				s3_do damage bucket=bkt key=m at=$at
				run bash -c 'cala-s3get -c c m >out'
				[ "$status" -eq 14 ]
				s3_do damage bucket=bkt key=m at=$at
			done
		done
	done
}

@test "a few bytes are not worth another question" {
	begin 1000000
	get k | cmp - in
	[ "$(s3_count op=HeadObject)" -eq 0 ]
}

@test "errors of a minute are waited out" {
	begin $((40 * MIB))
	for s in 500 502 503 504 429; do
		s3_fault status op=GetObject "status=$s" code=Whatever count=2 nth=2
	done
	s3_fault status op=GetObject status=502 'body=<html>bad</html>' nth=2
	get k >out
	cmp out in
	s3_sound
}

@test "-o continues what was interrupted, if it is still the same object" {
	begin $((64 * MIB))
	interrupted
	[ ! -e out ]
	s3_do clear
	before=$(s3_do log op=GetObject | wc -l)
	get k -o out
	cmp out in
	[ "$(s3_do log op=GetObject | tail -n +$((before + 1)) |
		jq -s 'map(.out) | add')" -le $((57 * MIB)) ]
	[ ! -e out.part ]
	s3_sound
}

@test "-o does not continue with another generation" {
	begin $((64 * MIB))
	interrupted
	s3_do clear
	head -c $((64 * MIB)) /dev/urandom >in2
	s3_do put bucket=bkt key=k file="$PWD/in2"
	status=0
	get k -o out || status=$?
	[ "$status" -eq 14 ] || cmp out in2
}

@test "-o does not continue with another generation where If-Match is ignored" {
	begin $((64 * MIB))
	interrupted
	s3_do clear
	s3_do set no_if_match=true
	head -c $((64 * MIB)) /dev/urandom >in2
	s3_do put bucket=bkt key=k file="$PWD/in2"
	get k --no-verify -o out
	cmp out in2
	# And what is asked for by its ETag is that, or an error.
	fails 15 get k --if-match '"00000000000000000000000000000000"'
	etag=$(s3_do about bucket=bkt key=k | jq -r .etag)
	get k --if-match "\"$etag\"" | cmp - in2
	get k --if-match "$etag" | cmp - in2
	s3_sound
}

@test "-o does not continue what --if-match does not mean" {
	begin $((20 * MIB))
	head -c $((16 * MIB)) /dev/zero >out.part
	printf '0 "11111111111111111111111111111111"' >out.part.etag
	etag=$(s3_do about bucket=bkt key=k | jq -r .etag)
	get k --if-match "\"$etag\"" -o out
	cmp out in
	[ "$(s3_count op=GetObject status=412)" = 0 ]
}

@test "a reader that stops ends it quietly" {
	begin $((40 * MIB))
	run bash -c 'cala-s3get -c c k 2>err | head -c 100 >/dev/null
		exit ${PIPESTATUS[0]}'
	[ "$status" -eq 141 ]
	[ ! -s err ]
}

@test "a full disk is an error" {
	begin 1000
	run bash -c 'cala-s3get -c c k >/dev/full'
	[ "$status" -ne 0 ] && [[ $output == *"No space left"* ]]
}

@test "memory stays within the budget behind a slow reader" {
	s3_unsanitized
	begin $((200 * MIB))
	s3_peak peak cala-s3get -c c k | (sleep 1; cmp - in)
	cat peak
	[ "$(cat peak)" -le $(((64 + 32) * 1024)) ]
	s3_sound
}

@test "over TLS, and not with a wrong CA" {
	begin $((20 * MIB)) --tls
	S3_ENDPOINT=$S3_TLS_URL s3_conf cala.conf "cacert = $S3_CA"
	get k | cmp - in
	S3_ENDPOINT=$S3_TLS_URL s3_conf cala.conf
	fails 17 get k
	s3_sound
}

@test "SIGTERM ends it by that signal" {
	begin $((20 * MIB))
	s3_fault stall op=GetObject when=response after=1000 count=0
	cala-s3get -c c k >out 2>err &
	pid=$!
	while [ "$(s3_do used)" -lt 1 ]; do sleep 0.05; done
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	[ "$status" -eq 143 ]
}

@test "maintenance is respected" {
	begin 10
	sed -i 's/^maintenance = no/maintenance = yes/' cala.conf
	fails 20 get k
	[ "$(s3_count)" = 0 ]
}
