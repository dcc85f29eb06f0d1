# The Proxmox Backup Server that the other suites use, before they believe it.

load common
load ../pbs/pbs

setup() {
	need python3 openssl jq
	cd "$BATS_TEST_TMPDIR" || return
	pbs_need
}

teardown() {
	pbs_stop
}

# refused STATUS TEXT COMMAND...: the other client says so
refused() {
	local status_=$1 text=$2
	shift 2
	run "$@"
	if [ "$status" -eq 0 ] || [[ $output != "$status_ "*"$text"* ]]; then
		echo "not $status_ $text: $output: $*"
		return 1
	fi
}

@test "its formats are the published ones" {
	run pbs_run formats.py --self-test
	[ "$status" -eq 0 ]
}

@test "a snapshot comes back: archive, image and blob" {
	pbs_start
	head -c 300000 /dev/urandom >a
	seq 1 1000 >b
	head -c 5000000 /dev/zero >i
	pbs_client backup vm-demo 1700000000 x.didx=a i.img.fidx=i note.conf.blob=b
	pbs_client cat vm-demo 1700000000 x.didx | cmp - a
	pbs_client cat vm-demo 1700000000 i.img.fidx | cmp - i
	pbs_client cat vm-demo 1700000000 note.conf.blob | cmp - b
	[ "$(pbs_snapshots)" = "- host/vm-demo 1700000000 whole" ]
	pbs_sound
}
