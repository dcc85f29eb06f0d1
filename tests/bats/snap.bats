# cala-snap beyond the contract, on real file systems: Wings' own snapshots,
# what must not be deleted, what is in the way, copies and rollbacks.

load common
load snap-server

reads_wings() {
	wings $U
	d list >l
	jq -e --arg u $U --arg s $S '.uuid == $u and .server == $s and
		.foreign and .ignored == ["logs/", "!logs/keep"] and
		(.created | length) > 0' l
	[ "$(listed -s $S)" = "$U " ]
	[ "$(d cat -b $U server.properties)" = motd=hello ]
	fails 10 d cat -b $U logs/x.log
	[ "$(d ls -b $U -R --json | jq -r .path | sort | tr '\n' ' ')" = \
		"server.properties world world/level.dat " ]
	d get -b $U | tar -t >t
	! grep x.log t
	d verify -b $U --read-data
	d set -b $U --name adopted --lock
	d list | jq -e '.name == "adopted" and .locked'
	fails 22 d rm -b $U
	d set -b $U --no-lock
	d rm -b $U
	[ ! -e "$store/$U" ]
	[ -z "$(listed)" ]
}

@test "btrfs: Wings' own snapshots are listed, read, adopted and removed" {
	reads_wings
	[ "$(btrfs subvolume list "$fs" | wc -l)" -eq 1 ]
}

@test "zfs: Wings' own snapshots are listed, read, adopted and removed" {
	reads_wings
	[ -z "$(zfs list -H -t snapshot -o name)" ]
}

@test "btrfs: what Wings' deletion leaves does not block the UUID" {
	mkdir -p "$store/$U"
	echo x >"$store/$U/ignored"
	[ -z "$(listed)" ]
	put --uuid $U
	[ "$(listed)" = "$U " ]
	d list | jq -e '.ignored == []'
}

@test "zfs: a pool that comes without its folder still has its backups" {
	put --uuid $U --name "before é" --group g
	rm -rf "$store"
	d list | jq -e --arg s $S '.name == "before é" and .group == "g" and
		.server == $s and .complete and .files == 3'
	[ "$(d cat -b $U server.properties)" = motd=hello ]
	d rm -b $U
	[ -z "$(listed)" ]
}

@test "btrfs: what is no subvolume is refused, and how to convert it is said" {
	mkdir "$v/inner" plain
	fails 2 d put "$v/inner" -s $S
	[[ $stderr == *'plain directory'*hint:*'btrfs subvolume create'* ]]
	fails 2 d put "$tmp/plain" -s $S
	[[ $stderr == *'not on Btrfs'* ]]
	[ -z "$(listed)" ]
	[ "$(btrfs subvolume list "$fs" | wc -l)" -eq 1 ]
}

@test "zfs: what is no dataset of its own is refused, and the parent left alone" {
	mkdir "$v/inner"
	fails 2 d put "$v/inner" -s $S
	[[ $stderr == *'not a ZFS dataset'*hint:*'zfs create'* ]]
	mkdir bound
	mount --bind "$v/inner" bound
	fails 2 d put "$tmp/bound" -s $S
	umount bound
	[ -z "$(zfs list -H -t snapshot -o name)" ]
}

@test "zfs: a dataset that is not mounted is named; its backups are read all the same" {
	put --uuid $U
	zfs unmount "$pool/server-$S"
	fails 2 put
	[[ $stderr == *'not mounted'*"zfs mount $pool/server-$S"* ]]
	[ "$(d cat -b $U server.properties)" = motd=hello ]
	d get -b $U | tar -t >t
	grep -q world/level.dat t
	[ "$(zfs list -H -o name -r "$pool" | grep -c cala-read)" -eq 0 ]
	[ -z "$(find "$store" -name '.cala-read-*')" ]
}

@test "btrfs: a V that is a symbolic link is the subvolume it leads to" {
	ln -s "$v" link
	d put "$tmp/link" -s $S --uuid $U
	[ "$(d cat -b $U server.properties)" = motd=hello ]
}

@test "btrfs: another file system for the backups is refused" {
	sed -i "s|^backup-directory = .*|backup-directory = $tmp/elsewhere|" cala.conf
	fails 2 put
	[[ $stderr == *'not on one Btrfs file system'* ]]
	[ -z "$(find elsewhere -name subvolume)" ]
}

