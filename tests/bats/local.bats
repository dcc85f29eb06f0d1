# cala-local beyond the contract: its folder, its formats, its disk.

load common

driver=cala-local
S=11111111-aaaa-4bbb-8ccc-000000000001
U=aaaa1111-0000-4000-8000-000000000001
U2=aaaa2222-0000-4000-8000-000000000002

setup() {
	need jq tar
	cd "$BATS_TEST_TMPDIR" || return
	store=$PWD/backups
	mkdir -m 700 "$store"
	configure
	export CALA_CONFIG=$PWD/cala.conf
}

teardown() {
	! mountpoint -q "$BATS_TEST_TMPDIR/small" ||
		umount "$BATS_TEST_TMPDIR/small"
}

configure() {
	cat >cala.conf <<-END
	[configuration "c"]
	disk = local
	backup-directory = $store
	[server "survival"]
	uuid = $S
	END
	chmod 600 cala.conf
}

tree() {
	mkdir -p t/world
	printf 'motd=hello\n' >t/server.properties
	seq 1 5000 >t/world/level.dat
	ln t/server.properties t/hard
}

# flip FILE OFFSET: another byte there
flip() {
	local b
	b=$(od -An -tu1 -j "$2" -N1 "$1" | tr -d ' ')
	# shellcheck disable=SC2059
	printf "\\x$(printf %02x $((b ^ 0x5a)))" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

tar_formats='tar tar.gz tar.xz tar.lz tar.bz2 tar.lz4 tar.zst'

@test "every tar format is stored, proven and given back whole" {
	need cala-pack
	sample t
	facts t >want || true
	for f in $tar_formats; do
		u=$(cala-pack -f "$f" -C t . | d put -s $S | jq -r .uuid)
		[ -f "$store/$u.$f" ]
		[ "$(d list | jq -r "select(.uuid == \"$u\").checksum.value")" = \
			"$(sha256sum <"$store/$u.$f" | cut -d' ' -f1)" ]
		d verify -b "$u"
		mkdir out
		d get -b "$u" | tar -C out --xattrs --xattrs-include='*' \
			--acls -xpf -
		facts out >have || true
		diff want have
		rm -r out
	done
}

@test "zip and 7z are stored, proven and given back" {
	need cala-pack
	tree
	rm t/hard
	for f in zip 7z; do
		u=$(cala-pack -f $f -C t . | d put -s $S | jq -r .uuid)
		[ -f "$store/$u.$f" ]
		d verify -b "$u"
		mkdir out
		d get -b "$u" | tar -C out -xf -
		diff -r t out
		rm -r out
	done
}

@test "what other programs pack is taken, too" {
	tree
	for z in '' gzip bzip2 xz lzip lz4 zstd; do
		[ -z "$z" ] || command -v "$z" >/dev/null || continue
		u=$(tar -C t -cf - . | ${z:-cat} | d put -s $S | jq -r .uuid)
		d verify -b "$u"
	done
	need zip bsdtar
	(cd t && zip -qr - .) >t.zip
	u=$(d put -s $S <t.zip | jq -r .uuid)
	[ -f "$store/$u.zip" ]
	d verify -b "$u"
	bsdtar -C t --format 7zip -cf t.7z .
	u=$(d put -s $S <t.7z | jq -r .uuid)
	[ -f "$store/$u.7z" ]
	d verify -b "$u"
}

@test "cala's stream cut anywhere is never a backup" {
	need cala-pack
	mkdir t
	head -c 9000000 /dev/urandom >t/a
	head -c 9000000 /dev/urandom >t/b
	for f in tar.zst tar.gz tar tar.lz4; do
		cala-pack -f $f -C t . >whole
		size=$(stat -c %s whole)
		for n in 1 511 512 100000 $((size / 3)) $((size / 2)) \
		    $((size - 10240)) $((size - 1024)) $((size - 100)) \
		    $((size - 66)) $((size - 9)) $((size - 1)); do
			# Padding behind the end marks may go.
			[ $f != tar ] || [ $((size - n)) -ge 10240 ] || continue
			head -c $n whole >cut
			run d put -s $S <cut
			[ "$status" -eq 4 ] || [ "$status" -eq 14 ] || {
				echo "$f cut at $n of $size: $status"
				false
			}
		done
		# A decompressor that ends well proves nothing.
		case $f in
		tar.zst) zstd -dcq whole | head -c 5000000 | zstd -q >cut ;;
		tar.gz) gzip -dc whole | head -c 5000000 | gzip -1 >cut ;;
		*) continue ;;
		esac
		run d put -s $S <cut
		[ "$status" -eq 4 ]
	done
	[ -z "$(ls "$store" | grep -v json)" ]
	[ -z "$(d list)" ]
}

