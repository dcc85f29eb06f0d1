# The S3 disk against a real versitygw.  shellcheck shell=bash

service=versitygw
# shellcheck source=/dev/null
source "$BATS_TEST_DIRNAME/contract-minio.bash"
