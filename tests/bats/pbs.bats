# cala-pbs against a server of our own, but for put: what others stored is found,
# read, changed and removed; what is not ours is not touched.

load common
load ../pbs/pbs

driver=cala-pbs
S=11111111-aaaa-4bbb-8ccc-000000000001
S2=11111111-aaaa-4bbb-8ccc-000000000002
U=aaaa1111-0000-4000-8000-000000000001
U2=aaaa2222-0000-4000-8000-000000000002
U3=bbbb3333-0000-4000-8000-000000000003
T=1700000000

setup() {
	need jq tar python3 openssl
	cd "$BATS_TEST_TMPDIR" || return
	px=${CALA_BUILD:-$top/build}/tests/pxar/pxar
	pbs_start
	pbs_conf "$BATS_TEST_TMPDIR/cala.conf"
}

teardown() {
	pbs_stop
}

# tree: t, with a file of several chunks, and t.pxar, t.pcat of it
tree() {
	mkdir -p t/world/region t/empty
	printf 'motd=hello\n' >t/server.properties
	seq 1 5000 >t/world/level.dat
	head -c 700000 /dev/urandom >t/world/region/r.0.0.mca
	ln -s server.properties t/link
	chmod 640 t/server.properties
	touch -d '2001-02-03T04:05:06.789Z' t/world/level.dat
	"$px" pack t t.pxar t.pcat
}

