# cala-restic and a restic that crashes, hangs, talks nonsense or is killed, as
# stand-ins play it; what restic is given; and signals.

load common
load restic

S=11111111-aaaa-4bbb-8ccc-000000000001
U=aaaa1111-0000-4000-8000-000000000001
ID=$(printf '0123456789abcdef%.0s' 1 2 3 4)

setup() {
	need jq
	cd "$BATS_TEST_TMPDIR" || return
	REPO=/nonexistent/test-repository
	restic_conf "$BATS_TEST_TMPDIR/cala.conf"
	mkdir bin t
	echo x >t/x
	PATH=$PWD/bin:$PATH
}

teardown() {
	local p
	for p in ${pids:-}; do
		kill -KILL "$p" 2>/dev/null || true
		wait "$p" || true
	done
}

# stand_in: a restic whose commands are functions of the script on stdin; VERB
# is the command, and what it does not define ends well and prints nothing.
stand_in() {
	{
		echo '#!/bin/bash'
		cat
		cat <<-'END'
		[ "$1" != version ] || { echo "restic ${VERSION:-0.19.1} compiled"; exit; }
		for VERB; do case $VERB in -*) ;; [0-9]*s) ;; *) break ;; esac; done
		declare -F "$VERB" >/dev/null || {
			[ "$VERB" != snapshots ] || echo '[]'
			exit
		}
		"$VERB" "$@"
		END
	} >bin/restic.new
	chmod +x bin/restic.new
	mv bin/restic.new bin/restic
}

# gone PID: it has ended, though init may not have looked yet
gone() {
	local n=0
	while [ -e "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status"; do
		n=$((n + 1))
		[ $n -lt 400 ] || return 1
		sleep 0.05
	done
}

put() {
	cala-restic put t -c c -s $S --uuid $U
}

@test "the password is on no command line and in no environment" {
	stand_in <<-END
	snapshots() {
		cat /proc/\$\$/environ | tr '\\0' '\\n' >$PWD/env
		printf '%s\n' "\$0" "\$@" >$PWD/args
		cat "\$RESTIC_PASSWORD_FILE" >$PWD/pw
		echo '[]'
	}
	END
	export RESTIC_REPOSITORY=/other CALA_SECRET_THING=1 AWS_SESSION_TOKEN=tok
	export B2_ACCOUNT_ID=b2id KOPIA_PASSWORD=kp
	cat >>cala.conf <<-END
	environment.AWS_ACCESS_KEY_ID = keyid
	END
	cala-restic list -c c
	[ "$(cat pw)" = test-password ]
	run ! grep -q test-password env args
	grep -qx "RESTIC_REPOSITORY=$REPO" env
	grep -qx AWS_ACCESS_KEY_ID=keyid env
	grep -qx B2_ACCOUNT_ID=b2id env
	run ! grep -qE 'AWS_SESSION|CALA_|KOPIA_|/other' env
	[ "$(stat -c %a cache)" = 700 ]
}

@test "a backup counts only with an id and a good end" {
	local summary='{"message_type":"summary","snapshot_id":"'$ID'","backup_end":"2026-01-01T00:00:00Z"}'
	stand_in <<<'backup() { echo garbage; echo "{\"message_type\":\"status\"}"; }'
	fails 1 put
	[[ $stderr == *"names no snapshot"* ]]
	stand_in <<-END
	backup() { echo '$summary'; echo 'panic: nil map' >&2; exit 2; }
	END
	fails 1 put
	[[ $stderr == *"exited with status 2: panic: nil map"* ]]
	stand_in <<-END
	backup() { echo '$summary'; kill -SEGV \$\$; }
	END
	fails 1 put
	[[ $stderr == *"killed by SIGSEGV"* ]]
	stand_in <<-END
	backup() { printf '{"x":1}\n[1,2\n\377\n\n'; printf '%s' '$summary'; }
	END
	put | jq -e '.complete and .completed == "2026-01-01T00:00:00Z"'
}

@test "exit 3 without a word is a partial backup all the same" {
	stand_in <<-END
	backup() {
		echo "\$@" >$PWD/args
		echo '{"message_type":"summary","snapshot_id":"$ID","backup_end":"2026-01-01T00:00:00Z"}'
		exit 3
	}
	snapshots() {
		[ -f $PWD/args ] || { echo '[]'; return; }
		run=\$(grep -o 'cala.run=[0-9a-f]*' $PWD/args)
		extra=
		[ ! -f $PWD/tagged ] || extra=',"cala.warnings=1"'
		printf '[{"id":"%s","time":"2026-01-01T00:00:00Z","paths":["/t"],"tags":["%s","cala.v=1","%s"%s]}]\n' \
			$ID $U "\$run" "\$extra"
	}
	tag() { echo "\$@" >$PWD/tagged; echo 'modified tags on 1 snapshots'; }
	END
	run --separate-stderr put
	echo "$output" "$stderr"
	[ "$status" -eq 3 ]
	jq -e '.complete == false and .warnings_count == 1' <<<"$output"
	grep -q cala.warnings=1 tagged
	# Where that can't be written down, it must not pass for whole.
	rm tagged args
	sed -i 's/^tag() .*/tag() { echo "no snapshots were modified"; }/' bin/restic
	run --separate-stderr put
	[ "$status" -eq 11 ]
	[[ $stderr == *"is partial, and nothing in the repository says so"* ]]
}

@test "a list that is no list is an error, never an empty one" {
	local s
	for s in 'echo' 'echo nothing' 'printf "["' 'echo "[{]"' 'echo "[1]"' \
		'printf "[{\"id\":\"x\"}"' ':'; do
		stand_in <<<"snapshots() { $s; }"
		fails 14 cala-restic list -c c
	done
	stand_in <<<'snapshots() { echo "[]"; exit 1; }'
	fails 1 cala-restic list -c c
	# Elements that make no sense are somebody else's.
	stand_in <<-END
	snapshots() {
		echo '[{},{"id":"$ID","tags":"x","paths":["/a"]},{"id":7,"tags":["$U"]},
		{"id":"$ID","tags":["$U"],"paths":["rel"]},{"id":"$ID","tags":["$U",5,null],"paths":["/a"],"time":"x","summary":7}]'
	}
	END
	[ "$(cala-restic list -c c | jq -r .uuid)" = $U ]
}

