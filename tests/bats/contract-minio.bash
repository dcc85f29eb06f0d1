# The S3 disk against a real MinIO (or, by contract-versitygw.bash, another
# service), one for all tests, for contract.bats.  shellcheck shell=bash

driver=cala-s3
service=${service:-minio}
load ../s3/s3

driver_setup_file() {
	s3_service "$service" "$BATS_FILE_TMPDIR/s3" || return
	export S3_URL S3_BUCKET S3_PID S3_DIR
}

driver_teardown_file() {
	s3_stop
}

driver_setup() {
	export XDG_STATE_HOME=$1/state
	s3_env
	s3_client clear "$S3_BUCKET"
	unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
	s3_conf "$1/cala.conf"
}

driver_damage() {
	local key=$S/$1.tar
	s3_env
	s3_client get "$S3_BUCKET" "$key" >damaged
	printf 'X' | dd of=damaged bs=1 conv=notrunc status=none \
		seek=$(($(stat -c %s damaged) / 3))
	s3_client put "$S3_BUCKET" "$key" damaged
}

driver_leftovers() {
	s3_env
	s3_client uploads "$S3_BUCKET"
	s3_client ls "$S3_BUCKET" | grep -v '/\.cala/.*\.json$\|\.tar$' || :
}
