# How cala-ddup makes a backup: from a directory, from a stream, again, in
# trouble.

load common
load numbered

driver=cala-ddup
S=11111111-aaaa-4bbb-8ccc-000000000001
S2=11111111-aaaa-4bbb-8ccc-000000000002

setup() {
	need cala-ddup jq tar
	cd "$BATS_TEST_TMPDIR" || return
	conf_of c store
	export CALA_CONFIG=$PWD/cala.conf
}

# conf_of NAME DIR [LINE...]: one more configuration.
conf_of() {
	local line
	mkdir -p "$2"
	{
		printf '[configuration "%s"]\ndisk = ddup-bak\n' "$1"
		printf 'backup-directory = %s\n' "$PWD/$2"
		for line in "${@:3}"; do
			printf '%s\n' "$line"
		done
	} >>cala.conf
	chmod 600 cala.conf
}

# put N [OPTION...] DIR, put N [OPTION...] <ARCHIVE
put() { d put -q -s $S --uuid "$(uuid "$1")" "${@:2}"; }

# unread N [OPTION...] DIR: how many files were not read.
unread() {
	d put -v -s $S --uuid "$(uuid "$1")" "${@:2}" 2>&1 >/dev/null |
	    sed -n 's/.*: \([0-9]*\) files as they were.*/\1/p'
}

chunks() { (cd "$1/.ddup-bak/chunks" && find . -name '*.chunk' | sort); }

healthy() {
	d verify -q -s $S -b "$(uuid "$1")" --read-data >/dev/null
}

# old: what was written before is not so young that it would not be noted.
old() { sleep 0.1; }

# ids STORE: which id each chunk has.
ids() {
	python3 - "$1/.ddup-bak/chunks/index" <<-'END'
	import sys, zlib
	data = zlib.decompress(open(sys.argv[1], "rb").read(), -15)
	gone, count = (int.from_bytes(data[a:a + 8], "little") for a in (0, 16))
	assert gone == 0
	at, out = 32, []

	def varint():
	    global at
	    n = shift = 0
	    while True:
	        n |= (data[at] & 127) << shift
	        at, shift = at + 1, shift + 7
	        if data[at - 1] < 128:
	            return n
	for _ in range(count):
	    key = data[at:at + 32].hex()
	    at += 32
	    out.append((varint(), key, varint()))
	assert at == len(data)
	for row in sorted(out):
	    print(*row)
	END
}

@test "a directory comes back as it was" {
	sample t
	run put 1 t
	# a FIFO, a device and odd names are kept, not warned about
	assert_success
	same 1 t
	healthy 1
}

@test "an empty file, an empty directory, a huge directory" {
	mkdir -p t/empty t/wide
	: >t/zero
	(cd t/wide && for i in $(seq 3000); do echo "$i" >"$i"; done)
	put 1 t
	back 1 r
	diff -r t r
	[ "$(cala-ddup ls -c c -s $S -b "$(uuid 1)" wide | wc -l)" -eq 3000 ]
}

@test "a sparse file costs one chunk for its holes, and stays sparse" {
	mkdir t
	truncate -s 300M t/holes
	printf tail | dd of=t/holes bs=1 seek=200000000 conv=notrunc status=none
	put 1 t
	[ "$(chunks store | wc -l)" -le 6 ]
	same 1 t
	back 1 r
	[ "$(du -k r/holes | cut -f1)" -lt 1000 ]
}

@test "unchanged files are not read again" {
	need strace
	sample t
	old
	put 1 t
	n=$(find t -type f -links 1 -size +0 | wc -l)
	run -0 unread 2 t
	[ "$output" -ge "$n" ]
	same 2 t
	# the leak checker can't work under strace
	ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0 \
	    strace -f -qq -e trace=openat -o trace cala-ddup put -q -c c -s $S \
	    --uuid "$(uuid 3)" t >/dev/null
	run -0 grep -c '"latest.log"\|"r.0.0.mca"\|"zero"' trace
	[ "$output" -le 1 ]
	same 3 t
}

