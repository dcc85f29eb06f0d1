# shellcheck shell=bash disable=SC2154
# Editing a configuration that has errors: it could not be repaired otherwise.
load common

setup() {
	export CALA_CONFIG=$BATS_TEST_TMPDIR/cala.conf
	export CALA_KEY_FILE=$BATS_TEST_TMPDIR/secret.key
	cat >"$CALA_CONFIG" <<-'END'
		[configuration "good"]
		disk = local

		[configuration "q"]
		disk = s3
		bucket = b
		bucket = c
		path-sytle = yes
		part-size = 3
		nonsense
	END
	chmod 600 "$CALA_CONFIG"
}

@test "an edit elsewhere is done, the errors are warnings, exit 3" {
	run --separate-stderr cala-config set good description=fine
	[ "$status" -eq 3 ]
	[[ "$stderr" == *"warning: "*":8: "*"bucket: set twice, first in line 7"* ]]
	[[ "$stderr" == *"warning: "*"path-sytle: unknown key"* ]]
	[[ "$stderr" == *"warning: "*"neither [section], comment"* ]]
	[[ "$stderr" != *error:* ]]
	grep -qx 'description = fine' "$CALA_CONFIG"
	grep -qx nonsense "$CALA_CONFIG"
}

@test "errors are repaired one by one until there are none" {
	run --separate-stderr cala-config set q bucket=one
	[ "$status" -eq 3 ]
	[ "$(grep -c '^bucket' "$CALA_CONFIG")" -eq 1 ]
	run cala-config unset q path-sytle
	[ "$status" -eq 3 ]
	run cala-config set q part-size=16MiB
	[ "$status" -eq 3 ]
	sed -i '/nonsense/d' "$CALA_CONFIG"
	run --separate-stderr cala-config set q region=eu
	[ "$status" -eq 0 ]
	[ -z "$stderr" ]
	cala-config lint
}

@test "a change that brings an error of its own is refused" {
	cp "$CALA_CONFIG" "$BATS_TEST_TMPDIR/before"
	run --separate-stderr cala-config set q part-size=4
	[ "$status" -eq 2 ]
	[[ "$stderr" == *"part-size: 4 is not between"* ]]
	run --separate-stderr cala-config unset good disk
	[ "$status" -eq 2 ]
	[[ "$stderr" == *"error: "*"disk is missing"* ]]
	run -2 cala-config set good description="$(printf 'x%.0s' $(seq 2000))"
	cmp "$CALA_CONFIG" "$BATS_TEST_TMPDIR/before"
}

@test "a dry run checks, and writes nothing" {
	cp "$CALA_CONFIG" "$BATS_TEST_TMPDIR/before"
	run -3 cala-config set -n good description=fine
	run -2 cala-config unset -n good disk
	cmp "$CALA_CONFIG" "$BATS_TEST_TMPDIR/before"
}

@test "removing a section leaves a heading that is none, and its lines" {
	cat >"$CALA_CONFIG" <<-'END'
		[configuration "good"]
		disk = local
		[configuration "broken
		disk = s3
		bucket = worlds
	END
	run cala-config remove good
	[ "$status" -eq 3 ]
	[ "$(cat "$CALA_CONFIG")" = '[configuration "broken
disk = s3
bucket = worlds' ]
}

@test "rotate needs a configuration without errors" {
	cala-secret init 2>/dev/null
	run cala-secret rotate
	[ "$status" -eq 2 ]
	[ "$(grep -c cala-key-v1 "$CALA_KEY_FILE")" -eq 1 ]
}

@test "a section of a kind that nobody knows can be removed by its heading" {
	cat >>"$CALA_CONFIG" <<-'END'
		[frobnicator "x"]
		a = b
		[frobnicator]
		c = d
		; of the next
		[configuration "last"]
		disk = local
	END
	run -10 cala-config remove '[frobnicator "y"]'
	run -10 cala-config remove '[frobnicator "x'
	run cala-config remove '[frobnicator "x"]'
	[ "$status" -eq 3 ]
	run cala-config remove '[frobnicator]'
	[ "$status" -eq 3 ]
	run ! grep -q 'frob\|a = b\|c = d' "$CALA_CONFIG"
	grep -qx '; of the next' "$CALA_CONFIG"
	grep -q '"last"' "$CALA_CONFIG"
}