@test "a byte changed on the way is noticed, or harmless" {
	need cala-pack
	mkdir t
	seq 1 200000 >t/a
	cala-pack -f tar.zst -C t . >whole
	size=$(stat -c %s whole)
	for n in $((size - 5)) $((size - 15)) $((size - 30)) $((size - 60)); do
		cp whole bad
		flip bad $n
		run d put -s $S <bad
		[ "$status" -eq 4 ] || [ "$status" -eq 14 ]
	done
	[ -z "$(d list)" ]
}

@test "a partial backup stays partial through a pipe" {
	need cala-pack
	tree
	mkfifo t/fifo
	run --separate-stderr bash -c 'cala-pack -f zip -C t . 2>/dev/null |
		cala-local put -c c -s '$S
	[ "$status" -eq 3 ]
	jq -e '.complete == false and .warnings_count >= 1' <<<"$output"
}

@test "a damaged archive is found in every format" {
	need cala-pack
	mkdir t
	head -c 300000 /dev/urandom >t/a
	seq 1 50000 >t/b
	for f in $tar_formats zip 7z; do
		u=$(cala-pack -f "$f" -C t . | d put -s $S | jq -r .uuid)
		size=$(stat -c %s "$store/$u.$f")
		flip "$store/$u.$f" $((size / 2))
		run d verify -b "$u"
		[ "$status" -eq 14 ] || { echo "$f: $status"; false; }
		d get -b "$u" >out 2>err && status=0 || status=$?
		[ "$status" -eq 14 ] || { echo "$f: get $status"; false; }
		d get -b "$u" --raw >out 2>err && status=0 || status=$?
		[ "$status" -eq 14 ] || { echo "$f: get --raw $status"; false; }
		truncate -s $((size / 2)) "$store/$u.$f"
		run d verify -b "$u"
		[ "$status" -eq 14 ] || { echo "$f cut: $status"; false; }
	done
}

@test "get of a damaged backup never ends its tar" {
	need cala-pack
	mkdir t
	head -c 3000000 /dev/urandom >t/a
	u=$(cala-pack -f tar -C t . | d put -s $S | jq -r .uuid)
	flip "$store/$u.tar" 1000000
	run bash -c "cala-local get -c c -b $u >out"
	[ "$status" -eq 14 ]
	fails_as_put() { d put -s $S <out; }
	run fails_as_put
	[ "$status" -eq 4 ]
}

@test "only archive, record and lock are in the folder afterwards" {
	tree
	tar -C t -cf - . | d put -s $S --uuid $U
	[ "$(ls -A "$store" | tr '\n' ' ')" = ".cala.lock $U.json $U.tar " ]
	[ "$(stat -c %a "$store/$U.json" "$store/$U.tar" | tr '\n' ' ')" = \
		"600 600 " ]
}

@test "set keeps what this version does not know" {
	tree
	tar -C t -cf - . | d put -s $S --uuid $U
	jq -c '. + {later: {x: [1, null]}}' "$store/$U.json" >j
	cp j "$store/$U.json"
	d set -b $U --name new
	jq -e '.later == {x: [1, null]} and .name == "new"' "$store/$U.json"
	d list | jq -e '.later.x[0] == 1'
}