@test "a changed file is read, even of the same size and time" {
	mkdir t
	echo first >t/a
	echo other >t/b
	touch -d '2020-01-01' t/a t/b
	old
	put 1 t
	echo FIRST >t/a
	touch -d '2020-01-01' t/a
	run -0 unread 2 t
	[ "$output" = 1 ]
	same 2 t
	[ "$(cala-ddup cat -c c -s $S -b "$(uuid 1)" a)" = first ]
}

@test "a file that changed in the moment of the backup is read again" {
	mkdir t
	for i in 1 2 3 4 5 6 7 8; do
		echo "one $i" >t/a
		put $((2 * i)) t >/dev/null
		echo "two $i" >t/a
		put $((2 * i + 1)) t >/dev/null
		[ "$(cala-ddup cat -c c -s $S -b "$(uuid $((2 * i + 1)))" a)" \
		    = "two $i" ]
	done
}

@test "--force-read reads all, --ignore-inode looks at size and times" {
	mkdir t
	seq 1 10 >t/a
	touch -d '2020-01-01' t/a
	old
	put 1 t
	run -0 unread 2 --force-read t
	[ "$output" = 0 ]
	run -0 unread 3 t
	[ "$output" = 1 ]
	# another inode with the same times can't be made without a mount;
	# the same one is enough to see that the option is taken
	run -0 unread 4 --ignore-inode t
	[ "$output" = 1 ]
	same 4 t
}

@test "what is remembered of one server says nothing of another" {
	mkdir t
	seq 1 100 >t/a
	touch -d '2020-01-01' t/a
	old
	put 1 t
	run -0 cala-ddup put -v -c c -s $S2 --uuid "$(uuid 2)" t
	assert_output --partial '0 files as they were'
	cp store/.ddup-bak/archives/.$S.cala-stat \
	    store/.ddup-bak/archives/.$S2.cala-stat
	run -0 cala-ddup put -v -c c -s $S2 --uuid "$(uuid 3)" t
	assert_output --partial "another server's"
	assert_output --partial '0 files as they were'
}

@test "a damaged memory is not believed" {
	mkdir t
	seq 1 100 >t/a
	touch -d '2020-01-01' t/a
	old
	put 1 t
	f=store/.ddup-bak/archives/.$S.cala-stat
	printf 'not what it was' | dd of=$f bs=1 seek=100 conv=notrunc status=none
	run -0 unread 2 t
	[ "$output" = 0 ]
	: >$f
	run -0 unread 3 t
	[ "$output" = 0 ]
	run -0 unread 4 t
	[ "$output" = 1 ]
	same 4 t
}

@test "a file whose chunk is gone is read and stored again" {
	mkdir t
	seq 1 100 >t/a
	seq 1 200 >t/b
	touch -d '2020-01-01' t/a t/b
	old
	put 1 t
	hash=$(chunks store | head -n 1)
	rm "store/.ddup-bak/chunks/$hash"
	run -0 unread 2 t
	[ "$output" = 1 ]
	[ -f "store/.ddup-bak/chunks/$hash" ]
	same 2 t
	same 1 t
	# one that is there, but empty
	: >"store/.ddup-bak/chunks/$hash"
	run -0 unread 3 t
	[ "$output" = 1 ]
	same 1 t
}

