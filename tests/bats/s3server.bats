# The S3 service that the other suites use, before they believe it.

load common
load ../s3/s3

setup() {
	need python3 openssl jq
	cd "$BATS_TEST_TMPDIR" || return
}

teardown() {
	s3_stop
}

@test "its signatures and checksums are the published ones" {
	run python3 "$BATS_TEST_DIRNAME/../s3/server.py" --self-test
	[ "$status" -eq 0 ]
}

@test "it stores, lists, copies and forgets, and counts what was asked" {
	s3_start
	s3_env
	head -c 100000 /dev/urandom >x
	s3_client put bkt 'a b+ü/x' x
	s3_client get bkt 'a b+ü/x' | cmp - x
	s3_bytes 'a b+ü/x' | cmp - x
	[ "$(s3_client ls bkt)" = "100000 a b+ü/x" ]
	[ "$(s3_count op=GetObject)" = 1 ]
	s3_client rm bkt 'a b+ü/x'
	[ -z "$(s3_keys)" ]
	s3_sound
}

@test "a wrong secret, region or clock is refused" {
	s3_start
	s3_env
	AWS_SECRET_ACCESS_KEY=wrong run s3_client ls bkt
	[[ $output == *SignatureDoesNotMatch* && $output == *CanonicalRequest* ]]
	AWS_REGION=eu-west-1 run s3_client ls bkt
	[[ $output == *AuthorizationHeaderMalformed*"<Region>us-east-1"* ]]
	AWS_ACCESS_KEY_ID=other run s3_client ls bkt
	[[ $output == *InvalidAccessKeyId* ]]
	s3_do set clock=1200
	run s3_client ls bkt
	[[ $output == *RequestTimeTooSkewed* ]]
	s3_do set clock=0
	s3_client ls bkt
}

@test "a rule strikes when and as often as it says" {
	s3_start
	s3_env
	s3_fault status op=ListObjectsV2 nth=2 count=2 status=503 code=SlowDown
	s3_client ls bkt
	run s3_client ls bkt
	[[ $output == *SlowDown* ]]
	run s3_client ls bkt
	[[ $output == *SlowDown* ]]
	s3_client ls bkt
	[ "$(s3_do used)" = 2 ]
	[ "$(s3_count op=ListObjectsV2 status=503)" = 2 ]
}

@test "parts below 5 MiB, wrong digests and locked objects are refused" {
	s3_start --lock
	s3_env
	printf x >x
	id=$(s3_client create bkt k)
	s3_client part bkt k "$id" 1 x >e1
	s3_client part bkt k "$id" 2 x >e2
	run s3_client complete bkt k "$id" "$(cat e1)" "$(cat e2)"
	[[ $output == *EntityTooSmall* ]]
	s3_client complete bkt k "$id" "$(cat e1)"
	[ -z "$(s3_uploads)" ]
	run s3_client put bkt y x content-md5=AAAAAAAAAAAAAAAAAAAAAA==
	[[ $output == *BadDigest* ]]
	s3_client put bkt z x \
		"content-md5=$(openssl dgst -md5 -binary x | base64)" \
		x-amz-object-lock-legal-hold=ON
	v=$(s3_do about bucket=bkt key=z | jq -r .version)
	run s3_client rm bkt z "$v"
	[[ $output == *AccessDenied* ]]
	[ "$(s3_keys)" = "k
z" ]
}

@test "what it keeps survives its restart" {
	s3_start
	s3_env
	printf hello >x
	s3_client put bkt k x
	s3_stop
	s3_start
	[ "$(s3_bytes k)" = hello ]
}
