# The disk ddup-bak: old repositories, damage, crashes, full disks, company.

load common
load ddup

teardown() {
	if [ -n "${mounted:-}" ]; then
		umount "$mounted"
	fi
}

hash() {
	b2sum -l 256 "$@" | cut -d' ' -f1
}

@test "a repository of another encoder: read, verified, restored" {
	vector tiny-repo
	d list | jq -e '.foreign and .uuid == "'$U'" and (has("server") | not)'
	d verify -b $U --read-data
	[ "$(d ls -b $U --json | jq -r .path | tr '\n' ' ')" = \
		"dir empty link plain.txt späße.sh " ]
	mkdir out
	d restore "$PWD/out" -b $U
	[ "$(hash out/plain.txt out/dir/multi.bin out/dir/sub/gz.txt | tr '\n' ' ')" = \
		"13e5f020f62cd9ea0df8311090a827f12d58cc3e5e0e806cf490ca24d28a8be9 \
f9a37fda3026acadda6c76a2bc3002dd0b86ce0a279c81695298c824ff2517ab \
9919afd1f3816d69ffb2676e9103ca4d24b5d39d1248f8c47f333405db3a8aa8 " ]
	[ "$(stat -c %a out/späße.sh)" = 4755 ]
	[ "$(readlink out/link)" = dir/multi.bin ]
	[ "$(d cat -b $U dir/multi.bin --offset 700 | wc -c)" -eq 22 ]
	d get -b $U dir/sub >part.tar
	[ "$(tar -tf part.tar | tr '\n' ' ')" = "dir/sub/ dir/sub/gz.txt dir/sub/ " ]
	healthy
}

@test "a repository of the original library: three compressions, its quirks" {
	vector rust-sample
	for u in $U $U2 $U3; do
		d verify -b $u --read-data
		mkdir o$u
		d restore "$PWD/o$u" -b $u
	done
	diff -r --no-dereference o$U o$U2
	diff -r --no-dereference o$U o$U3
	[ "$(readlink o$U/broken)" = nowhere ]
	[ "$(stat -c %Y o$U/old)" -eq 0 ]
	cmp o$U/hello.txt o$U/hard
	d rm -b $U
	d verify -b $U2 --read-data
	d rm -b $U2
	d rm -b $U3
	[ -z "$(chunks)" ]
	healthy
}

@test "a backup is added to an old repository, and takes nothing from it" {
	vector rust-sample
	sample t
	put t $U4
	for u in $U $U2 $U3; do
		d verify -b $u --read-data
	done
	run facts t
	want=$output
	mkdir out
	d restore "$PWD/out" -b $U4
	run facts out
	[ "$output" = "$want" ]
	healthy
}

@test "everything that a file system holds comes back" {
	repo
	sample t
	put t $U
	run facts t
	want=$output
	mkdir out out2
	d restore "$PWD/out" -b $U
	run facts out
	[ "$output" = "$want" ]
	d get -b $U | cala-unpack -C out2
	run facts out2
	[ "$output" = "$want" ]
	d verify -b $U --read-data
}

@test "of a link group, the first name that is asked for is the file" {
	repo
	mkdir -p t/a t/b
	echo same >t/a/one
	ln t/a/one t/b/two
	ln t/a/one t/b/three
	put t $U
	mkdir out
	d restore "$PWD/out" -b $U b
	[ "$(cat out/b/two)" = same ]
	[ out/b/two -ef out/b/three ]
	[ "$(d cat -b $U b/two)" = same ]
	d ls -b $U --json b/two | jq -e '.type == "h" and .target == "a/one"'
}

@test "a lost or torn index: reading goes on, writing waits for rebuild" {
	repo
	small t
	put t $U
	for harm in 'rm' 'truncate -s -40' 'truncate -s 0'; do
		$harm "$R/chunks/index"
		whole t $U
		run --separate-stderr put t $U2
		[ "$status" -eq 14 ]
		[[ $stderr == *rebuild* ]]
		run d rm -b $U
		[ "$status" -eq 14 ]
		run d gc
		[ "$status" -eq 14 ]
		d rebuild
		whole t $U
		healthy
	done
	put t $U2
	d rm -b $U
	whole t $U2
	healthy
}

