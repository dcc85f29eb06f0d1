# A service that throttles, breaks, lies and forgets, under cala-s3put: either
# the object is exactly what went in, or there is none and nothing stays open.

load common
load ../s3/s3

MIB=1048576

setup() {
	need python3 openssl jq
	cd "$BATS_TEST_TMPDIR" || return
	s3_start
	s3_conf "$BATS_TEST_TMPDIR/cala.conf"
	s3_blob $((40 * MIB)) >in
}

teardown() {
	s3_stop
}

put() {
	cala-s3put -c c "$@" <in
}

# survives [RULE...]: with these armed the object arrives whole.
survives() {
	put k
	s3_same k in
	run s3_do used
	echo "used: $output"
	[[ $output != *0* ]] || [[ $output == *[1-9]0* ]]
	s3_sound
}

# refused STATUS: an error, no object, no upload.
refused() {
	fails "$1" put k
	[ -z "$(s3_keys)" ]
	s3_sound
}

@test "503 SlowDown, 429 and all that is to be tried again" {
	for s in '503 SlowDown' '503 ServiceUnavailable' '500 InternalError' \
	    '429 TooManyRequests' '502 x' '504 x' '509 BandwidthLimitExceeded' \
	    '408 x' '400 RequestTimeout' '409 OperationAborted'; do
		# shellcheck disable=SC2086
		set -- $s
		s3_fault status op=UploadPart "status=$1" "code=$2" nth=2
	done
	survives
}

@test "a burst of SlowDown: fewer connections, and it completes" {
	s3_fault status op=UploadPart status=503 code=SlowDown count=12 when=early
	survives
}

@test "Retry-After is kept, in seconds and as a date" {
	s3_fault status op=CreateMultipartUpload status=503 code=SlowDown \
		headers:='{"Retry-After": "2"}'
	start=$SECONDS
	survives
	[ $((SECONDS - start)) -ge 2 ]
}

@test "errors that are HTML, empty or cut are judged by their status" {
	s3_fault status op=UploadPart status=502 'body=<html><h1>Bad</h1></html>'
	s3_fault status op=UploadPart status=503 body= nth=2
	s3_fault truncate op=UploadPart after=3 nth=3
	s3_fault status op=CreateMultipartUpload status=500 'body=<Error><Code>'
	survives
}

@test "resets before, within and after a part, and its answer lost" {
	s3_fault reset op=UploadPart when=head
	s3_fault reset op=UploadPart when=body after=1000000 nth=2
	s3_fault reset op=UploadPart when=late nth=3
	s3_fault reset op=UploadPart when=stored nth=4
	s3_fault close op=UploadPart when=body after=10 nth=5
	survives
}

@test "connections that end between requests" {
	s3_do set requests=1
	put k
	s3_same k in
	s3_sound
}

@test "connections that are reset when they begin" {
	s3_do set refuse=3
	put k
	s3_same k in
	s3_sound
}

@test "a part's ETag that is wrong, missing, bare or weak" {
	s3_fault etag op=UploadPart value=wrong
	s3_fault etag op=UploadPart value=none nth=2
	s3_fault etag op=UploadPart value=bare nth=3
	s3_fault etag op=UploadPart value=weak nth=4
	survives
}

@test "ETags that never are an MD5: taken only where the digest sent proves" {
	s3_fault etag op=UploadPart value=wrong count=0
	run put k
	[ "$status" -eq 0 ] || [ "$status" -eq 14 ]
	[ "$status" -ne 0 ] || s3_same k in
	[ "$(s3_do log op=UploadPart status=200 | jq -s 'map(select(
		.payload == "unsigned" and
		(.headers | has("content-md5") | not))) | length')" = 0 ]
	s3_sound
}

@test "a byte that changed on its way is sent again" {
	s3_fault flip op=UploadPart at=100000
	s3_fault flip op=UploadPart at=5 nth=2
	survives
}

