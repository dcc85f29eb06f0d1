# Real Btrfs and ZFS for tests, in small files.  shellcheck shell=bash

# Where a test's file systems are: on a disk, not in memory, and called so that
# the next run can tell what a killed one left.
snap_base=${CALA_SNAP_TMP:-/var/tmp}

btrfs_more=()

may_mount() {
	[ "$(id -u)" = 0 ] || skip "only root can mount"
	[ -e /dev/loop-control ] || skip "no loop devices"
}

# btrfs_up DIR [SIZE]: a fresh file system on DIR.
btrfs_up() {
	may_mount
	need mkfs.btrfs
	grep -qw btrfs /proc/filesystems || skip "the kernel has no Btrfs"
	btrfs_img=$(mktemp "$snap_base/cala-snap-btrfs.XXXXXX")
	truncate -s "${2:-256M}" "$btrfs_img"
	mkfs.btrfs -q "$btrfs_img"
	if ! mount -o loop "$btrfs_img" "$1"; then
		rm -f "$btrfs_img"
		[ -z "${CI:-}" ] || return 1
		skip "can't mount a loop device"
	fi
	btrfs_at=$1
	btrfs_more+=("$1" "$btrfs_img")
}

# btrfs_down: all of them, also after a failed test; nothing may be in use.
btrfs_down() {
	local i
	cd /
	while [ "${#btrfs_more[@]}" -gt 0 ]; do
		for i in 1 2 3 4 5 6; do
			! umount "${btrfs_more[0]}" 2>/dev/null || break
			mountpoint -q "${btrfs_more[0]}" || break
			sleep 0.$i
		done
		! mountpoint -q "${btrfs_more[0]}" || umount -l "${btrfs_more[0]}"
		rm -f "${btrfs_more[1]}"
		btrfs_more=("${btrfs_more[@]:2}")
	done
}

# zfs_daemon_up: OpenZFS where the kernel has it, else zfs-fuse, of which a
# machine can have one: it holds a lock that others wait for.
zfs_daemon_up() {
	zfs_pid=
	[ "$(id -u)" = 0 ] || return 0
	[ ! -e /dev/zfs ] || return 0
	command -v zfs-fuse >/dev/null && [ -e /dev/fuse ] || return 0
	zfs_log=$(mktemp "$snap_base/cala-snap-zfs.XXXXXX")
	(
		exec 9>"$snap_base/cala-snap-zfs.lock"
		flock 9
		echo locked >"$zfs_log"
		exec zfs-fuse -n >>"$zfs_log" 2>&1 3>&- </dev/null
	) &
	zfs_pid=$!
	export zfs_pid zfs_log
	local i
	# Somebody else's tests may take as long as ours.
	for i in $(seq 1 3000); do
		! [ -s "$zfs_log" ] || break
		sleep 0.1
	done
	for i in $(seq 1 100); do
		! zpool list >/dev/null 2>&1 || break
		sleep 0.1
	done
}

zfs_daemon_down() {
	[ -n "${zfs_pid:-}" ] || return 0
	kill "$zfs_pid" 2>/dev/null
	local i
	for i in $(seq 1 100); do
		kill -0 "$zfs_pid" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL "$zfs_pid" 2>/dev/null || true
	rm -f "$zfs_log"
}

# zfs_up [SIZE]: a fresh pool, $pool, that mounts nothing by itself.
zfs_up() {
	[ "$(id -u)" = 0 ] || skip "only root can make a pool"
	need zfs zpool
	zpool list >/dev/null 2>&1 ||
		{ [ -z "${CI:-}" ] && skip "neither OpenZFS nor zfs-fuse runs"; }
	zfs_img=$(mktemp "$snap_base/cala-snap-pool.XXXXXX")
	truncate -s "${1:-128M}" "$zfs_img"
	pool=calatest$$_$BATS_TEST_NUMBER
	zpool create -m none "$pool" "$zfs_img"
}

zfs_down() {
	[ -n "${pool:-}" ] || return 0
	cd /
	local i
	for i in 1 2 3 4 5 6; do
		! zpool destroy -f "$pool" 2>/dev/null || break
		sleep 0.$i
	done
	rm -f "$zfs_img"
	pool=
}
