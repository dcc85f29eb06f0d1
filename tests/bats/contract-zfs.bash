# The disk zfs on a real pool, for contract.bats.  shellcheck shell=bash

# shellcheck source=/dev/null
source "$BATS_TEST_DIRNAME/snap-common.bash"

whole_dirs=yes

driver_setup_file() {
	zfs_daemon_up
}

driver_teardown_file() {
	zfs_daemon_down
}

driver_setup() {
	zfs_up
	store=$1/backups/zfs
	command mkdir -m 700 "$1/backups" "$store"
	cat >"$1/cala.conf" <<-END
	[configuration "c"]
	disk = zfs
	backup-directory = $1/backups
	maintenance = no
	END
	chmod 600 "$1/cala.conf"
}

driver_teardown() {
	zfs_down
}

# What is backed up must be a dataset: make t one.
mkdir() {
	local a
	for a; do
		case $a in
		t | t/*) [ -e t ] ||
			zfs create -o mountpoint="$PWD/t" "$pool/server-$S" ;;
		esac
	done
	[ "$*" = t ] || command mkdir "$@"
}

# Somebody destroys it and makes another of that name.
driver_damage() {
	zfs destroy "$pool/server-$S@backup-$1"
	echo changed >t/server.properties
	zfs snapshot "$pool/server-$S@backup-$1"
}

driver_leftovers() {
	find "$store" -maxdepth 1 -name '.cala-*' ! -name .cala.lock
	zfs list -H -o name | grep cala-read-
}