@test "an unreadable record hides no backup" {
	tree
	tar -C t -cf - . | d put -s $S --uuid $U
	for bad in '' '{' '[]' '{"v":1,"uuid":"'$U2'"}'; do
		printf %s "$bad" >"$store/$U.json"
		run --separate-stderr d list
		[ "$status" -eq 3 ]
		jq -e '.foreign and .uuid == "'$U'"' <<<"$output"
		[[ $stderr == *warning:* ]]
	done
	d get -b $U 2>/dev/null | tar -tf - >/dev/null
}

@test "a backup whose record can't be read is not removed: it may be locked" {
	sample src
	cala-pack -C src . | d put -s "$S" --uuid "$U" --lock >rec
	echo '{bad' >"$store/$U.json"
	run d rm -b "$U"
	[ "$status" -eq 14 ]
	[ -f "$store/$U.tar.zst" ]
	rm "$store/$U.json"
	d rm -b "$U"
	[ ! -e "$store/$U.tar.zst" ]
}

@test "set does not undo what another set did meanwhile: exit 11" {
	sample src
	cala-pack -C src . | d put -s "$S" --uuid "$U" >rec
	mkfifo held gate
	flock "$store/.cala.lock" sh -c 'echo >held; read -r _ <gate' 3>&- &
	holder=$!
	read -r _ <held
	cala-local set -c c -b "$U" --name new >out 2>err &
	set=$!
	# It opens the lock's file when it has read the record.
	until [[ $(ls -l /proc/$set/fd 2>/dev/null) == *.cala.lock* ]]; do
		kill -0 $set
		sleep 0.02
	done
	jq -c '.locked = true' "$store/$U.json" >now
	cat now >"$store/$U.json"
	echo >gate
	wait $holder
	rc=0
	wait $set || rc=$?
	echo "$rc: $(cat err)"
	[ "$rc" -eq 11 ]
	[ "$(jq .locked "$store/$U.json")" = true ]
	d set -b "$U" --name new
	[ "$(jq -r '"\(.locked) \(.name)"' "$store/$U.json")" = "true new" ]
}

@test "--no-check keeps a cut archive, but never as a whole one" {
	seq 200000 >src
	for f in tar tar.gz tar.zst zip; do
		cala-pack -f "$f" src >whole
		head -c $(($(stat -c %s whole) - 20000)) whole >cut
		run d put -s "$S" --uuid "$U" <cut
		[ "$status" -eq 4 ]
		run --separate-stderr d put -s "$S" --uuid "$U" --no-check <cut
		echo "$f: $status $stderr"
		[ "$status" -eq 3 ]
		[ "$(jq .complete <<<"$output")" = false ]
		cmp cut "$store/$U.$f"
		d rm -b "$U"
	done
}

@test "a record alone is invisible, and goes after a day" {
	tree
	tar -C t -cf - . | d put -s $S --uuid $U
	rm "$store/$U.tar"
	[ -z "$(d list)" ]
	run d verify -b $U
	[ "$status" -eq 10 ]
	d gc
	[ -f "$store/$U.json" ]
	touch -d '25 hours ago' "$store/$U.json"
	d gc --dry-run
	[ -f "$store/$U.json" ]
	d gc | grep -q record
	[ ! -e "$store/$U.json" ]
}

