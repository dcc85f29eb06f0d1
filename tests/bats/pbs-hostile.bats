# cala-pbs and a server, or a store, that means no good: answers that are none,
# what broke off, contents of another kind than they should be, names that lead
# elsewhere.  Nothing is believed, built upon, hidden or written that should not.

load common
load ../pbs/pbs

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

d() {
	local verb=$1
	shift
	cala-pbs "$verb" -c c "$@"
}

# put UUID TIME [OPTION...] [DIR]
put() {
	local u=$1 t=$2
	shift 2
	d put -s $S --uuid "$u" --created "$(date -u -d "@$t" +%FT%TZ)" "$@"
}

# fails STATUS TEXT COMMAND...: and says so, and prints nothing
fails() {
	local want=$1 text=$2
	shift 2
	run --separate-stderr "$@"
	if [ "$status" -ne "$want" ] || [ -n "$output" ] ||
	    [[ $stderr != *error:*$text* ]]; then
		echo "status $status, not $want with '$text': $*"
		echo "stdout: $output"
		echo "stderr: $stderr"
		return 1
	fi
}

# some: t, with a file of several chunks
some() {
	mkdir -p t/world
	head -c 12000000 /dev/urandom >t/world/big
	seq 1 5000 >t/world/level.dat
	printf 'motd=hello\n' >t/server.properties
}

# folder TIME: where the server keeps that snapshot of S
folder() {
	printf '%s/%s/host/calagopus-%s/%s' "$PBS_DIR" "$PBS_STORE" $S \
		"$(date -u -d "@$1" +%Y-%m-%dT%H:%M:%SZ)"
}

chunks() {
	find "$PBS_DIR/$PBS_STORE/.chunks" -type f
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
		fails 14 'list of snapshots' d list
		fails 14 'list of snapshots' d cat -s $S -b $U server.properties
		fails 14 'list of snapshots' d rm -b $U
		fails 14 'list of snapshots' put $U2 $((T + 1)) t
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
		fails 14 'prune' d prune -s $S --keep-last 1
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
		fails 16 'are free' put $U $T --expect 100001 $how
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
	f=$(chunks | xargs ls -S | head -n 1)
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
	fails 20 maintenance d restore "$PWD/r" -b $U
	run d verify -b $U --read-data
	[ "$status" -eq 20 ]
}