@test "btrfs: nested subvolumes and mounts are named, and the backup is partial" {
	btrfs -q subvolume create "$v/world/nether"
	mkdir "$v/mnt"
	mount -t tmpfs none "$v/mnt"
	run --separate-stderr put --uuid $U
	umount "$v/mnt"
	[ "$status" -eq 3 ]
	jq -e '.complete == false and .warnings_count == 2 and
		(.warnings[0] | contains("world/nether")) and
		(.warnings[1] | contains("/mnt"))' <<<"$output"
	d verify -b $U
}

@test "zfs: child datasets are named, and the backup is partial" {
	zfs create "$pool/server-$S/child"
	run --separate-stderr put --uuid $U
	[ "$status" -eq 3 ]
	jq -e '.complete == false and .warnings_count == 1 and
		(.warnings[0] | contains("/child"))' <<<"$output"
}

@test "btrfs: rules that leave out everything store nothing" {
	echo '*' >rules
	fails 4 put --exclude-from rules
	[ -z "$(listed)" ]
	[ "$(btrfs subvolume list "$fs" | wc -l)" -eq 1 ]
}

@test "btrfs: a locked backup can't be deleted by btrfs either" {
	put --uuid $U --lock
	run btrfs subvolume delete "$store/$U/subvolume"
	[ "$status" -ne 0 ]
	run rm -rf "$store/$U"
	[ -d "$store/$U/subvolume/world" ]
	d set -b $U --name renamed
	d list | jq -e '.name == "renamed" and .locked'
	run btrfs subvolume delete "$store/$U/subvolume"
	[ "$status" -ne 0 ]
	# A lock that was only written down is renewed.
	chattr -i "$store/$U"
	d gc
	lsattr -d "$store/$U" | grep -q '^....i'
	d set -b $U --no-lock
	d rm -b $U
}

@test "zfs: a locked backup can't be destroyed by zfs either" {
	put --uuid $U --lock
	run zfs destroy "$pool/server-$S@backup-$U"
	[ "$status" -ne 0 ]
	d set -b $U --name renamed
	run zfs destroy "$pool/server-$S@backup-$U"
	[ "$status" -ne 0 ]
	# Wings' last resort would destroy it as soon as it is unlocked.
	zfs destroy -d "$pool/server-$S@backup-$U"
	fails 22 d set -b $U --no-lock
	[ "$(listed)" = "$U " ]
	[ "$(d cat -b $U server.properties)" = motd=hello ]
	# As the hint says.
	zfs release cala-lock "$pool/server-$S@backup-$U"
	[ -z "$(listed)" ]
}

@test "zfs: a snapshot that somebody else holds is not removed" {
	put --uuid $U
	zfs hold mine "$pool/server-$S@backup-$U"
	fails 22 d rm -b $U
	zfs release mine "$pool/server-$S@backup-$U"
	d rm -b $U
}

@test "zfs: a busy snapshot is tried again until it is free" {
	put --uuid $U
	zfs clone "$pool/server-$S@backup-$U" "$pool/busy"
	fails 1 d rm -b $U || fails 11 d rm -b $U
	[ "$(listed)" = "$U " ]
	zfs destroy "$pool/busy"
	d rm -b $U
	[ -z "$(listed)" ]
}

@test "btrfs: nothing is deleted that is not provably a backup" {
	mkdir -p "$store/$U" "$store/$U2" "$fs/precious/deep"
	echo gold >"$fs/precious/deep/gold"
	# a link to somebody's subvolume, a subvolume that is no snapshot,
	# a plain directory, a folder that is a link
	ln -s "$v" "$store/$U/subvolume"
	btrfs -q subvolume create "$store/$U2/subvolume"
	echo gold >"$store/$U2/subvolume/gold"
	mkdir -p "$store/$U3/subvolume"
	echo gold >"$store/$U3/subvolume/gold"
	ln -s "$v" "$store/cccc4444-0000-4000-8000-000000000004"
	[ "$(listed)" = "$U2 " ]
	fails 10 d rm -b $U
	fails 1 d rm -b $U2
	fails 10 d rm -b $U3
	fails 10 d rm -b cccc4444-0000-4000-8000-000000000004
	fails 10 d get -b $U >x
	d gc
	[ -d "$v/world" ] && [ -f "$store/$U2/subvolume/gold" ]
	[ -f "$store/$U3/subvolume/gold" ] && [ -L "$store/$U/subvolume" ]
}

