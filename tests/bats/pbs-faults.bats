# cala-pbs when the server, or the way to it, does what it should not: a clear
# message, its own exit status, and never a snapshot that is listed but not
# whole.  The wire itself is in pbs-wire.bats.

load common
load ../pbs/pbs

driver=cala-pbs
S=11111111-aaaa-4bbb-8ccc-000000000001
U=aaaa1111-0000-4000-8000-000000000001
U2=aaaa2222-0000-4000-8000-000000000002

setup() {
	need cala-pbs jq
	cd "$BATS_TEST_TMPDIR" || return
	pbs_start
	pbs_conf "$PWD/cala.conf"
	mkdir -p t/world
	# more than one chunk, and nothing that a hash would cut early
	head -c 18000000 /dev/urandom >t/world/big
	seq 1 5000 >t/world/level.dat
	printf 'motd=hello\n' >t/server.properties
	tar -C t -cf t.tar --sort=name .
}

teardown() {
	pbs_stop
}

stream() {
	d put -s $S --uuid "${1:-$U}" <t.tar
}

# nothing: no snapshot is there, whole or not, and no lock
nothing() {
	pbs_do idle
	[ -z "$(pbs_snapshots)" ]
	[ -z "$(pbs_do locks)" ]
	[ -z "$(d list)" ]
	pbs_do clear
}

@test "a stream is not repeated: what cuts it off is 13, and nothing is stored" {
	for n in 2000 3000000 17000000; do
		pbs_fault cut 'op=session backup' "after=$n"
		fails 13 stream
		nothing
	done
	for op in 'GET previous*' 'POST dynamic_index' 'POST dynamic_chunk' \
	    'PUT dynamic_index' 'POST dynamic_close' 'POST blob'; do
		pbs_fault reset "op=$op" when=done
		fails 13 stream
		nothing
		pbs_fault goaway "op=$op" code=2
		fails 13 stream
		nothing
	done
	pbs_sound
}

@test "a directory is read again: --retries" {
	for n in 2000 3000000 17000000; do
		pbs_fault cut 'op=session backup' "after=$n"
		d put "$PWD/t" -s $S --uuid $U >record
		jq -e '.complete' record
		[ "$(d list | jq -r .uuid)" = $U ]
		d verify -b $U --read-data
		d rm -b $U
		pbs_do clear
	done
	pbs_conf "$PWD/cala.conf" 'retries = 1'
	pbs_fault cut 'op=session backup' after=3000000 count=0
	fails 13 d put "$PWD/t" -s $S --uuid $U
	[ "$(pbs_do used)" = 2 ]
	nothing
	pbs_sound
}

@test "the disk is full: 16" {
	for op in 'POST dynamic_chunk' 'POST blob' 'POST finish'; do
		pbs_fault nospace "op=$op" count=0
		fails_with 16 'No space left' stream
		nothing
		pbs_fault nospace "op=$op" count=0
		fails_with 16 'No space left' d put "$PWD/t" -s $S --uuid $U
		nothing
	done
	pbs_sound
}

@test "somebody else writes, reads or removes: 11" {
	pbs_do lock "id=calagopus-$S"
	fails 11 stream
	pbs_do unlock "id=calagopus-$S"
	stream
	when=$(pbs_snapshots | cut -d' ' -f3)
	pbs_do hold "id=calagopus-$S" "time=$when"
	fails 11 d rm -b $U
	fails 11 d set -b $U --lock
	[ "$(d list | jq -r .uuid)" = $U ]
	pbs_do release "id=calagopus-$S" "time=$when"
	d rm -b $U
	nothing
	pbs_sound
}

@test "another certificate, a wrong or expired token, a lesser one" {
	stream
	new=$(pbs_do certificate)
	for verb in list check 'get -b '$U 'ls -b '$U "rm -b $U"; do
		# shellcheck disable=SC2086
		run --separate-stderr d $verb
		[ "$status" -eq 17 ] || { echo "$verb: $status"; false; }
		[[ $stderr$output == *"$new"* ]] || { echo "$verb: $stderr"; false; }
	done
	fails_with 17 "$new" stream $U2
	PBS_FINGERPRINT=$new
	pbs_conf "$PWD/cala.conf"
	pbs_do token "id=$PBS_TOKEN" secret=another
	for verb in list 'get -b '$U "rm -b $U"; do
		# shellcheck disable=SC2086
		fails 12 d $verb
	done
	fails 12 stream $U2
	pbs_do token "id=$PBS_TOKEN" "secret=$PBS_SECRET"
	# may store and read its own, and no more
	for who in "$PBS_TOKEN" 'cala@pbs'; do
		pbs_do grant "id=$who" path=/datastore role=DatastoreBackup
	done
	stream $U2
	[ "$(d list | wc -l)" -eq 2 ]
	d verify -b $U2 --read-data
	fails 12 d rm -b $U2
	for who in "$PBS_TOKEN" 'cala@pbs'; do
		pbs_do grant "id=$who" path=/datastore role=DatastoreAdmin
	done
	pbs_do owner "id=calagopus-$S" 'owner=else@pbs!t'
	fails 12 stream bbbb3333-0000-4000-8000-000000000003
	[ "$(d list | wc -l)" -eq 2 ]
	pbs_sound
}

