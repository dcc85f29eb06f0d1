# The disk proxmox-backup-server, against our own, for contract.bats.
# shellcheck shell=bash

driver_setup() {
	load ../pbs/pbs
	pbs_start
	pbs_conf "$1/cala.conf"
}

# Every test that stored something left it sound.
driver_teardown() {
	if [ -n "${BATS_TEST_COMPLETED:-}" ] && [ -z "${damaged:-}" ]; then
		PBS_ORDER=any pbs_sound || { pbs_stop; return 1; }
	fi
	pbs_stop
}

# A byte of every chunk: whichever a test looks at.
driver_damage() {
	local f
	damaged=1
	find "$PBS_DIR/$PBS_STORE/.chunks" -type f | while read -r f; do
		printf 'X' | dd of="$f" bs=1 seek=$(($(stat -c %s "$f") / 2)) \
			conv=notrunc status=none
	done
}

driver_leftovers() {
	pbs_do idle
	pbs_snapshots | grep broken || :
	pbs_do locks
}