@test "rebuild keeps what the old index tells of backups without a map" {
	vector rust-sample
	small t
	put t $U4
	d rebuild >said
	grep '^ok:' said
	for u in $U $U2 $U3 $U4; do
		d verify -b $u --read-data
	done
	# Without any source their files are lost, and nothing else is.
	rm "$R/chunks/index"
	d rebuild >said
	grep 'nothing explains' said
	run d verify -b $U
	[ "$status" -eq 14 ]
	whole t $U4
	run d cat -b $U hello.txt
	[ "$status" -eq 14 ]
}

@test "a damaged chunk: found, named, never handed out" {
	repo
	small t
	put t $U
	f=$(largest)
	printf 'XX' | dd of="$f" bs=1 seek=50000 conv=notrunc status=none
	d verify -b $U
	run d verify -b $U --read-data
	[ "$status" -eq 14 ]
	run d cat -b $U world/region/r.0.0.mca
	[ "$status" -eq 14 ]
	mkdir out out2
	run d restore "$PWD/out" -b $U
	[ "$status" -eq 14 ]
	run --separate-stderr d restore "$PWD/out2" -b $U --no-check
	[ "$status" -eq 3 ]
	[[ $stderr == *r.0.0.mca* ]]
	cmp out2/world/level.dat t/world/level.dat
	[ "$(stat -c %s out2/world/region/r.0.0.mca)" -eq 3000000 ]
	rm "$f"
	run d verify -b $U
	[ "$status" -eq 14 ]
	# The same data, backed up again, mend the old backup, too.
	put t $U2 --force-read
	d verify -b $U --read-data
	whole t $U
}

@test "a torn chunk file is stored again by the next backup" {
	repo
	small t
	put t $U
	chunks | while read -r f; do : >"$f"; done
	put t $U2
	d verify -b $U2 --read-data
	whole t $U
}

@test "a damaged archive deletes nothing, and the others stay readable" {
	repo
	small t
	put t $U
	echo other >t/only-here
	put t $U2
	chunks >before
	f=$R/archives/$U.ddup
	truncate -s -20 "$f"
	run d ls -b $U
	[ "$status" -eq 14 ]
	run --separate-stderr d gc
	[ "$status" -eq 3 ]
	[[ $output == *"can't be read"* ]]
	chunks | cmp - before
	d rm -b $U2 || [ $? -eq 3 ]
	chunks | cmp - <(grep -vxFf <(comm -23 before <(chunks)) before)
	d rm -b $U
	d gc
	d gc
	[ "$(d list)" = "" ]
}

@test "an archive that some other program is writing is no backup" {
	repo
	small t
	put t $U
	head -c 100 "$R/archives/$U.ddup" >"$R/archives/$U2.ddup"
	run d verify -b $U2
	[ "$status" -eq 14 ]
	whole t $U
}

@test "a put killed at any moment leaves every backup whole" {
	repo
	small t
	put t $U
	for i in 1 2 3 4 5 6 7 8 9 10; do
		head -c 3000000 /dev/urandom >t/world/region/r.$i.mca
		u=aaaa1111-0000-4000-8000-0000000001$((i + 10))
		cala-ddup put t -c c -s $S --uuid $u >/dev/null 2>&1 &
		pid=$!
		sleep 0.0$((i * 7 % 10))$((i * 3 % 10))
		kill -KILL $pid 2>/dev/null || true
		wait $pid || true
		d verify -b $U --read-data
		if d list | grep -q $u; then
			d verify -b $u --read-data
		fi
	done
	put t $U2
	whole t $U2
	d gc
	[ -z "$(find "$R" -name '*.tmp.cala.*' -o -name '*.cala-tmp')" ]
	d verify -b $U --read-data
	whole t $U2
}

