# A temporary snapshot as the source of a backup, on real file systems.

load common
load snap-common

S=11111111-aaaa-4bbb-8ccc-000000000001
S2=11111111-aaaa-4bbb-8ccc-000000000002

setup_file() {
	zfs_daemon_up
}

teardown_file() {
	zfs_daemon_down
}

setup() {
	need jq
	tmp=$BATS_TEST_TMPDIR
	mkdir "$tmp/fs"
	[ "${BATS_TEST_DESCRIPTION#zfs}" = "$BATS_TEST_DESCRIPTION" ] || {
		zfs_up
		zfs create -o mountpoint="$tmp/fs/$S" "$pool/server-$S"
	}
	[ "${BATS_TEST_DESCRIPTION#btrfs}" = "$BATS_TEST_DESCRIPTION" ] || {
		btrfs_up "$tmp/fs"
		btrfs -q subvolume create "$tmp/fs/$S"
	}
	v=$tmp/fs/$S
	mkdir -p "$v"
	printf 'motd=hello\n' >"$v/server.properties"
	mkdir "$v/world"
	seq 1 5000 >"$v/world/level.dat"
	conf auto
}

teardown() {
	# A test that failed may have left processes behind the fifo.
	[ -z "${job:-}" ] || kill -KILL "$job" 2>/dev/null || true
	zfs_down
	btrfs_down
}

# conf MODE [LINE...]: the configuration, with snapshot = MODE.
conf() {
	local mode=$1
	shift
	cat >"$tmp/cala.conf" <<-END
	[cala]
	backup-directory = $tmp/backups
	[server "$S"]
	name = survival
	path = $tmp/fs/$S
	configuration = c
	snapshot = $mode
	$(printf '%s\n' "$@")
	[configuration "c"]
	disk = local
	END
	chmod 600 "$tmp/cala.conf"
	export CALA_CONFIG=$tmp/cala.conf
}

# left: temporary snapshots that are there.
left() {
	find "$tmp/fs" -maxdepth 2 -name '.cala-source-*' 2>/dev/null
	[ -z "${pool:-}" ] || zfs list -H -t all -o name -r "$pool" |
		grep -E 'cala-(source|read)' || true
}

# The hook changes the server while the backup is made of the moment before.
change_hook() {
	cat >"$tmp/post" <<-END
	#!/bin/sh
	echo "\$CALA_STAGE \$CALA_SNAPSHOT code=\$CALA_CODE" >>$tmp/hooks
	echo later >$v/server.properties
	END
	chmod 700 "$tmp/post"
	conf "$1" "post-backup = $tmp/post"
}

frozen() {
	change_hook "$1"
	id=$(cala backup survival)
	[ "$(cala cat survival "$id" server.properties)" = motd=hello ]
	[ "$(cat "$v/server.properties")" = later ]
	[ "$(wc -l <"$tmp/hooks")" -eq 1 ]
	grep -q '^post-backup /.* code=$' "$tmp/hooks"
	[ -z "$(left)" ]
	cala verify survival "$id" --read-data
}

@test "btrfs: the post-backup hook runs at once, the backup is of the moment before" {
	frozen auto
}

@test "zfs: the post-backup hook runs at once, the backup is of the moment before" {
	frozen auto
}

@test "btrfs: snapshot = no reads the directory itself" {
	change_hook no
	cala backup survival
	grep -q 'code=0' "$tmp/hooks"
	[ "$(wc -l <"$tmp/hooks")" -eq 1 ]
}

@test "btrfs: snapshot = zfs is an error, and its hook runs" {
	change_hook zfs
	run cala backup survival
	[ "$status" -eq 2 ]
	[[ $output == *'not a ZFS dataset'* ]]
	grep -q 'code=2' "$tmp/hooks"
	[ -z "$(cala list survival)" ]
}

@test "a plain directory: auto reads it, yes refuses it" {
	need btrfs
	change_hook auto
	cala backup survival
	grep -q 'code=0' "$tmp/hooks"
	conf yes
	run cala backup survival
	[ "$status" -eq 2 ]
}

@test "btrfs: with a subvolume inside, auto reads the directory, yes is partial" {
	btrfs -q subvolume create "$v/inner"
	echo in >"$v/inner/file"
	id=$(cala backup survival)
	[ "$(cala cat survival "$id" inner/file)" = in ]
	conf yes
	run --separate-stderr cala backup survival
	[ "$status" -eq 3 ]
	[[ $stderr == *inner*'not in the snapshot'* ]]
	[ -z "$(left)" ]
}

@test "btrfs: a volume that is a mount point is snapshotted inside itself" {
	mkdir "$tmp/other"
	mount -o "subvol=$S" "$(findmnt -no SOURCE "$tmp/fs" | sed 's/\[.*//')" \
		"$tmp/other"
	sed -i "s|^path = .*|path = $tmp/other|" "$tmp/cala.conf"
	mkfifo "$tmp/go"
	cat >"$tmp/post" <<-END
	#!/bin/sh
	ls -d $tmp/other/.cala-source-* >$tmp/seen
	END
	chmod 700 "$tmp/post"
	sed -i "/^path/a post-backup = $tmp/post" "$tmp/cala.conf"
	id=$(cala backup survival)
	umount "$tmp/other"
	grep -q "/other/.cala-source-$S-" "$tmp/seen"
	[ -z "$(left)" ]
	[ "$(cala cat survival "$id" server.properties)" = motd=hello ]
}