# wings TIME UUID [SERVER] [NAME=FILE...]: a snapshot as Wings makes it; without
# files, of t
wings() {
	local when=$1 uuid=$2 server=${3:-$S}
	shift $(($# < 3 ? $# : 3))
	[ $# -gt 0 ] || set -- root.pxar.didx=t.pxar catalog.pcat1.didx=t.pcat
	jq -cn --arg u "$uuid" --arg s "$server" --arg i "calagopus-$server" \
		--argjson t "$when" --arg a "${1%%=*}" '{backup_uuid: $u,
		server_uuid: $s, backup_id: $i, backup_time: $t, archive: $a,
		wings_version: "1.0"}' >panel.json
	pbs_client backup "calagopus-$server" "$when" "$@" \
		calagopus.json.blob=panel.json
}

# ---- what is listed ----

@test "what Wings stored is listed as another program's, with its UUID" {
	tree
	wings $T $U
	run --separate-stderr d list
	[ "$status" -eq 0 ] && [ -z "$stderr" ]
	jq -e --arg u $U --arg s $S '.uuid == $u and .server == $s and .foreign
		and .created == "2023-11-14T22:13:20Z" and (.locked | not) and
		.complete != false and .size > 700000 and .checksum.type == "sha256" and
		(.checksum.value | length) == 64 and .configuration == "c" and
		.disk == "proxmox-backup-server" and (has("name") | not)' \
		<<<"$output"
	[ "$(listed -s $S2)" = "" ]
	pbs_sound
}

@test "other people's groups, unfinished snapshots and checks are not listed" {
	tree
	wings $T $U
	pbs_client backup vm-demo $T root.pxar.didx=t.pxar
	pbs_client backup calagopus-no-uuid $T root.pxar.didx=t.pxar
	pbs_client backup other-$S $T root.pxar.didx=t.pxar
	pbs_client backup calagopus-${S^^} $T root.pxar.didx=t.pxar
	pbs_client backup calagopus-$S $((T + 1)) cala-check.blob=t/server.properties
	mkdir "$(dirname "$(pbs_folder calagopus-$S $T)")/2023-11-14T23:00:00Z"
	[ "$(d list | wc -l)" -eq 1 ]
	[ "$(listed)" = "$U " ]
}

@test "all backups are listed by one request, and a read of each" {
	tree
	wings $T $U
	wings $((T + 1)) $U2
	wings $T $U3 $S2
	d list >/dev/null
	[ "$(pbs_count 'op=GET S/snapshots')" -eq 1 ]
	[ "$(listed)" = "$U $U2 $U3 " ]
	[ "$(listed -s $S2)" = "$U3 " ]
}

@test "a snapshot of another client has a UUID that stays" {
	tree
	pbs_client backup calagopus-$S $T root.pxar.didx=t.pxar
	u=$(d list | jq -r .uuid)
	[ "$(listed)" = "$u " ]
	d cat -b "$u" server.properties | cmp - t/server.properties
	d set -b "$u" --name mine
	d list | jq -e --arg u "$u" '.uuid == $u and .name == "mine" and .foreign'
	d rm -b "$u"
	[ -z "$(d list)" ]
}

@test "a namespace holds its own backups, and no other's" {
	tree
	pbs_client rest POST S/namespace name=games >/dev/null
	wings $T $U
	PBS_NS=games wings $T $U2
	PBS_NS=games pbs_conf "$PWD/ns.conf"
	[ "$(listed)" = "$U2 " ]
	d cat -b $U2 server.properties | cmp - t/server.properties
	fails 10 d rm -b $U
	d set -b $U2 --lock
	d list | jq -e .locked
	d set -b $U2 --no-lock
	d rm -b $U2
	[ -z "$(d list)" ]
	CALA_CONFIG=$BATS_TEST_TMPDIR/cala.conf
	[ "$(listed)" = "$U " ]
	pbs_sound
}

@test "another prefix is another's" {
	tree
	wings $T $U
	pbs_conf "$PWD/p.conf" 'backup-id-prefix = other'
	[ -z "$(d list)" ]
	fails 10 d rm -b $U
	fails 10 d set -b $U --lock
	fails 10 d cat -b $U server.properties
	pbs_conf "$PWD/p.conf" 'backup-id-prefix = -x'
	fails 2 d list
}

@test "a damaged manifest hides no other backup" {
	tree
	wings $T $U
	wings $((T + 1)) $U2
	f=$(pbs_folder calagopus-$S $T)/index.json.blob
	printf XXXX | dd of="$f" bs=1 seek=20 conv=notrunc status=none
	run --separate-stderr d list
	[ "$status" -eq 3 ]
	[[ $stderr == *"damaged"* ]]
	[ "$(wc -l <<<"$output")" -eq 2 ]
	jq -es 'any(.[]; .complete == false and .foreign) and
		any(.[]; .uuid == "'$U2'" and .complete != false)' <<<"$output"
	u=$(jq -r 'select(.complete == false).uuid' <<<"$output")
	fails 10 d cat -b $U server.properties
	run d cat -b "$u" x
	[ "$status" -eq 14 ]
}

# ---- reading ----

@test "modes, times and links are the archive's own; a part costs few chunks" {
	tree
	wings $T $U
	d ls -b $U --json server.properties | jq -e '.mode == "0640" and .size == 11'
	d ls -b $U --json link | jq -e '.target == "server.properties"'
	d ls -b $U --json world | jq -es 'any(.[]; .path == "world/level.dat" and
		(.mtime | startswith("2001-02-03T04:05:06.789")))'
	[ "$(pbs_count 'op=GET chunk')" -gt 0 ]
	n=$(pbs_count 'op=GET chunk')
	d cat -b $U world/region/r.0.0.mca --offset 300000 --length 10 |
		cmp - <(tail -c +300001 t/world/region/r.0.0.mca | head -c 10)
	[ $(($(pbs_count 'op=GET chunk') - n)) -le 4 ]
	n=$(pbs_count 'op=GET chunk')
	d cat -b $U world/region/r.0.0.mca | cmp - t/world/region/r.0.0.mca
	[ $(($(pbs_count 'op=GET chunk') - n)) -le 13 ]
	mkdir out
	d get -b $U world/region | tar -C out -xf -
	diff -r t/world/region out/world/region
	[ "$(find out -type f | wc -l)" -eq 1 ]
	pbs_sound
}

@test "an outline comes from the catalog alone" {
	tree
	mkdir -p t/a/b t/c
	echo x >t/a/b/$'new\nline'
	echo y >t/c/$'latin-\xe9'
	"$px" pack t t.pxar t.pcat
	wings $T $U
	wings $((T + 1)) $U2 $S root.pxar.didx=t.pxar
	d outline -b $U --json >out
	[ "$(pbs_count 'op=GET chunk')" -eq 1 ]
	diff <(jq -r 'select(has("path_b64") | not) | .type + " " + .path' out |
		sort) <(d ls -b $U -R --json | jq -r 'select(has("path_b64") | not)
		| .type + " " + .path' | sort)
	[ "$(wc -l <out)" -eq "$(d ls -b $U -R | wc -l)" ]
	jq -se 'any(.[]; .path == "world/level.dat" and .type == "f" and
		.size == 23893 and .mtime == "2001-02-03T04:05:06Z")' out
	[ "$(jq -r 'select(has("path_b64")).path_b64' out | base64 -d)" = \
		c/$'latin-\xe9' ]
	[ "$(d outline -b $U | wc -l)" -eq "$(wc -l <out)" ]
	fails 10 d outline -b $U2
}

@test "each era of Wings is read" {
	tree
	tar -C t -cf t.tar .
	zstd -q t.tar -o t.tar.zst
	wings $T $U $S backup.tar.didx=t.tar
	wings $((T + 1)) $U2 $S backup.tar.didx=t.tar.zst
	wings $((T + 2)) $U3 $S root.pxar.didx=t.pxar
	for u in $U $U2 $U3; do
		d ls -b $u --json | jq -r .path | sort >names
		[ "$(tr '\n' ' ' <names)" = "empty link server.properties world " ]
		d cat -b $u world/level.dat | cmp - t/world/level.dat
		mkdir out
		d get -b $u | tar -C out -xpf -
		diff -r --no-dereference t out
		rm -r out
		mkdir out
		d restore "$PWD/out" -b $u
		diff -r --no-dereference t out
		rm -r out
	done
	d archive -b $U3 | cmp - t.pxar
	d archive -b $U2 | cmp - t.tar.zst
	pbs_sound
}

@test "what has no owner gets that of the folder it is restored into" {
	[ "$(id -u)" = 0 ] || inapplicable "needs root"
	tree
	wings $T $U
	mkdir out
	chown 1234:2345 out
	d restore "$PWD/out" -b $U
	[ "$(stat -c %u:%g out/server.properties)" = 1234:2345 ]
	# of another client, owners count
	pbs_client backup calagopus-$S2 $T root.pxar.didx=t.pxar
	mkdir own
	chown 1234:2345 own
	d restore "$PWD/own" -b "$(d list -s $S2 | jq -r .uuid)"
	[ "$(stat -c %u:%g own/server.properties)" = 0:0 ]
}

@test "a dump of a database comes as it is, and is no tree" {
	seq 1 1000 >dump
	wings $T $U $S dump.didx=dump
	[ "$(listed)" = "$U " ]
	d archive -b $U | cmp - dump
	fails 2 d ls -b $U
	d verify -b $U --read-data
}

@test "a split archive is read, by parts and whole" {
	tree
	"$px" pack t t.mpxar t.pcat t.ppxar
	wings $T $U $S root.mpxar.didx=t.mpxar root.ppxar.didx=t.ppxar
	d cat -b $U world/region/r.0.0.mca | cmp - t/world/region/r.0.0.mca
	n=$(pbs_count 'op=GET chunk')
	d ls -b $U -R --json >/dev/null
	[ $(($(pbs_count 'op=GET chunk') - n)) -eq 1 ]
	mkdir out
	d get -b $U | tar -C out -xpf -
	diff -r --no-dereference t out
	d verify -b $U --read-data
	fails 2 d archive -b $U
	wings $((T + 1)) $U2 $S root.mpxar.didx=t.mpxar
	fails 14 d ls -b $U2
}

@test "of several archives root is the one; without it nobody guesses" {
	tree
	mkdir t2
	echo two >t2/two
	"$px" pack t2 t2.pxar t2.pcat
	pbs_client backup calagopus-$S $T a.pxar.didx=t2.pxar root.pxar.didx=t.pxar
	pbs_client backup calagopus-$S2 $T a.pxar.didx=t2.pxar b.pxar.didx=t.pxar
	d cat -s $S -b latest server.properties | cmp - t/server.properties
	fails 2 d ls -s $S2 -b latest
	[[ $stderr == *a.pxar*b.pxar* ]]
	pbs_client backup calagopus-$S2 $((T + 1)) x.img.fidx=t.pxar
	fails 10 d ls -s $S2 -b latest
}

@test "an encrypted snapshot is read with its key, and with no other" {
	tree
	key() {
		printf '{"kdf":null,"created":"2023-11-14T22:13:20+00:00",
			"modified":"2023-11-14T22:13:20+00:00","data":"%s"}' \
			"$(head -c 32 /dev/urandom | base64 -w0)" >"$1"
		chmod 600 "$1"
	}
	key a.key
	key b.key
	pbs_client --key a.key backup calagopus-$S $T root.pxar.didx=t.pxar
	u=$(d list | jq -r .uuid)
	fails 12 d cat -b "$u" server.properties
	[[ $stderr == *encryption-key* ]]
	pbs_conf "$PWD/b.conf" "encryption-key-file = $PWD/b.key"
	fails 12 d cat -b "$u" server.properties
	run d verify -b "$u"
	[ "$status" -eq 12 ]
	pbs_conf "$PWD/a.conf" "encryption-key-file = $PWD/a.key"
	d cat -b "$u" world/region/r.0.0.mca | cmp - t/world/region/r.0.0.mca
	run d verify -b "$u" --read-data
	[ "$status" -eq 0 ]
	[[ $output == *"signed by our key"* ]]
	# what is not encrypted is read all the same
	wings $T $U $S2
	d cat -b $U server.properties | cmp - t/server.properties
	PBS_KEY=$PWD/a.key pbs_sound
}