@test "one that hangs is ended, and what it started, too" {
	echo 'stall-timeout = 1s' >>cala.conf
	stand_in <<-END
	snapshots() {
		trap '' INT TERM
		sleep 600 & echo \$! >$PWD/inner
		echo \$\$ >$PWD/outer
		sleep 600
	}
	END
	run --separate-stderr timeout -k 1 100 cala-restic list -c c
	[ "$status" -eq 13 ]
	[[ $stderr == *silent* ]]
	gone "$(cat outer)"
	gone "$(cat inner)"
}

@test "a store that answers nothing is given up after the time that is set" {
	echo 'timeout = 1s' >>cala.conf
	stand_in <<-'END'
	snapshots() {
		while :; do
			echo 'Load(<snapshot/x>) returned error, retrying after 1s: dial tcp: connection refused' >&2
			sleep 0.2
		done
	}
	END
	fails 13 timeout 100 cala-restic list -c c
	[[ $stderr == *"no success for 1 seconds"*"connection refused"* ]]
}

@test "failures by their text, as old versions have it" {
	local text code
	while IFS='|' read -r code text; do
		stand_in <<<"snapshots() { echo '$text' >&2; exit 1; }"
		fails "$code" cala-restic list -c c
	done <<-END
	10|Fatal: unable to open config file: stat /x: no such file. Is there a repository at the following location?
	12|Fatal: wrong password or no key found
	12|Fatal: client.GetObject: The Access Key Id you provided does not exist in our records.
	14|Fatal: ciphertext verification failed
	13|Fatal: Get "https://x/": dial tcp: lookup x: no such host
	17|Fatal: Get "https://x/": x509: certificate signed by unknown authority
	16|Fatal: write /x: no space left on device
	2|unknown flag: --x
	1|Fatal: something new
	END
	stand_in <<<"snapshots() { printf '{\"message_type\":\"exit_error\",\"code\":12,\"message\":\"Fatal: a\\\\\\\\nb\"}' >&2; exit 12; }"
	fails 12 cala-restic list -c c
}

@test "SIGTERM is handed on as what restic cleans up by, and nothing is left" {
	stand_in <<-END
	backup() {
		trap 'echo int >>$PWD/got; exit 130' INT
		trap 'echo term >>$PWD/got; exit 143' TERM
		echo \$\$ >$PWD/pid.new; mv $PWD/pid.new $PWD/pid
		while :; do sleep 0.05; done
	}
	END
	cala-restic put t -c c -s $S --uuid $U >out 2>err 3>&- &
	pids=$!
	until [ -f pid ]; do kill -0 $pids; sleep 0.05; done
	kill -TERM $pids
	status=0
	wait $pids || status=$?
	pids=
	[ "$status" -eq 143 ]
	[ ! -s out ]
	[ "$(cat got)" = int ]
	gone "$(cat pid)"
}

