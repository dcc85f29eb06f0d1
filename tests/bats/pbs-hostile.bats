# cala-pbs and a server, or a store, that means no good: answers that are none,
# what broke off, contents of another kind than they should be, names that lead
# elsewhere.  Nothing is believed, built upon, hidden or written that should not.

load common
load ../pbs/pbs

driver=cala-pbs
S=11111111-aaaa-4bbb-8ccc-000000000001
U=aaaa1111-0000-4000-8000-000000000001
U2=aaaa2222-0000-4000-8000-000000000002
T=1700000000

setup() {
	need cala-pbs jq
	cd "$BATS_TEST_TMPDIR" || return
	pbs_start
	pbs_conf "$PWD/cala.conf"
}

teardown() {
	pbs_stop
}

# put UUID TIME [OPTION...] [DIR]
put() {
	local u=$1 t=$2
	shift 2
	d put -s $S --uuid "$u" --created "$(date -u -d "@$t" +%FT%TZ)" "$@"
}

# some: t, with a file of several chunks
some() {
	mkdir -p t/world
	head -c 12000000 /dev/urandom >t/world/big
	seq 1 5000 >t/world/level.dat
	printf 'motd=hello\n' >t/server.properties
}

@test "a list with entries that are none is no list" {
	some
	put $U $T t
	for text in '[1]' '[null]' '["x"]' '[{}]' '[{"backup-type":"host"}]' \
	    "[{\"backup-type\":\"host\",\"backup-id\":\"calagopus-$S\",
	      \"files\":[]}]" \
	    "[{\"backup-type\":\"host\",\"backup-id\":\"calagopus-$S\",
	      \"backup-time\":\"$T\",\"files\":[]}]" \
	    "[{\"backup-type\":\"host\",\"backup-id\":\"calagopus-$S\",
	      \"backup-time\":0,\"files\":[]}]" \
	    "[{\"backup-type\":\"host\",\"backup-id\":\"calagopus-$S\",
	      \"backup-time\":9223372036854775807,\"files\":[]}]" \
	    "[{\"backup-type\":\"host\",\"backup-id\":\"calagopus-$S\",
	      \"backup-time\":$T}]" \
	    "[{\"backup-type\":\"host\",\"backup-id\":\"calagopus-$S\",
	      \"backup-time\":$T,\"files\":[7]}]"; do
		pbs_fault json 'op=GET S/snapshots' count=0 \
			"text:=$(jq -cn --arg a "$text" '"{\"data\":" + $a + "}"')"
		echo "$text"
		fails_with 14 'list of snapshots' d list
		fails_with 14 'list of snapshots' d cat -s $S -b $U server.properties
		fails_with 14 'list of snapshots' d rm -b $U
		fails_with 14 'list of snapshots' put $U2 $((T + 1)) t
		pbs_do clear
	done
	# What other people's entries look like is theirs.
	pbs_fault json 'op=GET S/snapshots' count=0 'text={"data":[{"backup-type":"vm","backup-id":"100"}]}'
	run d list
	[ "$status" -eq 0 ] && [ -z "$output" ]
	pbs_do clear
	[ "$(d list | jq -r .uuid)" = $U ]
}

@test "an answer to prune that is none, and a removal that was none" {
	mkdir t
	for i in 0 1 2; do
		echo $i >t/f
		put "${U%1}$i" $((T + i * 86400)) t
	done
	for text in '[1]' '[{}]' '[{"backup-time":1700000000}]' \
	    '[{"backup-time":0,"keep":false}]'; do
		pbs_fault json 'op=POST S/prune' \
			"text:=$(jq -cn --argjson a "$text" '{data: $a} | tojson')"
		fails_with 14 'prune' d prune -s $S --keep-last 1
	done
	# Somebody reads the first: the server answers that it goes, and it stays.
	pbs_do hold "id=calagopus-$S" time=$T
	run --separate-stderr d prune -s $S --keep-last 1
	echo "$output" "$stderr"
	[ "$status" -eq 3 ]
	[[ $output == "removed host/calagopus-$S/2023-11-15"*"${U%1}1" ]]
	[[ $stderr == *"2023-11-14T22:13:20Z is still there"* ]]
	[ "$(d list | wc -l)" -eq 2 ]
	pbs_do release "id=calagopus-$S" time=$T
	run --separate-stderr d prune -s $S --keep-last 1
	[ "$status" -eq 0 ]
	[ "$(d list | jq -r .uuid)" = "${U%1}2" ]
	pbs_sound
}

@test "--expect: what can't fit is refused before anything is read" {
	mkdir t
	echo hello >t/f
	pbs_do set total=1000000 used=900000 avail=100000
	for how in t '-- touch began'; do
		# shellcheck disable=SC2086
		fails_with 16 'are free' put $U $T --expect 100001 $how
	done
	[ ! -e began ]
	[ "$(pbs_count op='upgrade backup')" -eq 0 ]
	put $U $T --expect 100000 t
	# 0 of 0 is what a token is told that may not know.
	pbs_do set total=0 used=0 avail=0
	run --separate-stderr put $U2 $((T + 1)) -v --expect 1T t
	[ "$status" -eq 0 ]
	[[ $stderr == *'does not say how much room'* ]]
	pbs_sound
}

@test "a snapshot that was never finished is not built upon" {
	some
	put $U $T t
	# The server broke off before finish, and a chunk never reached its disk.
	pbs_do unfinished "id=calagopus-$S" time=$T
	f=$(pbs_chunks | xargs ls -S | head -n 1)
	rm "$f"
	run --separate-stderr put $U2 $((T + 1)) -v t
	echo "$stderr"
	[ "$status" -eq 0 ]
	[[ $stderr == *'never finished'* ]]
	[ -e "$f" ]
	d verify -b $U2 --read-data
	# The other is shown as what it is now.
	run --separate-stderr d list
	[ "$(jq -r "select(.uuid == \"$U\").complete" <<<"$output")" = false ]
	[[ $stderr == *'never finished'* ]]
	# Alone it is not listed: it may be one that runs.
	d rm -b $U2
	[ -z "$(d list)" ]
}

@test "a partial backup is not built upon, a whole one is" {
	pbs_conf "$PWD/cala.conf" 'change-detection = metadata'
	some
	for i in 1 2 3 4; do
		head -c 2000000 /dev/urandom >"t/f$i"
	done
	echo hidden >t/secret
	find t -exec touch -d "@$((T - 100))" {} +
	now=$(($(date +%s) + 100))
	tar -C t -cf whole.tar --sort=name .
	# A producer that says 3 makes it partial.
	run --separate-stderr put $U $now -- sh -c 'cat whole.tar; exit 3'
	[ "$status" -eq 3 ]
	run --separate-stderr put $U2 $((now + 1)) -v --ignore-inode t
	echo "$stderr"
	[ "$status" -eq 0 ]
	[[ $stderr != *'as they were, and are not read'* ]]
	# And that one is whole again.
	run --separate-stderr put "${U%1}3" $((now + 2)) -v --ignore-inode t
	echo "$stderr"
	[ "$status" -eq 0 ]
	[[ $stderr == *'as they were, and are not read'* ]]
	mkdir r
	d restore "$PWD/r" -b "${U%1}3"
	diff -r t r
	pbs_sound
}

@test "finish: what something between us gave up waiting for is found out" {
	mkdir t
	echo hello >t/f
	pbs_fault status 'op=POST finish' status=504 text='gateway timeout' when=done
	run --separate-stderr put $U $T t
	echo "$stderr"
	[ "$status" -eq 0 ]
	[ "$(jq -r .uuid <<<"$output")" = $U ]
	[ "$(pbs_count op='upgrade backup')" -eq 1 ]
	d verify -b $U --read-data
	pbs_sound
}

@test "maintenance in the middle of a restore is no damage" {
	some
	put $U $T t
	pbs_fault status 'op=GET chunk' nth=2 count=0 status=400 \
		text='datastore store1 is in offline maintenance mode'
	mkdir r
	fails_with 20 maintenance d restore "$PWD/r" -b $U
	run d verify -b $U --read-data
	[ "$status" -eq 20 ]
}

@test "a password in the way to the server is refused, and not repeated" {
	some
	for way in http://user:hunter2@127.0.0.1:9 ftp://user:hunter2@127.0.0.1:9 \
	    socks5://127.0.0.1:9 http://127.0.0.1 'http://[::1]'; do
		for do in list "put -s $S t" check; do
			# shellcheck disable=SC2086
			https_proxy=$way run --separate-stderr d $do
			[ "$status" -eq 2 ]
			[[ $output$stderr == *'proxy: only http://HOST:PORT'* ]]
			[[ $output$stderr != *hunter2* ]]
		done
	done
	sed -i 's,^url = https://,&root:hunter2@,' cala.conf
	grep -q hunter2 cala.conf
	run --separate-stderr d list
	[ "$status" -eq 2 ]
	[[ $stderr == *'a user or password in the URL'* ]]
	[[ $output$stderr != *hunter2* ]]
	[ -z "$(pbs_snapshots)" ]
}

# forged OUT: archives whose names, links or tables lead elsewhere
forged() {
	mkdir -p "$1"
	pbs_python "$1" <<-'END'
	import os, stat, struct, sys
	import pxar, pxarw
	D, F, L = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777
	evil = b"evil"

	def node(name, mode, data=b"", target=b"", kids=()):
	    n = pxarw.Node(name, mode)
	    n.data, n.target, n.children = data, target, list(kids)
	    return n

	def save(name, *kids, change=lambda b: None):
	    b = bytearray(pxarw.Encoder().archive(node(b"", D, kids=kids))[0])
	    change(b)
	    with open(os.path.join(sys.argv[1], name), "wb") as f:
	        f.write(b)

	def directory(name):
	    return node(name, D, kids=[node(evil, F, evil)])

	save("14 up", node(b"../evil", F, evil))
	save("14 dots", directory(b".."))
	save("14 slash", node(b"a", D), node(b"a/evil", F, evil))
	save("14 root", node(b"/tmp/evil", F, evil))
	save("14 huge", node(b"a", F, evil), change=lambda b: b.__setitem__(
	    slice(b.index(evil) - 8, b.index(evil)), struct.pack("<Q", 1 << 62)))
	# A link to a place outside, then a directory of that name.
	save("0 through", node(b"d", L, target=b".."), directory(b"d"))
	# The files are all there; the root's table is of something else.
	save("0 table", directory(b"d"), change=lambda b: b.__setitem__(
	    slice(-16, None), bytes(16)))
	END
}

@test "archives whose names and tables lead elsewhere: nothing outside, never ok" {
	mkdir -p in/side
	forged arch
	n=0
	for f in arch/*; do
		n=$((n + 1))
		pbs_client backup calagopus-$S $((T + n)) "root.pxar.didx=$f"
		u=$(d list | jq -r "select(.created | fromdate == $((T + n))).uuid")
		want=${f#arch/} want=${want% *}
		rm -rf in/side/*
		mkdir in/side/r
		run --separate-stderr d restore "$PWD/in/side/r" -b "$u"
		echo "$f: restore $status, $stderr"
		[ "$status" -eq "$want" ]
		run bash -c "cala-pbs get -q -c c -b $u |
			cala-unpack -q --to '$PWD/in/side/u'"
		[ "$want" -eq 0 ] || [ "$status" -ne 0 ]
		[ -z "$(find . -name evil -not -path './in/side/[ru]/*')" ]
		[ ! -e /tmp/evil ]
		[[ $f == *through ]] && continue
		run --separate-stderr d verify -b "$u" --read-data
		echo "$output"
		[ "$status" -eq 14 ]
	done
}

# rewrite TIME: a program on stdin changes m, the manifest, and may change files
# by put(NAME, BLOB); key is that of $PBS_KEY
rewrite() {
	{
		cat <<-'END'
		import json, hashlib, os, sys
		import formats
		here = sys.argv[1]
		key = None
		if os.environ.get("PBS_KEY"):
		    key = formats.key_load(open(os.environ["PBS_KEY"]).read())

		def write(path, blob):
		    with open(path, "wb") as f:
		        f.write(blob)

		def put(name, blob):
		    write(os.path.join(here, name), blob)
		    for f in m["files"]:
		        if f["filename"] == name:
		            f["size"] = len(blob)
		            f["csum"] = hashlib.sha256(blob).hexdigest()

		at = os.path.join(here, "index.json.blob")
		m = json.loads(formats.blob_decode(open(at, "rb").read()))
		END
		cat
		echo 'write(at, formats.blob_encode(json.dumps(m).encode()))'
	} | pbs_python "$(pbs_folder calagopus-$S "$1")"
}

@test "encrypted: what anybody could have written is not taken for ours" {
	cala-pbs key create -q --kdf none key
	export PBS_KEY=$PWD/key
	pbs_conf "$PWD/cala.conf" "encryption-key-file = $PWD/key"
	some
	put $U $T --name true t
	d list | jq -e '.name == "true" and .files == 3'
	# Without the signature it is damaged for verify, and said by all others.
	rewrite $T <<<'m["signature"] = None'
	run --separate-stderr d verify -b $U
	echo "$output"
	[ "$status" -eq 14 ]
	[[ $output == *'signature is gone'* ]]
	run --separate-stderr d cat -b $U server.properties
	[ "$status" -eq 3 ]
	[ "$output" = motd=hello ]
	[[ $stderr == *'not signed'* ]]
	# Nor is it built upon.
	run --separate-stderr put $U2 $((T + 1)) -v t
	[ "$status" -eq 0 ]
	[[ $stderr == *'not signed'* ]]
	d verify -b $U2 --read-data
	# A plain record in the place of the encrypted one.
	d list | jq -c "select(.uuid == \"$U2\") | .files = 7 | .warnings =
		[\"forged\"]" >forged
	rewrite $((T + 1)) <<-END
	m["signature"] = None
	put("cala.json.blob", formats.blob_encode(open("forged", "rb").read()))
	END
	d list | jq -e "select(.uuid == \"$U2\") | .files == 3 and
		.warnings == []"
	run d verify -b $U2
	[ "$status" -eq 14 ]
}

@test "encrypted where nothing is, or not where all is: damage, not a missing key" {
	some
	put $U $T t
	# Every chunk, sealed by some key.
	pbs_python "$PBS_DIR/$PBS_STORE/.chunks" <<-'END'
	import os, sys
	import formats
	for here, _, names in os.walk(sys.argv[1]):
	    for name in names:
	        p = os.path.join(here, name)
	        with open(p, "rb") as f:
	            data = formats.blob_decode(f.read())
	        with open(p, "wb") as f:
	            f.write(formats.blob_encode(data,
	                key=formats.Key(bytes(32))))
	END
	for pct in '' =10; do
		run d verify -b $U --read-data$pct
		echo "$output"
		[ "$status" -eq 14 ]
	done
	run d cat -b $U world/level.dat
	[ "$status" -eq 14 ]
	mkdir r
	run d restore "$PWD/r" -b $U
	[ "$status" -eq 14 ]
	[ -z "$(find r -type f)" ]
}

@test "killed at any request: nothing that is listed is not whole" {
	mkdir t
	head -c 6000000 /dev/urandom >t/big
	n=0
	for op in 'upgrade backup' 'GET previous_backup_time' \
	    'POST dynamic_index' 'POST dynamic_chunk' 'PUT dynamic_index' \
	    'POST dynamic_close' 'POST blob' 'POST finish'; do
		n=$((n + 1))
		had=$(pbs_count "op=$op")
		pbs_fault stall "op=$op" when=done seconds=60
		cala-pbs put -q -c c -s $S --uuid "${U%?}$n" t >out 2>err 3>&- &
		pid=$!
		until [ "$(pbs_do used | tail -n 1)" = 1 ]; do
			kill -0 $pid
			sleep 0.05
		done
		kill -KILL $pid
		wait $pid || :
		pbs_do clear
		[ ! -s out ]
		until [ -z "$(pbs_do locks)" ]; do sleep 0.05; done
		echo "$op ($had before): $(pbs_snapshots)"
		for u in $(d list | jq -r .uuid); do
			[ "$op" = 'POST finish' ]
			d verify -b "$u" --read-data
		done
	done
	put $U2 $(($(date +%s) + 10)) t
	PBS_ODD=may pbs_sound
}
