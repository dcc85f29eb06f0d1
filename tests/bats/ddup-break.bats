# The disk ddup-bak: what must not be lost, and must not be believed.

load common
load ddup

@test "an index that another program wrote over with its old copy costs no chunk" {
	repo
	small t
	put t $U2
	cp "$R/chunks/index" old
	head -c 2000000 /dev/urandom >t/new
	put t $U
	cp old "$R/chunks/index"
	find "$R/chunks" -name '*.chunk' -exec touch -d '3 days ago' {} +
	d verify -b $U --read-data
	d gc -n | grep forgotten
	d gc | grep forgotten
	d verify -b $U --read-data
	whole t $U
	healthy
	# What the index had forgotten is counted: the other's end takes nothing.
	put t $U3
	d rm -b $U3
	d rm -b $U2
	d verify -b $U --read-data
	whole t $U
	d rm -b $U
	[ -z "$(chunks)" ]
}

@test "an id that another program gave away again is not taken for ours" {
	repo
	small t
	put t $U2
	cp "$R/chunks/index" old
	cp -r t t2
	head -c 2000000 /dev/urandom >t/new
	put t $U
	mv "$R/archives/$U.ddup" kept
	mv "$R/archives/$U.json" kept.json
	# The same ids now mean other chunks.
	cp old "$R/chunks/index"
	head -c 2000000 /dev/urandom >t2/new
	put t2 $U3
	mv kept "$R/archives/$U.ddup"
	mv kept.json "$R/archives/$U.json"
	rm "$R/cala-state"
	d gc | grep forgotten
	for u in $U $U2 $U3; do
		d verify -b $u --read-data
	done
	whole t $U
	whole t2 $U3
	healthy
}

@test "chunk files stay while a backup has ids that nothing explains" {
	vector rust-sample
	rm "$R/chunks/index"
	d rebuild >said
	grep 'nothing explains' said
	# One more, that may be what such an id once meant.
	f=$R/chunks/c7/1b/05fd1d1c7bf7e928ff18e58db5193e9316416cc26ba9cc9094da80d7011e.chunk
	mkdir -p "${f%/*}"
	printf '\0hello world\n' >"$f"
	touch -d '3 days ago' "$f"
	run --separate-stderr d gc
	[ "$status" -eq 3 ]
	[[ $stderr == *"not there"* ]]
	[ -e "$f" ]
	for u in $U $U2 $U3; do
		d rm -b $u
	done
	d gc
	[ ! -e "$f" ]
}

@test "a flipped bit anywhere in an archive is found, and not restored" {
	repo
	small t
	put t $U
	f=$R/archives/$U.ddup
	size=$(stat -c %s "$f")
	cp "$f" whole.ddup
	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
		cp whole.ddup "$f"
		# In the entries most of all: at the end, before the trailer.
		at=$((size - 17 - i * 9))
		byte=$(od -An -tu1 -j $at -N 1 "$f")
		printf '%b' "\\x$(printf %x $((byte ^ (1 << i % 8))))" |
			dd of="$f" bs=1 seek=$at conv=notrunc status=none
		run d verify -b $U
		[ "$status" -eq 14 ]
		rm -rf out
		mkdir out
		run --separate-stderr d restore "$PWD/out" -b $U
		[ "$status" -eq 14 ]
		[[ $stderr == *--no-check* ]]
		[ -z "$(ls -A out)" ]
		run d cat -b $U server.properties
		[ "$status" -eq 14 ]
	done
	cp whole.ddup "$f"
	d verify -b $U
	whole t $U
}

@test "a damaged chunk costs its file, and the others are restored" {
	repo
	small t
	mkdir t/z
	head -c 200000 /dev/urandom >t/world/small
	ln t/world/small t/world/small-too
	seq 1 100 >t/z/last
	put t $U
	# One of several chunks of a large file, and the one of a small file.
	f=$(largest)
	g=$(chunk t/world/small)
	printf 'XX' | dd of="$f" bs=1 seek=50000 conv=notrunc status=none
	rm "$g"
	mkdir out
	run --separate-stderr d restore "$PWD/out" -b $U
	[ "$status" -eq 14 ]
	[[ $stderr == *"2 files are damaged"* ]]
	[[ $stderr == *r.0.0.mca* ]]
	[[ $stderr == *world/small* ]]
	[ ! -e out/world/region/r.0.0.mca ]
	[ ! -e out/world/small ]
	[ -z "$(find out -name '.cala*')" ]
	rm -rf t/world/region/r.0.0.mca t/world/small t/world/small-too
	rm -f out/world/small-too
	diff -r t out
	[ "$(stat -c %y out/z)" = "$(stat -c %y t/z)" ]
	# The whole of it is staged: nothing takes its place.
	run --separate-stderr d get -b $U
	[ "$status" -eq 14 ]
	[[ $stderr == *--no-check* ]]
}

