# One server on a Btrfs or in a pool of its own, as the test's name says ("btrfs:
# ..."), and its backups.  shellcheck shell=bash

# shellcheck source=/dev/null
source "$BATS_TEST_DIRNAME/snap-common.bash"

driver=cala-snap
S=11111111-aaaa-4bbb-8ccc-000000000001
U=aaaa1111-0000-4000-8000-000000000001
U2=aaaa2222-0000-4000-8000-000000000002
U3=bbbb3333-0000-4000-8000-000000000003

setup_file() {
	zfs_daemon_up
}

teardown_file() {
	zfs_daemon_down
}

setup() {
	need jq
	tmp=$BATS_TEST_TMPDIR
	fs=$tmp/fs
	disk=${BATS_TEST_DESCRIPTION%%:*}
	mkdir "$fs"
	case $disk in
	btrfs)
		btrfs_up "$fs" "${size:-256M}"
		mkdir "$fs/volumes" "$fs/backups"
		btrfs -q subvolume create "$fs/volumes/$S" ;;
	zfs)
		zfs_up
		mkdir "$fs/volumes" "$fs/backups"
		zfs create -o mountpoint="$fs/volumes/$S" "$pool/server-$S"
		zfs create -o canmount=off "$pool/received" ;;
	esac
	v=$fs/volumes/$S
	store=$fs/backups/$disk
	mkdir -p "$v/world" "$v/logs"
	printf 'motd=hello\n' >"$v/server.properties"
	seq 1 20000 >"$v/world/level.dat"
	echo log >"$v/logs/x.log"
	cat >"$tmp/cala.conf" <<-END
	[cala]
	volumes = $fs/volumes
	[configuration "c"]
	disk = $disk
	backup-directory = $fs/backups
	END
	[ "$disk" != zfs ] || echo "receive-dataset = $pool/received" \
		>>"$tmp/cala.conf"
	chmod 600 "$tmp/cala.conf"
	export CALA_CONFIG=$tmp/cala.conf
	cd "$tmp"
}

teardown() {
	[ -z "${job:-}" ] || kill -KILL "$job" 2>/dev/null || true
	[ "$disk" != btrfs ] || chattr -f -i "$store"/*/ 2>/dev/null || true
	zfs_down
	btrfs_down
}

put() {
	d put "$v" -s $S "$@"
}

# wings UUID: a backup as Wings makes it.
wings() {
	mkdir -p "$store/$1"
	printf 'logs/\n!logs/keep\n' >"$store/$1/ignored"
	case $disk in
	btrfs) btrfs -q subvolume snapshot -r "$v" "$store/$1/subvolume" ;;
	zfs)
		printf %s "$pool/server-$S" >"$store/$1/dataset"
		zfs snapshot "$pool/server-$S@backup-$1" ;;
	esac
}
