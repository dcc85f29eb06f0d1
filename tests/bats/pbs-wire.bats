# TLS, HTTP/2 and the two sessions of lib/pbs, by tests/pbs/wire.c against our
# own server: whatever goes wrong has its exit status, says why, and leaves
# nothing that is listed.

load common
load ../pbs/pbs

setup() {
	pbs_wire
	cd "$BATS_TEST_TMPDIR" || return
	pbs_start
	# one that repeats, and ends in the middle of a piece
	{
		head -c 3300000 /dev/urandom
		head -c 4000000 /dev/zero
		echo end
	} >a
}

teardown() {
	pbs_stop
}

# nothing: no snapshot but those of x is there
nothing() {
	pbs_do idle
	if pbs_snapshots | grep -v '^- host/x '; then
		return 1
	fi
	[ -z "$(pbs_do locks)" ]
	pbs_do clear
}

x() {
	"$wire" put x 1700000000 a
}

@test "what goes up comes down, the second time without being sent" {
	x
	"$wire" get x 1700000000 | cmp - a
	n=$(pbs_count 'op=POST dynamic_chunk')
	[ "$n" -le 8 ] && [ "$n" -ge 4 ]
	cp a b
	echo more >>b
	"$wire" put x 1700000100 b 2>err
	grep -qx 'previous 1700000000' err
	[ "$(pbs_count 'op=POST dynamic_chunk')" -eq $((n + 1)) ]
	"$wire" get x 1700000100 | cmp - b
	pbs_run sound.py content "$PBS_DIR" x root.pxar.didx | cmp - b
	[ "$(pbs_snapshots | wc -l)" -eq 2 ]
}

@test "SETTINGS with 101, after it, byte by byte" {
	x
	for s in bytewise=true 'bytewise=false surplus=false'; do
		# shellcheck disable=SC2086
		pbs_do set $s
		"$wire" put y "$((t = ${t:-1700000000} + 1))" a
		pbs_do idle
		"$wire" get y "$t" | cmp - a
	done
}

@test "small windows, few streams, small frames, short header lists" {
	pbs_do set window=65535 frame=16384
	x
	pbs_do set window=20000
	"$wire" put y 1700000000 a
	pbs_do set window=33554432 streams=1
	"$wire" put z 1700000000 a
	"$wire" get z 1700000000 | cmp - a
	pbs_do set streams=100 header_list=16384
	"$wire" put w 1700000000 a
	pbs_do idle
	[ ! -s "$PBS_DIR/flags" ]
}

@test "answers that come late and in no order" {
	pbs_do set shuffle=0.1 hold=4
	x
	pbs_do set hold=0 latency=0.05
	"$wire" get x 1700000000 | cmp - a
	# several were under way at once
	[ "$(pbs_do peak)" -ge 4 ]
}

@test "4.x is spoken to alike, and a lock that ends with finish" {
	pbs_do set release:='"4.2"'
	x
	"$wire" put x 1700000001 a
	"$wire" get x 1700000001 | cmp - a
}

@test "the lock of a session that has just ended is waited for, or said" {
	pbs_do set linger=0.4
	x
	run --separate-stderr "$wire" put x 1700000001 a
	[ "$status" -eq 0 ] || [ "$status" -eq 11 ]
	pbs_do idle
	pbs_do lock id=y
	fails_with 11 'already running' "$wire" put y 1700000000 a
	pbs_do unlock id=y
	"$wire" put y 1700000000 a
	pbs_do idle
	pbs_do set release:='"4.2"'
	pbs_do lock id=y
	fails 11 "$wire" put y 1700000009 a
}