@test "bytes that always change on their way are an error" {
	s3_fault flip op=UploadPart at=100000 count=0
	refused 14
}

@test "Complete that says 200 and means an error, once" {
	for code in InternalError SlowDown; do
		s3_do clear
		s3_fault status op=CompleteMultipartUpload status=200 "code=$code"
		survives
	done
}

@test "Complete that says 200 and a fatal error: nothing is stored" {
	s3_fault status op=CompleteMultipartUpload status=200 code=AccessDenied \
		count=0
	refused 12
}

@test "Complete that keeps the peer waiting with blanks" {
	s3_fault blanks op=CompleteMultipartUpload seconds=2
	survives
	s3_do clear
	s3_fault blanks op=CompleteMultipartUpload seconds=2 before=true
	survives
}

@test "Complete that fails after blanks" {
	s3_fault blanks op=CompleteMultipartUpload seconds=1 then=AccessDenied \
		count=0
	fails 12 put k
}

@test "Complete whose answer is lost after it was done" {
	s3_fault reset op=CompleteMultipartUpload when=stored
	survives
	s3_do clear
	s3_fault status op=CompleteMultipartUpload status=500 code=InternalError \
		when=stored
	survives
	s3_do clear
	s3_fault status op=CompleteMultipartUpload status=200 body= when=stored
	survives
}

@test "Complete whose answer is lost before it was done" {
	s3_fault reset op=CompleteMultipartUpload when=late
	survives
	s3_do clear
	s3_fault status op=CompleteMultipartUpload status=200 body= when=late
	survives
}

@test "a service that keeps another ETag than it told: ListParts tells" {
	s3_fault etag op=UploadPart value=opaque nth=2
	run put k
	# Either it is reconciled, or it is an error and nothing stays.
	if [ "$status" -eq 0 ]; then
		s3_same k in
	else
		[ -z "$(s3_keys)" ]
	fi
	s3_sound
}

@test "an object that another writer put in place of ours is not removed" {
	# ETags that tell nothing: the size is looked at, and it is another's.
	s3_fault etag op=UploadPart value=opaque count=0
	s3_fault replace op=HeadObject size=7
	put --checksum md5 k
	[ "$(s3_bytes k)" = RRRRRRR ]
	s3_sound
}

@test "a wrong ETag of the whole: the object decides, and stays if it is right" {
	s3_fault status op=CompleteMultipartUpload status=200 when=stored \
		'body=<CompleteMultipartUploadResult><ETag>"00000000000000000000000000000000-5"</ETag></CompleteMultipartUploadResult>'
	put --checksum md5 k
	s3_same k in
	s3_sound
}

@test "Complete that always fails: the upload is aborted" {
	s3_fault status op=CompleteMultipartUpload status=500 code=InternalError \
		count=0
	fails 13 put --retries 2 k
	[ -z "$(s3_keys)" ]
	s3_sound
}

@test "parts that always fail: the upload is aborted" {
	s3_fault status op=UploadPart status=500 code=InternalError nth=2 count=0
	fails 13 put --retries 2 k
	[ -z "$(s3_keys)" ]
	s3_sound
}

@test "a fatal error of a part ends it at once" {
	s3_fault status op=UploadPart status=403 code=AccessDenied nth=2 count=0
	refused 12
	[ "$(s3_count op=UploadPart status=403)" -le 8 ]
}

@test "a full quota is told as such" {
	s3_fault status op=UploadPart status=403 code=QuotaExceeded nth=2 count=0
	refused 16
}

@test "Abort that has to be tried again" {
	s3_fault status op=UploadPart status=403 code=AccessDenied nth=2 count=0
	s3_fault status op=AbortMultipartUpload status=500 code=InternalError
	refused 12
}

@test "a part that lands after Abort is removed, too" {
	s3_fault status op=UploadPart status=403 code=AccessDenied nth=3 count=0
	s3_fault late-part op=AbortMultipartUpload
	refused 12
}