@test "a deletion killed at any moment leaves the others whole" {
	repo
	small t
	put t $U
	for i in 1 2 3 4 5 6 7 8 9 10; do
		head -c 2000000 /dev/urandom >t/extra
		u=aaaa1111-0000-4000-8000-0000000001$((i + 10))
		put t $u
		cala-ddup rm -c c -b $u >/dev/null 2>&1 &
		pid=$!
		sleep 0.0$((i % 4))$((i * 7 % 10))
		kill -KILL $pid 2>/dev/null || true
		wait $pid || true
		d verify -b $U --read-data
		if d list | grep -q $u; then
			d verify -b $u --read-data
			d rm -b $u
		fi
	done
	rm t/extra
	d gc
	d gc >said
	[ -z "$(find "$R/archives" -name '*.cala-deleted')" ]
	whole t $U
	# Counts are the truth again; only young orphans may be left.
	run ! grep -E 'correct|damaged' said
}

@test "gc and rebuild killed at any moment lose nothing" {
	repo
	small t
	put t $U
	for i in 1 2 3 4 5 6; do
		for verb in gc rebuild; do
			cala-ddup $verb -c c >/dev/null 2>&1 &
			pid=$!
			sleep 0.0$((i % 3))$((i * 3 % 10))
			kill -KILL $pid 2>/dev/null || true
			wait $pid || true
			d verify -b $U --read-data
		done
	done
	d rebuild
	healthy
	whole t $U
}

@test "a deletion that was killed half-way is finished by the next" {
	repo
	small t
	put t $U
	echo more >t/more
	put t $U2
	mv "$R/archives/$U.ddup" "$R/archives/.$U.cala-deleted"
	touch "$R/archives/.$U3.cala-tmp"
	d gc
	[ ! -e "$R/archives/.$U.cala-deleted" ]
	[ ! -e "$R/archives/.$U3.cala-tmp" ]
	whole t $U2
	healthy
}

@test "a full disk stops a put, and harms nothing" {
	[ "$(id -u)" = 0 ] || skip "needs root for a small file system"
	repo
	mount -t tmpfs -o size=8m none "$B" || skip "can't mount a tmpfs"
	mounted=$B
	small t
	put t $U
	for n in 1 2 3 4 5; do
		head -c $((n * 1300000)) /dev/urandom >t/world/more
		u=aaaa1111-0000-4000-8000-0000000000$((n + 20))
		run --separate-stderr put t $u
		[ "$status" -eq 0 ] || [ "$status" -eq 16 ]
		d verify -b $U --read-data
		if [ "$status" -eq 16 ]; then
			[ "$(d list | grep -c $u)" -eq 0 ]
		else
			d verify -b $u --read-data
			d rm -b $u
		fi
	done
	[ "$status" -eq 16 ]
	rm t/world/more
	# A deletion must work on a disk that is full.
	head -c 20000000 /dev/zero >"$B/filler" 2>/dev/null || true
	d rm -b $U
	[ ! -e "$R/archives/$U.ddup" ]
	[ -z "$(chunks)" ]
	rm "$B/filler"
	put t $U
	whole t $U
	healthy
}

@test "two writers, a reader and a gc at once" {
	repo
	small t
	cp -r t t2
	head -c 1000000 /dev/urandom >t2/other
	put t $U
	put t $U2 >a 2>&1 &
	one=$!
	put t2 $U3 >b 2>&1 &
	two=$!
	d gc >c 2>&1 &
	three=$!
	whole t $U
	wait $one
	wait $two
	wait $three
	whole t $U2
	whole t2 $U3
	healthy
}

@test "stats, init and what they refuse" {
	repo
	[ "$(d list)" = "" ]
	run d stats
	[ "$status" -eq 10 ]
	d init
	run d init
	[ "$status" -eq 15 ]
	d stats --json | jq -e '.backups == 0 and .chunk_size == 1048576'
	small t
	put t $U
	d stats --json | jq -e '.backups == 1 and .chunks == .chunk_files and
		.unused == 0 and .references >= .chunks'
	mv "$R/chunks/index" saved
	run d init
	[ "$status" -eq 15 ]
	mv saved "$R/chunks/index"
	whole t $U
}

@test "nothing is stored of an empty directory, unless allowed" {
	repo
	mkdir t
	run put t $U
	[ "$status" -eq 4 ]
	[ "$(d list)" = "" ]
	put t $U --allow-empty
	d verify -b $U
}

