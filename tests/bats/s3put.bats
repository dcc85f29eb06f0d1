# cala-s3put: a stream of any length becomes one object, whole or not at all.

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

begin() {
	s3_start
	s3_conf "$BATS_TEST_TMPDIR/cala.conf"
}

put() {
	cala-s3put -c c "$@"
}

tree() {
	mkdir -p t/sub
	head -c 3000000 /dev/urandom >t/big
	seq 1 10000 >t/sub/text
}

@test "small input is one PUT, and arrives as it was" {
	begin
	for n in 1 1000 $((8 * MIB - 1)); do
		s3_blob "$n" >in
		put "n$n" <in
		s3_same "n$n" in
	done
	[ "$(s3_count op=PutObject)" = 3 ]
	[ "$(s3_count op=CreateMultipartUpload)" = 0 ]
	s3_sound
}

@test "sizes around the first part, and whole multiples of parts" {
	begin
	for n in $((8 * MIB)) $((8 * MIB + 1)) $((16 * MIB)) $((20 * MIB + 1)) \
	    $((25 * MIB)); do
		s3_blob "$n" >in
		put "n$n" < <(cat in)
		s3_same "n$n" in
	done
	s3_sound
}

@test "empty input is stored only when allowed" {
	begin
	fails 4 put k </dev/null
	[ -z "$(s3_keys)" ]
	put --allow-empty k </dev/null
	[ "$(s3_do about bucket=bkt key=k | jq .size)" = 0 ]
	s3_sound
}

@test "some hundred MiB of unknown length, within the memory budget" {
	s3_unsanitized
	begin
	s3_blob $((300 * MIB)) | tee >(sha256sum >sum) |
		s3_peak peak cala-s3put -c c k
	s3_bytes k | sha256sum | cmp - sum
	[ "$(s3_count op=UploadPart status=200)" -ge 10 ]
	cat peak
	[ "$(cat peak)" -le $(((64 + 32) * 1024)) ]
	s3_sound
}

@test "--memory is a budget, also with large parts" {
	s3_unsanitized
	begin
	s3_blob $((150 * MIB)) | s3_peak peak cala-s3put -c c --memory 32MiB \
		--part-size 1GiB k
	cat peak
	[ "$(cat peak)" -le $(((32 + 32) * 1024)) ]
	[ "$(s3_do about bucket=bkt key=k | jq .size)" = $((150 * MIB)) ]
	s3_sound
}

@test "--json tells what was stored" {
	begin
	s3_blob $((20 * MIB)) >in
	put --json k <in >out
	[ "$(wc -l <out)" -eq 1 ]
	jq -e --arg e "$(s3_do about bucket=bkt key=k | jq -r .etag)" \
		'.key == "k" and .size == 20971520 and .parts >= 2 and
		(.etag | gsub("\""; "")) == $e' out
	printf x | put --json one | jq -e '.parts <= 1 and .size == 1'
	s3_sound
}

@test "without --json nothing is printed" {
	begin
	run --separate-stderr put k <<<x
	[ "$status" -eq 0 ] && [ -z "$output" ] && [ -z "$stderr" ]
}

@test "s3://bucket/key with the usual variables, and --endpoint" {
	s3_start
	s3_env
	echo hello | cala-s3put s3://bkt/some/key
	[ "$(s3_bytes some/key)" = hello ]
	unset AWS_ENDPOINT_URL
	echo again | cala-s3put --endpoint "$S3_URL" s3://bkt/key
	[ "$(s3_bytes key)" = again ]
	s3_sound
}