@test "clocks apart by 20 minutes, either way" {
	for clock in 1200 -1200; do
		s3_do set "clock=$clock"
		put k
		s3_same k in
	done
	S3_UNSIGNED=may s3_sound
	[ "$(s3_count code=RequestTimeTooSkewed)" -le 16 ]
}

@test "a clock that can't be found out is an error of authentication" {
	s3_do set clock=1200 date=none
	s3_fault status op=CreateMultipartUpload status=403 \
		code=RequestTimeTooSkewed count=0
	fails 12 put k
	[ -z "$(s3_keys)" ]
}

@test "another region: found out, and signed again" {
	s3_do set region=eu-central-1
	put k
	s3_same k in
	S3_UNSIGNED=may s3_sound
}

@test "another region, where a HEAD is refused without a word" {
	put k
	s3_do set region=eu-central-1 mute_region:=true
	cala-s3 check -c c
	s3_do set region=us-east-1
	# A service that does not say which it wants: a hint, and no retries.
	s3_fault status op=HeadBucket status=403 code=AccessDenied count=0
	s3_fault status op=ListObjectsV2 status=400 count=0 \
		code=AuthorizationHeaderMalformed
	run --separate-stderr cala-s3 check -c c
	[ "$status" -eq 12 ]
	[[ $output$stderr == *'is region = '* ]]
}

@test "a header line beyond all measure is named, and no lack of memory" {
	put k
	s3_fault status op=GetObject status=503 count=0 \
		"headers:={\"x-long\":\"$(printf '%0110000d' 0)\"}"
	run --separate-stderr bash -c 'cala-s3get --retries 1 -c c k >out'
	[ "$status" -eq 13 ]
	[[ $stderr == *'header line of the answer is too long'* ]]
}

@test "a redirect to another host of the same service" {
	s3_do set no_virtual=true
	S3_ENDPOINT=http://s3.localhost:$S3_PORT s3_conf cala.conf \
		'path-style = yes'
	s3_fault redirect op=CreateMultipartUpload status=307 \
		"location=http://eu.s3.localhost:$S3_PORT"
	put k
	s3_same k in
	S3_UNSIGNED=may s3_sound
}

@test "a redirect to a foreign host is not followed" {
	s3_fault redirect op=CreateMultipartUpload status=307 \
		location=http://foreign.invalid count=0
	run --separate-stderr put k
	[ "$status" -ne 0 ] && [ -z "$output" ]
	[ -z "$(s3_keys)" ]
}

@test "a redirect that never ends does end" {
	s3_do set no_virtual=true
	S3_ENDPOINT=http://s3.localhost:$S3_PORT s3_conf cala.conf \
		'path-style = yes'
	for n in 1 2 3 4 5 6 7 8; do
		s3_fault redirect status=307 nth=$n \
			"location=http://n$n.s3.localhost:$S3_PORT"
	done
	run --separate-stderr put k
	[ "$status" -ne 0 ]
	[ "$(s3_count)" -le 20 ]
}

@test "credentials that expire midway are read again" {
	cat >program <<-END
	#!/bin/sh
	echo x >>$PWD/asked
	printf '{"Version": 1, "AccessKeyId": "%s", "SecretAccessKey": "%s", ' \
		A\$(wc -l <$PWD/asked) secret
	echo '"SessionToken": "token"}'
	END
	chmod 755 program
	for n in 1 2; do
		s3_do key "access=A$n" secret=secret token=token
	done
	printf '[default]\nregion = us-east-1\ncredential_process = %s\n' \
		"$PWD/program" >config
	chmod 600 config
	s3_fault status op=UploadPart status=400 code=ExpiredToken nth=2
	AWS_CONFIG_FILE=$PWD/config AWS_SHARED_CREDENTIALS_FILE=/dev/null \
		AWS_ENDPOINT_URL=$S3_URL cala-s3put s3://bkt/k <in
	s3_same k in
	[ "$(wc -l <asked)" -eq 2 ]
	[ "$(s3_count op=CompleteMultipartUpload access=A2)" = 1 ]
	S3_UNSIGNED=may s3_sound
}

