# cala-snap when something is in the way: what a server, another program or a
# killed run has left must neither be believed nor lost.

load common
load snap-server

@test "zfs: a .zfs that the server made itself is not taken for the snapshot" {
	put --uuid $U
	# OpenZFS reserves the name; then nobody can plant anything.
	mkdir -p "$v/.zfs/snapshot" || skip "this ZFS has a .zfs of its own"
	ln -s / "$v/.zfs/snapshot/backup-$U"
	[ "$(d cat -b $U server.properties)" = motd=hello ]
	fails 10 d cat -b $U etc/hostname
	d verify -b $U
	# A directory of that name, with nothing mounted on it.
	rm "$v/.zfs/snapshot/backup-$U"
	mkdir "$v/.zfs/snapshot/backup-$U"
	[ "$(d cat -b $U server.properties)" = motd=hello ]
}

@test "zfs: the snapshot is read by way of .zfs where that is mounted" {
	put --uuid $U
	mkdir -p "$v/.zfs/snapshot/backup-$U" ||
		skip "this ZFS has a .zfs of its own"
	mkdir same
	echo 'by .zfs' >same/server.properties
	mount --bind same "$v/.zfs/snapshot/backup-$U"
	run --separate-stderr d cat -b $U server.properties -v
	umount "$v/.zfs/snapshot/backup-$U"
	[ "$output" = 'by .zfs' ]
	[[ $stderr != *clone* ]]
}

@test "zfs: while its pool is away a backup is neither gone nor an orphan" {
	put --uuid $U --name kept
	touch -d '3 days ago' "$store/$U/cala.json"
	zpool export "$pool"
	fails 13 d cat -b $U server.properties
	run --separate-stderr d list
	[ "$status" -eq 3 ]
	[[ $stderr == *"1 backups are not listed"* ]]
	run d gc
	[ "$status" -eq 3 ]
	[ -e "$store/$U/ignored" ]
	zpool import -d "$snap_base" "$pool"
	touch -d '3 days ago' "$store/$U/cala.json"
	d list | jq -e '.name == "kept"'
	# The snapshot is really gone: now the record may go.
	zfs destroy "$pool/server-$S@backup-$U"
	d gc
	[ ! -e "$store/$U" ]
}