# ---- damage ----

@test "a chunk that is lost, or another, is damage" {
	tree
	wings $T $U
	pbs_chunks | while read -r f; do
		printf X | dd of="$f" bs=1 seek=$(($(stat -c %s "$f") / 2)) \
			conv=notrunc status=none
	done
	for v in "verify -b $U" "verify -b $U --read-data" \
	    "verify -b $U --read-data=1"; do
		# shellcheck disable=SC2086
		run d $v
		echo "$output"
		[ "$status" -eq 14 ]
		[[ $output == *failed:* ]]
	done
	run d cat -b $U world/region/r.0.0.mca
	[ "$status" -eq 14 ]
	[ "$(listed)" = "$U " ]
	pbs_chunks | xargs rm
	run d cat -b $U world/region/r.0.0.mca
	[ "$status" -eq 14 ]
	run d verify -b $U
	[ "$status" -eq 14 ]
}

@test "one bad chunk costs the file that it is of, and no other" {
	tree
	wings $T $U
	# the middle of the large file: its chunk is the file's alone
	h=$(python3 - t.pxar <<-'END'
	import hashlib, sys
	d = open(sys.argv[1], "rb").read()
	n = len(d) // 2 // 65536
	print(hashlib.sha256(d[n * 65536:(n + 1) * 65536]).hexdigest())
	END
	)
	f=$(pbs_chunks | grep "$h")
	printf X | dd of="$f" bs=1 seek=1000 conv=notrunc status=none
	mkdir out
	run --separate-stderr d restore "$PWD/out" -b $U
	[ "$status" -eq 14 ]
	[ ! -e out/world/region/r.0.0.mca ]
	rm t/world/region/r.0.0.mca
	diff -r --no-dereference t out
	mkdir left
	run --separate-stderr d restore "$PWD/left" -b $U --no-check
	[ "$status" -eq 3 ]
	[ "$(stat -c %s left/world/region/r.0.0.mca)" -eq 700000 ]
	run d verify -b $U --read-data
	[ "$status" -eq 14 ]
}

