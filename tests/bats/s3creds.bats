# Credentials that a service hands out, and when it is asked.

load common
load ../s3/s3

setup() {
	need python3
	cd "$BATS_TEST_TMPDIR" || return
	export HOME=$BATS_TEST_TMPDIR XDG_STATE_HOME=$BATS_TEST_TMPDIR/state
	s3_start
	s3_conf cala.conf
	sed -i '/^access-key/d; /^secret-key/d' cala.conf
	# Temporary, like all that such services give.
	s3_do key access=TEMP secret=tempsecret token=temptoken
	echo 'TEMP tempsecret temptoken' >key
	python3 "$BATS_TEST_DIRNAME/../s3/creds.py" "$PWD" </dev/null >out 2>&1 3>&- &
	creds=$!
	until [ -f port ]; do
		kill -0 $creds || { cat out; return 1; }
		sleep 0.02
	done
	url=http://127.0.0.1:$(cat port)
	: >asked
}

teardown() {
	[ -z "${creds:-}" ] || kill "$creds"
	s3_stop
}

list() {
	run --separate-stderr cala-s3 list -c c "$@"
}

@test "STS, for a web identity" {
	echo 'web+/= token' >web
	export AWS_ENDPOINT_URL_STS=$url/ AWS_WEB_IDENTITY_TOKEN_FILE=$PWD/web
	export AWS_ROLE_ARN=arn:aws:iam::1:role/games
	list -v
	[ "$status" -eq 0 ]
	[[ $stderr == *"TEMP: from web identity"* ]]
	[[ $stderr != *tempsecret* && $stderr != *temptoken* ]]
	echo other >web
	list
	[ "$status" -eq 12 ]
	[[ $stderr == *"InvalidIdentityToken no such token"* ]]
	unset AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_ARN
	mkdir .aws
	echo 'web+/= token' >web
	printf '[default]\nrole_arn = arn:aws:iam::1:role/games\nweb_identity_token_file = %s\n' \
		"$PWD/web" >.aws/config
	list
	[ "$status" -eq 0 ]
	s3_sound
}

@test "a container's service, with its token, and only where that may go" {
	export AWS_CONTAINER_CREDENTIALS_FULL_URI=$url/container
	list
	[ "$status" -eq 12 ]
	[[ $stderr == *"answered 401"* ]]
	AWS_CONTAINER_AUTHORIZATION_TOKEN='Bearer x' list
	[ "$status" -eq 0 ]
	echo 'Bearer x' >token
	AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=$PWD/token list
	[ "$status" -eq 0 ]
	printf 'Bearer x\r\nEvil: y\n' >token
	AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=$PWD/token list
	[ "$status" -eq 2 ]
	for evil in http://example.invalid/ http://127.0.0.1.example.invalid/ \
		ftp://127.0.0.1/ http://169.254.170.20/; do
		AWS_CONTAINER_CREDENTIALS_FULL_URI=$evil list
		[ "$status" -eq 2 ]
	done
}

@test "the EC2 instance is asked when told to, and for AWS only" {
	export AWS_EC2_METADATA_SERVICE_ENDPOINT=$url
	list
	[ "$status" -eq 12 ]
	[ ! -s asked ]
	echo 'imds = yes' >>cala.conf
	list
	[ "$status" -eq 2 ]
	[[ $stderr == *"are for AWS"* ]]
	[ ! -s asked ]
	# AWS by a proxy that lets nothing out.
	sed -i '/^endpoint/d' cala.conf
	export https_proxy=$url
	list -v
	[ "$status" -ne 0 ]
	[[ $stderr == *"TEMP: from the EC2 instance"* ]]
	[ "$(grep -c '^PUT /latest/api/token 200' asked)" -eq 1 ]
	: >asked
	AWS_EC2_METADATA_DISABLED=true list
	[ "$status" -eq 12 ]
	[ ! -s asked ]
}

@test "an answer that is no credential is refused" {
	export AWS_CONTAINER_CREDENTIALS_FULL_URI=$url/container
	export AWS_CONTAINER_AUTHORIZATION_TOKEN='Bearer x'
	echo 'A/B s t' >key
	list
	[ "$status" -eq 2 ]
	[[ $stderr != *" s "* ]]
	head -c 100000 /dev/zero | tr '\0' a | sed 's/$/ b c/' >key
	list
	[ "$status" -ne 0 ]
	[ "${#stderr}" -lt 1000 ]
}
