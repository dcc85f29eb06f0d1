# ddup-bak itself (the Rust program) on repositories of ours, and the reverse.

load common
load ddup

setup() {
	peer ddup-bak
	repo
}

rust() {
	(cd "$B" && "$PEER" "$@" </dev/null)
}

idle() {
	[ "$(od -An -v -tx1 "$R/chunks/index.lock" | tr -d ' \n0')" = "" ]
}

@test "it lists, restores and deletes what we wrote" {
	small t
	put t $U
	echo changed >t/server.properties
	put t $U2
	rust backup list | grep $U
	rust backup restore $U2 "$PWD/out"
	diff -r --no-dereference t out
	rust backup delete $U
	[ ! -e "$R/archives/$U.ddup" ]
	whole t $U2
	d verify -b $U2 --read-data
	healthy
}

@test "it restores what we wrote with every compression" {
	small t
	for how in none gzip brotli; do
		repo "compression-format = $how"
		rm -rf "$R" out
		mkdir -p "$B"
		put t $U
		rust backup restore $U "$PWD/out"
		diff -r --no-dereference t out
		rm -rf out
	done
}

@test "we list, read, restore and delete what it wrote" {
	small t
	rust init
	rust backup create $U "$PWD/t"
	rust backup create -c brotli $U2 "$PWD/t"
	[ "$(d list | jq -r 'select(.foreign).uuid' | tr '\n' ' ')" = "$U $U2 " ]
	d verify -b $U --read-data
	[ "$(d cat -b $U server.properties)" = motd=hello ]
	whole t $U
	whole t $U2
	d rm -b $U
	whole t $U2
	rust backup restore $U2 "$PWD/out"
	diff -r --no-dereference t out
	healthy
	idle
}

@test "its chunks are found again by ours, and ours by it" {
	small t
	rust init
	rust backup create $U "$PWD/t"
	chunks >before
	put t $U2 >record
	chunks | cmp - before
	[ "$(jq .stored record)" -lt 3000 ]
	head -c 2000000 /dev/urandom >t/more
	put t $U3
	chunks >before
	rust backup create again "$PWD/t"
	chunks | cmp - before
	whole t $U3
	healthy
}

@test "a backup of ours survives its deletes and cleans" {
	small t
	rust init
	rust backup create one "$PWD/t"
	put t $U
	rust backup delete one
	rust clean
	whole t $U
	d verify -b $U --read-data
	d rm -b $U
	d gc
	[ -z "$(chunks)" ]
}

@test "after its rebuild renumbered everything, ours are still right" {
	small t
	put t $U
	echo more >t/more
	put t $U2
	rust rebuild
	whole t $U2
	d verify -b $U --read-data
	d gc
	whole t $U2
	d rebuild
	rust backup restore $U2 "$PWD/out"
	diff -r --no-dereference t out
}

@test "while it lives on the repository we read, and write nothing" {
	small t
	put t $U
	head -c 400000000 /dev/urandom >big
	mkdir t2
	mv big t2/
	(cd "$B" && exec "$PEER" backup create other "$OLDPWD/t2" \
		</dev/null >/dev/null 2>&1) &
	other=$!
	# Until its lock file says that it writes; then it stands still.
	until [ "$(od -An -tu1 -j8 -N1 "$R/chunks/index.lock" | tr -d ' ')" = 1 ]; do
		kill -0 $other
	done
	kill -STOP $other
	run --separate-stderr put t $U2
	[ "$status" -eq 11 ]
	[[ $stderr == *ddup-bak*'has the repository open'* ]]
	run d rm -b $U
	[ "$status" -eq 11 ]
	run d gc
	[ "$status" -eq 11 ]
	whole t $U
	d verify -b $U --read-data
	kill -CONT $other
	wait $other
	put t $U2
	d verify -b $U2 --read-data
	idle
}

@test "the lock that a killed one left is broken on request" {
	small t
	put t $U
	# Destructive, present, pid 1: alive, and not ours to doubt.
	printf '\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0' >lock
	head -c 24 /dev/zero >>lock
	cp lock "$R/chunks/index.lock"
	run --separate-stderr d break-lock
	[ "$status" -eq 11 ]
	# A pid that nobody has.
	printf '\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\377\377\377\177\0\0\0\0' >lock
	head -c 24 /dev/zero >>lock
	cp lock "$R/chunks/index.lock"
	put t $U2
	idle
	# Readers that never end: counted, and nobody knows whose.
	{ head -c 40 /dev/zero; printf '\3\0\0\0\0\0\0\0'; } >"$R/chunks/index.lock"
	d break-lock
	idle
	d rm -b $U
	idle
}