@test "a manifest of another snapshot, or another index, is damage" {
	tree
	wings $T $U
	wings $((T + 1)) $U2
	a=$(pbs_folder calagopus-$S $T) b=$(pbs_folder calagopus-$S $((T + 1)))
	cp "$a/root.pxar.didx" keep
	cp "$b/catalog.pcat1.didx" "$a/root.pxar.didx"
	run d cat -b $U server.properties
	[ "$status" -eq 14 ]
	cp keep "$a/root.pxar.didx"
	cp "$b/calagopus.json.blob" "$a/calagopus.json.blob"
	run d verify -b $U
	[ "$status" -ne 0 ]
	cp "$b/index.json.blob" "$a/index.json.blob"
	run --separate-stderr d list
	echo "$output" "$stderr"
	[ "$status" -eq 3 ]
	[ "$(jq -r .uuid <<<"$output" | grep -c $U2)" -eq 1 ]
	[ "$(jq -r .uuid <<<"$output" | grep -c $U)" -eq 0 ]
}

@test "what the server found damaged is said" {
	tree
	wings $T $U
	run d verify -b $U
	[ "$status" -eq 0 ]
	[[ $output == *"not verified it yet"* ]]
	pbs_do verified "type=host" "id=calagopus-$S" "time=$T" state=failed
	run d verify -b $U
	[ "$status" -eq 14 ]
	[[ $output == *"the server's verification"* ]]
	pbs_do verified "type=host" "id=calagopus-$S" "time=$T" state=ok
	run d verify -b $U
	[ "$status" -eq 0 ]
	[[ $output == *"found it whole"* ]]
}

