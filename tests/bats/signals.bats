# INT, TERM and KILL at any moment: nothing that is not whole is ever listed,
# and the next run works without help and does what is owed.

load common

setup() {
	PATH=$PATH:$top/contrib/examples
	cd "$BATS_TEST_TMPDIR"
	mkdir srv store
	export CALA_CONFIG=$PWD/cala.conf
	head -c 3000000 /dev/urandom >srv/big
	mkfifo gate
	printf '#!/bin/sh\n[ ! -e %s/hold ] || exec cat %s/gate\n' "$PWD" "$PWD" >pre
	printf '#!/bin/sh\necho "$CALA_CODE ${CALA_RECOVERED-}" >>%s/post.ran\n' "$PWD" >post
	chmod 755 pre post
	cat >cala.conf <<-EOT
	[server "survival"]
	path = $PWD/srv
	configuration = toy
	pre-backup = $PWD/pre
	post-backup = $PWD/post
	[configuration "toy"]
	disk = toy
	directory = $PWD/store
	archive-format = tar
	EOT
	chmod 600 cala.conf
}

# whole: every backup that is listed verifies.
whole() {
	local id
	while read -r id; do
		cala verify survival "$id" >/dev/null
	done < <(cala list survival | cut -f 2)
}

# slow: cala-pack that stops in the middle until it is told to go on; a copy of
# cala finds it beside itself.
slow() {
	mkdir bin
	cp "$(command -v cala)" bin/cala
	cat >bin/cala-pack <<-EOT
	#!/bin/bash
	head -c 100000 /dev/zero
	: >$PWD/packing
	read -r _ <$PWD/gate
	EOT
	chmod 755 bin/cala-pack
}

wait_for() {
	local i
	for ((i = 0; i < 1000; i++)); do
		[ ! -e "$1" ] || return 0
		sleep 0.02
	done
	echo "$1 never came" >&2
	return 1
}

@test "TERM ends the children, runs the post hook, frees the lock, dies by TERM" {
	slow
	bin/cala backup survival 2>err &
	pid=$!
	wait_for packing
	kill -TERM $pid
	status=0
	wait $pid || status=$?
	echo "$status"; cat err
	[ "$status" -eq 143 ]
	[ "$(cat post.ran)" = "143 " ]
	[ -z "$(find store -name '*.tar' -o -name '.*part*')" ]
	[ -z "$(compgen -G "run/*.state")" ]
	run cala backup survival
	[ "$status" -eq 0 ]
	[ "$(wc -l <post.ran)" -eq 2 ]
}

@test "INT during the pre hook ends it; post-backup runs; 130" {
	touch hold
	# Background jobs of a shell ignore INT; setsid's child must not.
	python3 -c 'import signal,os,sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp("cala", ["cala", "backup", "survival"])' 2>err &
	pid=$!
	exec 7>gate
	kill -INT $pid
	status=0
	wait $pid || status=$?
	exec 7>&-
	echo "$status"; cat err
	[ "$status" -eq 130 ]
	[ "$(cat post.ran)" = "130 " ]
	[ -z "$(find store -name '*.tar')" ]
}

@test "KILL of cala: the sink aborts, the next run runs the missed hook first" {
	slow
	bin/cala backup survival 2>err &
	pid=$!
	wait_for packing
	kill -KILL $pid
	status=0
	wait $pid || status=$?
	[ "$status" -eq 137 ]
	[ -n "$(compgen -G "run/*.state")" ]
	[ ! -e post.ran ]
	run --separate-stderr cala backup survival
	[ "$status" -eq 0 ]
	[ "$(head -1 post.ran)" = "137 1" ]
	[ "$(sed -n 2p post.ran)" = "0 " ]
	[ "$(cala list survival | wc -l)" -eq 1 ]
	[ -z "$(find store -name '.*part*')" ]
	whole
}

@test "KILL during the pre hook: break-lock alone pays what is owed" {
	touch hold
	cala backup survival 2>err &
	pid=$!
	exec 7>gate
	kill -KILL $pid
	status=0
	wait $pid || status=$?
	exec 7>&-
	rm hold
	cala break-lock survival
	[ "$(cat post.ran)" = "137 1" ]
	[ -z "$(ls -A run)" ]
}

@test "KILL at random moments: what is listed is whole, the next run works" {
	local i n
	head -c 30000000 /dev/urandom >srv/big
	RANDOM=7
	for ((i = 0; i < 12; i++)); do
		cala backup survival >/dev/null 2>&1 &
		pid=$!
		sleep "0.$(printf %03d $((RANDOM % 300)))"
		kill -KILL $pid 2>/dev/null || true
		wait $pid 2>/dev/null || true
		whole
	done
	rm -f post.ran
	n=$(cala list survival | wc -l)
	run cala backup survival
	[ "$status" -eq 0 ]
	[ "$(cala list survival | wc -l)" -eq $((n + 1)) ]
	[ "$(tail -1 post.ran)" = "0 " ]
	whole
}

# asked PID: send USR1 until a status line is in the file err.
asked() {
	local i
	# A process that has only begun would die of it.
	until grep -qE '^Sig(Blk|Cgt|Ign):.*[2367abef]..$' "/proc/$1/status"
	do
		sleep 0.02
	done
	for i in $(seq 600); do
		kill -USR1 "$1" || return 1
		! grep -qE "$2: .*/s" err || return 0
		sleep 0.1
	done
	return 1
}

@test "SIGUSR1: a status line from every tool that transfers" {
	mkdir t out
	head -c 3000000 /dev/urandom >t/big
	cala-pack -f tar -C t . >t.tar
	mkfifo f
	export CALA_CONFIG=$PWD/usr1.conf
	printf '[configuration "c"]\ndisk = local\nbackup-directory = %s\n' \
		"$PWD/usr1" >usr1.conf
	chmod 600 usr1.conf
	cala-unpack -C out <f 2>err &
	pid=$!
	exec 7>f
	head -c 1000000 t.tar >&7
	asked $pid cala-unpack
	tail -c +1000001 t.tar >&7
	exec 7>&-
	wait $pid
	cmp t/big out/big
	cala-local put -c c -s 9d8f2b6c-6a53-4a43-b6dd-0d3b8b1c9a11 <f 2>err &
	pid=$!
	exec 7>f
	head -c 1000000 t.tar >&7
	asked $pid cala-local
	tail -c +1000001 t.tar >&7
	exec 7>&-
	wait $pid
}

@test "SIGUSR1 to cala is for those who do the work, and harms nobody" {
	PATH=$PATH:$top/contrib/examples
	mkdir t toys
	head -c 300000 /dev/urandom >t/big
	export CALA_CONFIG=$PWD/usr1.conf RUNTIME_DIRECTORY=$PWD/usr1run
	cat >usr1.conf <<-EOT
	[server "s"]
	path = $PWD/t
	configuration = c
	[configuration "c"]
	disk = toy
	directory = $PWD/toys
	archive-format = tar
	EOT
	chmod 600 usr1.conf
	cala backup s --limit-read 40000 >id 2>err &
	pid=$!
	asked $pid cala-pack
	wait $pid
	[ "$(cala list s | cut -f 2)" = "$(cat id)" ]
}