@test "gc and rm touch nothing that is not ours" {
	tree
	tar -C t -cf - . | d put -s $S --uuid $U
	touch -d '3 days ago' "$store/notes.txt" "$store/$U2.txt" \
		"$store/.$U2.part" "$store/$U2.sql.gz.part" \
		"$store/$U2.s3.part" "$store/$U2.s3.tar.gz" \
		"$store/x.json" "$store/.hidden.0123456789ab.part"
	echo '{"some":"json"}' >"$store/$U2.json"
	touch -d '3 days ago' "$store/$U2.json"
	mkdir "$store/$U2.zip" "$store/.kopia"
	ln -s /etc/passwd "$store/$U2.tar"
	ls -A "$store" | grep -v "$U" >before
	d gc
	[ "$(d list | wc -l)" -eq 1 ]
	run d rm -b $U2
	[ "$status" -eq 10 ]
	d rm -b $U
	ls -A "$store" | diff before -
}

@test "a dead writer's file is swept, a living one's is not" {
	tree
	tar -C t -cf t.tar .
	mkfifo f
	cala-local put -c c -s $S --uuid $U <f >out &
	pid=$!
	exec 7>f
	head -c 20000 t.tar >&7
	until ls "$store"/.$U.*.part >/dev/null 2>&1; do sleep 0.05; done
	: >"$store/.$U2.0123456789ab.part"
	d gc
	[ ! -e "$store/.$U2.0123456789ab.part" ]
	ls "$store"/.$U.*.part
	tail -c +20001 t.tar >&7
	exec 7>&-
	wait $pid
	d verify -b $U
}

@test "a limit on file sizes is like a full disk: exit 16, nothing is left" {
	mkdir t
	head -c 3000000 /dev/urandom >t/a
	tar -C t -cf t.tar .
	ulimit -f 1000
	run --separate-stderr d put -s $S <t.tar
	[ "$status" -eq 16 ]
	[ -z "$(d list)" ]
	[ -z "$(ls -A "$store" | grep -v '^.cala.lock$')" ]
}

@test "a full disk: exit 16, and nothing is left" {
	[ "$(id -u)" -eq 0 ] || skip "mounting needs root"
	mkdir small
	mount -t tmpfs -o size=1m tmpfs small || skip "no tmpfs here"
	store=$PWD/small
	configure
	mkdir t
	head -c 3000000 /dev/urandom >t/a
	tar -C t -cf t.tar .
	run --separate-stderr d put -s $S <t.tar
	[ "$status" -eq 16 ]
	[ -z "$output" ]
	[ -z "$(d list)" ]
	[ -z "$(ls -A small | grep -v '^.cala.lock$')" ]
	# Told beforehand, it does not even begin.
	run --separate-stderr d put -s $S --expect 3M -- touch began
	[ "$status" -eq 16 ]
	[ ! -e began ]
	# The record does not fit: still nothing.
	head -c 900000 t/a >t/b
	rm t/a
	tar -C t -cf t.tar .
	fill=$(($(stat -f -c '%a*%S' small) - $(stat -c %s t.tar) - 4096))
	head -c $fill /dev/zero >small/fill
	run --separate-stderr d put -s $S <t.tar
	[ "$status" -eq 16 ]
	[ -z "$(ls -A small | grep -v -e '^.cala.lock$' -e '^fill$')" ]
}

@test "check says what fails and what to do" {
	run --separate-stderr d check
	[ "$status" -eq 0 ]
	rmdir "$store"
	run --separate-stderr d check
	[ "$status" -eq 10 ]
	[[ $output == failed:* ]]
	[[ $stderr == *hint:*mkdir* ]]
	[ "$(id -u)" -eq 0 ] || skip "mounting needs root"
	mkdir small
	mount -t tmpfs -o ro tmpfs small || skip "no tmpfs here"
	store=$PWD/small
	configure
	run --separate-stderr d check
	[ "$status" -ne 0 ]
	[[ $output == *failed:* ]]
	[[ $stderr == *hint:* ]]
}

@test "put makes the folder, list does not" {
	tree
	rmdir "$store"
	run d list
	[ "$status" -eq 10 ]
	[ ! -e "$store" ]
	tar -C t -cf - . | d put -s $S
	[ "$(stat -c %a "$store")" = 700 ]
}