@test "what the server refuses before 101 has a status of its own" {
	x
	PBS_SECRET=wrong fails 12 "$wire" put y 1700000000 a
	PBS_TOKEN='cala@pbs!none' fails 12 "$wire" put y 1700000000 a
	PBS_STORE=nostore fails 10 "$wire" put y 1700000000 a
	PBS_NS=none fails 10 "$wire" put y 1700000000 a
	fails 15 "$wire" put x 1700000000 a
	fails 15 "$wire" put x 1600000000 a
	fails 10 "$wire" get x 1700000001
	fails 10 "$wire" get none 1700000001
	pbs_do token 'id=cala@pbs!weak' secret=w
	pbs_do grant 'id=cala@pbs!weak' path=/datastore role=DatastoreAudit
	PBS_TOKEN='cala@pbs!weak' PBS_SECRET=w fails 12 "$wire" put y 1700000000 a
	PBS_TOKEN='cala@pbs!weak' PBS_SECRET=w fails 12 "$wire" get x 1700000000
	pbs_do grant 'id=cala@pbs!weak' path=/datastore role=DatastoreBackup
	PBS_TOKEN='cala@pbs!weak' PBS_SECRET=w fails 12 "$wire" put x 1700000009 a
	pbs_do maintenance mode=read-only
	fails 20 "$wire" put y 1700000000 a
	pbs_do maintenance mode=
	pbs_fault status 'op=upgrade backup' status=503 'text=try later' when=early
	fails_with 13 'try later' "$wire" put y 1700000000 a
	nothing
}

