# The n-th call of a kind fails, for every n: what was there is still there, and
# nothing half done is ever shown.

load common

setup() {
	need strace
	# The leak checker needs ptrace for itself.
	export ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0
	cd "$BATS_TEST_TMPDIR"
	mkdir srv
	echo a >srv/a
	mkdir srv/d
	seq 1000 >srv/d/b
	cala-pack -C srv . >new.tar.zst
}

# inject SYSCALL N COMMAND...: run it with its N-th SYSCALL failing; status in
# rc, and false when there is no N-th.
inject() {
	local call=$1 n=$2
	shift 2
	rc=0
	strace -f -qq -o trace -e trace="$call" \
	    -e inject="$call":error=EIO:when="$n" "$@" >out 2>err || rc=$?
	grep -q INJECTED trace
}

# sum DIR: the files of a tree, without our own folders in it.
sum() {
	(cd "$1" && find . -name '.cala-*' -prune -o -type f -print0 |
	    sort -z | xargs -0 sha256sum | sha256sum)
}

# swaps OPTION...: cala-unpack --truncate over V with faults.
swaps() {
	local call n old new now
	new=$(sum srv)
	for call in mkdirat write fsync renameat renameat2 fchmod; do
		for ((n = 1; n < 40; n++)); do
			rm -rf p
			mkdir -p p/v/od
			echo old >p/v/o
			seq 50 >p/v/od/x
			old=$(sum p/v)
			inject "$call" "$n" cala-unpack "$@" --truncate -C p/v \
			    <new.tar.zst || break
			echo "$call $n: $rc: $(cat err)"
			[ "$rc" -lt 128 ]
			[ "$rc" -eq 0 ] || grep -q ": Input.output error$" err
			now=$(sum p/v)
			[ "$now" = "$new" ] || { [ "$now" = "$old" ] &&
			    [ "$rc" -ne 0 ]; }
			cala-unpack --recover -C p/v
			now=$(sum p/v)
			[ "$now" = "$old" ] || [ "$now" = "$new" ]
			[ -z "$(find p -name '.cala-restore-*')" ]
			# What was replaced is kept, whatever failed.
			[ "$now" = "$old" ] || [ "$(cat p/.cala-old-*/old/o \
			    p/v/.cala-old-*/old/o 2>/dev/null)" = old ]
		done
		[ "$n" -lt 40 ]
	done
}

@test "restore --truncate: old or new, and the old tree kept" {
	swaps
}

@test "restore --truncate entry by entry: old or new, and the old tree kept" {
	swaps --keep-directory
}

@test "put: a backup is listed only when put said so, and is whole then" {
	need jq
	export CALA_CONFIG=$PWD/cala.conf
	printf '[configuration "c"]\ndisk = local\nbackup-directory = %s\n' \
	    "$PWD/store" >cala.conf
	chmod 600 cala.conf
	sid=11111111-aaaa-4bbb-8ccc-000000000001
	for call in write fsync renameat2 fchmod flock ftruncate; do
		for ((n = 1; n < 40; n++)); do
			rm -rf store
			mkdir store
			inject "$call" "$n" cala-local put -c c -s $sid \
			    <new.tar.zst || break
			echo "$call $n: $rc: $(cat err)"
			[ "$rc" -lt 128 ]
			id=$(cala-local list -c c | jq -r .uuid)
			if [ -n "$id" ]; then
				cala-local verify -c c -s $sid -b "$id"
				# Stored, but nobody could be told: said.
				[ "$rc" -eq 0 ] || grep -q 'is stored' err
			else
				[ "$rc" -ne 0 ]
				grep -q 'error: ' err
			fi
			[ -z "$(find store -name '*.part')" ]
		done
		[ "$n" -lt 40 ]
	done
}