@test "--ok-status: GNU tar's 1 can mean well" {
	tree
	run d put -s $S -- sh -c 'tar -C t -cf - .; exit 1'
	[ "$status" -eq 4 ]
	d put -s $S --ok-status 0,1 -- sh -c 'tar -C t -cf - .; exit 1'
	d list | jq -e .complete
	for bad in x 0,x 256 , 1,; do
		run d put -s $S --ok-status $bad -- true
		[ "$status" -eq 2 ]
	done
}

@test "a server may be named" {
	tree
	tar -C t -cf - . | d put -s survival
	[ "$(d list -s surv | jq -r .server)" = $S ]
	run d list -s nobody
	[ "$status" -eq 10 ]
}

@test "options that mean nothing to a verb are refused" {
	run d list --name x
	[ "$status" -eq 2 ]
	run d rm -b $U --lock
	[ "$status" -eq 2 ]
	run d get -b $U --commit-fd 9
	[ "$status" -eq 2 ]
	run d ls -b $U --read-data=50
	[ "$status" -eq 2 ]
	run d verify -b $U --read-data=0
	[ "$status" -eq 2 ]
}

@test "a full standard output is a failure" {
	tree
	tar -C t -cf - . | d put -s $S --uuid $U
	run bash -c 'cala-local list -c c >/dev/full'
	[ "$status" -eq 16 ]
	run bash -c "cala-local get -c c -b $U >/dev/full"
	[ "$status" -eq 16 ]
}

@test "a reader that goes away ends get quietly" {
	mkdir t
	head -c 3000000 /dev/urandom >t/a
	tar -C t -cf - . | d put -s $S --uuid $U
	run bash -c "{ cala-local get -c c -b $U; echo \$? >st; } | head -c 10 >/dev/null"
	[ -z "$output" ]
	[ "$(cat st)" -eq 141 ]
}

@test "files in the middle are read without the rest" {
	need cala-pack
	sample t
	for f in $tar_formats; do
		u=$(cala-pack -f "$f" -C t . | d put -s $S | jq -r .uuid)
		d cat -b "$u" server.properties | cmp - t/server.properties
		d cat -b "$u" hard | cmp - t/hard
		d cat -b "$u" sparse | cmp - t/sparse
		d cat -b "$u" sparse --offset 4999999 --length 6 |
			cmp - <(tail -c +5000000 t/sparse | head -c 6)
		d cat -b "$u" world/region/r.0.0.mca |
			cmp - t/world/region/r.0.0.mca
		[ "$(d ls -b "$u" --json -R | wc -l)" -eq \
			"$(find t -mindepth 1 -printf x | wc -c)" ]
		mkdir out
		d get -b "$u" soft server.properties plugins | tar -C out -xf -
		[ "$(ls out | tr '\n' ' ')" = 'plugins server.properties soft ' ]
		rm -r out
		# The first selected name of a link group is the file.
		mkdir out
		d get -b "$u" server.properties | tar -C out -xf -
		cmp out/server.properties t/server.properties
		rm -r out
	done
}

@test "damage inside a part is found when that part is read" {
	need cala-pack
	mkdir t
	head -c 300000 /dev/urandom >t/a
	for f in tar tar.gz tar.zst tar.xz zip; do
		u=$(cala-pack -f "$f" -C t . | d put -s $S | jq -r .uuid)
		flip "$store/$u.$f" 150000
		run bash -c "cala-local cat -c c -b $u a >/dev/null"
		[ "$status" -eq 14 ] || { echo "$f: $status"; false; }
	done
}

