# shellcheck shell=bash disable=SC2154
load common

setup() {
	export CALA_CONFIG=$BATS_TEST_TMPDIR/cala.conf
	export CALA_KEY_FILE=$BATS_TEST_TMPDIR/secret.key
	cat >"$CALA_CONFIG" <<-'END'
		; the first line
		[cala]
		volumes = /srv/volumes        ; where they live

		# about survival
		[server "survival"]
		configuration = hetzner

		[configuration "hetzner"]
		disk   = s3
		bucket = worlds               ; the bucket
		; a comment inside

		# about the spare one
		[configuration "spare"]
		disk = local
	END
	chmod 640 "$CALA_CONFIG"
	cp "$CALA_CONFIG" "$BATS_TEST_TMPDIR/before"
}

@test "every error of a run is said at once, with file, line, section and key" {
	cat >"$CALA_CONFIG" <<-'END'
		[servr "x"]
		[configuration "q"]
		disk = s3
		bucket = b
		bucket = c
		path-sytle = yes
		part-size = 3
	END
	run --separate-stderr cala-config lint
	[ "$status" -eq 2 ]
	[[ "$stderr" == *":1: [servr]: unknown section"* ]]
	[[ "$stderr" == *":5: [configuration \"q\"] bucket: set twice, first in line 4"* ]]
	[[ "$stderr" == *":6: [configuration \"q\"] path-sytle: unknown key; did you mean path-style?"* ]]
	[[ "$stderr" == *":7: [configuration \"q\"] part-size: 3 is not between"* ]]
	[[ "$stderr" == *"4 errors in the configuration"* ]]
}

@test "values longer than 200 bytes, semicolons in quotes, long names" {
	long=$(printf 'x%.0s' $(seq 1000))
	name=$(printf 'n%.0s' $(seq 255))
	printf '[configuration "%s"]\ndisk = local\ndescription = " %s ; y"\n' \
		"$name" "$long" >"$CALA_CONFIG"
	run cala-config show "$name"
	[ "$status" -eq 0 ]
	[ "${lines[1]}" = "description =  $long ; y" ]
	printf '[configuration "%sn"]\ndisk = local\n' "$name" >"$CALA_CONFIG"
	run cala-config lint
	[ "$status" -eq 2 ]
}

@test "a plain secret in a file that others can read is refused" {
	printf 'secret-key = hunter2hunter2\n' >>"$CALA_CONFIG"
	sed -i 's/disk = local/disk = s3\nbucket = b\naccess-key = k/' "$CALA_CONFIG"
	run --separate-stderr cala-config lint
	[ "$status" -eq 2 ]
	[[ "$stderr" == *"plain secret"* ]]
	[[ "$stderr" != *hunter2* ]]
	chmod 600 "$CALA_CONFIG"
	run cala-config lint
	[ "$status" -eq 0 ]
}

@test "a configuration that others can write is refused" {
	chmod 666 "$CALA_CONFIG"
	run cala-config lint
	[ "$status" -eq 2 ]
}

@test "set changes one line and keeps comments, spacing, mode" {
	cala-config set hetzner bucket=other
	diff "$BATS_TEST_TMPDIR/before" "$CALA_CONFIG" >"$BATS_TEST_TMPDIR/d" && false
	[ "$(grep -c '^[<>]' "$BATS_TEST_TMPDIR/d")" -eq 2 ]
	grep -q '^bucket = other               ; the bucket$' "$CALA_CONFIG"
	[ "$(stat -c %a "$CALA_CONFIG")" = 640 ]
	[ ! -e "$BATS_TEST_TMPDIR/.cala-config.lock" ]
}

@test "an unset key goes behind the section's last, a bad one changes nothing" {
	cala-config set hetzner region=eu
	[ "$(grep -n '^region = eu$' "$CALA_CONFIG")" = "12:region = eu" ]
	cp "$CALA_CONFIG" "$BATS_TEST_TMPDIR/after"
	run cala-config set hetzner part-size=3
	[ "$status" -eq 2 ]
	run cala-config set hetzner datastore=x
	[ "$status" -eq 2 ]
	run cala-config set hetzner "region=a
b"
	[ "$status" -eq 2 ]
	cmp "$CALA_CONFIG" "$BATS_TEST_TMPDIR/after"
}

@test "a secret is never taken from the command line" {
	cala-secret init >/dev/null
	run --separate-stderr cala-config set hetzner secret-key=hunter2
	[ "$status" -eq 2 ]
	[[ "$stderr" != *hunter2* ]]
	echo hunter2 | cala-config set hetzner secret-key
	run ! grep -q hunter2 "$CALA_CONFIG"
	run cala-config show hetzner
	[[ "$output" == *"secret-key = <set>"* ]]
	run cala-config show --reveal hetzner
	[[ "$output" == *"secret-key = hunter2"* ]]
}

@test "a blank keeps the secret" {
	cala-secret init >/dev/null
	echo hunter2 | cala-config set hetzner secret-key
	cp "$CALA_CONFIG" "$BATS_TEST_TMPDIR/after"
	cala-config set hetzner secret-key=
	cala-config set hetzner secret-key </dev/null
	cmp "$CALA_CONFIG" "$BATS_TEST_TMPDIR/after"
}

@test "rename and duplicate encrypt anew; rename updates who refers to it" {
	cala-secret init >/dev/null
	echo hunter2 | cala-config set hetzner secret-key
	cala-config duplicate hetzner twin
	run cala-config show --reveal twin
	[[ "$output" == *"secret-key = hunter2"* ]]
	cala-config rename hetzner "new one"
	run cala-config show --reveal "new one"
	[[ "$output" == *"secret-key = hunter2"* ]]
	run cala-config where-used "new one"
	[[ "$output" == server$'\t'survival* ]]
	run cala-config where-used hetzner
	[ "$status" -eq 10 ]
}

@test "create, assign, unassign, maintenance, remove" {
	cala-config create fast disk=local
	cala-config assign fast server survival
	[ "$(cala-resolve survival | grep ^configuration=)" = configuration=fast ]
	cala-config maintenance fast on
	run cala-resolve survival
	[ "$status" -eq 20 ]
	run cala-config remove fast
	[ "$status" -eq 2 ]
	cala-config unassign server survival
	cala-config remove fast
	run cala-resolve survival
	[ "$status" -eq 21 ]
	grep -q '^# about the spare one$' "$CALA_CONFIG"
	grep -q '^	*; a comment inside$' "$CALA_CONFIG"
}

@test "remove keeps the comment above the next section" {
	cala-config remove --force hetzner
	grep -q '^# about the spare one$' "$CALA_CONFIG"
	run ! grep -q worlds "$CALA_CONFIG"
	run cala-config lint
	[ "$status" -eq 2 ]
	run --separate-stderr cala-resolve survival
	[ "$status" -eq 2 ]
	[[ "$stderr" == *"survival"*"hetzner"* ]]
}

@test "twenty editors at once lose nothing" {
	for i in $(seq 20); do
		cala-config create "c$i" disk=local &
	done
	wait
	[ "$(cala-config list | grep -c '^c[0-9]')" -eq 20 ]
}
