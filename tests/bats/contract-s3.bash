# The S3 disk against our own service, for contract.bats.  shellcheck shell=bash

driver_setup() {
	load ../s3/s3
	export XDG_STATE_HOME=$1/state
	s3_start
	s3_conf "$1/cala.conf"
}

driver_teardown() {
	s3_stop
}

driver_damage() {
	local key=$S/$1.tar
	s3_do damage "bucket=${S3_BUCKET:-bkt}" "key=$key" \
		"at=$(($(s3_bytes "$key" | wc -c) / 3))"
}

driver_leftovers() {
	s3_uploads
	s3_keys | grep -v '/\.cala/.*\.json$\|\.tar$' || :
}
