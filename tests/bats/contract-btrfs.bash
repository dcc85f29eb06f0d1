# The disk btrfs on a real Btrfs, for contract.bats.  shellcheck shell=bash

# shellcheck source=/dev/null
source "$BATS_TEST_DIRNAME/snap-common.bash"

whole_dirs=yes

driver_setup() {
	btrfs_up "$1"
	cd "$1" || return
	store=$1/backups/btrfs
	mkdir -m 700 backups backups/btrfs
	cat >"$1/cala.conf" <<-END
	[configuration "c"]
	disk = btrfs
	backup-directory = $1/backups
	maintenance = no
	END
	chmod 600 "$1/cala.conf"
}

driver_teardown() {
	[ -z "${store:-}" ] || ! [ -d "$store" ] ||
		chattr -f -i "$store"/*/ 2>/dev/null || true
	btrfs_down
}

# What is backed up must be a subvolume: make t one.
mkdir() {
	local a
	for a; do
		case $a in
		t | t/*) [ -e t ] || btrfs -q subvolume create t ;;
		esac
	done
	[ "$*" = t ] || command mkdir "$@"
}

driver_damage() {
	btrfs property set "$store/$1/subvolume" ro false
	printf 'X' | dd of="$store/$1/subvolume/world/level.dat" bs=1 seek=9 \
		conv=notrunc status=none
	btrfs property set "$store/$1/subvolume" ro true
	sync -f "$store"
}

driver_leftovers() {
	find "$store" -maxdepth 1 -name '.cala-*' ! -name .cala.lock
}