@test "a killed cala-restic leaves no restic behind" {
	stand_in <<-END
	backup() {
		echo \$\$ >$PWD/pid
		exec sleep 600
	}
	END
	cala-restic put t -c c -s $S --uuid $U >out 2>err 3>&- &
	pids=$!
	# A shell that waits for a program at that moment lives on.
	until [ -s pid ]; do kill -0 $pids; sleep 0.05; done
	kill -KILL $pids
	wait $pids || true
	pids=
	gone "$(cat pid)"
}

@test "listing and dump that differ are damage, and lengths are exact" {
	local snap='{"struct_type":"snapshot"}'
	list='[{"id":"'$ID'","tree":"'$ID'","paths":["/v"],"tags":["'$U'"]}]'
	node() { printf '{"struct_type":"node","name":"%s","type":"%s","path":"%s","size":%d,"mode":420}\n' "$@"; }
	# play FILES OF THE LISTING... from nodes, dump from dump.tar
	{
		echo "$snap"
		node v dir /v 0
		node a file /v/a 2
		node b file /v/b 2
	} >nodes
	stand_in <<-END
	snapshots() { echo '$list'; }
	ls() { cat $PWD/nodes; }
	dump() { cat $PWD/dump.tar; exit \$(cat $PWD/status); }
	END
	echo 0 >status
	mkdir -p v w/v
	printf xx >v/a
	printf yy >v/b
	tar -cf dump.tar --sort=name v/a v/b
	cala-restic get -c c -b $U | tar t
	echo 1 >status
	run bash -c 'cala-restic get -c c -b '$U' | cat >/dev/null; exit ${PIPESTATUS[0]}'
	[ "$status" -eq 1 ]
	echo 0 >status
	for what in 'v/a' 'v/b v/a' 'v/a v/b v/b'; do
		# shellcheck disable=SC2086
		tar -cf dump.tar --hard-dereference $what
		run bash -c 'cala-restic get -c c -b '$U' | cat >/dev/null; exit ${PIPESTATUS[0]}'
		echo "$what: $output"
		[ "$status" -eq 14 ]
	done
	printf xxx >v/a
	tar -cf dump.tar v/a v/b
	run bash -c 'cala-restic get -c c -b '$U' | cat >/dev/null; exit ${PIPESTATUS[0]}'
	[ "$status" -eq 14 ]
	head -c 700 dump.tar >cut && mv cut dump.tar
	run bash -c 'cala-restic get -c c -b '$U' | cat >/dev/null; exit ${PIPESTATUS[0]}'
	[ "$status" -eq 14 ]
	# A single file.
	{ echo "$snap"; node a file /v/a 2; } >nodes
	printf xx >dump.tar
	[ "$(cala-restic cat -c c -b $U a)" = xx ]
	[ "$(cala-restic cat -c c -b $U a --offset 1)" = x ]
	for bytes in x xxx; do
		printf %s $bytes >dump.tar
		fails 14 cala-restic cat -c c -b $U a
	done
	printf xx >dump.tar
	echo 1 >status
	run cala-restic cat -c c -b $U a
	[ "$status" -eq 1 ]
}

@test "names that lead out of the folder are refused" {
	stand_in <<-END
	snapshots() { echo '[{"id":"$ID","tree":"$ID","paths":["/v"],"tags":["$U"]}]'; }
	ls() { cat $PWD/nodes; }
	END
	for name in .. . '' a/b; do
		printf '%s\n' '{"struct_type":"snapshot"}' \
			'{"struct_type":"node","name":"v","type":"dir","path":"/v"}' \
			'{"struct_type":"node","name":"'"$name"'","type":"file","path":"/v/x"}' >nodes
		fails 14 cala-restic ls -c c -b $U
		fails 14 cala-restic ls -c c -b $U -R
	done
	for path in /v /x /v/d/e /; do
		printf '%s\n' '{"struct_type":"snapshot"}' \
			'{"struct_type":"node","name":"v","type":"dir","path":"/v"}' \
			'{"struct_type":"node","name":"x","type":"file","path":"'$path'"}' >nodes
		run --separate-stderr cala-restic ls -c c -b $U -R
		[ "$status" -eq 14 ] || [ "$path" = /x ]
	done
}