@test "the server verifies what it is asked to" {
	tree
	wings $T $U
	run d verify-job -b $U
	[ "$status" -eq 0 ]
	[[ $output == *"ok: the server found it whole"* ]]
	pbs_do set verify=failed
	run --separate-stderr d verify-job -b $U
	[ "$status" -eq 14 ]
	fails 10 d verify-job -b $U2
}

# ---- changing ----

@test "set writes notes and protection, and keeps what people wrote below" {
	tree
	wings $T $U
	pbs_client json PUT S/notes "$(jq -cn --arg i calagopus-$S --argjson t $T \
		'{"backup-type": "host", "backup-id": $i, "backup-time": $t,
		notes: "before the update\nsecond line\nthird"}')"
	d list | jq -e '.name == "before the update"'
	d set -b $U --group daily --lock | jq -e '.name == "before the update" and
		.group == "daily" and .locked and .uuid == "'$U'"'
	notes=$(pbs_client rest GET S/notes backup-type=host \
		backup-id=calagopus-$S backup-time=$T | jq -r .)
	[ "$notes" = "before the update · daily · $U"$'\nsecond line\nthird' ]
	[ "$(pbs_client rest GET S/protected backup-type=host \
		backup-id=calagopus-$S backup-time=$T)" = true ]
	fails 22 d rm -b $U
	fails 22 d rm -b $U --dry-run
	d set -b $U --no-lock --name '' --group ''
	d list | jq -e '(has("name") | not) and (has("group") | not) and
		(.locked | not)'
	pbs_sound
}

@test "notes that were copied make no second backup, and no other" {
	tree
	wings $T $U
	wings $((T + 1)) $U2
	d set -b $U --name one
	pbs_client rest PUT S/notes backup-type=host backup-id=calagopus-$S \
		backup-time=$((T + 1)) "notes=two · - · $U"
	[ "$(listed)" = "$U $U2 " ]
	d rm -b $U
	[ "$(listed)" = "$U2 " ]
	fails 10 d rm -b $U
	[ "$(pbs_snapshots | wc -l)" -eq 1 ]
	d rm -b $U2
	[ -z "$(pbs_snapshots)" ]
}