@test "a backup whose name we would not give keeps its chunks" {
	repo
	small t
	put t $U
	# ddup-bak takes any name.
	mv "$R/archives/$U.ddup" "$R/archives/.mine.ddup"
	rm "$R/archives/$U.json"
	echo other >t/only-here
	put t $U2
	rm "$R/cala-state"
	chunks >before
	d rm -b $U2
	d gc
	[ "$(chunks | wc -l)" -eq $(($(wc -l <before) - 1)) ]
	mv "$R/archives/.mine.ddup" "$R/archives/$U.ddup"
	rm t/only-here
	d verify -b $U --read-data
	whole t $U
}

# index_of FILE NEXT: the index in FILE with another next id.
index_of() {
	python3 - "$@" <<-'END'
	import sys, zlib
	old = open(sys.argv[1], "rb").read()
	data = bytearray(zlib.decompress(old, -15))
	data[24:32] = int(sys.argv[2]).to_bytes(8, "little")
	z = zlib.compressobj(6, zlib.DEFLATED, -15)
	open(sys.argv[1], "wb").write(z.compress(bytes(data)) + z.flush())
	END
}

# next_of FILE: its next id.
next_of() {
	python3 -c 'import sys, zlib
d = zlib.decompress(open(sys.argv[1], "rb").read(), -15)
print(int.from_bytes(d[24:32], "little"))' "$1"
}

@test "an id that only a backup tells is not given to another chunk" {
	vector rust-sample
	# Killed before it saved: archives that refer to ids not given yet.
	n=$(next_of "$R/chunks/index")
	forget
	small t
	put t $U4
	[ "$(next_of "$R/chunks/index")" -gt "$n" ]
	# Nothing of ours is shown as theirs.
	for u in $U $U2 $U3; do
		run d cat -b $u hello.txt
		[ "$status" -eq 14 ]
	done
	whole t $U4
}

@test "a next id beyond all ids is damage, and rebuild finds a better one" {
	repo
	small t
	put t $U
	index_of "$R/chunks/index" $((1 << 40))
	run --separate-stderr put t $U2
	[ "$status" -eq 14 ]
	[[ $stderr == *"next id"* ]]
	whole t $U
	d rebuild
	[ "$(next_of "$R/chunks/index")" -lt 1000 ]
	echo more >t/more
	put t $U2
	whole t $U2
	d verify -b $U --read-data
	healthy
}

@test "gc -n changes nothing, not even what a killed run left" {
	repo
	small t
	put t $U
	cp "$R/archives/$U.ddup" "$R/archives/.$U2.cala-deleted"
	: >"$R/archives/.$U3.cala-tmp"
	stat -c '%n %i %Y' "$R/chunks/index" "$R/chunks/index.lock" >was
	d gc -n >said
	grep 'finish deleting' said
	grep 'would remove 1 unfinished' said
	[ -e "$R/archives/.$U2.cala-deleted" ]
	[ -e "$R/archives/.$U3.cala-tmp" ]
	stat -c '%n %i %Y' "$R/chunks/index" "$R/chunks/index.lock" | cmp - was
}

@test "gc removes notes that no server needs, and what killed runs wrote" {
	repo
	small t
	put t $U
	cd "$R/archives"
	cp .$S.cala-stat .$U4.cala-stat
	: >..$S.cala-stat.0123456789ab.part
	: >..$S.cala-stat.0123456789ac.part
	touch -d '91 days ago' .$U4.cala-stat
	touch -d '2 days ago' ..$S.cala-stat.0123456789ab.part
	d gc >said
	grep 'removed 1 unfinished' said
	grep 'of 1 servers' said
	[ -e .$S.cala-stat ]
	[ ! -e .$U4.cala-stat ]
	[ ! -e ..$S.cala-stat.0123456789ab.part ]
	[ -e ..$S.cala-stat.0123456789ac.part ]
}

@test "a delete that fails anywhere leaves a backup, or none, and no less" {
	need strace
	export ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0
	repo
	small t
	put t $U
	for call in fsync renameat unlinkat; do
		for n in 1 2 3 4 5 6 7 8; do
			put t $U2
			rc=0
			strace -f -qq -o trace -e trace=$call \
			    -e inject=$call:error=EIO:when=$n \
			    cala-ddup rm -c c -b $U2 >out 2>err || rc=$?
			echo "$call $n: $rc $(cat err)"
			[ "$rc" -lt 128 ]
			if [ -e "$R/archives/$U2.ddup" ]; then
				# It is one still, and counted, for whoever
				# deletes another that has the same chunks.
				d verify -b $U2 --read-data
				d rm -b $U
				whole t $U2
				put t $U
				d rm -b $U2
			fi
			d verify -b $U --read-data
			grep -q INJECTED trace || break
		done
	done
	d gc >said
	d gc >said
	run ! grep -E 'correct|damaged' said
	whole t $U
}