@test "of many chunks another share is looked for in each run, and all by --force-read" {
	turn() {
		local now
		now=$(date +%s)
		printf %x $(((now / 3600 + now / 86400) % 16))
	}
	mkdir t
	seq 1 4600 | split -l 1 -a 4 - t/
	touch -d '2020-01-01' t/*
	old
	put 1 t
	[ "$(chunks store | wc -l)" -gt 4400 ]
	while :; do
		now=$(turn)
		ours=$(chunks store | grep "^\./.$now/" | head -n 1)
		others=$(chunks store | grep -v "^\./.$now/" | head -n 1)
		(cd store/.ddup-bak/chunks && rm "$ours" "$others")
		run -0 unread 2 t
		[ "$(turn)" != "$now" ] || break
		cfg=c put 3 --force-read t
		cala-ddup delete -c c -b "$(uuid 2)"
	done
	[ "$output" = 4599 ]
	[ -f "store/.ddup-bak/chunks/$ours" ]
	[ ! -f "store/.ddup-bak/chunks/$others" ]
	put 4 --force-read t
	[ -f "store/.ddup-bak/chunks/$others" ]
	back 2 t2
	diff -r t t2

	# A foreign hand on the lock: who knows what it removed.
	run -0 unread 5 t
	[ "$output" = 4600 ]
	(cd store/.ddup-bak/chunks && rm "$ours" "$others")
	touch store/.ddup-bak/chunks/index.lock
	run -0 unread 6 t
	[ "$output" = 4598 ]
	back 6 t6
	diff -r t t6
	run -0 unread 7 t
	[ "$output" = 4600 ]

	# Nor does anything count that was noted before mend and rebuild.
	printf x | dd of="store/.ddup-bak/chunks/$others" bs=1 seek=2 \
		conv=notrunc status=none
	run cala-ddup mend -c c
	[[ $output == *"set aside"* ]]
	run -0 unread 8 t
	[ "$output" = 4599 ]
	run -0 unread 9 t
	[ "$output" = 4600 ]
	(cd store/.ddup-bak/chunks && rm "$ours" "$others")
	cala-ddup rebuild -c c
	run -0 unread 10 t
	[ "$output" = 4598 ]
	back 7 t7
	diff -r t t7
}

@test "a chunk file that was left torn, or that is another's, is not trusted" {
	mkdir t
	seq 1 3000 >t/a
	seq 5 7000 >t/b
	seq 9 9000 >t/c
	old
	conf_of other other
	cfg=other put 1 t
	f=$(chunks other)
	mkdir one
	cp t/a one
	put 1 one
	a=$(chunks store)
	# as a killed run leaves them
	for x in $f; do
		[ "$x" != "$a" ] || continue
		mkdir -p "store/.ddup-bak/chunks/${x%/*}"
		head -c 100 "other/.ddup-bak/chunks/$x" \
			>"store/.ddup-bak/chunks/$x"
	done
	ln -s /etc/passwd t/link
	put 2 t
	cala-ddup verify -c c --read-data
	same 2 t
}

@test "any number of threads makes the same chunks, with the same ids" {
	sample t
	mkdir t/many
	(cd t/many && seq 1 500 | xargs -I{} sh -c 'seq {} 900 >{}')
	head -c 20000000 /dev/urandom >t/noise
	cat t/noise t/noise >t/twice
	for j in 1 2 7; do
		conf_of "j$j" "store$j"
		cfg=j$j put 1 -j $j t >/dev/null
	done
	diff <(chunks store1) <(chunks store2)
	diff <(chunks store1) <(chunks store7)
	ids store1 >want
	[ "$(wc -l <want)" -gt 500 ]
	diff want <(ids store2)
	diff want <(ids store7)
	# and what is there twice is stored once
	run -0 cat store1/.ddup-bak/archives/"$(uuid 1)".json
	[ "$(jq .stored <<<"$output")" -lt 32000000 ]
}

@test "every compression is read back" {
	sample t
	seq 1 300000 >t/text
	for f in none gzip deflate brotli; do
		conf_of "$f" "store-$f" "compression-format = $f"
		cfg=$f put 1 t >/dev/null
		cfg=$f same 1 t
		cfg=$f healthy 1
		du -sb "store-$f" | cut -f1
	done >sizes
	# none is the largest
	[ "$(head -n 1 sizes)" -gt "$(sed -n 2p sizes)" ]
	[ "$(head -n 1 sizes)" -gt "$(sed -n 3p sizes)" ]
	[ "$(head -n 1 sizes)" -gt "$(sed -n 4p sizes)" ]
}

@test "pieces of one size, for those who ask" {
	conf_of f fixed 'chunker = fixed'
	mkdir t
	head -c 3500000 /dev/urandom >t/a
	cfg=f put 1 t >/dev/null
	[ "$(chunks fixed | wc -l)" -eq 4 ]
	cfg=f same 1 t
}

@test "a stream is stored as the directory would be" {
	sample t
	put 1 t >/dev/null
	conf_of s stream
	cala-pack -q -C t . | cfg=s put 1
	cfg=s same 1 t
	cala-pack -q -f tar.xz -C t . | cfg=s put 2
	cfg=s same 2 t
	diff <(chunks store) <(chunks stream)
}

@test "archives of others, in any order" {
	sample t
	# GNU tar takes names as the directory has them, bsdtar too
	tar c -C t --format=pax . | put 1
	back 1 r1
	diff <(cd t && find . | sort) <(cd r1 && find . | sort)
	cmp t/world/region/r.0.0.mca r1/world/region/r.0.0.mca
	# files before their directories, a directory that never comes
	mkdir -p u/a/b
	echo x >u/a/b/x
	echo y >u/a/y
	echo z >u/z
	tar c -C u --no-recursion z a/b/x a/y a | put 2
	run -0 cala-ddup ls -R -c c -s $S -b "$(uuid 2)"
	back 2 r2
	diff -r u r2
	# the last of one name
	echo new >u/z
	tar r -f two.tar -C u z a/y
	echo newer >u/z
	tar r -f two.tar -C u z
	put 3 <two.tar
	[ "$(cala-ddup cat -c c -s $S -b "$(uuid 3)" z)" = newer ]
	run -0 cala-ddup ls -c c -s $S -b "$(uuid 3)"
	[ "$(grep -cw z <<<"$output")" -eq 1 ]
}

@test "hard links of a stream whose file comes last" {
	mkdir t
	echo data >t/z
	ln t/z t/a
	ln t/z t/m
	tar c -C t z m a | put 1
	back 1 r
	[ "$(stat -c %h r/a)" -eq 3 ]
	diff -r t r
	healthy 1
}

@test "a stream that is cut short leaves no backup" {
	sample t
	cala-pack -q -C t . >a.tar.zst
	head -c $(($(stat -c %s a.tar.zst) * 2 / 3)) a.tar.zst >cut
	run -4 put 1 <cut
	run -0 cala-ddup list -c c -s $S
	assert_output ''
	echo 'this is no archive, whatever it is' | run -4 put 2
	run -0 put 3 <a.tar.zst
	healthy 3
}

@test "killed at any moment: committed backups stay, the next run is well" {
	mkdir t
	for i in $(seq 1 60); do
		head -c $((i * 5000)) /dev/urandom >t/f$i
	done
	put 1 t >/dev/null
	for i in $(seq 2 13); do
		head -c 900000 /dev/urandom >t/f$i
		put $i t >/dev/null 2>&1 3>&- &
		pid=$!
		sleep 0.0$((i * 7 % 90 + 3))
		kill -9 $pid 2>/dev/null || :
		wait $pid 2>/dev/null || :
	done
	run -0 put 50 t
	same 50 t
	for u in $(cala-ddup list -c c -s $S | jq -r .uuid); do
		cala-ddup verify -q -c c -s $S -b "$u" --read-data
	done
	healthy 1
}

@test "two writers at once" {
	mkdir a b
	for i in $(seq 1 40); do
		head -c 60000 /dev/urandom >a/$i
		[ $((i % 2)) -eq 0 ] && cp a/$i b/$i
		head -c 1000 /dev/urandom >b/own$i
	done
	put 1 a >/dev/null 3>&- &
	first=$!
	put 2 b >/dev/null 3>&- &
	second=$!
	wait $first
	wait $second
	same 1 a
	same 2 b
	healthy 1
	healthy 2
	cala-ddup rm -c c -s $S -b "$(uuid 1)"
	same 2 b
	healthy 2
}

@test "a full disk leaves what was there" {
	[ "$(id -u)" = 0 ] || skip 'only root mounts'
	conf_of small small
	mount -t tmpfs -o size=6m none small || skip 'may not mount'
	mkdir t u
	head -c 1000000 /dev/urandom >t/a
	cfg=small put 1 t >/dev/null
	ok=yes
	for n in 4 5 6 9; do
		head -c ${n}000000 /dev/urandom >u/b
		cfg=small run put $n u
		[ "$status" -eq 16 ] || [ "$status" -eq 0 ] || ok=no
	done
	cfg=small same 1 t || ok=no
	cfg=small healthy 1 || ok=no
	umount small
	[ $ok = yes ]
}

@test "what nothing can hold is left out, with a warning" {
	mkdir -p t/d
	# 100 bytes that are no UTF-8 become 300
	name=$(printf '\\xff%.0s' $(seq 100))
	: >"t/$(printf "$name")"
	echo kept >t/d/kept
	run -3 put 1 t
	run -0 cala-ddup ls -R -c c -s $S -b "$(uuid 1)"
	assert_output --partial kept
	[ "$(cala-ddup list -c c -s $S | jq .complete)" = false ]
}

@test "a file with holes that are too small for a chunk costs no other chunk" {
	mkdir t
	head -c 100000 /dev/urandom >t/a
	truncate -s 2M t/a
	head -c 1000 /dev/urandom | dd of=t/a bs=1M seek=2 conv=notrunc status=none
	put 1 t
	# All that is stored is used.
	run -0 cala-ddup stats --json -c c
	[ "$(jq .unused <<<"$output")" -eq 0 ]
	[ "$(jq .chunk_files <<<"$output")" -eq "$(jq .chunks <<<"$output")" ]
	same 1 t
}

@test "any number of threads makes the same archive" {
	sample t
	head -c 20000000 /dev/urandom >t/noise
	mkdir t/many
	(cd t/many && for i in $(seq 300); do echo "$i" >"$i"; done)
	for j in 1 2 5 7; do
		conf_of "j$j" "store$j"
		cfg=j$j put 1 -j $j t >/dev/null
		cmp "store1/.ddup-bak/archives/$(uuid 1).ddup" \
		    "store$j/.ddup-bak/archives/$(uuid 1).ddup"
	done
}

@test "what could not be read once is looked at again" {
	need strace
	mkdir t
	seq 1 100 >t/a
	seq 1 200 >t/b
	setfattr -n user.k -v v t/b || skip 'no extended attributes here'
	touch -d '2020-01-01' t/a t/b
	old
	export ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0
	# Its attributes can't be read: warned about, and not forgotten.
	run -3 strace -f -qq -o trace -P "$PWD/t/b" -e trace=flistxattr \
	    -e inject=flistxattr:error=EIO cala-ddup put -c c -s $S \
	    --uuid "$(uuid 1)" t
	grep -q INJECTED trace
	run -0 unread 2 t
	[ "$output" = 1 ]
	run -0 cala-ddup list -c c
	same 2 t
	back 2 r
	[ "$(getfattr --only-values -n user.k r/b)" = v ]
	# Nor are bytes that could not be.
	run -3 strace -f -qq -o trace -P "$PWD/t/a" \
	    -e trace=pread64,preadv2 -e inject=pread64,preadv2:error=EIO \
	    cala-ddup put -c c -s $S --uuid "$(uuid 3)" --force-read t
	grep -q INJECTED trace
	run -0 unread 4 t
	[ "$output" = 1 ]
	same 4 t
}

# meddle PATH CALL WHEN COMMAND...: put t as backup 1, and while its WHEN-th CALL
# on PATH waits, run COMMAND.
meddle() {
	local path=$1 call=$2 when=$3 pid
	shift 3
	rm -f trace
	strace -f -qq -o trace -P "$PWD/$path" -e trace="$call" \
	    -e inject="$call":delay_exit=2000000:when="$when" \
	    cala-ddup put -c c -s $S --uuid "$(uuid 1)" t >out 2>err &
	pid=$!
	until grep -q "$call" trace 2>/dev/null; do
		kill -0 $pid
		sleep 0.05
	done
	"$@"
	rc=0
	wait $pid || rc=$?
}

@test "a file that shrinks, grows, changes or vanishes while it is read" {
	need strace
	export ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0
	mkdir t
	head -c 6000000 /dev/urandom >t/big
	echo other >t/small
	touch -d '2020-01-01' t/big t/small
	cp t/big was
	old

	# Cut off: padded to its size, said, partial; and read again.
	meddle t/big pread64 1 truncate -s 1000000 t/big
	[ "$rc" -eq 3 ]
	grep -q 'big.*shrank' err
	[ "$(jq .complete out)" = false ]
	[ "$(cala-ddup ls --json -c c -b "$(uuid 1)" big | jq .size)" = 6000000 ]
	cala-ddup cat -c c -b "$(uuid 1)" big | head -c 200000 | cmp - \
	    <(head -c 200000 was)
	healthy 1
	run -0 unread 2 t
	[ "$output" = 1 ]
	same 2 t
	cala-ddup rm -c c -b "$(uuid 1)"

	# Written over: what was announced, counted.
	cp was t/big
	meddle t/big pread64 1 dd if=/dev/zero of=t/big bs=1M count=7 conv=notrunc \
	    status=none
	[ "$rc" -eq 0 ]
	[ "$(jq .changed out)" = 1 ]
	[ "$(cala-ddup ls --json -c c -b "$(uuid 1)" big | jq .size)" = 6000000 ]
	healthy 1
	run -0 unread 3 t
	[ "$output" = 1 ]
	same 3 t
	cala-ddup rm -c c -b "$(uuid 1)"

	# Gone after it was opened: it is still read.
	cp was t/big
	meddle t/big pread64 1 rm t/big
	[ "$rc" -eq 0 ]
	cala-ddup cat -c c -b "$(uuid 1)" big | cmp - was
	cala-ddup rm -c c -b "$(uuid 1)"

	# Gone when its folder was read: named, and the rest is there.
	cp was t/big
	meddle t getdents64 1 rm t/big
	[ "$rc" -eq 3 ]
	grep -q big err
	run cala-ddup cat -c c -b "$(uuid 1)" small
	assert_output other
	healthy 1
}

@test "a restore holds few chunks at a time, however their sizes mix" {
	mkdir t
	python3 - <<'PY'
import os, random
r = random.Random(1)
hexes = bytes(97 + i % 16 for i in range(256))
for i in range(12):
    os.mkdir(f"t/{i:02}")
    for k in range(4):
        with open(f"t/{i:02}/a{k}", "wb") as f:
            f.write(r.randbytes(1 << 18).translate(hexes) * 4 + bytes([i, k]))
    with open(f"t/{i:02}/b", "wb") as f:
        f.write(bytes(4 << 20) + bytes([i]))
    for k in range(200):
        with open(f"t/{i:02}/c{k:03}", "wb") as f:
            f.write(r.randbytes(500))
PY
	put 1 t
	mkdir out
	CALA_SANITIZE=${CALA_SANITIZE-} python3 - cala-ddup restore -q -j 2 \
	    -c c -s $S -b "$(uuid 1)" out <<'PY'
import os, resource, subprocess, sys
assert subprocess.call(sys.argv[1:]) == 0
kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(kib, "KiB")
assert os.environ["CALA_SANITIZE"] or kib < 64 * 1024
PY
	diff -r t out
}
