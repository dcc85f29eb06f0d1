# The disk ddup-bak: what other programs, containers and power cuts do to it.

load common
load ddup

@test "a delete takes nothing from a backup whose ids only ours explain" {
	vector rust-sample
	mkdir t
	d restore "$PWD/t" -b $U
	put t $U4
	forget
	# Ours tell what its ids mean, though they come behind it.
	d rm -b $U4
	d verify -b $U --read-data
	whole t $U
	healthy
}

# aside, back: hide the backups of another program, and show them again, as if
# it had just given them their names.
aside() {
	mkdir kept
	mv "$R"/archives/*.ddup kept
}

back() {
	mv kept/* "$R/archives"
}

@test "killed before it saved, another program's backup gets no foreign bytes" {
	vector rust-sample
	forget
	aside
	find "$R/chunks" -name '*.chunk' -exec touch {} +
	d gc
	back
	# The index is as we left it, and knows none of these ids.
	small t
	put t $U4
	for u in $U $U2 $U3; do
		run d cat -b $u hello.txt
		[ "$status" -eq 14 ]
	done
	whole t $U4
}

@test "killed before it saved, another program's backup keeps its chunks" {
	need strace
	vector rust-sample
	mkdir t
	d restore "$PWD/t" -b $U
	aside
	put t $U4
	d gc
	back
	# The index counts the uses of one, and there are four.
	d rm -b $U4
	for u in $U $U2 $U3; do
		d verify -b $u --read-data
	done
	whole t $U
	healthy
	# Once counted, they are known.
	put t $U4
	# The leak checker can't work under strace.
	ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0 \
		strace -f -o calls -e trace=openat cala-ddup rm -c c -b $U4
	[ "$(grep -c "$U2.ddup" calls)" -le 2 ]
	d rm -b $U2
	d rm -b $U3
	d verify -b $U --read-data
	d rm -b $U
	[ -z "$(chunks)" ]
}

@test "what a process of the same number left, in its container, stops nobody" {
	need unshare
	unshare -p -f true 2>/dev/null ||
	    skip "this machine makes no pid namespaces"
	repo
	small t
	put t $U
	chunks >made
	d rm -b $U
	d gc
	while read -r f; do
		mkdir -p "${f%/*}"
		for n in {1..20}; do
			: >"${f%.chunk}.tmp.cala.1.$n"
		done
	done <made
	unshare -p -f cala-ddup put t -c c -s $S --uuid $U
	whole t $U
	d verify -b $U --read-data
}

@test "another program's delete, killed during a put: no backup without its chunks" {
	repo
	small t
	put t $U
	cala-pack -C t -o t.tar .
	mkfifo go
	exec 8<>go
	cala-ddup put -c c -s $S --uuid $U2 --commit-fd 9 <t.tar 9<go >said 2>&1 \
	    3>&- 8>&- &
	put=$!
	# It has met all chunks when it waits for the word.
	for _ in {1..200}; do
		! grep -qs '^[0-9]* 0x9 ' /proc/$put/task/*/syscall || break
		sleep 0.05
	done
	[ -e /proc/$put ]
	rm "$(largest)"
	cp "$R/chunks/index.lock" l
	mv l "$R/chunks/index.lock"
	printf C >&8
	status=0
	wait $put || status=$?
	exec 8>&-
	cat said
	[ "$status" -eq 11 ]
	[ ! -e "$R/archives/$U2.ddup" ]
	put t $U3
	d verify -b $U3 --read-data
	d verify -b $U --read-data
}

@test "a damaged chunk set aside is stored again, and every backup is whole" {
	repo
	small t
	put t $U
	f=$(largest)
	printf X | dd of="$f" bs=1 seek=1000 conv=notrunc status=none
	# As long as it is there, it is what the next backup uses.
	put t $U2 --force-read
	run d verify -b $U2 --read-data
	[ "$status" -eq 14 ]
	run --separate-stderr d mend
	[ "$status" -eq 14 ]
	[[ $output == *"set aside: "* ]]
	[[ $stderr == *"hint: back the servers up again"* ]]
	[ ! -e "$f" ]
	[ -s "${f%.chunk}.damaged" ]
	run d mend
	[ "$status" -eq 0 ]
	# The file is unchanged, and is read again.
	put t $U3
	for u in $U $U2 $U3; do
		d verify -b $u --read-data
		whole t $u
	done
	rm "${f%.chunk}.damaged"
	d verify --read-data
	healthy
}

teardown() {
	[ -z "${mounted:-}" ] || umount "$mounted"
}

@test "without openat2, and with a write that fails: nothing torn is believed" {
	need strace
	repo
	mkdir t
	head -c 300000 /dev/urandom >t/a
	seq 1 9000 >t/b
	# The leak checker can't work under strace.
	export ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0
	run --separate-stderr strace -f -o calls -e trace=writev \
		-e inject=writev:error=ENOSPC:when=1+ \
		cala-ddup put t -c c -s $S --uuid $U
	[ "$status" -eq 16 ]
	grep -q INJECTED calls
	[ "$(d list)" = "" ]
	strace -f -o calls -e trace=openat2 -e inject=openat2:error=ENOSYS \
		cala-ddup put t -c c -s $S --uuid $U
	grep -q INJECTED calls
	d verify -b $U --read-data
	whole t $U
	healthy
}

@test "a full disk: what can be deleted makes the room that deleting takes" {
	[ "$(id -u)" = 0 ] || skip "needs root for a small file system"
	repo
	mount -t tmpfs -o size=20m none "$B" || skip "can't mount a tmpfs"
	mounted=$B
	small t
	for n in {1..2000}; do
		echo "$n and some more" >"t/$n"
	done
	put t $U
	put t $U2
	head -c 1000000 /dev/urandom >t/new
	put t $U3
	# No chunk is only this one's: the notes of unchanged files must do.
	head -c 40000000 /dev/zero >"$B/filler" 2>/dev/null || true
	run --separate-stderr d rm -b $U
	[ "$status" -eq 0 ]
	[[ $stderr == *"the disk is full"* ]]
	# These are gone; now the chunks are.
	head -c 40000000 /dev/zero >"$B/filler2" 2>/dev/null || true
	run --separate-stderr d rm -v -b $U3
	[ "$status" -eq 0 ]
	[[ $stderr == *"chunks are removed first"* ]]
	d verify --read-data
	rm "$B"/filler*
	rm t/new
	whole t $U2
	healthy
	put t $U3
	d verify -b $U3 --read-data
}

@test "a full disk: a delete that is killed without its index is finished" {
	[ "$(id -u)" = 0 ] || skip "needs root for a small file system"
	need strace
	repo
	mount -t tmpfs -o size=20m none "$B" || skip "can't mount a tmpfs"
	mounted=$B
	small t
	put t $U
	head -c 1000000 /dev/urandom >t/new
	put t $U2
	rm "$R"/archives/.*.cala-stat
	head -c 40000000 /dev/zero >"$B/filler" 2>/dev/null || true
	# Killed when all chunks are gone and the index is about to be written.
	run strace -f -o calls -e trace=syncfs -e inject=syncfs:signal=KILL:when=2 \
	    cala-ddup rm -c c -b $U2
	rm "$B/filler"
	[ ! -e "$R/archives/$U2.ddup" ]
	ls "$R/archives/.$U2.cala-deleted"
	d verify -b $U --read-data
	# A put before that stores what it needs again.
	put t $U3
	whole t $U3
	d gc
	d verify --read-data
	whole t $U3
	healthy
}