@test "killed before it could say that it is partial: never listed as whole" {
	stand_in <<-END
	backup() {
		grep -o 'cala.run=[0-9a-f]*' <<<"\$*" >$PWD/run.new
		mv $PWD/run.new $PWD/run
		echo '{"message_type":"error","error":{"message":"x: permission denied"},"during":"archival","item":"/t/x"}' >&2
		echo '{"message_type":"summary","snapshot_id":"$ID","backup_end":"2026-01-01T00:00:00Z"}'
		exit 3
	}
	snapshots() {
		[ -f $PWD/run ] || { echo '[]'; return; }
		printf '[{"id":"%s","time":"2026-01-01T00:00:00Z","paths":["/t"],"tags":["%s","cala.v=1","%s"%s]}]\n' \
			$ID $U "\$(cat $PWD/run)" "\$(cat $PWD/more)"
	}
	forget() { : >$PWD/forgotten; }
	tag() {
		[ ! -f $PWD/kill ] || { rm $PWD/kill; kill -KILL \$PPID; sleep 600; }
		grep -oE 'cala.warnings=[0-9]+|cala.rev=[0-9]+' <<<"\$*" >$PWD/tagged
		sed 's/.*/,"&"/' $PWD/tagged >$PWD/more
		echo 'modified tags on 1 snapshots'
	}
	END
	touch kill more
	run put
	[ "$status" -eq 137 ]
	[ ! -e kill ]
	cala-restic list -c c | jq -e '.complete == false and
		.warnings_count == 1 and (.warnings[0] | test("interrupted"))'
	# In what is remembered of the listing, too.
	cala-restic list -c c | jq -e '.complete == false'
	cala-restic gc -c c --dry-run | grep 'would mark'
	[ ! -e tagged ]
	# The next one writes it down: then every machine knows.
	cala-restic gc -c c | grep "marking snapshot 01234567 of backup $U"
	grep -x cala.warnings=1 tagged
	run ! compgen -G 'cache/cala-open-*'
	cala-restic list -c c | jq -e '.complete == false and
		.warnings_count == 1'
	rm tagged
	cala-restic gc -c c
	[ ! -e tagged ]
}

@test "a put marks what a killed one has left, but not what still runs" {
	stand_in <<-END
	backup() {
		grep -o 'cala.run=[0-9a-f]*' <<<"\$*" >$PWD/run.new
		[ -f $PWD/run ] || mv $PWD/run.new $PWD/run
		[ ! -f $PWD/hang ] || { rm $PWD/hang; trap '' INT; sleep 600; }
		echo '{"message_type":"summary","snapshot_id":"$ID","backup_end":"2026-01-01T00:00:00Z"}'
	}
	snapshots() {
		[ -f $PWD/run ] || { echo '[]'; return; }
		printf '[{"id":"%s","time":"2026-01-01T00:00:00Z","paths":["/t"],"tags":["%s","cala.v=1","%s"]}]\n' \
			$ID $U "\$(head -n 1 $PWD/run)"
	}
	tag() { echo "\$@" >$PWD/tagged; echo 'modified tags on 1 snapshots'; }
	END
	touch hang
	put >out 2>err 3>&- &
	pids=$!
	until [ -e run ]; do kill -0 $pids; sleep 0.05; done
	cala-restic list -c c | jq -e '.complete == false'
	cala-restic put t -c c -s $S
	[ ! -e tagged ]
	inner=$(pgrep -P "$(pgrep -P $pids)")
	kill -KILL $pids
	wait $pids || true
	# Its restic may yet store something: it is waited for.
	cala-restic put t -c c -s $S
	[ ! -e tagged ]
	kill "$inner"
	gone "$inner"
	pids=
	n=0
	until cala-restic put t -c c -s $S && [ -e tagged ]; do
		n=$((n + 1))
		[ $n -lt 100 ]
	done
	grep -q cala.warnings=1 tagged
	run ! compgen -G 'cache/cala-open-*'
}

@test "a whole backup leaves no note, nor does one that never began" {
	stand_in <<-END
	backup() {
		compgen -G '$PWD/cache/cala-open-*' >$PWD/notes
		echo '{"message_type":"summary","snapshot_id":"$ID","backup_end":"2026-01-01T00:00:00Z"}'
	}
	END
	put | jq -e .complete
	[ "$(wc -l <notes)" -eq 1 ]
	run ! compgen -G 'cache/cala-open-*'
	echo '[a' >rules
	chmod 000 rules
	run cala-restic put t -c c -s $S --exclude-from "$PWD/none"
	[ "$status" -eq 10 ]
	run ! compgen -G 'cache/cala-open-*'
}
