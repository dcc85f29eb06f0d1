# How cala-pbs makes a snapshot: from a directory, from a stream, again, with
# less to send, encrypted, in trouble.

load common
load numbered
load ../pbs/pbs

driver=cala-pbs
S=11111111-aaaa-4bbb-8ccc-000000000001

setup() {
	need cala-pbs jq tar
	cd "$BATS_TEST_TMPDIR" || return
	# The last backup's second is over when the next one begins.
	when=1700000000
}

teardown() {
	pbs_stop
}

server() {
	pbs_start
	pbs_conf conf "$@"
}

# put N [OPTION...] DIR, put N [OPTION...] <ARCHIVE
put() {
	local n=$1
	shift
	d put -q -s $S --uuid "$(uuid "$n")" \
	    --created "$(date -u -d "@$((when + n))" +%FT%TZ)" "$@"
}

sent() { pbs_count op='POST dynamic_chunk'; }

# of N: the snapshot of backup N as sound.py names it
of() { printf 'calagopus-%s/%d' $S $((when + $1)); }

manifest() { pbs_run sound.py manifest "$PBS_DIR" "$(of "$1")"; }

# lines N FILE: a file of N numbered lines of 100 bytes
lines() { awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) printf "%099d\n", i }'; }

@test "a directory becomes what Wings and Proxmox read, and comes back as it was" {
	server
	sample src
	run --separate-stderr put 1 --name 'first · one' --group daily src
	assert_success
	echo "$output" | jq -e '.complete and .size > 5000000 and
	    .checksum.type == "sha256" and .files > 10'
	manifest 1 >m
	run jq -r '.files[].filename' m
	assert_output "root.pxar.didx
catalog.pcat1.didx
calagopus.json.blob"
	run jq -r '.unprotected.notes' m
	assert_output "first \\· one · daily · $(uuid 1)"
	pbs_run sound.py content "$PBS_DIR" "$(of 1)" calagopus.json.blob >w
	jq -e --arg u "$(uuid 1)" '.backup_uuid == $u and .server_uuid ==
	    "'$S'" and .backup_time == 1700000001 and
	    .archive == "root.pxar.didx"' w
	same 1 src
	pbs_sound
}

@test "what did not change is not sent again, and one change sends its chunk" {
	server
	mkdir src
	head -c 40000000 /dev/urandom >src/big
	lines 50000 >src/small
	put 1 src
	n=$(sent)
	[ "$n" -ge 5 ]
	put 2 src
	# The end of the archive is the same, too: nothing at all.
	[ "$(sent)" -eq "$n" ]
	printf 'not what it was' | dd of=src/big bs=1 seek=20000000 conv=notrunc status=none
	put 3 src
	[ "$(sent)" -gt "$n" ]
	[ "$(sent)" -le $((n + 5)) ]
	same 3 src
	pbs_sound
}

@test "cut points follow the previous snapshot, whoever made it" {
	server 'chunker = buzhash'
	mkdir src
	head -c 30000000 /dev/urandom >src/big
	put 1 src
	manifest 1 | jq -e '.unprotected."cala-chunker" == "buzhash"'
	n=$(sent)
	pbs_conf conf
	put 2 src
	manifest 2 | jq -e '.unprotected."cala-chunker" == "buzhash"'
	[ "$(sent)" -eq "$n" ]
	pbs_conf conf 'chunker = fastcdc'
	put 3 src
	[ "$(sent)" -gt "$n" ]
	n=$(sent)
	pbs_conf conf
	put 4 src
	manifest 4 | jq -e '.unprotected."cala-chunker" == "fastcdc"'
	[ "$(sent)" -eq "$n" ]
	pbs_sound
}

@test "a file of one byte repeated is sent once" {
	server
	mkdir src
	head -c 200000000 /dev/zero >src/zeros
	put 1 src
	[ "$(sent)" -le 6 ]
	cala-pbs cat -c c -s $S -b "$(uuid 1)" zeros | cmp - src/zeros
	pbs_sound
}

@test "an empty directory is stored only if that is meant" {
	server
	mkdir src
	run --separate-stderr put 1 src
	assert_failure 4
	assert_equal "$(pbs_snapshots)" ""
	put 1 --allow-empty src
	same 1 src
	pbs_sound
}

@test "a stream is stored as the directory it was made of" {
	server
	sample src
	cala-pack -q -C src . | put 1
	same 1 src
	# Nothing of it changed on the way: the same chunks.
	n=$(sent)
	put 2 src
	manifest 1 | jq -r '.files[0].size' >a
	manifest 2 | jq -r '.files[0].size' >b
	cmp a b
	pbs_sound
}

