# The calls of lib/pbs outside of sessions, by tests/pbs/wire.c against our own
# server; and the ways to it: a proxy, a long line.

load common
load ../pbs/pbs

setup() {
	pbs_wire
	need jq
	cd "$BATS_TEST_TMPDIR" || return
	pbs_start
	WAY=
	head -c 100000 /dev/urandom >a
}

teardown() {
	if [ -n "$WAY" ]; then
		kill "$WAY" 2>/dev/null || :
		wait "$WAY" || :
	fi
	pbs_stop
}

# call CALL [ID TIME [ARGUMENT]]
call() {
	"$wire" rest "$@"
}

# says JQ CALL...: its answer makes JQ true
says() {
	local filter=$1
	shift
	call "$@" >answer
	jq -e "$filter" answer >/dev/null || { cat answer; return 1; }
}

three() {
	local t
	for t in 1700000000 1700000100 1700000200; do
		"$wire" put x "$t" a 2>/dev/null
	done
}

# behind PROGRAM...: PBS_URL leads through it
behind() {
	"$@" 3>&- &
	WAY=$!
	while [ ! -f way ]; do
		kill -0 "$WAY" || return 1
		sleep 0.02
	done
}

@test "reach and rights" {
	PBS_SECRET=wrong call ping
	says '.version == "3.2" and .release == "4"' version
	says '."Datastore.Backup" and ."Datastore.Modify"' permissions
	says '.total == 1000000000000 and .avail == 990000000000' status
	PBS_SECRET=wrong fails_with 12 401 call version
	pbs_do token 'id=cala@pbs!none' secret=n
	PBS_TOKEN='cala@pbs!none' PBS_SECRET=n says '. == {}' permissions
	PBS_TOKEN='cala@pbs!none' PBS_SECRET=n fails_with 12 403 call snapshots
	PBS_STORE=other fails_with 10 "no such datastore 'other'" call status
	pbs_do token 'id=cala@pbs!old' secret=o expires=-1
	PBS_TOKEN='cala@pbs!old' PBS_SECRET=o fails_with 12 401 call version
}

@test "a secret of any bytes" {
	pbs_do token 'id=cala@pbs!odd' 'secret=a b%41#{}<>?ü' role=DatastoreAdmin
	export PBS_TOKEN='cala@pbs!odd' PBS_SECRET='a b%41#{}<>?ü'
	says '.version' version
	"$wire" put y 1700000000 a
	"$wire" get y 1700000000 | cmp - a
}

@test "namespaces, and what is in them" {
	call namespace a 0
	PBS_NS=a call namespace b 0
	says 'map(.ns) == ["", "a", "a/b"]' namespaces
	PBS_NS=a says 'map(.ns) == ["a", "a/b"]' namespaces
	PBS_NS=a/b "$wire" put x 1700000000 a
	says '. == []' snapshots
	PBS_NS=a/b says 'length == 1 and .[0]."backup-id" == "x"' snapshots
	PBS_NS=a/b says 'length == 1 and .[0]."backup-count" == 1' groups
	PBS_NS=a/b says '.[0].filename == "root.pxar.didx"' files x 1700000000
	PBS_NS=a/b call set-notes x 1700000000 'here'
	PBS_NS=a/b says '. == "here"' notes x 1700000000
	PBS_NS=a/b call protect x 1700000000 yes
	PBS_NS=a/b says '. == true' protected x 1700000000
	PBS_NS=a/b "$wire" get x 1700000000 | cmp - a
	PBS_NS=a/b call protect x 1700000000 no
	PBS_NS=a/b call forget x 1700000000
	PBS_NS=a/b says '. == []' snapshots
	PBS_NS=a/c fails_with 10 404 "$wire" put x 1700000000 a
}