@test "notes that were copied onto a backup of ours change nothing of it" {
	tree
	d put "$PWD/t" -s $S --uuid $U --name one --group g --created 2023-11-14T22:13:20Z >a
	d put "$PWD/t" -s $S --uuid $U2 --name two >b
	when=$(pbs_snapshots | sed -n "s/.*calagopus-$S \([0-9]*\) .*/\1/p" | sort -n | tail -1)
	pbs_client rest PUT S/notes backup-type=host backup-id=calagopus-$S \
		"backup-time=$when" "notes=one · g · $U"
	d list | jq -cS . | cmp - <(cat a b | jq -cS .)
	d rm -b $U
	[ "$(listed)" = "$U2 " ]
	d cat -b $U2 server.properties | cmp - t/server.properties
	d set -b $U2 --name three --lock
	d list | jq -e '.name == "three" and .locked'
}

@test "two snapshots of one UUID: neither is taken for the other" {
	tree
	wings $T $U
	wings $((T + 1)) $U
	fails 2 d rm -b $U
	fails 2 d cat -b $U server.properties
	[ "$(pbs_snapshots | wc -l)" -eq 2 ]
}

@test "a lock that came meanwhile is not lost, nor a backup that has it" {
	tree
	wings $T $U
	# Locked between the look and the act.
	pbs_fault json 'op=GET S/snapshots' nth=1 count=1 \
		"text=$(pbs_client rest GET S/snapshots | jq -c '{data: .}')"
	pbs_client rest PUT S/protected backup-type=host \
		backup-id=calagopus-$S backup-time=$T protected=true
	fails 22 d rm -b $U
	[ "$(listed)" = "$U " ]
	d list | jq -e .locked
}

@test "what somebody reads is not removed" {
	tree
	wings $T $U
	pbs_do hold type=host id=calagopus-$S time=$T
	fails 11 d rm -b $U
	[ "$(listed)" = "$U " ]
	pbs_do release type=host id=calagopus-$S time=$T
	d rm -b $U
}

@test "nothing but our own groups is ever changed" {
	tree
	wings $T $U
	pbs_client backup vm-demo $T root.pxar.didx=t.pxar
	pbs_client backup other-$S $T root.pxar.didx=t.pxar
	pbs_client backup calagopus-x$S $T root.pxar.didx=t.pxar
	state() {
		find "$PBS_DIR" -path '*/host/*' ! -path "*/calagopus-$S*" \
			-type f -exec sha256sum {} +
	}
	before=$(state)
	[ "$(wc -l <<<"$before")" -ge 6 ]
	d set -b $U --name x --lock
	d set -b $U --no-lock
	d rm -b $U
	d gc
	run d prune -s $S --keep-last 1
	[ "$(state)" = "$before" ]
	run d prune -s $S2 --keep-last 1
	[ "$(state)" = "$before" ]
}

@test "prune: the server's rules, dry, and in earnest" {
	tree
	for i in 0 1 2 3; do
		wings $((T + i * 86400)) ${U%1}$i
	done
	pbs_client backup other-$S $T root.pxar.didx=t.pxar
	fails 2 d prune --keep-last 1
	fails 2 d prune -s $S
	fails 2 d list --keep-last 1
	run d prune -s $S --keep-last 2 -n
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -eq 2 ]
	[[ ${lines[0]} == "would remove host/calagopus-$S/2023-11-14T22:13:20Z"* ]]
	[ "$(d list | wc -l)" -eq 4 ]
	d set -b ${U%1}0 --lock
	run d prune -s $S --keep-last 2
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -eq 1 ]
	[[ ${lines[0]} == "removed host/calagopus-$S/2023-11-15"* ]]
	[ "$(listed)" = "${U%1}0 ${U%1}2 ${U%1}3 " ]
	[[ $(pbs_snapshots) == *other-$S* ]]
	sed -i 's/^maintenance = no/maintenance = yes/' cala.conf
	fails 20 d prune -s $S --keep-last 1
}

