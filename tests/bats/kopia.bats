# cala-kopia against the real program and server: what the contract doesn't ask.

load common
load ../kopia/kopia

driver=cala-kopia
S=11111111-aaaa-4bbb-8ccc-000000000001
U=aaaa1111-0000-4000-8000-000000000001
U2=aaaa2222-0000-4000-8000-000000000002

setup_file() {
	kopia_up "$BATS_FILE_TMPDIR/kopia"
}

teardown_file() {
	kopia_down
}

setup() {
	kopia_need
	cd "$BATS_TEST_TMPDIR" || return
	kopia_wipe
	kopia_conf "$BATS_TEST_TMPDIR/cala.conf"
	state=$BATS_TEST_TMPDIR/B/.kopia
	# Those that are about connecting take it away.
	kopia_known "$BATS_TEST_TMPDIR/B"
	mkdir -p v/world
	echo one >v/one
	echo two >v/world/two
	ln -s one v/link
}

teardown() {
	[ -z "${PID:-}" ] || { kill -KILL "$PID" 2>/dev/null || :
		wait "$PID" 2>/dev/null || :; }
}

put() {
	d put "$PWD/v" -s $S "$@"
}

# says STATUS PATTERN COMMAND...: on stderr
says() {
	local want=$1 text=$2
	shift 2
	run --separate-stderr "$@"
	if [ "$status" -ne "$want" ] || [[ $stderr != *$text* ]]; then
		echo "status $status, not $want; stderr: $stderr"
		return 1
	fi
}

policy() {
	kopia_as calagopus@node1 policy export "calagopus@node1:$PWD/v" |
		jq -c '.[]'
}

rules() {
	policy | jq -r '.files.ignore // [] | .[]' | sort | tr '\n' ' '
}

# A program of our own in place of Kopia: body on stdin, $REAL is the real one.
stand_in() {
	mkdir -p bin
	{ printf '#!/bin/bash\nREAL=%q\n' "$(command -v kopia)"; cat; } >bin/kopia
	chmod +x bin/kopia
	PATH=$PWD/bin:$PATH
}

@test "state is as Wings names it, private, without the password" {
	rm -r B
	put --uuid $U
	slug=$(printf '%s\0%s' "$KOPIA_URL" calagopus@node1 | sha256sum |
		cut -c1-16)
	[ -f "$state/$slug.config" ]
	[ -d "$state/$slug.cache" ]
	[ "$(stat -c %a "$state")" = 700 ]
	[ -z "$(find "$state" -perm /077)" ]
	run ! grep -rl "$KOPIA_PASS\|$(printf %s $KOPIA_PASS | base64)" "$state"
	[ ! -e "$state/$slug.config.kopia-password" ]
	# Nothing of Kopia's elsewhere.
	[ "$(ls -A "$BATS_TEST_TMPDIR" | sort | tr '\n' ' ')" = "B cala.conf v " ]
}

@test "Wings' own connection is used, and stays as it is" {
	chmod 755 "$state"
	slug=$(printf '%s\0%s' "$KOPIA_URL" calagopus@node1 | sha256sum |
		cut -c1-16)
	# With colons, as Wings passes what the panel has.
	jq -n --arg u "$KOPIA_URL" --arg f "$(sed 's/../&:/g; s/:$//' \
		<<<"${KOPIA_FP^^}")" '{apiServer: {url: $u,
		serverCertFingerprint: $f}, caching: {cacheDirectory: "x"},
		hostname: "node1", username: "calagopus",
		enableActions: false}' >"$state/$slug.config"
	cp "$state/$slug.config" before
	run d list
	cmp before "$state/$slug.config"
	[ "$(stat -c %a "$state")" = 700 ]
}

