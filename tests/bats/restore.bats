# cala restore, every case of it, with the real tools.  Linked as
# restore-toydir.bats: with a driver that has a restore of its own; as
# restore-pbs.bats: out of a Proxmox Backup Server of our own.

load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	mkdir srv keep
	export CALA_CONFIG=$PWD/cala.conf
	sid=9d8f2b6c-6a53-4a43-b6dd-0d3b8b1c9a11
	cat >cala.conf <<-EOT
	[server "$sid"]
	name = survival
	path = $PWD/srv
	configuration = local
	[configuration "local"]
	disk = local
	backup-directory = $PWD/keep
	EOT
	chmod 600 cala.conf
	case ${BATS_TEST_FILENAME##*/} in
	restore-toydir.bats)
		PATH=$PATH:$top/contrib/examples
		sed -i 's/^disk = .*/disk = toydir/
			s/^backup-directory/directory/' cala.conf
		toydir=1 ;;
	restore-pbs.bats)
		need cala-pbs
		load ../pbs/pbs
		pbs_start
		sed -i '/^\[configuration/,$d' cala.conf
		pbs_conf pbs.conf
		sed 's/"c"/"local"/' pbs.conf >>cala.conf
		export CALA_CONFIG=$PWD/cala.conf
		pbs=1 ;;
	esac
	sample srv
	# A backup keeps what a directory holds, not sockets or access times.
	tree srv >before
	id=$(cala backup survival)
}

teardown() {
	[ -z "${pbs:-}" ] || pbs_stop
}

# files_only: what follows is about archives in files; any_disk: about what is
# done with what comes from the disk, and the same for every one.
files_only() {
	[ -z "${toydir:-}${pbs:-}" ] || inapplicable "not in a file here"
}

any_disk() {
	[ -z "${pbs:-}" ] || inapplicable "the same with every disk"
}

# tree DIR: its facts; errexit would stop them at the first object without
# attributes.
tree() {
	facts "$1" || true
}

@test "overlay: changed and missing files come back, others stay" {
	rm -r srv/world
	echo damaged >srv/server.properties
	echo mine >srv/extra
	run --separate-stderr cala restore survival latest
	[ "$status" -eq 0 ]
	[ "$(cat srv/server.properties)" = "motd=hello" ]
	[ "$(cat srv/extra)" = mine ]
	rm srv/extra
	tree srv | grep -v '^\. \|^\.|' >after
	grep -v '^\. \|^\.|' before | diff - after
}

@test "PATHs restore only these" {
	rm -r srv/world srv/logs
	cala restore survival "$id" world/region
	[ -f srv/world/region/r.0.0.mca ]
	[ ! -e srv/logs ]
	run cala restore survival "$id" nonesuch
	[ "$status" -eq 10 ]
}

@test "--to makes a new directory, whole or not at all" {
	cala restore survival latest --to "$PWD/new"
	tree new | diff before -
	[ ! -e new.part ]
	run cala restore survival latest --to "$PWD/new"
	[ "$status" -eq 15 ]
	echo x >new/extra
	cala restore survival latest --to "$PWD/new" --overwrite
	[ -f new/server.properties ]
}

@test "--truncate replaces the tree; the old one stays until --discard-old" {
	echo mine >srv/extra
	cala restore survival latest --truncate
	[ ! -e srv/extra ]
	tree srv | diff before -
	[ -n "$(find . -name extra)" ]
	cala restore --discard-old survival
	[ -z "$(find . -name extra)" ]
	[ -z "$(find . -name '.cala-*')" ]
	tree srv | diff before -
}

@test "--to --overwrite keeps the old tree; --discard-old reaches it" {
	mkdir new
	echo old >new/old
	cala restore survival latest --to "$PWD/new" --overwrite
	tree new | diff before -
	[ -n "$(find . -name old)" ]
	cala restore --discard-old survival --to "$PWD/new"
	[ -z "$(find . -name '.cala-*')" ]
	tree new | diff before -
	run cala restore --discard-old survival --to "$PWD/new" --truncate
	[ "$status" -eq 2 ]
}

@test "--keep-directory swaps inside, the directory stays the same one" {
	echo mine >srv/extra
	ino=$(stat -c %i srv)
	cala restore survival latest --truncate --keep-directory
	[ "$(stat -c %i srv)" = "$ino" ]
	[ ! -e srv/extra ]
	find srv -path 'srv/.cala-old-*/old/extra' | grep -q .
	cala restore --discard-old survival
	tree srv | diff before -
	run cala restore survival latest --keep-directory
	[ "$status" -eq 2 ]
}

