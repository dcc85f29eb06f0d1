# What Wings stored in each of its eras, and what Proxmox's own client does, is
# listed, read, restored, verified, marked and removed like a backup of ours.
# The fixtures come from an implementation of its own (tests/pbs/fixtures.py).

load common
load ../pbs/pbs

driver=cala-pbs
S=11111111-aaaa-4bbb-8ccc-000000000001
U=aaaa1111-0000-4000-8000-000000000001
U2=aaaa1111-0000-4000-8000-000000000002
ID=calagopus-$S

setup() {
	need cala-pbs jq
	cd "$BATS_TEST_TMPDIR" || return
	pbs_start
	pbs_conf "$PWD/cala.conf"
}

teardown() {
	pbs_stop
}

# tree DIR: what every era can hold, but for times
tree() {
	mkdir -p "$1/world/region" "$1/empty"
	head -c 700000 /dev/urandom >"$1/world/region/r.0.0.mca"
	seq 1 5000 >"$1/world/level.dat"
	printf 'motd=hello\n' >"$1/server.properties"
	: >"$1/zero"
	printf 'n\n' >"$1/new
line"
	printf 'l\n' >"$1/"$'latin-\xe9'
	ln -s server.properties "$1/soft"
	chmod 640 "$1/server.properties"
	touch -d '2001-02-03T04:05:06Z' "$1/world/level.dat"
}

# rich DIR: and what only the client keeps
rich() {
	tree "$1"
	ln "$1/server.properties" "$1/hard"
	mkfifo "$1/fifo"
	touch -d '2001-02-03T04:05:06.123456789Z' "$1/zero" "$1/fifo"
	if [ "$(id -u)" = 0 ]; then
		chown 1234:2345 "$1/zero"
		mknod "$1/null" c 1 3
	fi
	setfattr -n user.note -v hello "$1/zero" 2>/dev/null || true
	setfacl -m u:1234:r "$1/server.properties" 2>/dev/null || true
}

fixture() {
	pbs_run fixtures.py "$@"
}

# alike A B: diff can't compare what is no file; facts do that
alike() {
	local found
	found=$(diff -r --no-dereference "$1" "$2" 2>&1 | grep -v \
		' is a \(fifo\|character special file\) while file .* is a \1$' || true)
	if [ -n "$found" ]; then
		echo "$found"
		return 1
	fi
}

# same DIR BACKUP: all ways out of the store give what DIR holds
same() {
	local dir=$1 id=$2
	rm -rf out got
	mkdir out got
	d get -s $S -b "$id" | tar -C out -xpf -
	alike "$dir" out
	d restore "$PWD/got" -s $S -b "$id"
	alike "$dir" got
	d cat -s $S -b "$id" world/region/r.0.0.mca |
		cmp - "$dir/world/region/r.0.0.mca"
	[ "$(d cat -s $S -b "$id" world/level.dat --offset 3 --length 4)" = \
		"$(tail -c +4 "$dir/world/level.dat" | head -c 4)" ]
	[ "$(d ls -s $S -b "$id" --json world | jq -r .path | sort | tr '\n' ' ')" = \
		'world/level.dat world/region ' ]
	[ "$(stat -c '%a %Y' got/server.properties)" = \
		"$(stat -c '%a %Y' "$dir/server.properties")" ]
	[ "$(stat -c %Y got/world/level.dat)" = 981173106 ]
	[ "$(readlink got/soft)" = server.properties ]
	rm -rf part
	mkdir part
	d get -s $S -b "$id" world/region zero | tar -C part -xf -
	[ "$(cd part && find . -type f | sort | tr '\n' ' ')" = \
		'./world/region/r.0.0.mca ./zero ' ]
	d verify -s $S -b "$id" --read-data
}

@test "the fixtures themselves are the published ones, and sound" {
	run pbs_run pxarw.py --self-test
	[ "$status" -eq 0 ]
	rich t
	t=1700000000
	for kind in wings-tar wings-pxar wings client client-data client-meta; do
		fixture $kind $ID $((t += 10)) t --avg 65536
	done
	fixture wings-dump $ID $((t += 10)) t/world/level.dat
	fixture client $ID $((t += 10)) t --no-catalog --exclude '*.tmp'
	pbs_sound
}