@test "a link in the place of a chunk folder leads nobody out" {
	repo
	mkdir t outside
	printf 'hello world\n' >t/f
	put t $U
	rm -r "$R/chunks/c7"
	ln -s "$PWD/outside" "$R/chunks/c7"
	run put t $U2 --force-read
	[ "$status" -ne 0 ]
	[ -z "$(ls -A outside)" ]
	[ "$(d list | wc -l)" -eq 1 ]
	# Nor does a deletion follow it.
	mkdir outside/1b
	: >outside/1b/05fd1d1c7bf7e928ff18e58db5193e9316416cc26ba9cc9094da80d7011e.chunk
	run d rm -b $U
	[ -e outside/1b/05fd1d1c7bf7e928ff18e58db5193e9316416cc26ba9cc9094da80d7011e.chunk ]
	run d gc
	[ "$status" -eq 14 ]
	rm "$R/chunks/c7"
	d gc
	put t $U3
	whole t $U3
}

@test "a killed writer's number, now another process's, keeps nobody out" {
	repo
	small t
	put t $U
	sleep 100 3>&- &
	pid=$!
	{
		printf '\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0'
		printf '%b' "$(printf '\\x%02x\\x%02x\\x%02x' $((pid & 255)) \
			$((pid >> 8 & 255)) $((pid >> 16)))"
		head -c 29 /dev/zero
	} >lock
	# Since before that process began: it can't be the one.
	touch -d '1 hour ago' lock
	cp -p lock "$R/chunks/index.lock"
	put t $U2 || { kill $pid; false; }
	# Since after it began: it may be, until somebody says that it is not.
	touch -d '1 hour' lock
	cp -p lock "$R/chunks/index.lock"
	run --separate-stderr d break-lock
	kill $pid
	[ "$status" -eq 0 ]
	wait $pid || true
	cmp -n 48 "$R/chunks/index.lock" /dev/zero
	whole t $U2
}

@test "what another program has not finished is not listed as whole" {
	repo
	small t
	put t $U
	head -c 100 "$R/archives/$U.ddup" >"$R/archives/$U2.ddup"
	: >"$R/archives/$U3.ddup"
	d list >said
	[ "$(jq -r 'select(.complete == false).uuid' said | tr '\n' ' ')" = \
		"$U2 $U3 " ]
	jq -se 'any(.uuid == "'$U'" and .complete)' said
}

@test "ids that were given away again: sizes tell, where no map does" {
	vector tiny-repo
	d verify -b $U --read-data
	# The same index, but the ids 1 and 2 have changed their chunks.
	python3 - "$R/chunks/index" <<-'END'
		import sys, zlib
		raw = bytearray(zlib.decompress(open(sys.argv[1], 'rb').read(), -15))
		def varint(at):
		    v = n = 0
		    while True:
		        b = raw[at + n]
		        v |= (b & 127) << 7 * n
		        n += 1
		        if b < 128:
		            return v, n
		at = 32
		for _ in range(int.from_bytes(raw[:8], 'little')):
		    at += varint(at)[1]
		where = {}
		for _ in range(int.from_bytes(raw[16:24], 'little')):
		    hash_at = at
		    at += 32
		    id, n = varint(at)
		    at += n
		    at += varint(at)[1]
		    where[id] = hash_at
		a, b = where[1], where[2]
		raw[a:a+32], raw[b:b+32] = raw[b:b+32], raw[a:a+32]
		z = zlib.compressobj(6, zlib.DEFLATED, -15)
		open(sys.argv[1], 'wb').write(z.compress(bytes(raw)) + z.flush())
	END
	run --separate-stderr d verify -b $U --read-data
	[ "$status" -eq 3 ]
	[[ $stderr == *"its size is"* ]]
}

@test "a put that fails takes away the chunks that it made, and no others" {
	repo
	small t
	put t $U
	chunks >before
	head -c 4000000 /dev/urandom >t/new
	tar -C t -cf whole.tar .
	head -c -600000 whole.tar >cut.tar
	run d put -s $S --uuid $U2 <cut.tar
	[ "$status" -eq 4 ]
	chunks | diff before -
	compgen -G "$R/cala-loose.*" && return 1
	[ -z "$(d gc | grep 'chunk files')" ]

	# Somebody else is there, who may have found them: they stay.
	exec 8>>"$R/cala.lock"
	flock -s 8
	run d put -s $S --uuid $U2 <cut.tar
	[ "$status" -eq 4 ]
	[ "$(chunks | wc -l)" -gt "$(wc -l <before)" ]
	compgen -G "$R/cala-loose.*"
	exec 8>&-
	d gc | grep 'younger than a day'
	find "$R/chunks" -name '*.chunk' -exec touch -d '2 days ago' {} +
	d gc | grep 'removed .* chunk files that no index knows'
	chunks | diff before -
	rm t/new
	whole t $U
}