@test "credentials that expired for good are exit 12" {
	s3_do key "access=$S3_ACCESS" "secret=$S3_SECRET" expires=-10
	fails 12 put k
	[ -z "$(s3_keys)" ]
}

@test "a service that wants Expect to be left out, or answers it never" {
	s3_fault expect op=UploadPart mode=refuse
	s3_fault expect op=UploadPart mode=silent nth=2
	put k
	s3_same k in
	s3_sound
}

@test "equal parts are demanded: told in time, or done" {
	s3_do set equal_parts=true
	s3_conf cala.conf 'exact-parts = yes' 'part-size = 10MiB'
	put k
	s3_same k in
	s3_sound
}

@test "few parts allowed: the growth keeps within them" {
	s3_do set max_parts=4
	s3_conf cala.conf 'max-parts = 4'
	put --expected-size $((40 * MIB)) k
	s3_same k in
	[ "$(s3_do about bucket=bkt key=k | jq '.parts | length')" -le 4 ]
	s3_sound
}

@test "one of a hundred requests fails, in every way there is" {
	s3_blob $((150 * MIB)) >in
	seed=0
	for a in 'status status=503 code=SlowDown' 'reset when=head' \
	    'status status=500 code=InternalError' 'reset when=stored' \
	    'reset when=body after=100000' 'etag value=none' 'flip at=77'; do
		seed=$((seed + 1))
		# shellcheck disable=SC2086
		s3_fault $a op=UploadPart percent=5 seed=$seed count=0
	done
	# Throttled while the last parts are sent: its threads must all end.
	timeout 120 cala-s3put -c c k <in
	s3_same k in
	s3_sound
}

@test "a part that changed on its way to a store that compares nothing" {
	s3_stop
	s3_start --tls
	S3_ENDPOINT=$S3_TLS_URL s3_conf cala.conf "cacert = $S3_CA"
	s3_do set no_content_md5=true
	s3_fault flip op=UploadPart at=100000
	survives
	# Twice in the first part, before one ETag was ever right.
	s3_do clear
	s3_fault flip op=UploadPart at=100000 count=2
	fails 14 put k2 -j 1
	s3_sound
}

@test "what somebody else wrote since is not removed as a damaged object" {
	s3_conf cala.conf 'sse = aws:kms'
	s3_fault replace op=HeadObject size=1000
	put k
	[ "$(s3_do used)" = 1 ]
	[ "$(s3_do about bucket=bkt key=k | jq .size)" = 1000 ]
	s3_sound
}

@test "--if-absent: a Complete that was done, and then met its own object" {
	s3_fault status op=CompleteMultipartUpload status=412 \
		code=PreconditionFailed when=stored
	put --if-absent k
	s3_same k in
	s3_sound
}

@test "--if-absent: an object that came meanwhile is told at once" {
	s3_fault status op=CompleteMultipartUpload status=412 \
		code=PreconditionFailed count=0
	start=$SECONDS
	fails 15 put --if-absent k
	[ $((SECONDS - start)) -le 10 ]
	[ "$(s3_count op=CompleteMultipartUpload)" = 1 ]
	[ -z "$(s3_keys)" ]
	s3_sound
}

@test "the configuration's timeout ends the wait for an answer" {
	s3_conf cala.conf 'timeout = 2'
	s3_fault stall op=UploadPart when=late seconds=60 nth=2
	start=$SECONDS
	put k
	[ $((SECONDS - start)) -le 30 ]
	s3_same k in
	s3_sound
}

@test "a peer that gives nothing any more is left, and asked again" {
	s3_conf cala.conf 'stall-timeout = 8'
	put k
	s3_fault stall op=GetObject when=response after=100000 seconds=90 nth=3
	start=$SECONDS
	cala-s3get -c c k | cmp - in
	[ $((SECONDS - start)) -le 60 ]
	s3_sound
}