@test "a file of another size than its record's is not listed as whole" {
	mkdir v && echo x >v/f
	cala-pack -C v . | d put -s $S --uuid $U --created 2001-01-01T00:00:00Z
	cala-pack -C v . | d put -s $S --uuid $U2
	truncate -s -1 "$store/$U2.tar.zst"
	run --separate-stderr d list -s $S
	[ "$status" -eq 3 ]
	[[ $stderr == *"$U2.tar.zst: damaged: "* ]]
	[ "$(jq -r 'select(.complete).uuid' <<<"$output")" = $U ]
	# what is asked for by "latest" is a whole one
	run --separate-stderr d cat -s $S -b latest f
	[ "$output" = x ]
	run d cat -s $S -b $U2 f
	[ "$status" -eq 14 ]
	jq -e .complete "$store/$U2.json"
}

@test "verify --read-data=PCT reads a share of what has an index, else all" {
	mkdir -p big
	for n in 1 2 3 4 5 6 7 8; do
		head -c 5000000 /dev/urandom >big/$n
	done
	cala-pack -C big . 2>/dev/null | d put -s "$S" --uuid "$U" >/dev/null
	run --separate-stderr d verify -b "$U" --read-data=30
	[ "$status" -eq 0 ]
	echo "$output"
	[[ $output =~ and\ ([0-9]+)\ of\ ([0-9]+)\ frames ]]
	[ "${BASH_REMATCH[1]}" -lt "${BASH_REMATCH[2]}" ]
	# Damage that any sample of all frames would find.
	f=$store/$U.tar.zst
	for at in 2000000 6000000 10000000 14000000 18000000 22000000 26000000 \
		30000000 34000000 38000000; do
		printf X | dd of="$f" bs=1 seek=$at conv=notrunc status=none
		printf YZ | dd of="$f" bs=1 seek=$((at + 9)) conv=notrunc \
			status=none
	done
	run --separate-stderr d verify -b "$U" --read-data=90
	[ "$status" -eq 14 ]
	tar cf - -C big . | d put -s "$S" --uuid "$U2" >/dev/null
	run --separate-stderr d verify -b "$U2" --read-data=30
	[ "$status" -eq 0 ]
	[[ $output == *'no index: all of it is read'*'read to its end'* ]]
}

@test "on a terminal the progress line and the report don't run into each other" {
	need python3
	mkdir -p big
	head -c 700000 /dev/urandom >big/noise
	cala-pack -f tar -C big . | d put -s $S --uuid $U >/dev/null
	# Half a megabyte a second: it takes longer than a first line.
	cat >on-tty.py <<-'END'
	import os, pty, sys
	seen = b""
	def read(fd):
	    global seen
	    data = os.read(fd, 65536)
	    seen += data
	    return b"."
	keep = os.dup(1)
	os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
	status = pty.spawn(sys.argv[1:], read)
	os.dup2(keep, 1)
	print(seen.replace(b"\r", b"<").replace(b"\x1b[K", b">").decode())
	sys.exit(os.waitstatus_to_exitcode(status))
	END
	python3 on-tty.py cala-local verify -c c -b $U --limit-read 500K >seen
	grep -q 'B/s' seen
	run ! grep -q 'B/sok:' seen
	grep -qE '(^|>)ok: read to its end' seen
}

@test "a checksum that is none is damage of the record, not a reason to skip it" {
	tree
	cala-pack -f tar -C t . | d put -s $S --uuid $U >/dev/null
	sed -i -E 's/("type":"sha256","value":")./\1/' "$store/$U.json"
	run d verify -b $U
	[ "$status" -eq 14 ]
	[[ $output == *"SHA-256 is none"* ]]
}

@test "an archive without index is scanned, and -v says so" {
	tree
	cala-pack -f tar.xz -C t . | d put -s $S --uuid $U >/dev/null
	run --separate-stderr d cat -v -b $U server.properties
	[ "$output" = "motd=hello" ]
	[[ $stderr == *"has no index: it is scanned from its start"* ]]
	cala-pack -C t . | d put -s $S --uuid $U2 >/dev/null
	run --separate-stderr d cat -v -b $U2 server.properties
	[ "$output" = "motd=hello" ]
	[[ $stderr != *scanned* ]]
}