@test "Wings' first era: a tar" {
	tree t
	fixture wings-tar $ID 1700000000 t --uuid $U
	d list -s $S | jq -e --arg u $U --arg s $S '.uuid == $u and .server == $s
		and .created == "2023-11-14T22:13:20Z" and .foreign'
	same t $U
	pbs_sound
}

@test "the next era: pxar without a catalog" {
	tree t
	fixture wings-pxar $ID 1700000000 t --uuid $U
	same t $U
	pbs_sound
}

@test "the latest era: with a catalog" {
	tree t
	fixture wings $ID 1700000000 t --uuid $U
	same t $U
	# real modes and link targets, not those that a catalog can't have
	d ls -s $S -b $U --json server.properties | jq -e '.mode == "0640"'
	d ls -s $S -b $U --json soft | jq -e '.target == "server.properties"'
	pbs_sound
}

@test "a dump of a database comes out as it went in" {
	seq 1 100000 >dump
	fixture wings-dump $ID 1700000000 dump --uuid $U
	d list | jq -e --arg u $U '.uuid == $u'
	d archive -b $U | cmp - dump
	run --separate-stderr d ls -b $U
	[ "$status" -ne 0 ] || [ -n "$output" ]
}

@test "proxmox-backup-client: everything that it keeps" {
	rich t
	fixture client $ID 1700000000 t --avg 65536
	id=$(d list | jq -r .uuid)
	same t "$id"
	facts t >before || true
	facts got >after || true
	diff before after
	[ "$(stat -c %i got/hard)" = "$(stat -c %i got/server.properties)" ]
	fixture client $ID 1700000010 t --no-catalog
	same t latest
	pbs_sound
}

@test "what the client wrote of its own options is there, too" {
	rich t
	fixture client $ID 1700000000 t --exclude '*.tmp'
	[ "$(d cat -s $S -b latest .pxarexclude-cli)" = '*.tmp' ]
	mkdir got
	d restore "$PWD/got" -s $S -b latest
	[ "$(stat -c '%a %Y' got/.pxarexclude-cli)" = '600 0' ]
}

@test "split archives: data, and metadata with chunks of the one before" {
	rich t
	fixture client-data $ID 1700000000 t --avg 65536
	same t latest
	n=$(pbs_chunks | wc -l)
	echo changed >>t/world/level.dat
	touch -d '2001-02-03T04:05:06Z' t/world/level.dat
	fixture client-meta $ID 1700000010 t --avg 65536 --exclude '*.x'
	same t latest
	facts t >before || true
	facts got >after || true
	diff before after
	fixture client-meta $ID 1700000020 t --avg 65536
	same t latest
	[ "$(d list -s $S | wc -l)" -eq 3 ]
	pbs_sound
}

