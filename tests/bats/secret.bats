# shellcheck shell=bash disable=SC2154
load common

setup() {
	export CALA_CONFIG=$BATS_TEST_TMPDIR/cala.conf
	export CALA_KEY_FILE=$BATS_TEST_TMPDIR/secret.key
	for i in $(seq 5); do
		printf '[configuration "c%s"]\ndisk = s3\nbucket = b\n' "$i"
	done >"$CALA_CONFIG"
	chmod 600 "$CALA_CONFIG"
	cala-secret init >/dev/null 2>&1
}

fill() {
	for i in $(seq 5); do
		printf 'value%s' "$i" | cala-config set "c$i" secret-key
	done
}

good() {
	for i in $(seq 5); do
		cala-config show --reveal "c$i" | grep -qx "secret-key = value$i" ||
			return 1
	done
}

@test "init makes a key of its own mode and never a second one" {
	[ "$(stat -c %a "$CALA_KEY_FILE")" = 600 ]
	cp "$CALA_KEY_FILE" "$BATS_TEST_TMPDIR/k"
	run cala-secret init
	[ "$status" -eq 15 ]
	cmp "$CALA_KEY_FILE" "$BATS_TEST_TMPDIR/k"
}

@test "a value opens where it was made for and nowhere else" {
	t=$(printf hunter2 | cala-secret encrypt c1 secret-key)
	[[ "$t" == enc:v1:* ]]
	[ "$(echo "$t" | cala-secret decrypt c1 secret_key)" = hunter2 ]
	run cala-secret decrypt c2 secret-key <<<"$t"
	[ "$status" -eq 12 ]
	run cala-secret decrypt c1 session-token <<<"$t"
	[ "$status" -eq 12 ]
	run cala-secret decrypt c1 secret-key <<<"${t%?}"
	[ "$status" -ne 0 ]
}

@test "a key file that others can read is refused" {
	chmod 640 "$CALA_KEY_FILE"
	run cala-secret encrypt c1 secret-key <<<x
	[ "$status" -eq 12 ]
}

@test "rotate encrypts every value anew" {
	fill
	old=$(grep secret-key "$CALA_CONFIG")
	cala-secret rotate --drop-old
	good
	[ "$old" != "$(grep secret-key "$CALA_CONFIG")" ]
	[ "$(grep -c cala-key-v1 "$CALA_KEY_FILE")" -eq 1 ]
}

@test "rotate killed at any system call leaves every value readable, and ends later" {
	need strace
	fill
	for call in renameat2 fsync openat; do
		for when in 1 2 3 4 6 8; do
			strace -qq -f -o /dev/null -e trace="$call" \
				-e inject="$call:signal=KILL:when=$when" \
				cala-secret rotate >/dev/null 2>&1 || true
			good
		done
	done
	cala-secret rotate --drop-old
	good
	! grep -q rotating "$CALA_KEY_FILE"
}
