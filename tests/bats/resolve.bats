# shellcheck shell=bash disable=SC2154
load common

setup() {
	export CALA_CONFIG=$BATS_TEST_TMPDIR/cala.conf
	uuid=9d8f0000-1111-4222-8333-444455556666
	mkdir -p "$BATS_TEST_TMPDIR/v/$uuid"
	cat >"$CALA_CONFIG" <<-END
		[cala]
		volumes = $BATS_TEST_TMPDIR/v
		node = n1
		[location "eu"]
		configuration = far
		[node "n1"]
		location = eu
		[node "n2"]
		configuration = near
		[server "own"]
		configuration = near
		[server "here"]
		[server "there"]
		node = n2
		[server "lost"]
		node = nowhere
		[server "o'dd"]
		configuration = gone
		[configuration "far"]
		disk = local
		[configuration "near"]
		disk = zfs
	END
}

field() { sed -n "s/^$1=//p" <<<"$output"; }

@test "server, then node, then location" {
	run cala-resolve own
	[ "$(field level)/$(field configuration)" = server/near ]
	run cala-resolve there
	[ "$(field level)/$(field configuration)" = node/near ]
	[ "$(field driver)" = cala-snap ]
	run cala-resolve here
	[ "$(field level)/$(field configuration)" = location/far ]
	run --separate-stderr cala-resolve -v here
	[[ "$stderr" == *"server here: has no configuration of its own"* ]]
	[[ "$stderr" == *"location eu: has configuration far"* ]]
}

@test "maintenance never falls through" {
	sed -i 's/disk = zfs/disk = zfs\nmaintenance = yes/' "$CALA_CONFIG"
	run cala-resolve own
	[ "$status" -eq 20 ]
}

@test "dangling references are errors that name both" {
	run --separate-stderr cala-resolve "o'dd"
	[ "$status" -eq 2 ]
	[[ "$stderr" == *"o'dd"*"gone"* ]]
	run --separate-stderr cala-resolve lost
	[ "$status" -eq 2 ]
	[[ "$stderr" == *nowhere* ]]
}

@test "a UUID needs no section, a prefix of it is enough" {
	run cala-resolve 9d8f
	[ "$status" -eq 0 ]
	[ "$(field server)" = "$uuid" ]
	[ "$(field path)" = "$BATS_TEST_TMPDIR/v/$uuid" ]
	run cala-resolve nobody
	[ "$status" -eq 10 ]
	mkdir "$BATS_TEST_TMPDIR/v/9d8f0000-1111-4222-8333-444455556667"
	run cala-resolve 9d8f
	[ "$status" -eq 2 ]
	run cala-resolve "$uuid"
	[ "$status" -eq 0 ]
}

@test "--shell survives eval, --json is JSON" {
	sed -i 's/= gone/= near/' "$CALA_CONFIG"
	eval "$(cala-resolve --shell "o'dd")"
	[ "$CALA_NAME" = "o'dd" ]
	[ "$(cala-resolve --json own | python3 -c \
		'import json,sys; print(json.load(sys.stdin)["disk"])')" = zfs ]
}
