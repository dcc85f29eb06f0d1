# A restic repository on disk with the newest restic.  shellcheck shell=bash

which=new
# shellcheck source=/dev/null
source "$BATS_TEST_DIRNAME/contract-restic.bash"