@test "another certificate than the pinned one gets no token" {
	old=$PBS_FINGERPRINT
	new=$(pbs_do certificate)
	fails_with 17 "$new" "$wire" put y 1700000000 a
	[[ $stderr == *"$old"* ]]
	[ "$(pbs_count kind=rest)" -eq 0 ]
	PBS_FINGERPRINT=${new//:/} "$wire" put y 1700000000 a
	PBS_FINGERPRINT=${new^^} "$wire" get y 1700000000 | cmp - a
	PBS_FINGERPRINT=${new%:*} fails 2 "$wire" get y 1700000000
	# no pin: whoever signed it counts, and the name
	PBS_FINGERPRINT='' fails 17 "$wire" get y 1700000000
	PBS_FINGERPRINT='' WIRE_CACERT=$PBS_DIR/cert.pem "$wire" get y 1700000000 |
		cmp - a
	pbs_do certificate name=elsewhere.invalid
	PBS_FINGERPRINT='' WIRE_CACERT=$PBS_DIR/cert.pem \
		PBS_URL=https://localhost:$PBS_PORT \
		fails 17 "$wire" get y 1700000000
}

@test "a server that is not there, resets, or speaks something else" {
	pbs_do set refuse=100
	fails 13 "$wire" put y 1700000000 a
	pbs_do set refuse=0
	pbs_fault garbage 'op=upgrade backup' when=head count=0
	fails 13 "$wire" put y 1700000000 a
	pbs_do clear
	pbs_fault json 'op=upgrade backup' text=hello count=0
	run --separate-stderr "$wire" put y 1700000000 a
	[ "$status" -eq 13 ] || [ "$status" -eq 14 ] || [ "$status" -eq 1 ]
	pbs_do clear
	pbs_fault reset 'op=upgrade backup' when=head count=0
	fails 13 "$wire" put y 1700000000 a
	nothing
	pbs_stop
	fails 13 "$wire" put y 1700000000 a
}

@test "the connection is cut at any byte: nothing is listed" {
	x
	for n in 0 1 30 100 1000 60000 100000 1100000 3000000; do
		pbs_fault cut 'op=session backup' "after=$n"
		fails 13 "$wire" put y 1700000000 a
		nothing
	done
	for n in 0 1 20 40 60 100 200; do
		pbs_fault cut 'op=session backup' side=out "after=$n"
		fails 13 "$wire" put y 1700000000 a
		nothing
	done
	for n in 0 1 100 5000 1000000; do
		pbs_fault cut 'op=session reader' side=out "after=$n"
		report_fails 13 '' "$wire" get x 1700000000
	done
	pbs_do idle
	[ ! -s "$PBS_DIR/err" ]
}

@test "and at any request" {
	for op in 'GET previous_backup_time' 'POST dynamic_index' \
	    'POST dynamic_chunk' 'PUT dynamic_index' 'POST dynamic_close' \
	    'POST blob'; do
		for how in 'reset when=head' 'reset when=late' 'close when=done' \
		    'rst code=11' 'goaway code=2' 'garbage when=late'; do
			# shellcheck disable=SC2086
			pbs_fault "${how%% *}" "op=$op" ${how#* }
			fails 13 "$wire" put y 1700000000 a
			nothing
		done
	done
}

@test "GOAWAY says which requests will be answered" {
	pbs_fault goaway 'op=POST dynamic_chunk' nth=3 code=0 last=1
	fails 13 "$wire" put y 1700000000 a
	nothing
}

@test "finish: lost before the server did it, and after" {
	pbs_fault reset 'op=POST finish' when=head
	run --separate-stderr "$wire" put y 1700000000 a
	[ "$status" -eq 19 ] || [ "$status" -eq 13 ]
	nothing
	# it did, and nobody knows
	pbs_fault reset 'op=POST finish' when=done
	fails 19 "$wire" put y 1700000000 a
	pbs_do idle
	[ "$(pbs_snapshots)" = "- host/y 1700000000 whole" ]
	"$wire" get y 1700000000 | cmp - a
	pbs_fault status 'op=POST finish' status=400 'text=unable to sync'
	fails_with 1 'unable to sync' "$wire" put z 1700000000 a
	pbs_do idle
	[[ $(pbs_snapshots) != *host/z* ]]
}

@test "the disk is full: 16" {
	for op in 'POST dynamic_chunk' 'POST blob' 'POST finish'; do
		pbs_fault nospace "op=$op"
		fails_with 16 'No space left' "$wire" put y 1700000000 a
		nothing
	done
}

@test "a refusal comes before all of the body is sent" {
	pbs_do set window=65535
	pbs_fault status 'op=POST dynamic_chunk' nth=2 status=400 \
		'text=no more of that' when=early
	fails_with 1 'no more of that' "$wire" put y 1700000000 a
	nothing
	pbs_fault status 'op=POST dynamic_chunk' nth=2 status=503 \
		'text=busy' when=early
	fails_with 13 'busy' "$wire" put y 1700000000 a
	nothing
}

@test "chunks that are not what the index says: 14" {
	x
	for how in flip truncate longer swap; do
		pbs_fault "$how" 'op=GET chunk' nth=2 after=100 at=500
		run --separate-stderr "$wire" get x 1700000000
		[ "$status" -eq 14 ] || { echo "$how: $status $stderr"; false; }
		pbs_do clear
	done
	# text of hostile answers stays on one line, and short
	pbs_fault status 'op=GET chunk' status=400 \
		"text=$(printf '\\u001b[31mred\\n%.0s' 1)"
	run --separate-stderr "$wire" get x 1700000000
	[ "$status" -ne 0 ]
	[[ $stderr != *$'\e'* ]]
	# the store has lost one
	rm "$(find "$PBS_DIR/store1/.chunks" -type f -size +100 | head -n 1)"
	report_fails 10 '' "$wire" get x 1700000000
}

@test "silence is not waited for for ever" {
	x
	pbs_fault stall 'op=GET chunk' nth=2 seconds=600
	WIRE_STALL=1 report_fails 13 '' "$wire" get x 1700000000
	pbs_fault freeze 'op=POST dynamic_chunk' nth=2 seconds=4
	WIRE_STALL=1 fails 13 "$wire" put y 1700000000 a
	pbs_do set before_101=4
	WIRE_ANSWER=1 fails 13 "$wire" put z 1700000000 a
}

@test "it ends with the signal, and the snapshot with it" {
	mkfifo f
	"$wire" put y 1700000000 f 2>err &
	pid=$!
	exec 7>f
	cat a >&7
	until pbs_snapshots | grep -q host/y; do sleep 0.05; done
	kill -KILL $pid
	wait $pid || true
	exec 7>&-
	nothing
	[ "$(cat "$PBS_DIR/store1/host/y/owner")" = "$PBS_TOKEN" ]
}