@test "a stream that is cut short stores nothing" {
	server
	sample src
	cala-pack -q -C src . >whole
	head -c $(($(stat -c %s whole) - 20)) whole >short
	run --separate-stderr put 1 <short
	assert_failure
	[ "$status" -eq 4 ] || [ "$status" -eq 14 ]
	assert_equal "$(pbs_snapshots)" ""
	run --separate-stderr put 1 -- sh -c 'cat whole; exit 7'
	assert_failure 4
	assert_equal "$(pbs_snapshots)" ""
	put 1 -- cat whole
	same 1 src
	pbs_sound
}

@test "a stream that comes back to a directory is refused, not mixed up" {
	server
	mkdir -p src/a src/b
	echo 1 >src/a/1
	echo 2 >src/a/2
	echo 3 >src/b/3
	tar -C src -cf mixed --no-recursion a a/1 b b/3 a/2
	run --separate-stderr put 1 <mixed
	assert_failure 1
	[[ $stderr == *'holds a twice'*'put that'* ]]
	assert_equal "$(pbs_do idle; pbs_snapshots)" ""
	# Any order of names within a directory is fine.
	tar -C src -cf loose --no-recursion b b/3 a a/2 a/1
	put 1 <loose
	back 1 r
	diff -r src r
}

@test "two archives: all is read, and files begin chunks" {
	server 'change-detection = data'
	sample src
	put 1 src
	run jq -r '.files[].filename' <(manifest 1)
	assert_output "root.mpxar.didx
root.ppxar.didx
calagopus.json.blob"
	same 1 src
	n=$(sent)
	put 2 src
	[ "$(sent)" -eq "$n" ]
	same 2 src
	pbs_sound
}

# A tree whose files were last changed before the time of the first backup.
grown() {
	mkdir -p "$1"
	for d in a b c d; do
		mkdir "$1/$d"
		for i in 1 2 3 4 5; do
			head -c 1500000 /dev/urandom >"$1/$d/$i"
		done
	done
	when=$(($(date +%s) + 10))
}

@test "metadata: unchanged files are not read, and are there all the same" {
	server 'change-detection = metadata'
	grown src
	setfattr -n user.note -v hello src/b/2
	put 1 src
	n=$(sent)
	# Nobody looks at their bytes.  (Nothing finds leaks while it is traced.)
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 \
	    run --separate-stderr strace -f -y -e trace=read,pread64,preadv2 \
	    -o trace cala-pbs put -v -c c -s $S --uuid "$(uuid 2)" \
	    --created "$(date -u -d "@$((when + 2))" +%FT%TZ)" src
	assert_success
	[[ $stderr == *'20 files (30000320 bytes) are as they were'* ]]
	run ! grep -E '/src/[abcd]/[1-5]>' trace
	# The metadata, and what the payload begins and ends with.
	[ "$(sent)" -le $((n + 3)) ]
	same 2 src
	pbs_sound
}

@test "metadata: what is new, changed, gone and moved is as it is now" {
	server 'change-detection = metadata'
	grown src
	put 1 src
	head -c 700000 /dev/urandom >src/a/0-new
	head -c 700000 /dev/urandom >src/d/new
	printf 'not what it was' | dd of=src/b/3 bs=1 seek=100 conv=notrunc status=none
	rm src/c/2
	mv src/a/4 src/c/2-moved
	mkdir src/aa
	: >src/aa/empty
	chmod 600 src/d/1
	# These were changed after the first backup's time, which lies ahead.
	touch -d "@$((when + 5))" src/a/0-new src/d/new src/b/3
	put 2 src
	same 2 src
	for i in 3 4 5; do
		head -c 300000 /dev/urandom >"src/c/$i-more"
		touch -d "@$((when + 5 + i))" "src/c/$i-more"
		put $i src
		same $i src
	done
	pbs_sound
}

@test "metadata: a backup that missed something is not built upon" {
	server 'change-detection = metadata'
	grown src
	put 1 src
	n=$(sent)
	run --separate-stderr cala-pbs put -v -c c -s $S --uuid "$(uuid 2)" \
	    --created "$(date -u -d "@$((when + 2))" +%FT%TZ)" --force-read src
	assert_success
	[[ $stderr != *'as they were'* ]]
	# Everything is found by its content instead.
	[ "$(sent)" -le $((n + 1)) ]
	same 2 src
	pbs_sound
}