@test "connects once, and anew when the fingerprint changes" {
	rm -r B
	stand_in <<-'END'
	echo "$@" >>"${0%/bin/kopia}/calls"
	exec "$REAL" "$@"
	END
	d list
	d list
	[ "$(grep -c 'repository connect' calls)" -eq 1 ]
	slug=$(basename "$state"/*.cala.config .cala.config)
	mkdir -p "$state/$slug.cache"
	touch "$state/$slug.cache/kept"
	# A wrong one: its own message, and what was there is there.
	kopia_conf cala.conf "fingerprint = $(printf '0%.0s' $(seq 64))"
	says 17 "certificate" d list
	[ -f "$state/$slug.cache/kept" ]
	[ -z "$(ls -A "$state" | grep '^\.')" ]
	kopia_conf cala.conf
	d list
	[ "$(grep -c 'repository connect' calls)" -eq 2 ]
	[ "$(grep -c -- '--version' calls)" -eq 2 ]
}

@test "a fingerprint may have colons; without one the trust store decides" {
	rm -r B
	kopia_conf cala.conf "fingerprint = $(sed 's/../&:/g; s/:$//' \
		<<<"${KOPIA_FP^^}")"
	d list
	kopia_conf cala.conf -fingerprint
	says 17 "x509" d list
}

@test "each trouble has its own status and message" {
	rm -r B
	kopia_conf cala.conf "password = wrong-pw"
	says 12 "refuses calagopus@node1" d list
	kopia_conf cala.conf "username = nobody@node1"
	says 12 "refuses nobody@node1" d list
	kopia_conf cala.conf "url = https://127.0.0.1:1"
	says 13 "connection refused" d list
	kopia_conf cala.conf "url = http://127.0.0.1:1"
	says 2 "https" d list
	kopia_conf cala.conf
	says 10 "no backup $U" d ls -b $U
	says 10 "no backup $U" d verify -b $U
	d list
	# And once it is connected.
	kopia_conf cala.conf "password = wrong-pw"
	says 12 "refuses calagopus@node1" d list
	says 12 "refuses calagopus@node1" d put "$PWD/v" -s $S
	PATH=/usr/bin:/bin says 127 kopia "$(command -v cala-kopia)" list -c c
	kopia_conf cala.conf 'password = "blank at the end "'
	says 2 "white space" d list
}

@test "no secret is on a command line, and little in the environment" {
	stand_in <<-'END'
	tr '\0' '\n' </proc/self/cmdline >>"${0%/bin/kopia}/args"
	env >"${0%/bin/kopia}/env"
	exec "$REAL" "$@"
	END
	export KOPIA_CONFIG_PATH=/nonexistent AWS_SECRET_ACCESS_KEY=x FOO=bar
	put --uuid $U
	d cat -b $U one
	run ! grep -q "$KOPIA_PASS" args
	grep -q "^KOPIA_PASSWORD=$KOPIA_PASS$" env
	run ! grep -q '^FOO=\|^AWS_\|^KOPIA_CONFIG_PATH=\|^CALA_' env
	unset KOPIA_CONFIG_PATH AWS_SECRET_ACCESS_KEY FOO
}

@test "another user sees and removes nothing of ours" {
	put --uuid $U
	kopia_conf other.conf "username = other@node2" "password = $KOPIA_PASS2"
	[ -z "$(d list)" ]
	says 10 "no backup" d rm -b $U
	says 10 "no backup" d cat -b $U one
	kopia_conf cala.conf
	[ "$(d cat -b $U one)" = one ]
}

@test "tags of the configuration are on the snapshot, and no two of a name" {
	kopia_conf cala.conf "tags.team = ops: a, b" "tags.x = é"
	put --uuid $U
	kopia_as calagopus@node1 snapshot list --json --all |
		jq -e --arg u $U '.[0].tags == {"tag:backup-uuid": $u,
			"tag:team": "ops: a, b", "tag:x": "é"}'
	kopia_conf cala.conf "tags.backup-uuid = x"
	says 2 backup-uuid put --uuid $U2
	# Fifty of them.
	kopia_conf cala.conf
	for i in $(seq 50); do echo "tags.t$i = v$i"; done >>cala.conf
	put --uuid $U2
	kopia_as calagopus@node1 snapshot list --json --all \
		--tags=backup-uuid:$U2 | jq -e '.[0].tags | length == 51'
}

@test "a backup of Wings is listed, read, adopted, locked and removed" {
	mkdir -p "vol/$S"
	echo wings >"vol/$S/file"
	kopia_as calagopus@node1 snapshot create "$PWD/vol/$S" --json \
		--description "wings backup $U" --tags "backup-uuid:$U" >/dev/null
	mkdir plain
	kopia_as calagopus@node1 snapshot create "$PWD/plain" --json \
		--tags "backup-uuid:$U2" >/dev/null
	# What has no such tag is none.
	kopia_as calagopus@node1 snapshot create "$PWD/v" >/dev/null
	d list -s $S | jq -se --arg u $U --arg s $S 'length == 1 and
		(.[0] | .uuid == $u and .server == $s and .foreign and
		.files == 1 and .size == 6)'
	[ "$(d list | wc -l)" -eq 2 ]
	[ "$(d cat -s $S -b latest file)" = wings ]
	d set -b $U --name mine --lock
	d list -s $S | jq -e '.name == "mine" and .locked and .foreign'
	says 22 locked d rm -b $U
	d set -b $U2 --server $S
	d list -s $S | jq -se 'length == 2 and
		any(.[]; (has("foreign") | not) and .complete)'
	d set -b $U --no-lock
	d rm -b $U
	d rm -b $U2
	[ -z "$(d list)" ]
	# The third is not ours to delete.
	[ "$(kopia_as calagopus@node1 snapshot list --json --all |
		jq length)" -eq 1 ]
}

@test "Wings finds ours: by the tag, alone, with size and files" {
	put --uuid $U --as "/var/lib/pterodactyl/volumes/$S"
	d set -b $U --name later
	kopia_as calagopus@node1 snapshot list --json --all \
		--tags backup-uuid:$U | jq -e --arg s $S 'length == 1 and
		(.[-1] | .rootEntry.summ.size == 8 and
		.rootEntry.summ.files == 2 and
		.source.path == "/var/lib/pterodactyl/volumes/" + $s)'
	kopia_as calagopus@node1 snapshot delete "$(kopia_id $U)" --delete
	[ -z "$(d list)" ]
}

@test "nothing expires when a snapshot is made" {
	kopia_as calagopus@node1 policy set "calagopus@node1:$PWD/v" \
		--keep-latest=1 --keep-hourly=0 --keep-daily=0 --keep-weekly=0 \
		--keep-monthly=0 --keep-annual=0
	# Others' on the same source, which have no pins.
	kopia_as calagopus@node1 snapshot create "$PWD/v" \
		--tags "backup-uuid:$U" >/dev/null
	put --uuid $U2
	put
	put
	[ "$(d list | wc -l)" -eq 4 ]
}

@test "rules of others, dot files and cache folders leave nothing out" {
	kopia_as calagopus@node1 policy set "calagopus@node1:$PWD/v" \
		--add-ignore '*' --max-file-size=1
	kopia_as calagopus@node1 policy set calagopus@node1 --add-ignore one
	echo '*' >v/.kopiaignore
	mkdir v/cache
	printf 'Signature: 8a477f597d28d172789f06886806bc55\n' \
		>v/cache/CACHEDIR.TAG
	echo x >v/cache/x
	run --separate-stderr put --uuid $U
	echo "$output" "$stderr"
	[ "$status" -eq 0 ]
	[[ $stderr == *"not ours"* ]]
	mkdir out out2
	d restore "$PWD/out" -b $U
	diff -r --no-dereference v out
	[ "$(rules)" = "" ]
	# Those from above are there each time, and each time without effect.
	put --uuid $U2
	d restore "$PWD/out2" -b $U2
	diff -r --no-dereference v out2
	kopia_as calagopus@node1 policy delete calagopus@node1
	# Now there is nothing to say, and nothing to change.
	policy >before
	run --separate-stderr put
	[ -z "$stderr" ]
	policy | cmp - before
}

@test "a policy below the source that leaves files out makes it partial" {
	kopia_as calagopus@node1 policy set "calagopus@node1:$PWD/v/world" \
		--add-ignore two
	run --separate-stderr put --uuid $U
	[ "$status" -eq 3 ]
	jq -e '.complete == false and .warnings_count == 1 and
		(.warnings[0] | contains("not ours"))' <<<"$output"
	[ "$(d list | jq -cS .)" = "$(jq -cS . <<<"$output")" ]
	kopia_as calagopus@node1 policy delete \
		"calagopus@node1:$PWD/v/world"
}

@test "rules mean what they mean elsewhere, and none stays" {
	mkdir -p v/a/b v/keep v/logs/deep 'v/odd [x]'
	touch v/a/b/x.log v/keep/y.log v/logs/deep/z v/q1 v/q22 'v/odd [x]/f!' \
		$'v/nl\n' 'v/sp ' v/é v/#hash v/.hidden
	cat >rules <<-'END'
	# comment
	*.log
	!/keep/*.log
	logs/**
	q?
	/odd\ \[x\]/*
	sp\ 
	é
	\#hash
	/nl*
	END
	put --uuid $U --exclude-from "$PWD/rules"
	[ "$(d ls -b $U -R --json | jq -c .path)" = "$(cala-pack -f tar \
		--exclude-from rules -C v . | tar t | sed 's,^\./,,; s,/$,,' |
		grep . | jq -Rc . | sort)" ] || {
		d ls -b $U -R | cut -f5
		false
	}
	[ "$(rules)" = "" ]
	[ -z "$(find "$state" -name '*.rules')" ]
	d list | jq -e '.complete and (.ignored | length) == 9'
}

@test "rules that a killed run left are removed by the next, whoever it is" {
	# Kopia is stopped once its snapshot has begun, and we are killed.
	stand_in <<-'END'
	case " $* " in *" snapshot create "*)
		echo $$ >"${0%/bin/kopia}/kopia.pid"
		exec sleep 1000 ;;
	esac
	exec "$REAL" "$@"
	END
	echo '*.log' >rules
	touch v/a.log
	cala-kopia put "$PWD/v" -c c -s $S --uuid $U \
		--exclude-from "$PWD/rules" 3>&- >out 2>err &
	PID=$!
	while [ ! -s kopia.pid ]; do kill -0 $PID; sleep 0.05; done
	[ "$(rules)" = "*.log " ]
	kill -KILL $PID
	wait $PID || :
	PID=
	# It has died with us.
	k=$(cat kopia.pid)
	while kill -0 "$k" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$k/status"
	do
		sleep 0.05
	done
	[ -n "$(find "$state" -name '*.rules')" ]
	rm bin/kopia
	run d gc --dry-run
	[[ $output == *"would remove"* ]]
	[ "$(rules)" = "*.log " ]
	# A put of another source sees to it, too.
	mkdir w
	d put "$PWD/w" -s $S
	[ "$(rules)" = "" ]
	[ -z "$(find "$state" -name '*.rules')" ]
	[ "$(d list | wc -l)" -eq 1 ]
}

@test "SIGTERM midway stores nothing, leaves no rules and no process" {
	stand_in <<-'END'
	case " $* " in *" snapshot create "*)
		echo $$ >"${0%/bin/kopia}/kopia.pid"
		while :; do sleep 1000; done ;;
	esac
	exec "$REAL" "$@"
	END
	echo '*.log' >rules
	cala-kopia put "$PWD/v" -c c -s $S --uuid $U \
		--exclude-from "$PWD/rules" 3>&- >out 2>err &
	PID=$!
	while [ ! -s kopia.pid ]; do kill -0 $PID; sleep 0.05; done
	kill -TERM $PID
	status=0
	wait $PID || status=$?
	PID=
	[ "$status" -eq 143 ]
	[ ! -s out ]
	run ! kill -0 "$(cat kopia.pid)"
	rm bin/kopia
	[ "$(rules)" = "" ]
	[ -z "$(d list)" ]
	put --uuid $U
}

@test "a snapshot that was stored although we were stopped is deleted" {
	stand_in <<-'END'
	case " $* " in *" snapshot create "*)
		"$REAL" "$@" >"${0%/bin/kopia}/made"
		echo $$ >"${0%/bin/kopia}/kopia.pid"
		while :; do sleep 1000; done ;;
	esac
	exec "$REAL" "$@"
	END
	cala-kopia put "$PWD/v" -c c -s $S --uuid $U 3>&- >out 2>err &
	PID=$!
	while [ ! -s kopia.pid ]; do kill -0 $PID; sleep 0.05; done
	[ -n "$(kopia_id $U)" ]
	kill -TERM $PID
	status=0
	wait $PID || status=$?
	PID=
	[ "$status" -eq 143 ]
	[ -z "$(kopia_id $U)" ]
}

@test "a put that is stopped leaves another's backup of its UUID alone" {
	stand_in <<-'END'
	case " $* " in *" snapshot create "*)
		# Somebody else is faster.
		"$REAL" "${1}" --disable-file-logging snapshot create \
			"${0%/bin/kopia}/w" --tags "backup-uuid:$U" >/dev/null
		echo $$ >"${0%/bin/kopia}/kopia.pid"
		while :; do sleep 1000; done ;;
	esac
	exec "$REAL" "$@"
	END
	sed -i "2a U=$U" bin/kopia
	mkdir w
	cala-kopia put "$PWD/v" -c c -s $S --uuid $U 3>&- >out 2>err &
	PID=$!
	while [ ! -s kopia.pid ]; do kill -0 $PID; sleep 0.05; done
	kill -TERM $PID
	status=0
	wait $PID || status=$?
	PID=
	[ "$status" -eq 143 ]
	[ "$(kopia_id $U | wc -l)" -eq 1 ]
}

@test "an incomplete snapshot is no backup, and goes with the next run" {
	stand_in <<-'END'
	case " $* " in *" snapshot create "*)
		# As one that was asked to stop.
		"$REAL" "$@" | sed 's/"startTime"/"incomplete":"canceled",&/' ;;
	*)	exec "$REAL" "$@" ;;
	esac
	END
	says 1 "before its end" put --uuid $U
	[ -z "$(kopia_id $U)" ]
}

@test "children that crash, print garbage, hang or are old" {
	put --uuid $U
	stand_in <<-'END'
	case $(cat "${0%/bin/kopia}/mode") in
	crash)	echo "panic: runtime error" >&2; kill -SEGV $$ ;;
	exit)	echo "something odd" >&2; exit 1 ;;
	empty)	exit 0 ;;
	garbage) echo 'not json'; exit 0 ;;
	cut)	echo '[{"id":"d6f66d227a7ae6147d562444cf7b26e2"'; exit 0 ;;
	lost)	echo '['; echo ']'
		echo "unable to parse snapshot manifest x: code = Unavailable" >&2 ;;
	old)	echo "kopia: error: unknown long flag '--x', try --help" >&2
		exit 1 ;;
	noise)	head -c 3000000 /dev/zero | tr '\0' e >&2; exit 1 ;;
	hang)	trap '' TERM; exec sleep 1000 ;;
	esac
	END
	m() { echo "$1" >mode; }
	m crash; says 1 "SIGSEGV" d list
	m exit; says 1 "something odd" d list
	m empty; says 14 "JSON" d list
	m garbage; says 14 "" d list
	m cut; says 14 "" d list
	m lost; says 13 "not all snapshots" d list
	m old; says 2 "unknown long flag" d list
	[[ $stderr == *"0.21"* ]]
	m noise; says 1 "status 1" d list
	m crash; says 1 "SIGSEGV" put --uuid $U2
	m empty; says 14 "" put --uuid $U2
	kopia_conf cala.conf "timeout = 1s"
	m hang; says 13 "silent for 1 seconds" d list
	# On connecting, an old one is refused by its number.
	rm -r "$state"
	stand_in <<-'END'
	echo "0.20.1 build: x from: y"
	END
	says 2 "too old" d list
}

@test "get and cat of a stream that breaks fail, and end no tar" {
	head -c 3000000 /dev/urandom >v/big
	put --uuid $U
	stand_in <<-'END'
	case " $* " in *" restore "* | *" show "*)
		# Its own reading end would keep it waiting for ever.
		"$REAL" "$@" | { head -c 100000; cat >/dev/null; }
		echo "error copying data: unable to decrypt content" >&2
		exit 1 ;;
	esac
	exec "$REAL" "$@"
	END
	run bash -c 'cala-kopia get -c c -b "$1" >t.tar' _ $U
	[ "$status" -eq 14 ]
	# What was written, if anything was, does not end as a tar does.
	[ ! -s t.tar ] || [ "$(tail -c 1024 t.tar | tr -d '\0' | wc -c)" -gt 0 ]
	says 14 "decrypt" d cat -b $U big
	# What is printed whole by one that fails is not whole.
	says 14 "decrypt" d verify -b $U
}

@test "a reader that goes ends it all" {
	head -c 3000000 /dev/urandom >v/big
	put --uuid $U
	stand_in <<-'END'
	echo $$ >>"${0%/bin/kopia}/pids"
	exec "$REAL" "$@"
	END
	run bash -c 'cala-kopia get -c c -b "$1" | head -c 100 >/dev/null
		exit ${PIPESTATUS[0]}' _ $U
	[ "$status" -eq 141 ]
	for p in $(cat pids); do
		run ! kill -0 "$p"
	done
}

@test "restore keeps modes, owners, files' times to the nanosecond, and holes" {
	truncate -s 5M v/sparse
	chmod 4750 v/one
	chmod 1770 v/world
	touch -d '2001-02-03T04:05:06.123456789Z' v/world/two
	touch -h -d '2002-02-03T04:05:06.123456Z' v/link
	touch -d '2003-02-03T04:05:06.987654321Z' v/world
	[ "$(id -u)" != 0 ] || chown 1234:2345 v/world/two
	put --uuid $U
	mkdir out part
	d restore "$PWD/out" -b $U
	# Kopia restores the times of links in microseconds, and keeps none of
	# folders: they get the newest of what is in them.
	for i in v out; do
		(cd $i && find . -mindepth 1 \( -type f -printf \
			'%p %y %m %U:%G %s %T@\n' -o -type l -printf \
			'%p %y %U:%G %l %T@\n' -o -printf \
			'%p %y %m %U:%G\n' \) | sort) >$i.txt
	done
	diff v.txt out.txt
	[ "$(stat -c %b out/sparse)" -lt 1000 ]
	# A part has its folders, too.
	d restore "$PWD/part" -b $U world/two
	[ "$(stat -c '%a %U' part/world)" = "$(stat -c '%a %U' v/world)" ]
	[ "$(stat -c '%y' part/world/two)" = "$(stat -c '%y' v/world/two)" ]
}

@test "what is known is read by one run of Kopia, and not when it is gone" {
	stand_in <<-'END'
	echo "$@" >>"${0%/bin/kopia}/calls"
	exec "$REAL" "$@"
	END
	put --uuid $U
	: >calls
	[ "$(d cat -b $U world/two)" = two ]
	[ "$(wc -l <calls)" -eq 1 ]
	mkdir out out2 out3
	: >calls
	d restore "$PWD/out" -b $U
	diff -r --no-dereference v out
	[ "$(wc -l <calls)" -eq 1 ]
	: >calls
	d verify -b $U
	[ "$(grep -c 'snapshot list' calls)" -eq 1 ]
	# Another machine has changed it: what is remembered is no more.
	kopia_as calagopus@node1 snapshot pin "$(kopia_id $U)" --add else
	[ "$(d cat -b $U one)" = one ]
	kopia_as calagopus@node1 snapshot pin "$(kopia_id $U)" --add where
	d restore "$PWD/out2" -b $U
	diff -r --no-dereference v out2
	# And has deleted it.
	kopia_as calagopus@node1 snapshot delete "$(kopia_id $U)" --delete
	says 10 "no backup $U" d cat -b $U one
	says 10 "no backup $U" d restore "$PWD/out3" -b $U
	[ -z "$(ls -A out3)" ]
	# An unreachable server is none that has nothing.
	cat >bin/kopia <<-'END'
	#!/bin/sh
	echo "error: code = Unavailable desc = connection refused" >&2
	exit 1
	END
	says 13 "refused" d cat -b $U one
	says 13 "refused" d restore "$PWD/out3" -b $U
}

@test "a put that must make its policy asks for nothing twice" {
	stand_in <<-'END'
	echo "$@" >>"${0%/bin/kopia}/calls"
	exec "$REAL" "$@"
	END
	put
	: >calls
	put
	[ "$(wc -l <calls)" -eq 2 ]
	: >calls
	put --uuid $U
	[ "$(wc -l <calls)" -eq 3 ]
}

@test "cat is the same whether the backup is known or not" {
	: >v/empty
	head -c 512 /dev/urandom >v/block
	head -c 300000 /dev/urandom >v/big
	put --uuid $U
	for n in 1 2; do
		d cat -b $U empty | cmp - v/empty
		d cat -b $U block | cmp - v/block
		d cat -b $U big | cmp - v/big
		d cat -b $U big --offset 100000 | cmp - <(tail -c +100001 v/big)
		d cat -b $U big --offset 70000 --length 70000 |
			cmp - <(tail -c +70001 v/big | head -c 70000)
		[ -z "$(d cat -b $U big --offset 300000)" ]
		says 2 "" d cat -b $U world
		says 2 "" d cat -b $U link
		says 10 "nothing" d cat -b $U nothing
		says 10 "one/two" d cat -b $U one/two
		: >"$(echo "$state"/*.cala.seen)"
	done
}

@test "a file that looks like a folder of Kopia's is none" {
	echo secret >v/world/secret
	put --uuid $U
	oid=$(kopia_as calagopus@node1 show "$(d list |
		jq -r .checksum.value)/world" |
		jq -r '.entries[] | select(.name == "secret") | .obj')
	mkdir -p w/a
	jq -nc --arg o "$oid" '{stream: "kopia:directory", entries: [{name: "x",
		type: "f", mode: "0644", size: 7, obj: $o}]}' >w/a/fake
	d put "$PWD/w" -s $S --uuid $U2
	for n in 1 2; do
		says 10 "a/fake/x" d cat -b $U2 a/fake/x
		says 10 "a/fake/x" d get -b $U2 a/fake/x
		says 10 "a/fake" d ls -b $U2 a/fake/x
		: >"$(echo "$state"/*.cala.seen)"
	done
}

@test "get says once what Kopia's stream can't carry; modes survive it" {
	chmod 6755 v/one
	chmod 1777 v/world
	put --uuid $U
	run --separate-stderr bash -c 'cala-kopia get -c c -b "$1" |
		tar tvf - | sort -k6' _ $U
	[ "$status" -eq 0 ]
	[ "$(grep -c 'whole seconds' <<<"$stderr")" -eq 1 ]
	grep -q '^-rwsr-sr-x .* ./one$\|^-rwsr-sr-x .* one$' <<<"$output"
	grep -q '^drwxrwxrwt .*world/$' <<<"$output"
}

@test "what Kopia can't keep is a warning by name" {
	mkfifo v/pipe
	run --separate-stderr put --uuid $U
	[ "$status" -eq 3 ]
	[[ $stderr == *"pipe: a FIFO"* ]]
	jq -e '.complete == false and .warnings_count == 1' <<<"$output"
	# Unless a rule leaves it out.
	echo pipe >rules
	put --uuid $U2 --exclude-from "$PWD/rules"
}

@test "put of a snapshot under its volume's path reads only what changed" {
	mkdir snap
	cp -a v/. snap/
	put --uuid $U
	d put "$PWD/snap" -s $S --uuid $U2 --as "$PWD/v"
	kopia_as calagopus@node1 snapshot list --json --all \
		--tags=backup-uuid:$U2 | jq -e --arg p "$PWD/v" '.[0] |
		.source.path == $p and .stats.cachedFiles >= 2'
}

@test "two changes at once leave one record, or say so" {
	put --uuid $U
	d set -b $U --name one & one=$!
	d set -b $U --group two & two=$!
	a=0 b=0
	wait $one || a=$?
	wait $two || b=$?
	echo "$a $b"
	[[ "$a $b" == "0 0" || "$a $b" == "0 11" || "$a $b" == "11 0" ]]
	[ "$(kopia_id $U | wc -l)" -eq 1 ]
}

@test "a backup that is there twice is listed once; gc keeps the locked one" {
	put --uuid $U --name first
	kopia_as calagopus@node1 snapshot create "$PWD/v" \
		--tags "backup-uuid:$U" --pin cala.lock >/dev/null
	[ "$(d list | wc -l)" -eq 1 ]
	d list | jq -e .locked
	d gc
	[ "$(kopia_id $U | wc -l)" -eq 1 ]
	d list | jq -e .locked
	d set -b $U --no-lock
	d rm -b $U
}

@test "a record that can't be read is said, and the backup still there" {
	put --uuid $U
	kopia_as calagopus@node1 snapshot pin "$(kopia_id $U)" \
		--add 'cala.record={"v":1' \
		--remove "$(kopia_as calagopus@node1 snapshot list --json |
			jq -r '.[0].pins[] | select(startswith("cala.record"))')"
	run --separate-stderr d list
	[ "$status" -eq 3 ]
	[[ $stderr == *record* ]]
	jq -e '.foreign' <<<"$output"
	[ "$(d cat -b $U one)" = one ]
}

@test "a long record survives: thousands of rules" {
	seq -f 'a-rule-that-is-quite-long-and-names-nothing-%06.0f' 8000 >rules
	put --uuid $U --exclude-from "$PWD/rules"
	d list | jq -e '(.ignored | length) == 8000 and .complete'
	d set -b $U --name x
	d list | jq -e '(.ignored | length) == 8000 and .name == "x"'
	d verify -b $U
}

@test "through the dispatcher: backup, list, restore" {
	printf '[server "s"]\nuuid = %s\npath = %s\nconfiguration = c\nignore = *.log\n' \
		$S "$PWD/v" >>cala.conf
	touch v/x.log
	u=$(cala backup s)
	d list -s $S | jq -e --arg u "$u" '.uuid == $u and .ignored == ["*.log"]'
	cala restore s latest --to "$PWD/back"
	rm v/x.log
	diff -r --no-dereference v back
	[ "$(cala cat s latest world/two)" = two ]
	cala verify s latest
}