@test "a directory that a container holds is swapped inside, and it sees that" {
	[ "$(id -u)" = 0 ] || skip "only root can mount"
	# A name with what mountinfo has to escape.
	mkdir "with space" "mnt"
	mv srv "with space/srv"
	sed -i "s,^path = .*,path = $PWD/with space/srv," cala.conf
	mkfifo ready
	unshare -m --propagation private sh -c \
		'mount --bind "with space/srv" mnt && echo ok >ready && exec sleep 600' &
	holder=$!
	[ "$(timeout 20 cat ready)" = ok ] || skip "no mounts here"
	echo mine >"with space/srv/extra"
	ino=$(stat -c %i "with space/srv")
	run --separate-stderr cala restore survival latest --truncate -v
	[ "$(stat -c %i "with space/srv")" = "$ino" ]
	inside=$(ls -A "/proc/$holder/root$PWD/mnt")
	kill $holder
	wait $holder || true
	[ "$status" -eq 0 ]
	[[ $stderr == *"process $holder"* ]]
	grep -qx server.properties <<<"$inside"
	run ! grep -qx extra <<<"$inside"
	# Nobody holds it any more: in one step again.
	cala restore --discard-old survival
	cala restore survival latest --truncate
	[ "$(stat -c %i "with space/srv")" != "$ino" ]
}

@test "a driver's own restore is used where the place is empty" {
	[ -n "${toydir:-}" ] || inapplicable "this one has none"
	run --separate-stderr cala restore survival latest --to new -v -v
	[[ $stderr == *"cala-toydir restore"* ]]
	[[ $stderr != *cala-unpack* ]]
	tree new | diff before -
	run --separate-stderr cala restore survival latest --truncate -v -v
	[[ $stderr == *"cala-toydir restore"* ]]
	tree srv | diff before -
	# Files that stay, or only a part: that is the unpacker's.
	run --separate-stderr cala restore survival latest -v -v
	[[ $stderr == *cala-unpack* ]]
	run --separate-stderr cala restore survival latest logs --to part -v -v
	[[ $stderr == *cala-unpack* ]]
}

@test "dry run changes nothing" {
	echo mine >srv/extra
	tree srv >now
	cala restore survival latest -n
	cala restore survival latest -n --truncate
	cala restore survival latest -n --to "$PWD/new"
	[ ! -e new ]
	tree srv | diff now -
}

@test "usage: --truncate with PATH or --to, --discard-old with more" {
	run cala restore survival latest --truncate world
	[ "$status" -eq 2 ]
	run cala restore survival latest --truncate --to x
	[ "$status" -eq 2 ]
	run cala restore survival --discard-old latest
	[ "$status" -eq 2 ]
	run cala restore survival
	[ "$status" -eq 2 ]
	run cala restore survival 00000000
	[ "$status" -eq 10 ]
}