@test "the server is not there, answers nonsense, or is in maintenance" {
	pbs_conf "$PWD/cala.conf" 'retries = 1'
	pbs_do maintenance mode=offline
	fails 20 stream
	pbs_do maintenance mode=
	for text in '' '{"data":' '[]' '{"data":{}}' null; do
		pbs_do clear
		pbs_fault json 'op=GET S/snapshots' "text:=$(jq -n --arg t "$text" '$t')" \
			count=0
		run --separate-stderr d list
		[ "$status" -eq 14 ]
		[ -z "$output" ]
	done
	pbs_do clear
	pbs_do set chunked=true
	stream
	[ "$(d list | jq -r .uuid)" = $U ]
	pbs_fault truncate 'op=GET S/snapshots' after=50 count=0
	run --separate-stderr d list
	[ "$status" -ne 0 ] && [ -z "$output" ]
	pbs_do clear
	pbs_fault status 'op=GET S/snapshots' status=503 text=busy count=0
	fails_with 13 'busy' d list
	pbs_stop
	fails 13 d list
	fails 13 d get -b $U
}

@test "finish is lost: what came of it is found out" {
	pbs_fault reset 'op=POST finish' when=done
	run --separate-stderr stream
	[ "$status" -eq 0 ]
	[ "$(jq -r .uuid <<<"$output")" = $U ]
	d verify -b $U --read-data
	pbs_do clear
	d rm -b $U
	pbs_fault reset 'op=POST finish' when=head
	fails 13 stream
	nothing
	# and when nobody can be asked
	pbs_conf "$PWD/cala.conf" 'retries = 1'
	mkfifo f
	cala-pbs put -c c -s $S --uuid $U <f >out 2>err &
	pid=$!
	exec 7>f
	head -c 17000000 t.tar >&7
	until pbs_snapshots | grep -q broken; do sleep 0.05; done
	pbs_fault reset 'op=POST finish' when=done
	pbs_fault status 'op=GET S/*' status=503 text=busy count=0
	tail -c +17000001 t.tar >&7
	exec 7>&-
	status=0
	wait $pid || status=$?
	[ "$status" -eq 19 ] || { echo "$status"; cat err; false; }
	[ ! -s out ]
	grep -q $U err
	pbs_do clear
	pbs_do idle
	d list | jq -e --arg u $U '.uuid == $u'
	pbs_sound
}

@test "wrong, short and lost chunks: 14, and no damaged file is left" {
	stream
	for how in flip truncate longer swap; do
		pbs_fault "$how" 'op=GET chunk' nth=2 after=5000 at=5000 count=0
		run --separate-stderr bash -c 'cala-pbs get -c c -b "$1" |
			cat >/dev/null; exit "${PIPESTATUS[0]}"' _ $U
		[ "$status" -eq 14 ] || { echo "$how: $status $stderr"; false; }
		run --separate-stderr d verify -b $U --read-data
		[ "$status" -eq 14 ]
		rm -rf out
		mkdir out
		run --separate-stderr d restore "$PWD/out" -b $U
		[ "$status" -eq 14 ]
		[ ! -e out/world/big ]
		pbs_do clear
	done
	pbs_fault flip 'op=GET download' query=root at=4200
	fails 14 d ls -b $U
	pbs_fault flip 'op=GET download' query=index.json at=20
	fails 14 d ls -b $U
	pbs_do clear
	rm "$(find "$PBS_DIR/store1/.chunks" -type f -size +2000 | head -n 1)"
	run --separate-stderr d verify -b $U --read-data
	[ "$status" -eq 14 ]
	[ "$(d list | jq -r .uuid)" = $U ]
}

@test "a connection that breaks while it is read is made anew" {
	stream
	for n in 100 4500000 17000000; do
		pbs_fault cut 'op=session reader' side=out "after=$n"
		rm -rf out
		mkdir out
		d restore "$PWD/out" -b $U
		diff -r t out
		pbs_do clear
	done
	pbs_conf "$PWD/cala.conf" 'retries = 1'
	pbs_fault cut 'op=session reader' side=out after=1000 count=0
	fails 13 d ls -b $U
	pbs_do clear
	pbs_sound
}

@test "a job that fails is said: 14" {
	stream
	d verify-job -b $U
	pbs_do set verify=failed
	run --separate-stderr d verify-job -b $U
	[ "$status" -eq 14 ]
	run --separate-stderr d verify -b $U
	[[ $output$stderr == *failed* ]]
	# the next backup trusts nothing of it
	n=$(pbs_count 'op=POST dynamic_chunk')
	d put "$PWD/t" -s $S --uuid $U2 >/dev/null
	[ "$(pbs_count 'op=POST dynamic_chunk')" -gt $((n + 1)) ]
}

@test "slow, small and disordered: it goes on, and bounds what is under way" {
	pbs_do set window=65535 streams=2 shuffle=0.05 hold=2 release:='"4.2"'
	d put "$PWD/t" -s $S --uuid $U >/dev/null
	pbs_do set window=33554432 streams=0 latency=0.05
	d put "$PWD/t" -s $S --uuid $U2 --force-read >/dev/null
	d get -b $U2 | tar -xO ./world/big world/big 2>/dev/null | cmp - t/world/big
	pbs_sound
}

@test "killed, it leaves nothing that is listed" {
	mkfifo f
	cala-pbs put -c c -s $S --uuid $U <f >out 2>err &
	pid=$!
	exec 7>f
	head -c 17000000 t.tar >&7
	until pbs_snapshots | grep -q broken; do sleep 0.05; done
	[ -z "$(d list)" ]
	kill -KILL $pid
	wait $pid || true
	exec 7>&-
	nothing
	stream
	[ "$(d list | jq -r .uuid)" = $U ]
	PBS_ODD=may pbs_sound
}