@test "encrypted: nothing is readable without the key, everything with it" {
	cala-pbs key create -q --kdf none key >print
	server "encryption-key-file = $PWD/key"
	export PBS_KEY=$PWD/key
	sample src
	printf 'a name that nobody should see' >src/plugins/telltale
	put 1 --name secret src
	same 1 src
	manifest 1 >m
	jq -e '.signature != null' m
	jq -e --arg f "$(cat print)" '.unprotected."key-fingerprint" == $f' m
	run jq -r '.files[] | "\(.filename) \(."crypt-mode")"' m
	assert_output "root.pxar.didx encrypt
catalog.pcat1.didx encrypt
cala.json.blob encrypt
calagopus.json.blob none"
	run ! grep -rFq telltale "$PBS_DIR/store1"
	n=$(sent)
	put 2 src
	[ "$(sent)" -eq "$n" ]
	# Another key finds nothing of it, and says nothing wrong.
	cala-pbs key create -q --kdf none other >/dev/null
	pbs_conf conf "encryption-key-file = $PWD/other"
	put 3 src
	[ "$(sent)" -ge $((2 * n)) ]
}

@test "the server takes the key of a passphrase, too" {
	printf 'correct horse' >pass
	chmod 600 pass
	cala-pbs key create -q key <pass >/dev/null
	server "encryption-key-file = $PWD/key" \
	    "encryption-password-file = $PWD/pass"
	mkdir src
	echo hello >src/f
	put 1 src
	same 1 src
	PBS_KEY=$PWD/key PBS_KEY_PASSWORD='correct horse' pbs_sound
	printf 'wrong' >pass
	run --separate-stderr put 2 src
	assert_failure 12
}

@test "a key is made once, shown without secrets, and changed" {
	run --separate-stderr cala-pbs key create --kdf none k
	assert_success
	print=$output
	[[ $print =~ ^([0-9a-f]{2}:){31}[0-9a-f]{2}$ ]]
	assert_equal "$(stat -c %a k)" 600
	run --separate-stderr cala-pbs key create --kdf none k
	assert_failure 15
	run --separate-stderr cala-pbs key show --json k
	assert_success
	echo "$output" | jq -e --arg p "$print" '.fingerprint == $p and
	    .kdf == "none" and (has("data") | not)'
	run ! grep -F "$(jq -r .data k)" <<<"$output"
	run --separate-stderr cala-pbs key change --kdf scrypt --hint usual k \
	    <<<'long enough'
	assert_success
	assert_output "$print"
	run --separate-stderr cala-pbs key show k
	[[ $output == *scrypt*usual* ]]
	run --separate-stderr cala-pbs key change --kdf none k <<<'wrong one'
	assert_failure 12
	run --separate-stderr cala-pbs key change --kdf none k <<<'long enough'
	assert_success
	assert_output "$print"
	run --separate-stderr cala-pbs key create k2 <<<'four'
	assert_failure 2
	assert_file_not_exist k2
	run --separate-stderr cala-pbs key
	assert_failure 2
	run cala-pbs key --help
	assert_success
	chmod 644 k
	run --separate-stderr cala-pbs key show k
	assert_failure 12
}

@test "a lock holds as soon as the backup is there" {
	server
	mkdir src
	echo hello >src/f
	run --separate-stderr put 1 --lock src
	assert_success
	echo "$output" | jq -e .locked
	run --separate-stderr cala-pbs rm -c c -s $S -b "$(uuid 1)"
	assert_failure 22
	pbs_sound
}

@test "two backups of one second, and one that is older, are all stored" {
	server
	mkdir src
	echo hello >src/f
	put 5 src
	d put -q -s $S --uuid "$(uuid 6)" \
	    --created "$(date -u -d "@$((when + 5))" +%FT%TZ)" src
	put 2 src
	run cala-pbs list -c c -s $S
	assert_success
	assert_equal "${#lines[@]}" 3
	# The record keeps the time that was said.
	cala-pbs list -c c -s $S | jq -e --arg u "$(uuid 2)" \
	    'select(.uuid == $u) | .created == "2023-11-14T22:13:22Z"'
	run --separate-stderr put 5 src
	assert_failure 15
	pbs_sound
}