@test "btrfs: a mount point that the server owns has no snapshot it could exchange" {
	mkdir "$tmp/other"
	mount -o "subvol=$S" "$(findmnt -no SOURCE "$tmp/fs" | sed 's/\[.*//')" \
		"$tmp/other"
	sed -i "s|^path = .*|path = $tmp/other|" "$tmp/cala.conf"
	chown 1000 "$tmp/other"
	run --separate-stderr cala -v backup survival
	s=$status id=$output said=$stderr
	sed -i "s/^snapshot = .*/snapshot = btrfs/" "$tmp/cala.conf"
	run --separate-stderr cala backup survival
	umount "$tmp/other"
	[ "$s" -eq 0 ]
	[[ $said == *"others than root"* ]]
	[ "$status" -eq 2 ]
	[[ $stderr == *"others than root"* ]]
	[ "$(cala cat survival "$id" server.properties)" = motd=hello ]
}

# A driver that waits: what a killed backup leaves.
slow_backup() {
	mkfifo "$tmp/hold"
	cat >"$tmp/post" <<-END
	#!/bin/sh
	[ -n "\$CALA_SNAPSHOT" ] || exit 0
	echo ready >$tmp/ready
	cat $tmp/hold
	END
	chmod 700 "$tmp/post"
	conf auto "post-backup = $tmp/post"
	cala backup survival >"$tmp/out" 2>"$tmp/err" 3>&- &
	job=$!
	for _ in $(seq 1 200); do
		[ ! -s "$tmp/ready" ] || break
		sleep 0.05
	done
	[ -s "$tmp/ready" ]
	[ -n "$(left)" ]
}

@test "btrfs: after kill -9 the next run removes the snapshot, and no other's" {
	slow_backup
	btrfs -q subvolume snapshot -r "$v" "$tmp/fs/.cala-source-$S2-00000001"
	btrfs -q subvolume snapshot "$v" "$tmp/fs/.cala-source-$S-00000002"
	btrfs -q subvolume create "$tmp/fs/.cala-source-$S-00000003"
	mkdir "$tmp/fs/.cala-source-$S-00000004" "$tmp/fs/.cala-source-$S-5"
	btrfs -q subvolume snapshot -r "$v" "$tmp/fs/.cala-source-$S-0000000x"
	kill -KILL "$job"
	wait "$job" || true
	job=
	: >"$tmp/hold" &
	conf auto
	cala backup survival
	# Writable, no snapshot, no subvolume, not our name: none is ours.
	[ "$(left | sort | sed 's/.*source-//')" = "$S-00000002
$S-00000003
$S-00000004
$S-0000000x
$S-5
$S2-00000001" ]
}

@test "zfs: after kill -9 the next run removes the snapshot, and no other's" {
	zfs snapshot "$pool/server-$S@cala-source-$S-00000002"
	zfs snapshot -o cala:temp=$S2 "$pool/server-$S@cala-source-$S2-00000001"
	slow_backup
	kill -KILL "$job"
	wait "$job" || true
	job=
	: >"$tmp/hold" &
	conf auto
	cala backup survival
	[ "$(left | sed 's/.*source-//')" = "$S-00000002
$S2-00000001" ]
}

@test "btrfs: SIGTERM removes the snapshot" {
	slow_backup
	kill -TERM "$job"
	: >"$tmp/hold" &
	status=0
	wait "$job" || status=$?
	job=
	[ "$status" -eq 143 ]
	[ -z "$(left)" ]
	[ -z "$(cala list survival)" ]
}

@test "zfs: SIGTERM removes the snapshot" {
	slow_backup
	kill -TERM "$job"
	: >"$tmp/hold" &
	status=0
	wait "$job" || status=$?
	job=
	[ "$status" -eq 143 ]
	[ -z "$(left)" ]
	[ -z "$(cala list survival)" ]
}

@test "btrfs: a volume that changes all the while is one moment in the backup" {
	echo 0 >"$v/a"
	cp "$v/a" "$v/b"
	# a is always written before b: never may b be ahead.
	(
		i=0
		while [ -e "$v/a" ]; do
			i=$((i + 1))
			echo $i >"$v/a.new" && mv "$v/a.new" "$v/a"
			echo $i >"$v/b.new" && mv "$v/b.new" "$v/b"
		done
	) 3>&- 2>/dev/null &
	job=$!
	for _ in 1 2 3 4 5; do
		id=$(cala backup survival)
		a=$(cala cat survival "$id" a)
		b=$(cala cat survival "$id" b)
		[ "$a" -eq "$b" ] || [ "$a" -eq $((b + 1)) ]
		cala list survival --json | jq -e '.backups[-1].changed == 0'
	done
	kill "$job"
	wait "$job" || true
	job=
}

@test "btrfs: a driver that reads directories gets the snapshot, under the path of the server" {
	cat >"$tmp/cala-probe" <<-'END'
	#!/bin/sh
	case $1 in
	info) echo '{"v":1,"driver":"cala-probe","version":"1","disk":"probe","takes":"dir","raw":false,"verbs":["info","put"],"keys":[]}' ;;
	put) for a; do dir=$a; done
		printf '%s\n' "$@" >"${0%/*}/args"
		cat "$dir/server.properties" >"${0%/*}/saw"
		for a; do case $a in --uuid=*) u=${a#*=} ;; esac; done
		echo "{\"v\":1,\"uuid\":\"$u\",\"locked\":false,\"complete\":true}" ;;
	esac
	END
	chmod 700 "$tmp/cala-probe"
	change_hook auto
	sed -i 's/^disk = local/disk = probe/' "$tmp/cala.conf"
	PATH=$PATH:$tmp cala backup survival
	grep -qx -- "--as=$tmp/fs/$S" "$tmp/args"
	tail -n 1 "$tmp/args" | grep -q '/.cala-source-'
	[ "$(cat "$tmp/saw")" = motd=hello ]
	[ -z "$(left)" ]
}
