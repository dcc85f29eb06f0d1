# shellcheck shell=bash disable=SC2154
# What cala-config shows: to people, to scripts, of foreign disks.
load common

setup() {
	export CALA_CONFIG=$BATS_TEST_TMPDIR/cala.conf
	export CALA_KEY_FILE=$BATS_TEST_TMPDIR/secret.key
	cat >"$CALA_CONFIG" <<-'END'
		[cala]
		jobs = 3
		volumes = /v
		[location "eu"]
		configuration = far
		[node "n1"]
		location = eu
		[server "survival"]
		name = Überleben
		uuid = 9d8f0000-1111-4222-8333-444455556666
		[configuration "far"]
		disk = s3
		bucket = b
		description = a	tab
		[configuration "near-by"]
		disk = local
		maintenance = yes
		[group "survival/daily"]
		keep-count = 7
		[policy "nightly"]
		schedule = 0 3 * * *
	END
	chmod 600 "$CALA_CONFIG"
}

# terminal PROMPT INPUT COMMAND...: runs it on a terminal of its own, types
# INPUT once PROMPT is to be seen; what the terminal shows is the output.
terminal() {
	python3 - "$@" <<'PY'
import os, pty, sys
prompt, text, argv = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(argv[0], argv)
seen, typed = b"", False
while True:
    if prompt and not typed and prompt in seen:
        os.write(fd, text)
        typed = True
    try:
        got = os.read(fd, 4096)
    except OSError:
        break
    if not got:
        break
    seen += got
os.close(fd)
status = os.waitpid(pid, 0)[1]
sys.stdout.buffer.write(seen.replace(b"\r\n", b"\n"))
sys.exit(os.waitstatus_to_exitcode(status) % 256)
PY
}

@test "piped: tabs, no titles, tabs in values escaped" {
	run cala-config list
	[ "${lines[0]}" = $'far\ts3\tready\t1\ta\\ttab' ]
	[ "${lines[1]}" = $'near-by\tlocal\tmaintenance\t0\t' ]
	run cala-config list --header nodes
	[ "${lines[0]}" = $'NODE\tLOCATION\tCONFIGURATION\tDESCRIPTION' ]
	[ "${lines[1]}" = $'n1\teu\t\t' ]
}

@test "on a terminal: titles and columns" {
	run terminal '' '' cala-config list
	[ "$status" -eq 0 ]
	[ "${lines[0]}" = 'NAME     DISK   STATE        USED  DESCRIPTION' ]
	[ "${lines[1]}" = 'far      s3     ready        1     a\ttab' ]
	[ "${lines[2]}" = 'near-by  local  maintenance  0     -' ]
}

@test "servers, locations, groups, policies, and nothing else" {
	[ "$(cala-config list servers)" = $'Überleben\t9d8f0000-1111-4222-8333-444455556666\t\t\t/v/9d8f0000-1111-4222-8333-444455556666\t' ]
	[ "$(cala-config list locations)" = $'eu\tfar\t' ]
	[ "$(cala-config list groups)" = $'survival/daily\t7\t\t' ]
	[ "$(cala-config list policies)" = $'nightly\tyes\t0 0 3 * * *\t\t' ]
	run -2 cala-config list worlds
	need jq
	[ "$(cala-config list --json servers | jq -r '.[0].name')" = Überleben ]
	[ "$(cala-config list --json | jq -c '.[1]')" = \
	    '{"name":"near-by","disk":"local","maintenance":true,"shared":false,"used":0,"description":null}' ]
}

@test "show --show-origin adds inherited values and defaults" {
	run cala-config show far
	[[ "$output" != *jobs* ]]
	run cala-config show --show-origin far
	[[ "$output" == *$'bucket = b\t'"$CALA_CONFIG:13"* ]]
	[[ "$output" == *$'jobs = 3\t'"$CALA_CONFIG:2"* ]]
	[[ "$output" == *$'part-size = 1GiB\tdefault'* ]]
	[[ "$output" != *archive-format* ]]
	run cala-config show --show-origin cala
	[[ "$output" == *$'snapshot = auto\tdefault'* ]]
}

@test "a secret is asked for on the terminal, without echo" {
	cala-secret init 2>/dev/null
	run terminal 'secret-key: ' $'hunter2\n' cala-config set far secret-key
	[ "$status" -eq 0 ]
	[[ "$output" == *"secret-key: "* ]]
	[[ "$output" != *hunter2* ]]
	[[ "$(cala-config show --reveal far)" == *"secret-key = hunter2"* ]]
}

@test "an interrupt at the prompt ends it, nothing changed, echo back" {
	cala-secret init 2>/dev/null
	cp "$CALA_CONFIG" "$BATS_TEST_TMPDIR/before"
	run terminal 'secret-key: ' $'hunt\003' sh -c \
	    'trap : INT; cala-config set far secret-key; echo "status $?"; stty -a'
	[[ "$output" == *"status 130"* ]]
	[[ "$output" == *" echo "* ]]
	cmp "$CALA_CONFIG" "$BATS_TEST_TMPDIR/before"
}

toy() {
	need jq
	mkdir "$BATS_TEST_TMPDIR/bin"
	cp "$top/contrib/examples/cala-toy" "$BATS_TEST_TMPDIR/bin/"
	PATH=$PATH:$BATS_TEST_TMPDIR/bin
}

@test "info of a foreign disk is what its driver says" {
	toy
	[ "$(cala-config info toy | jq -r '.[0].name')" = directory ]
	run -10 cala-config info nothing
	for text in nonsense '{}' '{"keys":[{"name":"A b"}]}' ''; do
		printf '#!/bin/sh\nprintf %%s '\''%s'\''\n' "$text" \
			>"$BATS_TEST_TMPDIR/bin/cala-odd"
		chmod +x "$BATS_TEST_TMPDIR/bin/cala-odd"
		run -14 cala-config info odd
	done
	printf '#!/bin/sh\nexit 9\n' >"$BATS_TEST_TMPDIR/bin/cala-odd"
	run --separate-stderr cala-config info odd
	[ "$status" -eq 1 ]
	[[ "$stderr" == *"exited with status 9"* ]]
}

@test "keys of a foreign disk are checked by its driver's info" {
	toy
	run --separate-stderr cala-config create t disk=toy
	[ "$status" -eq 2 ]
	[[ "$stderr" == *"directory is missing"* ]]
	run --separate-stderr cala-config create t disk=toy directory=srv
	[ "$status" -eq 2 ]
	[[ "$stderr" == *"not an absolute path"* ]]
	run -2 cala-config create t disk=toy directory=/srv/t colour=red
	cala-config create t disk=toy directory=/srv/t limit-read=1MiB
	sed -i 's/^directory/direktory/' "$CALA_CONFIG"
	run --separate-stderr cala-config lint
	[ "$status" -eq 2 ]
	[[ "$stderr" == *"direktory: unknown key; did you mean directory?"* ]]
}