@test "a profile of the usual files" {
	s3_start
	export AWS_SHARED_CREDENTIALS_FILE=$PWD/credentials
	export AWS_CONFIG_FILE=$PWD/config
	printf '[mine]\naws_access_key_id=%s\naws_secret_access_key=%s\n' \
		"$S3_ACCESS" "$S3_SECRET" >credentials
	printf '[profile mine]\nregion = us-east-1\nendpoint_url = %s\n' \
		"$S3_URL" >config
	chmod 600 credentials config
	echo hello | cala-s3put --profile mine s3://bkt/k
	echo hello | AWS_PROFILE=mine cala-s3put s3://bkt/l
	[ "$(s3_keys)" = "k
l" ]
	s3_sound
}

@test "keys are bytes, encoded once" {
	begin
	for k in 'a b' 'ü+=&@:,;$?#' 'a//b' "quo'te(1)!*~" 'per%20cent'; do
		echo "$k" | put "$k"
		[ "$(s3_bytes "$k")" = "$k" ]
	done
	[ "$(s3_keys | wc -l)" -eq 5 ]
	s3_sound
}

@test "the virtual-host style, and auto takes the path for an address" {
	begin
	echo x | put path
	[ "$(s3_count op=PutObject style=path)" = 1 ]
	S3_ENDPOINT=http://localhost:$S3_PORT s3_conf cala.conf 'path-style = no'
	echo x | put virtual
	[ "$(s3_count op=PutObject style=virtual)" = 1 ]
	[ "$(s3_keys)" = "path
virtual" ]
	s3_sound
}

@test "over TLS with its own CA; bodies are not signed, over plain HTTP they are" {
	s3_start --tls
	S3_ENDPOINT=$S3_TLS_URL s3_conf cala.conf "cacert = $S3_CA"
	s3_blob $((20 * MIB)) >in
	put k <in
	s3_same k in
	[ "$(s3_count op=UploadPart payload=unsigned tls=true)" -ge 2 ]
	[ "$(s3_count op=UploadPart payload=signed)" = 0 ]
	s3_conf cala.conf
	put l <in
	[ "$(s3_count op=UploadPart payload=signed tls=false)" -ge 2 ]
	s3_sound
}

@test "AWS_CA_BUNDLE is the CA of tools alone" {
	s3_start --tls
	S3_ENDPOINT=$S3_TLS_URL s3_env
	fails 17 cala-s3put s3://bkt/k <<<x
	AWS_CA_BUNDLE=$S3_CA cala-s3put s3://bkt/k <<<x
	[ "$(s3_keys)" = k ]
	s3_sound
}

@test "an expired certificate and another host's are refused" {
	for kind in expired wrong-host; do
		# shellcheck disable=SC2034  # s3_start looks at it
		S3_DIR=$PWD/$kind
		s3_start --tls "$kind"
		S3_ENDPOINT=$S3_TLS_URL s3_conf cala.conf "cacert = $S3_CA"
		fails 17 put k <<<x
		[ "$(s3_count)" = 0 ]
		s3_stop
	done
}

@test "the content type follows the name, or is given" {
	begin
	type_of() { s3_do about bucket=bkt "key=$1" | jq -r '.headers["content-type"]'; }
	echo x | put --no-check a.tar.zst
	[ "$(type_of a.tar.zst)" = application/zstd ]
	echo x | put --no-check a.tar.gz
	[ "$(type_of a.tar.gz)" = application/x-gzip ]
	echo x | put a.bin
	[ "$(type_of a.bin)" = application/octet-stream ]
	echo x | put --content-type text/plain a.txt
	[ "$(type_of a.txt)" = text/plain ]
	s3_do log op=PutObject | jq -e '.headers | has("content-encoding") | not'
	s3_sound
}

@test "metadata, tags, storage class and encryption go with the object" {
	s3_start
	s3_conf cala.conf 'storage-class = STANDARD_IA' 'sse = AES256'
	for n in 1000 $((20 * MIB)); do
		s3_blob "$n" | put --meta origin=test --tag 'team=ops & co' \
			--tag b=2 "k$n"
		s3_do about bucket=bkt "key=k$n" >about
		jq -e '.headers["x-amz-meta-origin"] == "test" and
			.tags == {"team": "ops & co", "b": "2"} and
			.storage == "STANDARD_IA" and
			.sse["x-amz-server-side-encryption"] == "AES256"' about
	done
	s3_sound
}

@test "encryption with a key of the service: opaque ETags are no error" {
	s3_start
	s3_conf cala.conf 'sse = aws:kms' 'sse-kms-key-id = key-1'
	s3_blob $((20 * MIB)) >in
	put k <in
	s3_same k in
	put small <<<x
	s3_do about bucket=bkt key=k | jq -e '.sse == {
		"x-amz-server-side-encryption": "aws:kms",
		"x-amz-server-side-encryption-aws-kms-key-id": "key-1"}'
	s3_conf cala.conf 'sse = aws:kms:dsse'
	put twice <<<x
	s3_do about bucket=bkt key=twice |
		jq -e '.sse["x-amz-server-side-encryption"] == "aws:kms:dsse"'
	s3_sound
}

@test "encryption with a key of the customer, which appears nowhere" {
	s3_start --tls
	head -c 32 /dev/urandom | base64 >key
	chmod 600 key
	S3_ENDPOINT=$S3_TLS_URL s3_conf cala.conf "cacert = $S3_CA" \
		'sse = customer' "sse-customer-key-file = $PWD/key"
	s3_blob $((20 * MIB)) >in
	put --debug k <in 2>log
	s3_same k in
	put --debug small <<<x 2>>log
	s3_do about bucket=bkt key=k | jq -e '.customer != null'
	cala-s3get -c c --debug k 2>>log | cmp - in
	run ! grep -F "$(cat key)" log
	s3_sound log
	head -c 32 /dev/urandom | base64 >key
	run cala-s3get -c c k
	[ "$status" -eq 12 ] && [[ $output != *"$(cat key)"* ]]
}

@test "--if-absent does not replace" {
	begin
	echo first | put --if-absent k
	fails 15 put --if-absent k <<<second
	s3_blob $((20 * MIB)) >in
	fails 15 put --if-absent k <in
	[ "$(s3_bytes k)" = first ]
	put k <<<third
	[ "$(s3_bytes k)" = third ]
	s3_sound
}

@test "-- COMMAND commits when it succeeds, and only then" {
	begin
	put ok -- echo hello
	[ "$(s3_bytes ok)" = hello ]
	fails 4 put no -- sh -c 'echo data; exit 5'
	fails 4 put no -- sh -c 'head -c 30000000 /dev/urandom; kill -KILL $$'
	run -127 put no -- /nonexistent
	run -3 put partial -- sh -c 'echo data; exit 3'
	[ "$(s3_keys)" = "ok
partial" ]
	s3_sound
}

@test "COMMAND sees no secret" {
	s3_start
	s3_env
	cala-s3put s3://bkt/k -- env
	run ! grep -F "$S3_SECRET" <(s3_bytes k)
	s3_bytes k | grep -q '^PATH='
	s3_sound
}

@test "--commit-fd: C commits, anything else stores nothing" {
	begin
	s3_blob $((20 * MIB)) >in
	put9() { put --commit-fd 9 k <in; }
	with() {
		local bytes=$1
		shift
		"$@" 9< <(printf %s "$bytes")
	}
	fails 4 with A put9
	fails 4 with '' put9
	fails 4 with c put9
	fails 2 put9 9<&-
	[ -z "$(s3_keys)" ]
	[ -z "$(s3_uploads)" ]
	with C put9
	s3_same k in
	s3_sound
}

@test "a stream of cala-pack that is cut short is refused, and nothing stays" {
	begin
	tree
	for f in tar.zst tar.gz tar; do
		cala-pack -f "$f" -C t . >whole
		put "$f" <whole
		s3_same "$f" whole
		size=$(stat -c %s whole)
		# A tar is whole with its two zero blocks; what follows pads.
		case $f in
		tar) cuts="$((size / 2)) $((size / 512 / 3 * 512))" ;;
		*) cuts="$((size / 2)) $((size - 1)) $((size - 66))" ;;
		esac
		for n in $cuts; do
			head -c "$n" whole >short
			run put "cut.$f" <short
			echo "$f $n of $size: $status $output"
			[ "$status" -eq 4 ] || [ "$status" -eq 14 ]
		done
	done
	[ "$(s3_keys)" = "tar
tar.gz
tar.zst" ]
	s3_sound
}

@test "a large cala stream cut short leaves no upload" {
	begin
	mkdir t
	head -c 30000000 /dev/urandom >t/x
	cala-pack -C t . | head -c 25000000 >short
	fails 4 put k <short
	[ "$(s3_count op=CreateMultipartUpload)" -ge 1 ]
	[ -z "$(s3_keys)" ]
	s3_sound
}

@test "--require-proof refuses what proves nothing" {
	begin
	fails 4 put --require-proof k <<<bytes
	[ -z "$(s3_keys)" ]
	tree
	tar -C t -cf - . | put --require-proof k
	tar -C t -cf - . | head -c 1000000 >short
	fails 4 put --require-proof l <short
	put l <<<bytes
	[ "$(s3_keys)" = "k
l" ]
	s3_sound
}

@test "SIGTERM midway aborts the upload and ends by it" {
	begin
	mkfifo f
	cala-s3put -c c k <f 2>err &
	pid=$!
	exec 7>f
	s3_blob $((30 * MIB)) >&7
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	exec 7>&-
	[ "$status" -eq 143 ]
	[ "$(s3_count op=CreateMultipartUpload)" -ge 1 ]
	[ -z "$(s3_keys)" ]
	s3_sound err
}

@test "a wrong secret, bucket or service, and how each is told" {
	begin
	fails 10 cala-s3put -c c s3://other/k <<<x
	sed -i 's/^secret-key = .*/secret-key = wrong/' cala.conf
	fails 12 put k <<<x
	sed -i 's/^access-key = .*/access-key = unknown/' cala.conf
	fails 12 put k <<<x
	s3_stop
	fails 13 put --retries 1 k <<<x
}

@test "a part size that can't work is refused before anything is sent" {
	begin
	fails 2 put --part-size 1000 k <<<x
	fails 16 put --expected-size 60000TiB k <<<x
	fails 2 put --part-size 5MiB --exact-parts --expected-size 1TiB k <<<x
	[ "$(s3_count)" = 0 ]
}

@test "equal parts, exactly as large as said" {
	begin
	s3_do set equal_parts=true
	s3_blob $((32 * MIB + 5)) >in
	put --part-size 10MiB --exact-parts k <in
	s3_same k in
	[ "$(s3_do about bucket=bkt key=k | jq -c .parts)" = \
		'[10485760,10485760,10485760,2097157]' ]
	s3_sound
}

@test "maintenance is respected" {
	begin
	sed -i 's/^maintenance = no/maintenance = yes/' cala.conf
	fails 20 put k <<<x
	[ "$(s3_count)" = 0 ]
}

@test "object lock: retention and legal hold from the configuration" {
	s3_start --lock
	s3_conf cala.conf 'object-lock-mode = governance' \
		'object-lock-retention = 1d'
	for n in 10 $((20 * MIB)); do
		s3_blob "$n" | put "k$n"
		s3_do about bucket=bkt "key=k$n" |
			jq -e '.mode == "GOVERNANCE" and
			.until - now > 80000 and .until - now < 90000'
	done
	s3_sound
}

@test "neither arguments nor --debug show a secret" {
	begin
	mkfifo f
	cala-s3put -c c --debug k <f 2>log &
	pid=$!
	exec 7>f
	s3_blob $((20 * MIB)) >&7
	tr '\0' '\n' <"/proc/$pid/cmdline" >argv
	exec 7>&-
	wait $pid
	grep -q 'cala-s3put' argv
	grep -q . log
	run ! grep -F "$S3_SECRET" argv log
	run ! grep -Ei 'signature=[0-9a-f]{64}' log
	s3_sound log argv
}

@test "the checksum that is asked for is sent, kept and checked" {
	begin
	s3_blob $((20 * MIB)) >in
	for sum in crc64nvme crc32c crc32 sha256 md5; do
		put --checksum "$sum" "$sum" <in
		put --checksum "$sum" "$sum.small" <<<x
		s3_same "$sum" in
		[ "$sum" = md5 ] || s3_do about bucket=bkt "key=$sum" |
			jq -e --arg s "$sum" '.checksums | has($s)'
	done
	s3_sound
}

@test "a service that refuses checksum headers gets Content-MD5" {
	begin
	s3_do set no_checksums=501
	s3_blob $((20 * MIB)) >in
	put --checksum crc32c k <in
	s3_same k in
	S3_LEFT=may s3_sound
}

@test "part-size = 0 leaves it to us" {
	begin
	s3_conf cala.conf 'part-size = 0'
	cala-config lint
	s3_blob $((20 * MIB)) >in
	put k <in
	s3_same k in
	s3_conf cala.conf 'part-size = 4999999'
	fails 2 put k <in
	s3_conf cala.conf 'part-size = 0' 'exact-parts = yes'
	fails 2 put k <in
}

@test "a service that keeps CRCs gets one, and any other nothing of the kind" {
	begin
	s3_blob $((20 * MIB)) >in
	put k <in
	s3_do about bucket=bkt key=k | jq -e '.checksums.crc64nvme != null'
	for how in mute_checksums:=true no_checksums=501 no_checksums=400; do
		s3_do set no_checksums=0
		s3_do set "$how"
		put k <in
		s3_same k in
		s3_do about bucket=bkt key=k | jq -e '.checksums == {}'
		[ -z "$(s3_uploads)" ]
	done
	s3_sound
}

@test "--spool-dir: parts that memory can't hold, and nothing stays there" {
	s3_unsanitized
	begin
	mkdir spool
	s3_blob $((70 * MIB)) >in
	fails 2 put --memory 32MiB --part-size 20MiB --exact-parts k <in
	[[ $stderr == *--spool-dir* ]]
	s3_peak peak cala-s3put -c c --memory 32MiB --part-size 20MiB \
		--exact-parts --spool-dir spool k <in
	s3_same k in
	[ "$(s3_do about bucket=bkt key=k | jq -c .parts)" = \
		"[$((20 * MIB)),$((20 * MIB)),$((20 * MIB)),$((10 * MIB))]" ]
	cat peak
	[ "$(cat peak)" -le $(((32 + 32) * 1024)) ]
	# One part, a part exactly, and less than one: a single request.
	for n in 10 $((3 * MIB + 1)) $((20 * MIB)) $((20 * MIB + 1)); do
		head -c "$n" in | put --memory 32MiB --part-size 20MiB \
			--exact-parts --spool-dir spool k
		s3_bytes k | cmp - <(head -c "$n" in)
	done
	[ -z "$(ls -A spool)" ]
	s3_sound
}

@test "a spooled part is sent again when it fails, and checked" {
	begin
	mkdir spool
	s3_conf cala.conf "spool-directory = $PWD/spool" 'max-parts = 1000' \
		'memory = 32MiB'
	s3_blob $((150 * MIB)) >in
	s3_fault reset op=UploadPart when=body after=30000000
	s3_fault reset op=UploadPart when=stored nth=2
	s3_fault status op=UploadPart status=503 code=SlowDown nth=3
	s3_fault flip op=UploadPart at=60000000 nth=3
	put -v k <in 2>log
	grep 'parts of 64.0 MiB' log
	s3_same k in
	[ "$(s3_do used | tr '\n' ' ')" = '1 1 1 1 ' ]
	cala-s3get -c c k | cmp - in
	# Where the store knows no MD5s, what is one PUT is read back.
	s3_do clear
	s3_fault etag op=PutObject value=wrong count=0
	head -c 30000000 in | put --checksum md5 k
	s3_bytes k | cmp - <(head -c 30000000 in)
	s3_sound
}

@test "a spool that is full waits for parts, and is an error with none" {
	begin
	mkdir spool
	[ "$(id -u)" -eq 0 ] || skip "a small file system takes root"
	mount -t tmpfs -o size=70M tmpfs spool 2>/dev/null ||
		skip "no file system can be mounted here"
	s3_blob $((150 * MIB)) >in
	got=0
	put --memory 32MiB --part-size 30MiB --exact-parts \
		--spool-dir spool -v k <in 2>log || got=$?
	cat log
	fails 16 put --memory 32MiB --part-size 80MiB --exact-parts \
		--spool-dir spool big <in
	umount spool
	[ "$got" -eq 0 ]
	s3_same k in
	[ "$(s3_keys)" = k ]
	s3_sound
	fails 10 put --memory 32MiB --part-size 80MiB --exact-parts \
		--spool-dir nowhere k <in
}

@test "a length that was told too short is no end" {
	begin
	s3_blob $((40 * MIB)) >in
	put --expected-size 1000 k < <(cat in)
	s3_same k in
	s3_sound
}