@test "snapshots, files, marks" {
	three
	says 'map(."backup-time") | sort == [1700000000, 1700000100, 1700000200]' \
		snapshots x
	says '. == []' snapshots nobody
	says 'map(.filename) == ["root.pxar.didx", "index.json.blob"]' \
		files x 1700000000
	fails 10 call files x 1700000001
	call download x 1700000000 root.pxar.didx >didx
	cmp didx "$PBS_DIR/store1/host/x/2023-11-14T22:13:20Z/root.pxar.didx"
	fails 10 call download x 1700000000 other.blob
	says '. == ""' notes x 1700000000
	text=$'name · group · 1\nsecond "line" \\ ü &=+%'
	call set-notes x 1700000000 "$text"
	[ "$(call notes x 1700000000 | jq -r .)" = "$text" ]
	call set-notes x 0 'of the group'
	says '. == "of the group"' notes x 0
	says '. == false' protected x 1700000000
	# longer than a URL may be
	call set-notes x 1700000100 "$(head -c 20000 /dev/zero | tr '\0' n)"
	[ "$(call notes x 1700000100 | jq -r . | wc -c)" -eq 20001 ]
	fails_with 2 'longer' call set-notes x 1700000100 \
		"$(head -c 50000 /dev/zero | tr '\0' n)"
	fails_with 2 'UTF-8' call set-notes x 1700000100 $'\xff'
	pbs_count 'op=PUT S/notes'
}

@test "forget and prune, and what they must not take" {
	three
	call protect x 1700000100 yes
	fails_with 22 protected call forget x 1700000100
	pbs_do hold id=x time=1700000000
	fails 11 call forget x 1700000000
	pbs_do release id=x time=1700000000
	fails_with 2 'no rule' call prune x 0 0
	says 'map(.keep) == [false, true, true]' prune-dry x 0 1
	[ "$(pbs_snapshots | wc -l)" -eq 3 ]
	says 'map(.keep) == [false, true, true]' prune x 0 1
	[ "$(pbs_snapshots | wc -l)" -eq 2 ]
	fails 10 call forget x 1700000000
	call forget x 1700000200
	[ "$(pbs_snapshots)" = "- host/x 1700000100 whole" ]
}

@test "the server's own verification" {
	three
	pbs_do set new_delay=1.5
	call verify x 1700000200 >out
	grep -q '^UPID:.*:verify_snapshot:' out
	grep -q 'TASK OK' out
	grep -qx 'verdict 0' out
	pbs_do set verify=failed
	report_fails 14 'verification failed' call verify x 1700000100
	[[ $output == *TASK\ ERROR* ]]
	fails 10 call verify x 1700000001
}

@test "reads are repeated, changes are not" {
	three
	for action in reset close; do
		pbs_fault $action 'op=GET S/snapshots' when=late count=2
		says 'length == 3' snapshots
		[ "$(pbs_do used)" = 2 ]
		pbs_do clear
	done
	# not all of it arrived
	pbs_fault truncate 'op=GET S/snapshots' after=20 count=1
	says 'length == 3' snapshots
	pbs_fault status 'op=GET S/snapshots' status=503 text=busy count=1
	says 'length == 3' snapshots
	pbs_do clear
	pbs_fault reset 'op=DELETE S/snapshots' when=done count=1
	fails 13 call forget x 1700000000
	[ "$(pbs_count 'op=DELETE S/snapshots')" -eq 1 ]
	[ "$(pbs_snapshots | wc -l)" -eq 2 ]
	pbs_do clear
	pbs_fault status 'op=PUT S/notes' status=400 'text=No space left on device'
	fails_with 16 'No space' call set-notes x 1700000100 t
	pbs_do clear
	WIRE_ANSWER=1 pbs_fault stall 'op=GET S/status' when=late seconds=60
	WIRE_ANSWER=1 fails_with 13 'no answer' call status
}

@test "an answer that makes no sense is none" {
	pbs_fault json 'op=GET S/snapshots' 'text={"data":' count=0
	fails_with 14 'JSON' call snapshots
	pbs_do clear
	pbs_fault json 'op=GET S/snapshots' 'text={"data":{}}'
	fails_with 14 'array' call snapshots
	pbs_fault json 'op=GET S/status' 'text=[]'
	fails_with 14 'without data' call status
	pbs_fault json 'op=GET version' 'text={"data":null,"data":1}'
	fails 14 call version
	pbs_fault json 'op=GET ping' 'text={"data":{}}'
	fails_with 13 'no Proxmox' call ping
	pbs_do set chunked=true
	says '.version' version
}