@test "a session that is refused midway leaves nothing, and says why" {
	mkdir src
	head -c 20000000 /dev/urandom >src/big
	for op in 'POST dynamic_index' 'POST dynamic_chunk' \
	    'PUT dynamic_index' 'POST dynamic_close' 'POST blob' \
	    'POST finish'; do
		server
		pbs_fault status "op=$op" status=400 text='no way'
		run --separate-stderr put 1 src
		assert_failure
		[ "$status" -ne 3 ]
		[[ $stderr == *'no way'* ]]
		assert_equal "$(pbs_do idle; pbs_snapshots)" ""
		put 1 src
		pbs_sound
		pbs_stop
		rm -rf pbs
	done
}

@test "a connection that is lost is begun again, for a directory" {
	server
	mkdir src
	head -c 20000000 /dev/urandom >src/big
	pbs_fault close 'op=POST dynamic_chunk' nth=2 when=done
	run --separate-stderr cala-pbs put -c c -s $S --uuid "$(uuid 1)" src
	assert_success
	[[ $stderr == *'once more from the beginning'* ]]
	same 1 src
	PBS_ODD=may pbs_sound
}

@test "a connection that is lost ends a stream's backup" {
	server
	mkdir src
	head -c 20000000 /dev/urandom >src/big
	cala-pack -q -C src . >whole
	pbs_fault close 'op=POST dynamic_chunk' nth=2 when=done
	run --separate-stderr put 1 <whole
	assert_failure 13
	assert_equal "$(pbs_do idle; pbs_snapshots)" ""
	PBS_ODD=may pbs_sound
}

@test "an answer to finish that is lost is found out" {
	server
	mkdir src
	echo hello >src/f
	pbs_fault close 'op=POST finish' when=done
	run --separate-stderr put 1 src
	assert_success
	same 1 src
	PBS_ODD=may pbs_sound
}

@test "a full datastore is exit 16" {
	server
	mkdir src
	head -c 3000000 /dev/urandom >src/big
	pbs_fault nospace 'op=POST dynamic_chunk'
	run --separate-stderr put 1 src
	assert_failure 16
	assert_equal "$(pbs_do idle; pbs_snapshots)" ""
}

@test "a killed backup is not listed, and is no hindrance" {
	server
	mkdir src
	head -c 20000000 /dev/urandom >src/big
	# Only what was answered is counted: at least the first will be.
	pbs_fault stall 'op=POST dynamic_chunk' nth=2 when=late seconds=60
	cala-pbs put -q -c c -s $S --uuid "$(uuid 1)" src &
	pid=$!
	until [ "$(pbs_count op='POST dynamic_chunk')" -ge 1 ]; do
		kill -0 $pid
		sleep 0.05
	done
	kill -KILL $pid
	wait $pid || :
	run cala-pbs list -c c -s $S
	assert_output ""
}

@test "an interrupted backup ends by the signal and leaves nothing" {
	server
	mkdir src
	head -c 20000000 /dev/urandom >src/big
	pbs_fault stall 'op=POST dynamic_chunk' nth=2 when=late seconds=60
	cala-pbs put -q -c c -s $S --uuid "$(uuid 1)" src &
	pid=$!
	until [ "$(pbs_count op='POST dynamic_chunk')" -ge 1 ]; do
		kill -0 $pid
		sleep 0.05
	done
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	[ "$status" -eq 143 ]
	run cala-pbs list -c c -s $S
	assert_output ""
}

@test "what could not be read is a warning, and the backup is partial" {
	server
	mkdir src
	echo hello >src/f
	ln -s "$(printf 'x%.0s' $(seq 4000))" src/long || :
	python3 - <<-'END'
	import os
	d = os.open("src", os.O_RDONLY)
	os.symlink("y" * 4095, "longest", dir_fd=d)
	END
	put 1 src
	same 1 src
	pbs_sound
}

@test "attribute bits come back with a restore" {
	need chattr lsattr
	server 'change-detection = metadata'
	mkdir -p src/d
	echo hello >src/d/f
	if ! chattr +d src/d/f || ! chattr +A src/d; then
		inapplicable "this file system has no such bits"
	fi
	when=$(($(date +%s) + 10))
	put 1 src
	# A file that is not read has them, too.
	put 2 src
	mkdir r
	cala-pbs restore -q -c c -s $S -b "$(uuid 2)" r
	[[ $(lsattr r/d/f) =~ ^[^\ ]*d ]]
	[[ $(lsattr -d r/d) =~ ^[^\ ]*A ]]
	pbs_sound
}