@test "encrypted and signed by the client" {
	rich t
	pbs_python <<-'END'
	import formats
	key = formats.Key(bytes(range(32)))
	with open("plain.key", "w") as f:
	    f.write(formats.key_save(key))
	with open("locked.key", "w") as f:
	    f.write(formats.key_save(key, b"password", n=1024))
	with open("other.key", "w") as f:
	    f.write(formats.key_save(formats.Key(bytes(32))))
	END
	chmod 600 ./*.key
	fixture client $ID 1700000000 t --key plain.key --avg 65536
	PBS_PASSWORD=password fixture client-data $ID 1700000010 t --key locked.key \
		--avg 65536
	export PBS_KEY=$PWD/plain.key
	pbs_sound
	# no key, another key, the right one, the right one behind a password
	d list | jq -es 'length == 2'
	run --separate-stderr d cat -s $S -b latest zero
	[ "$status" -eq 12 ]
	pbs_conf "$PWD/cala.conf" "encryption-key-file = $PWD/other.key"
	run --separate-stderr d cat -s $S -b latest zero
	[ "$status" -eq 12 ] || [ "$status" -eq 14 ]
	pbs_conf "$PWD/cala.conf" "encryption-key-file = $PWD/plain.key"
	same t latest
	same t oldest
	pbs_conf "$PWD/cala.conf" "encryption-key-file = $PWD/locked.key" \
		'encryption-password = password'
	same t latest
	pbs_conf "$PWD/cala.conf" "encryption-key-file = $PWD/locked.key" \
		'encryption-password = nonsense'
	run --separate-stderr d cat -s $S -b latest zero
	[ "$status" -eq 12 ]
	# a signature that is not the key's
	pbs_conf "$PWD/cala.conf" "encryption-key-file = $PWD/plain.key"
	pbs_python "$PBS_DIR/store1/host/$ID/2023-11-14T22:13:20Z/index.json.blob" <<-'END'
	import formats, json, sys
	with open(sys.argv[1], "rb") as f:
	    m = formats.manifest_parse(f.read())
	m["signature"] = "00" + m["signature"][2:]
	with open(sys.argv[1], "wb") as f:
	    f.write(formats.manifest_blob(m))
	END
	run --separate-stderr d cat -s $S -b oldest zero
	[ "$status" -eq 14 ]
}

@test "foreign backups are named, locked, unlocked and removed" {
	tree t
	fixture wings $ID 1700000000 t --uuid $U
	fixture client $ID 1700000010 t --avg 65536
	id=$(d list | jq -r --arg u $U 'select(.uuid != $u).uuid')
	for u in $U "$id"; do
		d set -b "$u" --name "mine $u" --group g --lock
		d list | jq -es --arg u "$u" 'any(.[]; .uuid == $u and
			.name == "mine " + $u and .group == "g" and .locked)'
		run --separate-stderr d rm -b "$u"
		[ "$status" -eq 22 ]
		d set -b "$u" --no-lock
		same t "$u"
		d rm -b "$u"
	done
	[ -z "$(d list)" ]
	[ -z "$(pbs_snapshots)" ]
	pbs_sound
}

@test "what is no backup of a server is neither listed nor touched" {
	tree t
	fixture client other 1700000000 t
	fixture client "calagopus-not-a-uuid" 1700000000 t
	fixture client "elsewhere-$S" 1700000000 t
	fixture wings $ID 1700000000 t --uuid $U
	[ "$(d list | jq -r .uuid)" = $U ]
	d rm -b $U
	d gc
	[ "$(pbs_snapshots | wc -l)" -eq 3 ]
	pbs_conf "$PWD/cala.conf" 'backup-id-prefix = elsewhere'
	[ "$(d list -s $S | wc -l)" -eq 1 ]
}

@test "in a namespace: only what is there" {
	tree t
	pbs_client json POST S/namespace '{"name": "games"}'
	fixture wings $ID 1700000000 t --uuid $U
	PBS_NS=games fixture wings $ID 1700000000 t --uuid $U2
	[ "$(d list | jq -r .uuid)" = $U ]
	PBS_NS=games pbs_conf "$PWD/cala.conf"
	[ "$(d list | jq -r .uuid)" = $U2 ]
	same t $U2
	d rm -b $U2
	pbs_sound
	[ "$(pbs_snapshots | wc -l)" -eq 1 ]
}

@test "a put after Wings' or the client's takes their chunks over" {
	local before after kind when=1700000000
	mkdir t
	# the same every time: where it is cut is no chance
	openssl enc -aes-128-ctr -K 00112233445566778899aabbccddeeff \
		-iv 00000000000000000000000000000000 -in /dev/zero 2>/dev/null |
		head -c 20000000 >t/big
	touch -d '2001-02-03T04:05:06Z' t/big t
	for kind in wings client; do
		fixture $kind $ID $when t
		before=$(du -sb "$PBS_DIR/store1/.chunks" | cut -f1)
		d put "$PWD/t" -s $S >/dev/null
		after=$(du -sb "$PBS_DIR/store1/.chunks" | cut -f1)
		echo "$kind: $((after - before)) new bytes"
		[ $((after - before)) -lt 10000000 ]
		when=$(($(pbs_client rest GET S/groups |
			jq '.[0]["last-backup"]') + 100))
	done
	pbs_sound
}