@test "gc removes what was never finished for a day, and leftovers of checks" {
	tree
	wings $T $U
	run d gc
	[ "$status" -eq 0 ]
	[[ $output == "nothing to do"* ]]
	g=$(dirname "$(pbs_folder calagopus-$S $T)")
	now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
	mkdir "$g/2023-11-20T00:00:00Z" "$g/$now"
	pbs_client backup calagopus-$S2 $T cala-check.blob=t/server.properties
	run d gc --dry-run
	[ "${#lines[@]}" -eq 3 ]
	[ -d "$g/2023-11-20T00:00:00Z" ]
	run d gc
	[ "$status" -eq 0 ]
	[ ! -d "$g/2023-11-20T00:00:00Z" ] && [ -d "$g/$now" ]
	[ "$(listed)" = "$U " ]
	[[ $(pbs_snapshots) != *"calagopus-$S2"* ]]
}

# ---- the way to the server ----

@test "check says each step, and leaves nothing" {
	run --separate-stderr d check
	echo "$output" "$stderr"
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -ge 12 ]
	for word in certificate token Datastore.Backup Datastore.Modify free \
	    listed began stored "same bytes" protection removed; do
		grep -q "^ok: .*$word" <<<"$output" || { echo "$word"; false; }
	done
	[ -z "$(grep -v '^ok: \|^note: ' <<<"$output")" ]
	[ -z "$(pbs_snapshots)" ]
	[ "$(pbs_client rest GET S/groups)" = "[]" ]
	pbs_sound
}

@test "check: another certificate is refused, and both are shown" {
	old=$PBS_FINGERPRINT
	new=$(pbs_do certificate)
	[ "$old" != "$new" ]
	run --separate-stderr d check
	echo "$output" "$stderr"
	[ "$status" -eq 17 ]
	[[ $output$stderr == *"$old"* ]]
	[[ $output$stderr == *"$new"* ]]
	# nothing of ours was sent
	[ "$(pbs_count op=*)" -eq 0 ] || [ -z "$(pbs_do log)" ]
	pbs_conf "$PWD/none.conf"
	sed -i '/^fingerprint/d' none.conf
	fails 17 d list
}

@test "check: a wrong token, a missing privilege, no such namespace" {
	sed -i 's/^token-secret.*/token-secret = wrong/' cala.conf
	run d check
	[ "$status" -eq 12 ]
	[[ $output == *"failed: token"* ]]
	pbs_conf "$PWD/cala.conf"
	pbs_do token 'id=new@pbs!x' secret=fresh-secret
	sed -i 's/^token-id.*/token-id = new@pbs!x/
		s/^token-secret.*/token-secret = fresh-secret/' cala.conf
	run d check
	[ "$status" -eq 12 ]
	[[ $output == *"Datastore.Backup"* ]]
	# It may store, and not remove: nothing comes to be.
	for who in 'new@pbs!x' new@pbs; do
		pbs_do grant "id=$who" path=/datastore role=DatastoreBackup
	done
	run d check
	echo "$output"
	[ "$status" -eq 0 ]
	[[ $output == *"gave it up"* ]]
	# The server removes it when it sees the connection end.
	pbs_do idle
	[ -z "$(pbs_snapshots)" ]
	pbs_conf "$PWD/ns.conf" 'namespace = nowhere'
	run d check
	echo "$output"
	[ "$status" -ne 0 ]
	[[ $output == *"namespace"* ]]
}

