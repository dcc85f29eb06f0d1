# A restic repository on disk with Debian's restic, for contract.bats.
# shellcheck shell=bash

# shellcheck source=SCRIPTDIR/restic.bash
source "$BATS_TEST_DIRNAME/restic.bash"
driver=cala-restic

driver_setup() {
	restic_which "${which:-old}"
	restic_repo
	restic_conf "$1/cala.conf"
}

driver_damage() {
	local id
	id=$(r snapshots --json --tag "$1" | jq -r '.[-1].id')
	# Every pack that holds a file's bytes.
	for f in "$REPO"/data/*/*; do
		chmod u+w "$f"
		printf 'XXXXXXXX' | dd of="$f" bs=1 seek=100 conv=notrunc status=none
	done
	[ -n "$id" ]
}