@test "zfs: a dataset file that names another's never harms it" {
	zfs create -o mountpoint="$fs/other" "$pool/other"
	echo gold >"$fs/other/gold"
	# The same name on a dataset that is no server's, and without record.
	zfs snapshot "$pool/other@backup-$U"
	zfs snapshot "$pool/other@precious"
	mkdir -p "$store/$U" "$store/$U2" "$store/$U3"
	echo "$pool/other" >"$store/$U/dataset"
	fails 1 d rm -b $U
	echo "$pool/other@precious" >"$store/$U2/dataset"
	fails 10 d rm -b $U2
	printf -- '-r\n' >"$store/$U2/dataset"
	fails 10 d rm -b $U2
	echo "$pool/server-$S@backup-$U,precious" >"$store/$U2/dataset"
	fails 10 d rm -b $U2
	echo "$pool/nothing" >"$store/$U3/dataset"
	fails 10 d cat -b $U3 x
	d gc
	zfs list -H -t snapshot -o name | sort >after
	[ "$(cat after)" = "$pool/other@backup-$U
$pool/other@precious" ]
}

@test "zfs: two datasets with a snapshot of one name: no guess" {
	put --uuid $U
	zfs create "$pool/copy"
	zfs snapshot "$pool/copy@backup-$U"
	[ "$(d cat -b $U server.properties)" = motd=hello ]
	rm "$store/$U/dataset"
	fails 1 d rm -b $U
	fails 1 d cat -b $U server.properties
	echo "$pool/server-$S" >"$store/$U/dataset"
	d rm -b $U
	zfs list "$pool/copy@backup-$U"
}

@test "btrfs: a link inside the snapshot leads nowhere outside" {
	ln -s /etc "$v/out"
	put --uuid $U
	fails 10 d cat -b $U out/passwd
	fails 10 d get -b $U out/passwd >x
	fails 10 d ls -b $U out/ssh
	d ls -b $U out --json | jq -e '.target == "/etc"'
}

@test "btrfs: the quota group of a deleted backup goes, too" {
	btrfs quota enable "$fs"
	put --uuid $U
	id=$(btrfs subvolume show "$store/$U/subvolume" |
		sed -n 's/.*Subvolume ID:[[:space:]]*//p')
	d rm -b $U
	btrfs subvolume sync "$fs"
	sync -f "$fs"
	# The kernel may clean up a moment later.
	for _ in $(seq 1 50); do
		btrfs qgroup show "$fs" >q 2>/dev/null
		grep -q "^0/$id " q || break
		sleep 0.1
	done
	! grep "^0/$id " q
}

@test "btrfs: restore shares blocks instead of copying them" {
	head -c 20M /dev/urandom >"$v/world/big"
	put --uuid $U
	sync -f "$fs"
	before=$(btrfs filesystem usage -b "$fs" |
		sed -n 's/^ *Used:[[:space:]]*//p' | head -n 1)
	mkdir "$fs/out"
	d restore "$fs/out" -b $U
	sync -f "$fs"
	after=$(btrfs filesystem usage -b "$fs" |
		sed -n 's/^ *Used:[[:space:]]*//p' | head -n 1)
	diff -r "$v" "$fs/out"
	echo "$before $after"
	[ $((after - before)) -lt 4000000 ]
	mkdir "$tmp/far"
	d restore "$tmp/far" -b $U
	diff -r "$v" "$tmp/far"
}

@test "btrfs: a full file system is exit 16, and what was there is whole" {
	put --uuid $U
	dd if=/dev/zero of="$fs/fill" bs=1M 2>/dev/null || true
	for i in $(seq 1 60); do
		run put
		[ "$status" -eq 0 ] || break
	done
	echo "$i $output"
	[ "$status" -eq 0 ] || [ "$status" -eq 16 ]
	rm "$fs/fill"
	d verify -b $U --read-data
	for id in $(listed); do d verify -b "$id" >/dev/null; done
	put --uuid $U2
}

@test "zfs: a full pool is an error, and what was there is whole" {
	put --uuid $U
	dd if=/dev/urandom of="$v/fill" bs=1M 2>/dev/null || true
	sync -f "$v" || true
	run put --uuid $U2
	echo "$output"
	[ "$status" -eq 16 ]
	[ "$(listed)" = "$U " ]
	# A clone to read it needs some room, where there is no .zfs.
	rm "$v/fill"
	# The pool frees it some transactions later.
	for _ in $(seq 1 50); do
		! zfs snapshot "$pool/server-$S@room" 2>/dev/null || break
		sync -f "$v"
		sleep 0.2
	done
	d verify -b $U --read-data
	put --uuid $U2
}

@test "zfs: a reader that is killed leaves a clone that the next run removes" {
	head -c 3M /dev/urandom >"$v/big"
	put --uuid $U
	mkfifo f
	cala-snap get -c c -b $U >f 3>&- &
	job=$!
	exec 7<f
	head -c 100000 <&7 >/dev/null
	[ "$(zfs list -H -o name -r "$pool" | grep -c cala-read)" -eq 1 ]
	# It lives: nobody takes it away.
	d gc
	[ "$(zfs list -H -o name -r "$pool" | grep -c cala-read)" -eq 1 ]
	kill -KILL $job
	wait $job || true
	job=
	exec 7<&-
	[ "$(zfs list -H -o name -r "$pool" | grep -c cala-read)" -eq 1 ]
	d gc | grep -q 'removed 1 leftovers'
	[ "$(zfs list -H -o name -r "$pool" | grep -c cala-read)" -eq 0 ]
	[ -z "$(find "$store" -name '.cala-read-*')" ]
}

@test "zfs: SIGTERM and a closed pipe remove the clone" {
	head -c 3M /dev/urandom >"$v/big"
	put --uuid $U
	mkfifo f
	cala-snap get -c c -b $U >f 3>&- &
	job=$!
	exec 7<f
	head -c 100000 <&7 >/dev/null
	kill -TERM $job
	exec 7<&-
	status=0
	wait $job || status=$?
	job=
	[ "$status" -eq 143 ] || [ "$status" -eq 141 ]
	[ "$(zfs list -H -o name -r "$pool" | grep -c cala-read)" -eq 0 ]
	cala-snap get -c c -b $U | head -c 1000 >/dev/null
	[ "$(zfs list -H -o name -r "$pool" | grep -c cala-read)" -eq 0 ]
}

@test "zfs: a leftover folder that names a dataset of others is left alone" {
	mkdir -p "$store/.cala-read-0123456789abcdef/tree"
	zfs create "$pool/cala-read-0123456789abcdef"
	printf %s "$pool/cala-read-0123456789abcdef" \
		>"$store/.cala-read-0123456789abcdef/lock"
	mkdir -p "$store/.cala-read-00/tree"
	printf %s "$pool/server-$S" >"$store/.cala-read-00/lock"
	run d gc
	[[ $output == *'not a clone of ours'* ]]
	zfs list "$pool/cala-read-0123456789abcdef" "$pool/server-$S"
	[ -f "$v/server.properties" ]
}

@test "btrfs: put killed at any moment leaves whole backups or nothing" {
	for i in $(seq 1 2000); do echo $i >"$v/world/f$i"; done
	for i in $(seq 1 25); do
		cala-snap put -c c -s $S "$v" >/dev/null 2>&1 3>&- &
		job=$!
		sleep "0.0$((i % 10))$i"
		kill -KILL $job 2>/dev/null || true
		wait $job 2>/dev/null || true
	done
	job=
	n=0
	for id in $(listed); do
		d verify -b "$id" >/dev/null
		n=$((n + 1))
	done
	echo "$n survived"
	d gc
	put --uuid $U
	for id in $(listed); do d rm -b "$id"; done
	[ "$(btrfs subvolume list "$fs" | wc -l)" -eq 1 ]
}

sent_and_received() {
	put --uuid $U
	[ "$disk" != btrfs ] || btrfs subvolume sync "$fs"
	d send -b $U >whole
	tail -c 48 whole | head -c 8 | grep -q CALAEOS1
	cp -a "$v" copy
	d rm -b $U
	# Not whole: cut anywhere, changed, without trailer.
	size=$(stat -c %s whole)
	for n in 100 1000 $((size / 2)) $((size - 200)) $((size - 56)) \
	    $((size - 1)); do
		head -c "$n" whole >cut
		fails 4 d receive -s $S --uuid $U <cut
		[ -z "$(listed)" ]
	done
	cp whole changed
	printf X | dd of=changed bs=1 seek=$((size / 2)) conv=notrunc status=none
	fails 14 d receive -s $S --uuid $U <changed
	head -c $((size - 56)) whole >bare
	fails 4 d receive -s $S --uuid $U -- sh -c 'cat bare; exit 5'
	fails 4 d receive -s $S --uuid $U --commit-fd 9 <bare 9< <(printf A)
	fails 4 d receive -s $S --uuid $U </dev/null
	head -c 100000 /dev/urandom >noise
	fails 4 d receive -s $S --uuid $U <noise
	[ -z "$(listed)" ]
	[ -z "$(ls -A "$store" | grep -v lock)" ]
	d receive -s $S --uuid $U --name copy <whole
	d receive -s $S --uuid $U2 -- cat bare
	d receive -s $S --uuid $U3 --commit-fd 9 <bare 9< <(printf C)
	[ "$(listed -s $S)" = "$U $U2 $U3 " ]
	for id in $U $U2 $U3; do
		d verify -b $id --read-data
		mkdir "out-$id"
		d get -b $id | tar -C "out-$id" -xpf -
		diff -r copy "out-$id"
	done
	d list | jq -se 'map(select(.name == "copy" and .files == 3)) |
		length == 1'
	fails 15 d receive -s $S --uuid $U <whole
	for id in $U $U2 $U3; do d rm -b $id; done
	[ -z "$(listed)" ]
}

@test "btrfs: send and receive, and no stream that is not whole" {
	sent_and_received
	[ "$(btrfs subvolume list "$fs" | wc -l)" -eq 1 ]
}

@test "zfs: send and receive, and no stream that is not whole" {
	sent_and_received
	[ "$(zfs list -H -o name -r "$pool/received")" = "$pool/received" ]
}

incremental() {
	put --uuid $U
	head -c 2M /dev/urandom >"$v/world/region"
	put --uuid $U2
	d send -b $U >full
	d send -b $U2 --base $U >step
	[ "$(stat -c %s step)" -gt 2000000 ]
	d send -b $U2 -i $U --no-trailer >bare
	[ "$(stat -c %s bare)" -eq $(($(stat -c %s step) - 56)) ]
	cp -a "$v" copy
}

@test "btrfs: an incremental stream needs its base, and has it" {
	incremental
	# Another file system, as another machine has.
	mkdir far
	btrfs_up "$tmp/far"
	mkdir far/backups
	sed "s|^backup-directory = .*|backup-directory = $tmp/far/backups|" \
		cala.conf >far.conf
	chmod 600 far.conf
	f() { CALA_CONFIG=$tmp/far.conf d "$@"; }
	s1=0 s2=0
	f receive -s $S --uuid $U2 <step || s1=$?
	f receive -s $S --uuid $U <full || s2=$?
	f receive -s $S --uuid $U2 <step
	f verify -b $U2 --read-data
	mkdir out
	f get -b $U2 | tar -C out -xpf -
	[ "$s1" -eq 14 ] && [ "$s2" -eq 0 ]
	diff -r copy out
}

@test "zfs: an incremental stream needs its base, and has it" {
	incremental
	d rm -b $U
	d rm -b $U2
	fails 10 d receive -s $S --uuid $U2 <step
	d receive -s $S --uuid $U <full
	d receive -s $S --uuid $U2 <step
	d verify -b $U2 --read-data
	mkdir out
	d get -b $U2 | tar -C out -xpf -
	diff -r copy out
	d rm -b $U
	d rm -b $U2
	[ "$(zfs list -H -o name -r "$pool/received")" = "$pool/received" ]
}

@test "btrfs: receive that is killed leaves nothing for long" {
	head -c 1M /dev/urandom >"$v/world/region"
	put --uuid $U
	d send -b $U >whole
	mkfifo f
	cala-snap receive -c c -s $S --uuid $U2 <f >out 2>err 3>&- &
	job=$!
	exec 7>f
	# Enough for it to begin, and no end.
	head -c 700000 whole >&7
	for _ in $(seq 1 100); do
		! compgen -G "$store/.cala-recv-*" || break
		sleep 0.1
	done
	[ "$(find "$store" -maxdepth 1 -name '.cala-recv-*' | wc -l)" -eq 1 ]
	kill -KILL $job
	wait $job || true
	job=
	exec 7>&-
	[ "$(listed)" = "$U " ]
	d gc
	[ -z "$(find "$store" -maxdepth 1 -name '.cala-recv-*')" ]
	[ "$(btrfs subvolume list "$fs" | wc -l)" -eq 2 ]
}

@test "btrfs: rollback exchanges the volume and keeps the old one" {
	put --uuid $U
	echo changed >"$v/server.properties"
	touch "$v/new"
	put --uuid $U2
	d rollback -s $S -b $U --dry-run
	[ -e "$v/new" ]
	d rollback -s $S -b $U
	[ "$(cat "$v/server.properties")" = motd=hello ]
	[ ! -e "$v/new" ]
	echo writable >>"$v/server.properties"
	[ "$(find "$fs/volumes" -path "*/.cala-was-$S-*/new" | wc -l)" -eq 1 ]
	[ "$(listed)" = "$U $U2 " ]
	d verify -b $U
	put --uuid $U3
	btrfs -q subvolume create "$v/nested"
	fails 2 d rollback -s $S -b $U
	fails 2 d rollback -b $U
	fails 2 d rollback -s $S -b aaaa1111
}

@test "zfs: rollback loses newer snapshots only when told, locked ones never" {
	put --uuid $U
	echo changed >"$v/server.properties"
	d rollback -s $S -b $U
	[ "$(cat "$v/server.properties")" = motd=hello ]
	put --uuid $U2 --lock
	echo changed >"$v/server.properties"
	fails 22 d rollback -s $S -b $U
	fails 22 d rollback -s $S -b $U --discard-newer
	d set -b $U2 --no-lock
	fails 22 d rollback -s $S -b $U
	d rollback -s $S -b $U --discard-newer --dry-run
	[ "$(listed)" = "$U $U2 " ]
	d rollback -s $S -b $U --discard-newer
	[ "$(cat "$v/server.properties")" = motd=hello ]
	[ "$(listed)" = "$U " ]
	[ ! -e "$store/$U2" ]
	# It need not be mounted.
	echo changed >"$v/server.properties"
	zfs unmount "$pool/server-$S"
	d rollback -s $S -b $U
	zfs mount "$pool/server-$S"
	[ "$(cat "$v/server.properties")" = motd=hello ]
}

@test "btrfs: check says what is missing" {
	run d check
	[ "$status" -eq 10 ]
	mkdir -m 700 "$store"
	cat >>cala.conf <<-END
	[server "a"]
	path = $v
	[server "b"]
	path = $fs/volumes
	END
	run d check
	[ "$status" -eq 0 ]
	[[ $output == *"ok: made a snapshot"*"is a subvolume"* ]]
	[[ $output == *"b: "*"no subvolume"* ]]
	[ "$(btrfs subvolume list "$fs" | wc -l)" -eq 1 ]
	# What a killed one left does not stay, whoever comes next.
	for verb in check gc; do
		btrfs -q subvolume create "$store/.cala-check"
		btrfs -q subvolume create "$store/.cala-check-2"
		mkdir "$store/.cala-check-mine"
		d $verb
		[ "$(btrfs subvolume list "$fs" | wc -l)" -eq 1 ]
		rmdir "$store/.cala-check-mine"
	done
}

@test "zfs: check says what is missing" {
	mkdir -m 700 "$store"
	cat >>cala.conf <<-END
	[server "a"]
	path = $v
	[server "b"]
	path = $fs/volumes
	END
	run d check
	[ "$status" -eq 0 ]
	[[ $output == *"a: "*"dataset $pool/server-$S"*"ok: made a snapshot"* ]]
	[[ $output == *"b: "*"can't take it"* ]]
	[ -z "$(zfs list -H -t snapshot -o name)" ]
	# What a killed one left does not stay.
	zfs snapshot "$pool/server-$S@cala-check"
	d check
	[ -z "$(zfs list -H -t snapshot -o name)" ]
	local tool
	tool=$(command -v cala-snap)
	PATH=$tmp/empty run -127 "$tool" check -c c
	[[ $output == *zfsutils-linux* ]]
}
