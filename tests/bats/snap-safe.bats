# cala-snap when something is in the way: what a server, another program or a
# killed run has left must neither be believed nor lost.

load common
load snap-server

@test "zfs: a .zfs that the server made itself is not taken for the snapshot" {
	put --uuid $U
	# OpenZFS reserves the name; then nobody can plant anything.
	mkdir -p "$v/.zfs/snapshot" || inapplicable "this ZFS has a .zfs of its own"
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
		inapplicable "this ZFS has a .zfs of its own"
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

old_trees() {
	find "$fs/volumes" -maxdepth 1 -name '.cala-*' | wc -l
}

@test "btrfs: rollbacks in a row, each keeps the tree before it; --discard-old" {
	put --uuid $U
	echo one >"$v/one"
	d rollback -s $S -b $U
	echo two >"$v/two"
	d rollback -s $S -b $U
	[ ! -e "$v/one" ]
	[ ! -e "$v/two" ]
	[ "$(old_trees)" -eq 2 ]
	[ "$(cat "$fs/volumes/.cala-was-$S"-*/one)" = one ]
	[ "$(cat "$fs/volumes/.cala-was-$S"-*/two)" = two ]
	# Another server's stay.
	btrfs -q subvolume create "$fs/volumes/.cala-was-$U3-00000000"
	cala restore --discard-old $S --dry-run
	[ "$(old_trees)" -eq 3 ]
	cala restore --discard-old $S
	[ "$(old_trees)" -eq 1 ]
	[ "$(cat "$v/server.properties")" = motd=hello ]
	d verify -b $U
}

@test "btrfs: after a rollback Wings' backups are still the server's" {
	wings $U
	wings $U2
	d rollback -s $S -b $U
	cala restore --discard-old $S
	[ "$(listed -s $S)" = "$U $U2 " ]
	d list -s $S | jq -e .foreign
	d rollback -s $S -b $U2
}

@test "btrfs: rollback of a backup of nobody knows whom is refused" {
	btrfs -q subvolume create "$fs/other"
	mkdir -p "$store/$U"
	btrfs -q subvolume snapshot -r "$fs/other" "$store/$U/subvolume"
	fails 2 d rollback -s $S -b $U
	[[ $stderr == *"set --server"* ]]
	[ -e "$v/server.properties" ]
}

@test "btrfs: rollback waits for nobody: a job of the server is named" {
	put --uuid $U
	mkdir -m 700 run
	exec 8>"run/$S.lock"
	flock 8
	fails 11 d rollback -s $S -b $U
	exec 8>&-
	# A run that was killed has not swapped its directories to the end.
	: >"run/$S.state"
	fails 11 d rollback -s $S -b $U
	[[ $stderr == *break-lock* ]]
	rm "run/$S.state"
	d rollback -s $S -b $U
}

@test "btrfs: rollback killed at any moment leaves one tree or the other" {
	local i
	put --uuid $U
	for i in 0 1 2 3 4 6 8 12; do
		echo "$i" >"$v/new"
		cala-snap rollback -c c -s $S -b $U >out 2>err 3>&- &
		job=$!
		sleep "0.0$i"
		kill -KILL $job 2>/dev/null || true
		wait $job || true
		job=
		[ "$(cat "$v/server.properties")" = motd=hello ]
		[ ! -e "$v/new" ] || [ "$(cat "$v/new")" = "$i" ]
	done
	d rollback -s $S -b $U
	[ ! -e "$v/new" ]
	cala restore --discard-old $S
	[ "$(old_trees)" -eq 0 ]
	d verify -b $U --read-data
}

@test "zfs: a stream that continues an older snapshot never costs a newer one" {
	put --uuid $U
	echo 2 >"$v/n"
	put --uuid $U2
	echo 3 >"$v/n"
	put --uuid $U3
	d send -b $U >full
	d send -b $U2 --base $U >step2
	d send -b $U3 --base $U >step3
	for id in $U $U2 $U3; do d rm -b $id; done
	d receive -s $S --uuid $U <full
	d receive -s $S --uuid $U2 <step2
	fails 2 d receive -s $S --uuid $U3 <step3
	[[ $stderr == *"is newer"* ]]
	[ "$(listed)" = "$U $U2 " ]
	d verify -b $U2 --read-data
	[ ! -e "$store/$U3" ]
}

@test "zfs: two that receive one UUID: the second takes nothing from the first" {
	head -c 1M /dev/urandom >"$v/world/region"
	put --uuid $U
	d send -b $U >whole
	mkfifo f
	cala-snap receive -c c -s $S --uuid $U2 <f >out 2>err 3>&- &
	job=$!
	exec 7>f
	# Enough for it to begin.
	head -c 700000 whole >&7
	for _ in $(seq 1 100); do
		[ ! -e "$store/$U2/cala.json" ] || break
		sleep 0.1
	done
	# By its dataset where that shows already, else by its folder.
	run d receive -s $S --uuid $U2 <whole
	[ "$status" -eq 11 ] || [ "$status" -eq 15 ]
	[ -e "$store/$U2/dataset" ]
	# Nor does a put of that UUID, or a gc after a long day.
	run put --uuid $U2
	[ "$status" -eq 11 ] || [ "$status" -eq 15 ]
	touch -d '2 days ago' "$store/$U2/cala.json"
	d gc
	[ -e "$store/$U2/dataset" ]
	tail -c +700001 whole >&7
	exec 7>&-
	wait $job
	job=
	fails 15 d receive -s $S --uuid $U2 <whole
	d verify -b $U2 --read-data
}

@test "btrfs: a backup that was locked while it was counted is not taken back" {
	local i
	for i in $(seq 1 3000); do : >"$v/world/f$i"; done
	for i in $(seq 1 20); do
		cala-snap put -c c -s $S --uuid $U "$v" >out 2>err 3>&- &
		job=$!
		until d set -b $U --lock >/dev/null 2>&1; do
			kill -0 $job 2>/dev/null || break
		done
		kill -TERM $job 2>/dev/null || true
		s=0
		wait $job || s=$?
		job=
		d set -b $U --lock >/dev/null
		[ "$(listed)" = "$U " ]
		d set -b $U --no-lock >/dev/null
		d rm -b $U
		[ "$s" -ne 143 ] || break
	done
}

@test "btrfs: verify claims nothing of a record that was never completed" {
	put --uuid $U
	jq -c 'del(.checksum, .size, .files, .completed)' "$store/$U/cala.json" \
		>new
	cat new >"$store/$U/cala.json"
	run d verify -b $U
	[ "$status" -eq 0 ]
	[[ $output != *unchanged* ]]
	[[ $output == *"was killed before"* ]]
}

@test "btrfs: one backup that can't be read hides no other" {
	put --uuid $U
	wings $U2
	head -c 9M /dev/zero | tr '\0' x >"$store/$U2/ignored"
	put --uuid $U3
	run --separate-stderr d list
	[ "$status" -eq 3 ]
	[[ $output == *$U* && $output == *$U3* ]]
	[[ $stderr == *$U2* ]]
}

# keeps NAME DISK DIR: one more configuration, with its backups in DIR.
keeps() {
	cat >>cala.conf <<-END
	[configuration "$1"]
	disk = $2
	backup-directory = $3
	END
}

@test "btrfs: rollback carries off no configuration's backups" {
	put --uuid $U
	echo new >"$v/new"
	# Another one's, in a plain folder of the server.
	keeps other local "$v/arch"
	mkdir "$v/arch"
	id=$(cala backup $S -c other)
	fails 2 d rollback -s $S -b $U
	[[ $stderr == *"configuration other keeps its backups"*"$v/arch"* ]]
	[[ $stderr == *"move them out of $v first"* ]]
	fails 2 d rollback -s $S -b $U --dry-run
	# By way of a link, and of a directory that is mounted elsewhere.
	ln -s "$v" link
	sed -i "s,= $v/arch\$,= $tmp/link/arch," cala.conf
	fails 2 d rollback -s $S -b $U
	mkdir elsewhere
	mount --bind "$v/arch" elsewhere
	sed -i "s,= $tmp/link/arch\$,= $tmp/elsewhere," cala.conf
	run --separate-stderr d rollback -s $S -b $U
	umount elsewhere
	[ "$status" -eq 2 ]
	[[ $stderr == *"configuration other keeps"* ]]
	[ "$(cat "$v/new")" = new ]
	[ "$(old_trees)" -eq 0 ]
	# What is moved out of it is in nobody's way.
	mv "$v/arch" elsewhere/
	sed -i "s,= $tmp/elsewhere\$,= $tmp/elsewhere/arch," cala.conf
	d rollback -s $S -b $U
	[ ! -e "$v/new" ]
	cala restore --discard-old $S
	cala verify $S "$id" -c other
}

@test "btrfs: rollback carries off nothing that is mounted in the directory" {
	put --uuid $U
	mkdir "$v/mnt"
	mount -t tmpfs none "$v/mnt"
	echo kept >"$v/mnt/file"
	run --separate-stderr d rollback -s $S -b $U
	got=$(cat "$v/mnt/file")
	umount "$v/mnt"
	[ "$status" -eq 2 ]
	[[ $stderr == *"$v/mnt is mounted there"* ]]
	[ "$got" = kept ]
	[ "$(old_trees)" -eq 0 ]
	d rollback -s $S -b $U
}

@test "zfs: rollback takes no configuration's backups back, nor a child's files" {
	# Its directory must be there again after a rollback.
	mkdir "$v/child"
	put --uuid $U
	zfs create -o mountpoint="$v/child" "$pool/server-$S/child"
	echo new >"$v/new"
	echo kept >"$v/child/file"
	keeps other local "$v/arch"
	mkdir "$v/arch"
	id=$(cala backup $S -c other)
	fails 2 d rollback -s $S -b $U
	[[ $stderr == *"configuration other keeps its backups"*"$v/arch"* ]]
	[ "$(cat "$v/new")" = new ]
	[ -e "$v/arch/$id.json" ]
	# In a dataset of its own they are not rolled back.
	mv "$v/arch" "$v/child/arch"
	sed -i "s,= $v/arch\$,= $v/child/arch," cala.conf
	run d rollback -s $S -b $U --dry-run
	[ "$status" -eq 0 ]
	[[ $output == *"$v/child is another dataset"* ]]
	[ "$(cat "$v/new")" = new ]
	d rollback -s $S -b $U
	[ ! -e "$v/new" ]
	[ "$(cat "$v/child/file")" = kept ]
	cala verify $S "$id" -c other
}

inner_store() {
	store=$v/keep/$disk
	sed -i "s,^backup-directory = .*,backup-directory = $v/keep," cala.conf
	# Directly it would put old records over newer ones one day.
	fails 2 put --uuid $U
	[[ $stderr == *"configuration c keeps its backups in it"* ]]
	[[ $stderr == *"/keep/"* ]]
	[ -z "$(listed)" ]
	echo '/keep/' >rules
	d put "$v" -s $S --uuid $U --exclude-from rules
	# cala leaves it out: no backup is partial for those before it.
	id=$(cala backup $S -c c)
	id=$(cala backup $S -c c)
	d list | jq -se 'length == 3 and all(.[]; .complete)'
	d ls -b $U -R >l
	run ! grep keep/ l
	fails 2 d rollback -s $S -b "$id"
	[[ $stderr == *"configuration c keeps its backups"* ]]
	d list | jq -se 'length == 3'
	cala restore $S "$id" -c c
	d list | jq -se 'length == 3'
	d verify -b $U
}

@test "btrfs: a server that holds its own backups" {
	inner_store
}

@test "zfs: a server that holds its own backups" {
	inner_store
}