@test "rules leave out what they name" {
	server
	sample src
	printf 'logs/\n*.mca\n' >rules
	put 1 --exclude-from rules src
	run cala-pbs ls -q -R -c c -s $S -b "$(uuid 1)"
	assert_success
	refute_line --partial logs
	refute_line --partial .mca
	cala-pbs list -c c -s $S | jq -e '.ignored == ["logs/", "*.mca"]'
	pbs_sound
}

# rss COMMAND...: KiB it had at most
rss() {
	python3 - "$@" <<-'END'
	import resource, subprocess, sys
	subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
	print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
	END
}

@test "memory stays where it should, whatever the size, there and back" {
	server
	mkdir src to
	head -c 300000000 /dev/urandom >src/noise
	lines 1500000 >src/text
	rss cala-pbs put -q -c c -s $S --uuid "$(uuid 1)" -j 4 src >rss
	rss cala-pbs restore -q -c c -s $S -b latest -j 4 to >>rss
	diff -r src to
	rss cala-pbs get -q -c c -s $S -b latest -j 4 >>rss
	cat rss
	# Sanitizers have their own idea of memory.
	[ -n "${CALA_SANITIZE:-}" ] ||
	    awk '$1 >= 98304 { bad = 1 } END { exit NR != 3 || bad }' rss
}

@test "a master key gets back the key that was lost" {
	pbs_start
	mkdir t
	echo one >t/a
	openssl genrsa -out master.pem 3072 2>/dev/null
	openssl rsa -in master.pem -pubout -out master.pub 2>/dev/null
	cala-pbs key create -q --kdf none key
	pbs_conf conf "encryption-key-file = $PWD/key" \
		"master-public-key = $PWD/master.pub"
	cala-pbs put -c c -s $S --uuid "$(uuid 1)" t
	PBS_KEY=$PWD/key pbs_sound
	cala-pbs verify -c c -b "$(uuid 1)" --read-data
	cala-pbs check -c c
	# The key and its configuration are gone.
	print=$(cala-pbs key show --json key | jq -r .fingerprint)
	rm key
	pbs_conf conf
	run cala-pbs cat -c c -b "$(uuid 1)" a
	[ "$status" -eq 12 ]
	cala-pbs sealed-key -c c -b "$(uuid 1)" >sealed
	run ! grep -q "$print" sealed
	openssl pkeyutl -decrypt -inkey master.pem -in sealed >key
	chmod 600 key
	[ "$(cala-pbs key show --json key | jq -r .fingerprint)" = "$print" ]
	pbs_conf conf "encryption-key-file = $PWD/key"
	[ "$(cala-pbs cat -c c -b "$(uuid 1)" a)" = one ]
	# One that was made without.
	cala-pbs put -c c -s $S --uuid "$(uuid 2)" t
	run --separate-stderr cala-pbs sealed-key -c c -b "$(uuid 2)"
	[ "$status" -eq 10 ]
	[ -z "$output" ]
	# A damaged one.
	blob=$(find "$PBS_DIR" -name rsa-encrypted.key.blob)
	printf x | dd of="$blob" bs=1 seek=99 conv=notrunc status=none
	run --separate-stderr cala-pbs sealed-key -c c -b "$(uuid 1)"
	[ "$status" -eq 14 ]
	[ -z "$output" ]
	run cala-pbs verify -c c -b "$(uuid 1)"
	[ "$status" -eq 14 ]
}

@test "a master key that is none, or for nothing, is refused before anything is sent" {
	pbs_start
	mkdir t
	echo one >t/a
	cala-pbs key create -q --kdf none key
	openssl genrsa -out small.pem 1024 2>/dev/null
	openssl rsa -in small.pem -pubout -out small 2>/dev/null
	openssl ecparam -name prime256v1 -genkey -noout 2>/dev/null |
		openssl ec -pubout -out ec 2>/dev/null
	echo none >none
	for pem in small ec none small.pem; do
		pbs_conf conf "encryption-key-file = $PWD/key" \
			"master-public-key = $PWD/$pem"
		run --separate-stderr cala-pbs put -c c -s $S t
		[ "$status" -eq 2 ]
		[ -z "$output" ]
		[[ $stderr == *'master-public-key'* ]]
	done
	openssl rsa -in small.pem -pubout -out small 2>/dev/null
	pbs_conf conf "master-public-key = $PWD/small"
	run --separate-stderr cala-pbs put -c c -s $S t
	[ "$status" -eq 2 ]
	[[ $stderr == *'no encryption-key'* ]]
	[ -z "$(pbs_snapshots)" ]
	[ "$(pbs_count op='upgrade backup')" = 0 ]
}