@test "check: nobody listens, no such name, no such store" {
	pbs_conf "$PWD/x.conf"
	sed -i "s|^url.*|url = https://127.0.0.1:1|" x.conf
	run d check
	[ "$status" -eq 13 ]
	[[ $output == *"failed: connect"* ]]
	sed -i "s|^url.*|url = https://host.invalid|" x.conf
	run d check
	[ "$status" -eq 13 ]
	[[ $output == *"failed: resolve"* ]]
	pbs_conf "$PWD/x.conf"
	sed -i "s|^datastore.*|datastore = nothing|" x.conf
	run d check
	[ "$status" -ne 0 ]
	[[ $output == *"failed: "* ]]
	for url in http://127.0.0.1 https://127.0.0.1/path; do
		sed -i "s|^url.*|url = $url|" x.conf
		fails 2 d list
	done
}

@test "a connection that breaks is made anew, and nothing is wrong" {
	tree
	wings $T $U
	pbs_fault cut 'op=session reader' side=out after=200000 count=2
	mkdir out
	run --separate-stderr d restore "$PWD/out" -b $U
	echo "$stderr"
	[ "$status" -eq 0 ]
	[[ $stderr == *"connecting again"* ]]
	diff -r --no-dereference t out
	pbs_do clear
	# and when it breaks again and again, that is said
	sed -i '$aretries = 1' cala.conf
	pbs_fault cut 'op=session reader' side=out after=100000 count=0
	rm -r out && mkdir out
	fails 13 d restore "$PWD/out" -b $U
	[ "$(find out -type f -size 700000c | wc -l)" -eq 0 ]
}

@test "answers that are no answers" {
	tree
	wings $T $U
	odd() {
		pbs_fault "$1" 'op=GET S/snapshots' count=0 "${@:2}"
		run --separate-stderr d list
		pbs_do clear
		echo "$*: $status $stderr"
		[ "$status" -ne 0 ] && [ "$status" -ne 3 ] && [ -z "$output" ]
	}
	odd json 'text={}'
	odd json 'text={"data":7}'
	odd json 'text=['
	odd status status=500 text=broken
	odd status status=403 text=no
	pbs_fault flip 'op=GET chunk' at=100 count=0
	run d cat -b $U world/region/r.0.0.mca
	[ "$status" -eq 14 ]
	pbs_do clear
	pbs_fault swap 'op=GET chunk' count=0
	run d cat -b $U world/region/r.0.0.mca
	[ "$status" -eq 14 ]
	pbs_do clear
	pbs_fault truncate 'op=GET chunk' after=50 count=0
	run d cat -b $U world/region/r.0.0.mca
	[ "$status" -eq 14 ]
	pbs_do clear
	d cat -b $U server.properties | cmp - t/server.properties
}

@test "cala backs up, lists, browses, restores, prunes and deletes" {
	tree
	rm t.pxar t.pcat
	cat >>cala.conf <<-END
	[server "survival"]
	uuid = $S
	path = $PWD/t
	configuration = c
	[group "survival/daily"]
	keep-count = 2
	END
	export XDG_STATE_HOME=$PWD/state
	mkdir -m 700 state
	for i in 1 2 3; do
		echo $i >t/which
		cala backup survival --name "n $i" --group daily
	done
	cala list survival --json | jq -e '.backups | length == 3'
	[ "$(cala cat survival latest which)" = 3 ]
	cala ls survival latest world | grep level.dat
	cala restore survival latest --to "$PWD/out"
	diff -r --no-dereference t out
	cala verify survival latest --read-data
	cala prune survival
	[ "$(cala list survival --json | jq -r '.backups[].name' | sort |
		tr '\n' ' ')" = 'n 2 n 3 ' ]
	u=$(cala list survival --json | jq -r '.backups[0].uuid')
	cala lock survival "$u"
	run cala delete survival "$u"
	[ "$status" -eq 22 ]
	cala unlock survival "$u"
	cala delete survival "$u"
	cala list survival --json | jq -e '.backups | length == 1'
	cala check c
	cala-browse ls survival latest
	pbs_sound
}