@test "a backup that fails anywhere is none, or whole, and harms no other" {
	need strace
	export ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0
	repo
	small t
	put t $U
	cp -a t was
	for call in fsync syncfs sync_file_range renameat; do
		for n in 1 2 3 4 5 6 7 8; do
			echo "$call $n" >t/new
			rc=0
			strace -f -qq -o trace -e trace=$call \
			    -e inject=$call:error=EIO:when=$n \
			    cala-ddup put -q -c c -s $S --uuid $U2 t >out 2>err || rc=$?
			echo "$call $n: $rc $(cat err)"
			[ "$rc" -lt 128 ]
			if [ "$rc" -eq 0 ]; then
				whole t $U2
				d rm -b $U2
			else
				[ ! -e "$R/archives/$U2.ddup" ]
				[ ! -e "$R/archives/$U2.json" ]
				[ -s err ]
			fi
			[ -z "$(find "$R" -name '*.part' -o -name '*.cala-t*')" ]
			# No chunk counts for less than it is used.
			d verify --read-data
			grep -q INJECTED trace || break
		done
		[ "$n" -gt 1 ]
	done
	whole was $U
	put t $U3
	whole t $U3
	d gc >said
	d gc >said
	run ! grep -E 'correct|damaged' said
}

@test "before a backup has its name all that it needs is on the disk" {
	need strace
	export ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0
	repo
	small t
	put t $U
	for new in some none; do
		u=$U2
		[ $new = some ] || u=$U3
		[ $new = none ] || echo new >t/new
		strace -f -y -qq -o trace -e trace=fsync,syncfs,renameat,renameat2 \
		    cala-ddup put -q -c c -s $S --uuid $u t >out
		python3 - trace $new <<-'END'
		import re, sys
		new = sys.argv[2]
		synced, chunks, named = set(), False, {}
		for line in open(sys.argv[1]):
		    line = re.sub(r"^\d+ +", "", line)
		    m = re.match(r"(fsync|syncfs)\(\d+<([^>]*)>\) += 0", line)
		    if m and m[1] == "syncfs":
		        chunks = True
		    elif m:
		        synced.add(m[2])
		        for to in [t for t in named if t.rsplit("/", 1)[0] == m[2]]:
		            named[to] = True
		    m = re.match(r'renameat2?\(\d+<([^>]*)>, "([^"]*)", '
		                 r'\d+<([^>]*)>, "([^"]*)"', line)
		    if not m:
		        continue
		    source, to = f"{m[1]}/{m[2]}", f"{m[3]}/{m[4]}"
		    if to.endswith((".ddup", ".json", "/index")):
		        assert source in synced, f"{to} is not on the disk"
		        named[to] = False
		        assert chunks == (new == "some"), "chunks are not on the disk"
		    if to.endswith(".ddup"):
		        rest = dict(named)
		        del rest[to]
		        assert len(rest) == 2, rest
		        assert all(rest.values()), f"{rest}: a name is not on the disk"
		assert len(named) == 3 and all(named.values()), named
		END
	done
}

@test "a power cut's empty lock file, and a pid that another process has now" {
	repo
	small t
	put t $U
	: >"$R/chunks/index.lock"
	put t $U2
	[ "$(stat -c %s "$R/chunks/index.lock")" -eq 48 ]
	sleep 60 &
	{
		printf '\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0'
		python3 -c 'import sys
sys.stdout.buffer.write(int(sys.argv[1]).to_bytes(8, "little"))' $!
		head -c 24 /dev/zero
	} >"$R/chunks/index.lock"
	d break-lock
	kill $!
	cmp "$R/chunks/index.lock" <(head -c 48 /dev/zero)
	d rm -b $U
}