@test "gc looks for chunk files without an index where some may be" {
	repo
	small t
	put t $U
	d gc
	stray=$R/chunks/ab/cd/$(printf '%060d' 0).chunk
	mkdir -p "${stray%/*}"
	plant() { printf '\0stray' >"$stray"; touch -d '2 days ago' "$stray"; }
	# No run has left any, so nobody looks; but once a week.
	plant
	d gc
	[ -e "$stray" ]
	touch -d '8 days ago' "$R/cala-swept"
	d gc | grep 'removed 1 chunk files'
	[ ! -e "$stray" ]
	# A killed run says so, and it may be anybody's.
	mkdir -p "${stray%/*}"
	plant
	: >"$R/cala-loose.1.0"
	d gc -n | grep 'would remove 1 chunk files'
	[ -e "$R/cala-loose.1.0" ]
	d gc | grep 'removed 1 chunk files'
	[ ! -e "$stray" ]
	[ ! -e "$R/cala-loose.1.0" ]
	whole t $U
}

@test "a directory with the name of a leftover stops nobody" {
	repo
	small t
	put t $U
	mkdir "$R/archives/.$U2.cala-tmp" "$R/archives/.$U3.cala-deleted"
	d gc
	put t $U4
	d rm -b $U4
	healthy
	[ -d "$R/archives/.$U2.cala-tmp" ]
	whole t $U
}

@test "verify of the whole repository: every chunk, every count, every backup" {
	repo
	small t
	put t $U
	echo more >t/more
	put t $U2
	d verify --read-data >said
	grep -q 'ok: 2 backups use [0-9]* chunks, all' said
	grep -q 'ok: the checksums of 2 archives' said
	run ! grep -E 'damaged|chunk files' said
	d verify --read-data=1 | grep -q '^ok: read'

	# A chunk that nothing knows is told, and no damage.
	stray=$R/chunks/ab/cd/$(printf '%060d' 0).chunk
	mkdir -p "${stray%/*}"
	printf '\0stray' >"$stray"
	d verify | grep -q 'note: 1 chunk files are not in the index'

	# One that only the second backup uses; one that is not what it was.
	first=$(chunks | xargs ls -S | head -1)
	cp -p "$first" saved
	printf 'not what it was' | dd of="$first" bs=1 seek=100 conv=notrunc \
		status=none
	d verify
	run --separate-stderr d verify --read-data
	[ "$status" -eq 14 ]
	[[ $output == *"damaged: chunk"* ]]
	[[ $stderr == *"1 are not sound"* ]]
	rm "$first"
	run --separate-stderr d verify
	[ "$status" -eq 14 ]
	[[ $output == *"is missing"* ]]
	cp -p saved "$first"
	d verify --read-data

	# An archive that is not its record's.
	size=$(stat -c %s "$R/archives/$U.ddup")
	printf '\377\0\377\0' | dd of="$R/archives/$U.ddup" bs=1 seek=$((size - 20)) \
	    conv=notrunc status=none
	run --separate-stderr d verify
	[ "$status" -eq 14 ]
}

@test "verify of the whole repository while backups are made" {
	repo
	small t
	put t $U
	(
		for n in 1 2 3 4 5 6; do
			echo $n >t/turn
			u=aaaa1111-0000-4000-8000-0000000002$((n + 10))
			put t $u >/dev/null || exit 1
		done
	) &
	pid=$!
	for n in 1 2 3 4 5 6; do
		d verify >/dev/null
	done
	wait $pid
	d verify --read-data
}

# foreign: a repository that ddup-bak made, and a backup of ours of the same files:
# it has a map of the same ids.
foreign() {
	vector rust-sample
	mkdir t
	d restore "$PWD/t" -b $U
	put t $U4 >/dev/null
	[ "$(chunks | wc -l)" -ge 2 ]
	files() { (cd "$1" && find . -type f -exec sha256sum {} + | sort); }
	files t >sums
}

right() {
	rm -rf got
	mkdir got
	d restore "$PWD/got" -b "$1"
	files got | diff sums -
}

@test "rebuild: an index that was renumbered gets its ids back from our maps" {
	foreign
	"$top/tests/ddup-forge" renumber "$R"
	right $U4
	# A backup without a map is whatever the index says.
	run right $U
	[ "$status" -ne 0 ]
	d rebuild >said
	grep -q 'has renumbered the old index' said
	right $U
	right $U4
	d verify
}

@test "rebuild: a map that somebody forged changes no other backup" {
	foreign
	"$top/tests/ddup-forge" swap "$R/archives/$U4.ddup"
	d rebuild >said
	right $U
	# Nor where the index may be another program's.
	rm "$R/cala-state"
	d rebuild
	right $U
}