@test "a damaged backup replaces nothing" {
	if [ -n "${pbs:-}" ]; then
		find pbs/store1/.chunks -type f -exec truncate -s -9 {} +
	else
		f=$(ls keep/*.tar*)
		printf 'XXXXXXXX' | dd of="$f" bs=1 seek=60000 conv=notrunc status=none
	fi
	echo mine >srv/extra
	tree srv >now
	run --separate-stderr cala restore survival latest --truncate
	[ "$status" -ne 0 ]
	[ "$status" -ne 3 ]
	tree srv | diff now -
	run --separate-stderr cala restore survival latest --to "$PWD/new"
	[ "$status" -ne 0 ]
	[ ! -e new ]
}

@test "damage that shows only at the end is found before a file is touched" {
	files_only
	need bzip2 xz lz4
	echo mine >srv/server.properties
	tree srv >now
	put() { cala-local put -c local -s "$sid"; }
	tar -C srv -cf t.tar .
	for how in cat 'gzip -n' 'xz -T1' bzip2 'zstd -q' lz4; do
		rm -f keep/*
		# shellcheck disable=SC2086
		$how <t.tar | put >/dev/null
		f=$(ls keep/*.tar* | head -1)
		printf X | dd of="$f" bs=1 conv=notrunc status=none \
			seek=$(($(stat -c %s "$f") * 4 / 5))
		run --separate-stderr cala restore survival latest
		[ "$status" -eq 14 ]
		tree srv | diff now -
	done
}

@test "a server that is gone from here is restored by its UUID with --to" {
	cp cala.conf other.conf
	sed -i '1,4d' other.conf
	rm -r srv
	cala --config-file other.conf restore "$sid" latest -c local --to "$PWD/new"
	tree new | diff before -
	run cala --config-file other.conf restore "$sid" "$id"
	[ "$status" -eq 10 ]
}

@test "a new node: the server's directory need not exist" {
	rm -r srv
	cala restore survival latest
	[ -f srv/server.properties ]
}

@test "KILL at random moments of a replacing restore: the next run ends it" {
	any_disk
	local i
	head -c 40000000 /dev/urandom >srv/big
	cala backup survival
	tree srv >want
	RANDOM=11
	for ((i = 0; i < 8; i++)); do
		cala restore survival latest --truncate >/dev/null 2>&1 &
		pid=$!
		sleep "0.$(printf %03d $((RANDOM % 400)))"
		kill -KILL $pid 2>/dev/null || true
		wait $pid 2>/dev/null || true
		# a whole tree at every moment
		tree srv | diff want -
	done
	cala restore survival latest --truncate
	tree srv | diff want -
	cala restore --discard-old survival
	# Killed between its folder and its journal, a stage is an empty folder
	# that nobody can tell whose it is: harmless.
	[ -z "$(find . -name '.cala-*' ! -empty)" ]
	[ ! -e run/$sid.state ]
}

# killed: SIGKILL an unpacker that writes right into srv, with a temporary file
# in it; its archive stays on descriptor 7.
killed() {
	local i
	mkdir -p srv/deep/er
	head -c 3000000 /dev/urandom >big
	mkfifo f
	cala-unpack -C srv <f >/dev/null 2>&1 &
	pid=$!
	exec 7>f
	tar --transform 's,^,deep/er/,' -cf - big | head -c 1500000 >&7
	for i in $(seq 300); do
		[ -z "$(find srv/deep/er -name '.cala.*')" ] || break
		sleep 0.1
	done
	[ -n "$(find srv/deep/er -name '.cala.*')" ]
	[ -n "${alive:-}" ] || kill -KILL $pid
	[ -n "${alive:-}" ] || wait $pid || true
}

@test "after KILL the next backup removes what the restore had begun to write" {
	killed
	exec 7>&-
	[ -n "$(find srv -name '.cala*')" ]
	# What looks alike but is not named by a trace is nobody's but yours,
	# and what could be a temporary file is never part of a backup.
	touch srv/.cala.0123456789abcdef.000001 srv/.cala.x srv/deep/.cala-unpack
	second=$(cala backup survival)
	[ "$(cd srv && find . -name '.cala*' | sort | tr '\n' ' ')" = \
		"./.cala.0123456789abcdef.000001 ./.cala.x ./deep/.cala-unpack " ]
	cala ls survival "$second" -R --json | jq -r .path >names
	grep -qxF .cala.x names
	grep -qxF deep/.cala-unpack names
	run ! grep -F .cala.0123456789abcdef names
}

@test "after KILL the next restore removes what the last had begun to write" {
	killed
	exec 7>&-
	rm srv/server.properties
	cala restore survival "$id" server.properties
	[ -f srv/server.properties ]
	[ -z "$(find srv -name '.cala*')" ]
	# and so does the unpacker alone
	rm f
	killed
	exec 7>&-
	cala-unpack -C srv --recover
	[ -z "$(find srv -name '.cala*')" ]
}

@test "KILL of all at random moments of an overlay: the next run cleans up" {
	any_disk
	local i
	head -c 20000000 /dev/urandom >srv/big
	for i in $(seq 300); do echo "$i" >"srv/world/f$i"; done
	id=$(cala backup survival)
	tree srv | grep -av '^\. ' >want
	RANDOM=23
	for ((i = 0; i < 8; i++)); do
		rm -rf srv/world srv/big
		setsid cala restore survival "$id" >/dev/null 2>&1 &
		pid=$!
		sleep "0.$(printf %03d $((RANDOM % 250)))"
		# Its tools have process groups of their own.
		pkill -KILL -P $pid || true
		kill -KILL $pid 2>/dev/null || true
		wait $pid 2>/dev/null || true
		if [ $((i % 2)) -eq 0 ]; then
			cala restore survival "$id" --lock-wait 20s
			tree srv | grep -av '^\. ' | diff want -
		else
			cala backup survival --lock-wait 20s >/dev/null
		fi
		run find srv -name '.cala*'
		echo "round $i: $output"
		[ -z "$output" ]
	done
}

@test "what a living unpacker writes is left to it" {
	alive=1
	killed
	cala backup survival >/dev/null
	cala-unpack -C srv --recover
	[ -n "$(find srv/deep/er -name '.cala.*')" ]
	tar --transform 's,^,deep/er/,' -cf - big | tail -c +1500001 >&7
	exec 7>&-
	wait $pid
	cmp big srv/deep/er/big
	[ -z "$(find srv -name '.cala*')" ]
}

@test "a restore waits for nobody: a running backup's lock is 11" {
	mkfifo gate
	sed -i "s|^configuration = local|&\npre-backup = /bin/cat $PWD/gate|" cala.conf
	cala backup survival >/dev/null 2>&1 &
	pid=$!
	exec 7>gate
	run cala restore survival latest
	[ "$status" -eq 11 ]
	# elsewhere nothing of the server is touched
	cala restore survival "$id" --to "$PWD/new"
	exec 7>&-
	wait $pid
}

@test "one unreadable record does not hide the other backups: said, exit 3" {
	files_only
	second=$(cala backup survival)
	echo '{bad' >"keep/$id.json"
	run --separate-stderr cala list survival
	[ "$status" -eq 3 ]
	[[ $output == *"$second"* ]]
	[[ $stderr == *"$id.json"* ]]
	rm -r srv/world
	run --separate-stderr cala restore survival latest
	[ "$status" -eq 3 ]
	[ -f srv/world/region/r.0.0.mca ]
	run --separate-stderr cala status survival
	[ "$status" -eq 3 ]
	# Damaged, but plainly not ours: that is for the other one to know.
	other=11111111-aaaa-4bbb-8ccc-000000000001
	echo "{\"v\":1,\"uuid\":\"$id\",\"server\":\"$other\",\"na" >"keep/$id.json"
	run --separate-stderr cala status survival
	[ "$status" -eq 0 ]
	[ -z "$stderr" ]
	run --separate-stderr cala list "$other"
	[ "$status" -eq 3 ]
	run --separate-stderr cala list
	[ "$status" -eq 3 ]
	echo "{\"server\": \"$sid\", bad" >"keep/$id.json"
	run --separate-stderr cala status survival
	[ "$status" -eq 3 ]
}

@test "--truncate looks for room for both trees before it writes" {
	[ "$(id -u)" = 0 ] || skip "only root can mount"
	mkdir small
	mount -t tmpfs -o size=2m tmpfs small || skip "no tmpfs here"
	mkdir small/srv
	echo mine >small/srv/mine
	sed -i "s,^path = .*,path = $PWD/small/srv," cala.conf
	run --separate-stderr cala restore survival "$id" --truncate
	used=$(ls -A small small/srv)
	umount small
	[ "$status" -eq 16 ]
	[[ $stderr == *"needed"* ]]
	[ "$used" = "$(printf 'small:\nsrv\n\nsmall/srv:\nmine')" ]
}

@test "what can't fit is refused before the first byte; sparse files by --no-space-check" {
	any_disk
	truncate -s 10T srv/holes
	cala backup survival >/dev/null
	for how in --truncate '--to new'; do
		# shellcheck disable=SC2086 # two words
		run --separate-stderr cala restore survival latest $how
		[ "$status" -eq 16 ]
		[[ $stderr == *needed* ]]
		[ ! -e new ] && [ ! -e new.part ]
	done
	cala restore survival latest --to new --no-space-check
	[ "$(stat -c %s new/holes)" = "$(stat -c %s srv/holes)" ]
}

@test "what is mounted deep in the directory is not carried off with the old tree" {
	any_disk
	[ "$(id -u)" = 0 ] || skip "only root can mount"
	mkdir -p srv/deep/here
	mount -t tmpfs none srv/deep/here || skip "no tmpfs here"
	echo precious >srv/deep/here/file
	run --separate-stderr cala restore survival latest --truncate
	at=$(find . -path '*deep/here/file')
	umount "${at%/file}"
	[ "$status" -eq 1 ]
	[[ $stderr == *'deep/here: is a mount point'* ]]
	[ "$at" = ./srv/deep/here/file ]
}

@test "backups below the server's directory are not packed, nor replaced with it" {
	files_only
	mkdir -p 'srv/my [backups]*' mnt
	sed -i "s,^backup-directory = .*,backup-directory = $PWD/mnt/my [backups]*/deeper," cala.conf
	# Seen through a link.
	rmdir mnt
	ln -s srv mnt
	id=$(cala backup survival)
	second=$(cala backup survival)
	cala ls -R survival "$second" >list
	run ! grep -q deeper list
	grep -qF 'my [backups]*' list
	[ "$(cala list survival | wc -l)" -eq 2 ]
	run --separate-stderr cala restore survival "$id" --truncate
	[ "$status" -eq 2 ]
	[[ $stderr == *'keeps its backups in it'* ]]
	run cala restore survival "$id" --to "$PWD/srv" --overwrite
	[ "$status" -eq 2 ]
	# Beside it, and over it file by file, is fine.
	cala restore survival "$id" --to "$PWD/new"
	cala restore survival "$id"
	[ "$(cala list survival | wc -l)" -eq 2 ]
	# The store itself is no server of its own store.
	sed -i "s,^path = .*,path = $PWD/srv/my [backups]*/deeper," cala.conf
	run --separate-stderr cala backup survival
	[ "$status" -eq 2 ]
	[[ $stderr == *'is where configuration local keeps'* ]]
}