@test "a call trusts nobody but the pinned one, either" {
	old=$PBS_FINGERPRINT
	new=$(pbs_do certificate)
	fails_with 17 "$new" call version
	[[ $stderr == *"$old"* ]]
	[ "$(pbs_count kind=rest)" -eq 0 ]
	PBS_FINGERPRINT='' fails_with 17 "$new" call version
	[ "$(pbs_count kind=rest)" -eq 0 ]
	PBS_FINGERPRINT='' WIRE_CACERT=$PBS_DIR/cert.pem says .version version
	pbs_do certificate name=elsewhere.invalid
	PBS_FINGERPRINT='' WIRE_CACERT=$PBS_DIR/cert.pem \
		PBS_URL=https://localhost:$PBS_PORT fails 17 call version
	PBS_URL=http://127.0.0.1:$PBS_PORT fails_with 2 'in the clear' call version
	PBS_URL=https://127.0.0.1:$PBS_SIDE fails 13 call version
}

@test "what became of a finish" {
	three
	says '. == 1' finished x 1700000200
	says '. == 0' finished x 1700000001
	# not in time to be asked
	pbs_fault status 'op=GET S/download' status=403 text=no count=0
	fails 19 call finished x 1700000200
}

@test "through a proxy" {
	cat >proxy.py <<-'END'
	import socket, sys, threading
	allow = sys.argv[1] == "yes"
	listener = socket.create_server(("127.0.0.1", 0))
	def pump(a, b):
	    try:
	        while data := a.recv(65536):
	            b.sendall(data)
	        b.shutdown(socket.SHUT_WR)
	    except OSError:
	        pass
	def one(s):
	    head = b""
	    while b"\r\n\r\n" not in head:
	        head += s.recv(1)
	    print(head.decode().split("\r\n")[0], flush=True)
	    if not allow:
	        s.sendall(b"HTTP/1.1 407 Who?\r\ncontent-length: 0\r\n\r\n")
	        s.close()
	        return
	    host, port = head.split(b" ")[1].decode().rsplit(":", 1)
	    far = socket.create_connection((host, int(port)))
	    s.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
	    threading.Thread(target=pump, args=(far, s), daemon=True).start()
	    pump(s, far)
	with open("way.new", "w") as f:
	    f.write(str(listener.getsockname()[1]))
	import os
	os.rename("way.new", "way")
	while True:
	    s, _ = listener.accept()
	    threading.Thread(target=one, args=(s,), daemon=True).start()
	END
	behind "$PBS_PYTHON" proxy.py yes >asked
	WIRE_PROXY=http://127.0.0.1:$(cat way)
	export WIRE_PROXY
	"$wire" put x 1700000000 a
	"$wire" get x 1700000000 | cmp - a
	says .version version
	[ "$(sort -u asked)" = "CONNECT 127.0.0.1:$PBS_PORT HTTP/1.1" ]
	[ "$(wc -l <asked)" -eq 3 ]
	kill "$WAY"
	wait "$WAY" || :
	rm way
	behind "$PBS_PYTHON" proxy.py no >/dev/null
	WIRE_PROXY=http://127.0.0.1:$(cat way)
	fails_with 12 'proxy' "$wire" get x 1700000000
	fails_with 12 'proxy said 407' call version
	WIRE_PROXY=socks5://127.0.0.1 fails_with 2 'proxy' "$wire" get x 1700000000
}

@test "over a long line, what goes up comes down" {
	head -c 24000000 /dev/urandom >big
	behind "$PBS_PYTHON" "$pbs_home/delay.py" way "$PBS_PORT" 100
	PBS_URL=https://127.0.0.1:$(cat way)
	"$wire" put x 1700000000 big
	"$wire" get x 1700000000 | cmp - big
	# nor does it hang when the server goes
	pbs_fault close 'op=POST dynamic_chunk' nth=5 when=late
	fails 13 "$wire" put y 1700000000 big
}

@test "any number of chunks, near and far" {
	speed=${wire%wire}speed
	run "$speed" 64
	[ "$status" -eq 0 ]
	[[ $output == *"up 64 MiB"*"down 64 MiB"* ]]
	run "$speed" 128 sh -c \
		"exec $PBS_PYTHON $pbs_home/delay.py \"\$FILE\" \"\$PORT\" 100"
	[ "$status" -eq 0 ]
	[[ $output == *"up 128 MiB"*"down 128 MiB"* ]]
}
