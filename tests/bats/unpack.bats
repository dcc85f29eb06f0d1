# cala-unpack: what comes out of archives, and when it is seen.

load common

# run sets it.
stderr=

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
	sample src
	cala-pack -C src . >a.tar.zst
}

@test "every kind of object comes back as it was" {
	for f in tar tar.gz tar.zst tar.xz; do
		rm -rf out && mkdir out
		cala-pack -f $f -C src . | cala-unpack -C out
		diff <(facts src) <(facts out)
		[ "$(stat -c %b out/sparse)" -lt 200 ]
	done
}

@test "any number of writers makes the same tree" {
	for j in 1 2 7; do
		rm -rf out && mkdir out
		cala-unpack -j $j -C out <a.tar.zst
		diff <(facts src) <(facts out)
	done
}

@test "what GNU tar wrote comes back, too" {
	tar --format=posix --xattrs --acls -C src -cf t.tar .
	mkdir out
	cala-unpack -C out <t.tar
	diff <(facts src) <(facts out)
}

@test "zip from a pipe and from a file" {
	need zip
	(cd src && zip -qry ../a.zip server.properties logs world)
	cala-unpack --to one <a.zip
	cala-unpack --to two -i a.zip
	cmp src/logs/latest.log one/logs/latest.log
	cmp src/world/region/r.0.0.mca two/world/region/r.0.0.mca
}

@test "over what is there: files are replaced, others stay" {
	mkdir -p out/world && echo mine >out/mine && echo old >out/server.properties
	cala-unpack -C out <a.tar.zst
	[ "$(cat out/mine)" = mine ]
	cmp src/server.properties out/server.properties
}

@test "--no-overwrite keeps what exists, warns and exits 3" {
	mkdir out && echo old >out/server.properties
	run --separate-stderr cala-unpack --no-overwrite -C out <a.tar.zst
	[ "$status" -eq 3 ]
	[[ "$stderr" == *"server.properties: exists; kept"* ]]
	[ "$(cat out/server.properties)" = old ]
	cmp src/logs/latest.log out/logs/latest.log
}

@test "PATH selects a subtree; one that matches nothing exits 10 by name" {
	cala-unpack --to one ./world/ <a.tar.zst
	[ "$(ls -A one)" = world ]
	cmp src/world/region/r.0.0.mca one/world/region/r.0.0.mca
	run --separate-stderr cala-unpack --to two world nether <a.tar.zst
	[ "$status" -eq 10 ]
	[[ "$stderr" == *"nether: not in the archive"* ]]
	[ ! -e two ] && [ ! -e two.part ]
}

@test "a hard link whose data was not selected is said, exit 3" {
	run --separate-stderr cala-unpack --to out server.properties <a.tar.zst
	[ "$status" -eq 3 ]
	[[ "$stderr" == *"stored under hard, which was not selected"* ]]
}

@test "--to makes a directory whole or not at all" {
	cala-unpack --to out <a.tar.zst
	diff <(facts src) <(facts out)
	run cala-unpack --to out <a.tar.zst
	[ "$status" -eq 15 ]
	n=$(stat -c %s a.tar.zst)
	for cut in 0 1 100 $((n / 2)) $((n - 1)); do
		run --separate-stderr bash -c "head -c $cut a.tar.zst | cala-unpack --to cut"
		[ "$status" -eq 4 ] || [ "$status" -eq 14 ]
		[ ! -e cut ] && [ ! -e cut.part ]
	done
}

@test "--to --overwrite replaces and keeps the old tree until discarded" {
	mkdir out && echo mine >out/mine
	cala-unpack --to out --overwrite <a.tar.zst
	diff <(facts src) <(facts out)
	[ "$(cat .cala-old-*/old/mine)" = mine ]
	cala-unpack -C out --discard-old
	[ -z "$(find . -name '.cala-*')" ]
	[ -d out ]
}

@test "--truncate replaces the tree only when the archive was whole" {
	mkdir out && echo mine >out/mine
	run bash -c 'head -c 9000 a.tar.zst | cala-unpack --truncate -C out'
	[ "$status" -eq 4 ]
	[ "$(ls -A out)" = mine ] && [ -z "$(find . -name '.cala-*')" ]
	cala-unpack --truncate -C out <a.tar.zst
	diff <(facts src) <(facts out)
	[ "$(cat .cala-old-*/old/mine)" = mine ]
}

@test "--truncate twice with one id keeps both old trees" {
	id=11111111-2222-4333-8444-555555555555
	mkdir out && echo one >out/one
	cala-unpack --truncate --id $id -C out <a.tar.zst
	cala-unpack --truncate --id $id -C out <a.tar.zst
	[ "$(cat .cala-old-$id/old/one)" = one ]
	[ "$(find . -maxdepth 1 -name '.cala-old-*' | wc -l)" = 2 ]
	cala-unpack --truncate --discard-old -C out <a.tar.zst
	[ -z "$(find . -name '.cala-*')" ]
	diff <(facts src) <(facts out)
}

@test "--truncate of a mount point swaps what it holds" {
	[ "$(id -u)" = 0 ] || skip "mounting needs root"
	mkdir out
	mount -t tmpfs -o size=32m,mode=755 none out || skip "can't mount here"
	echo mine >out/mine
	ino=$(stat -c %i out)
	run cala-unpack --truncate -C out <a.tar.zst
	ok=$status
	old=$(cat out/.cala-old-*/old/mine)
	cala-unpack -C out --discard-old
	cmp src/logs/latest.log out/logs/latest.log && same=yes
	now=$(stat -c %i out) left=$(find out -name '.cala-*')
	mode=$(stat -c '%a %y' out)
	umount out
	# tmpfs before 6.6 has no user attributes: 3 then.
	[ "$ok" -eq 0 ] || [ "$ok" -eq 3 ]
	[ "$old" = mine ] && [ "$same" = yes ] && [ "$ino" = "$now" ]
	[ -z "$left" ]
	[ "$mode" = "$(stat -c '%a %y' src)" ]
}

@test "a full disk: exit 16, the tree that was there untouched" {
	[ "$(id -u)" = 0 ] || skip "mounting needs root"
	mkdir m
	mount -t tmpfs -o size=200k,mode=755 none m || skip "can't mount here"
	mkdir m/out && echo mine >m/out/mine
	run --separate-stderr cala-unpack --truncate -C m/out <a.tar.zst
	one=$status left=$(ls -A m) mine=$(ls -A m/out)
	run cala-unpack -C m/out <a.tar.zst
	two=$status tmp=$(find m -name '.cala*')
	run cala-unpack --truncate --expect 1G -C m/out <a.tar.zst
	three=$status
	umount m
	[ "$one" -eq 16 ] && [ "$two" -eq 16 ] && [ "$three" -eq 16 ]
	[ "$left" = out ] && [ "$mine" = mine ] && [ -z "$tmp" ]
}

@test "--commit-fd: C commits, anything else and silence do not" {
	for word in A ''; do
		run cala-unpack --to out --commit-fd 7 <a.tar.zst 7< <(printf %s "$word")
		[ "$status" -eq 4 ]
		[ ! -e out ] && [ ! -e out.part ]
	done
	run cala-unpack --to out --commit-fd 7 <a.tar.zst 7< <(printf C)
	[ "$status" -eq 0 ]
	diff <(facts src) <(facts out)
}

@test "killed at the commit: the next run needs no help" {
	mkdir out && echo mine >out/mine
	mkfifo word
	cala-unpack --truncate -C out --commit-fd 7 <a.tar.zst 7<>word &
	pid=$!
	until compgen -G ".cala-restore-*/tree/zero" >/dev/null; do sleep 0.05; done
	kill -9 $pid
	wait $pid || true
	[ "$(cat out/mine)" = mine ]
	cala-unpack -C out --recover
	[ -z "$(find . -name '.cala-*')" ]
	[ "$(ls -A out)" = mine ]
}

@test "interrupted: nothing is left and the signal is told" {
	mkfifo word
	cala-unpack --to out --commit-fd 7 <a.tar.zst 7<>word &
	pid=$!
	while [ ! -e out.part/zero ]; do sleep 0.05; done
	kill -TERM $pid
	code=0
	wait $pid || code=$?
	[ "$code" -eq 143 ]
	[ ! -e out ] && [ ! -e out.part ]
}

@test "--dry-run lists and writes nothing" {
	run --separate-stderr cala-unpack -n --to out logs <a.tar.zst
	[ "$status" -eq 0 ]
	[ "$output" = "$(printf 'logs\nlogs/latest.log')" ]
	[ ! -e out ]
}

@test "--report says what was done" {
	cala-unpack --to out --report r.json <a.tar.zst
	python3 -c '
import json
r = json.load(open("r.json"))
assert r["ok"] and r["code"] == 0 and r["target"] == "out" and r["failed"] == 0
assert r["type"] == "summary" and r["files"] >= 10, r'
	run cala-unpack --to out --report r.json <a.tar.zst
	[ "$status" -eq 15 ]
	python3 -c 'import json; r = json.load(open("r.json")); assert r["code"] == 15 and not r["ok"]'
}

@test "without root: owners are not asked for, setuid bits are left out" {
	[ "$(id -u)" = 0 ] || skip "needs root to become somebody else"
	need setpriv
	mkdir s && cp /bin/true s/su && chown 4321:4321 s/su && chmod 4755 s/su
	tar -C s -cf s.tar .
	mkdir out && chown 1234:1234 out && chmod 755 . .. ../..
	run --separate-stderr setpriv --reuid 1234 --regid 1234 --clear-groups \
	    "$(command -v cala-unpack)" -C out <s.tar
	[ "$status" -eq 3 ]
	[ "$(stat -c '%a %u' out/su)" = "755 1234" ]
	run --separate-stderr cala-unpack --no-owners --to two <s.tar
	[ "$status" -eq 3 ]
	[ "$(stat -c '%a %u' two/su)" = "755 0" ]
	cala-unpack --to three <s.tar
	[ "$(stat -c '%a %u' three/su)" = "4755 4321" ]
}

@test "wrong usage is told: exit 2" {
	for o in '--to x -C y' '--truncate' '--truncate -C . p' '--recover' \
	    '--id nonsense --to x' '--jobs 1025' '--nonsense' '--commit-fd 99' \
	    '--to x ../up'; do
		# shellcheck disable=SC2086
		run cala-unpack $o <a.tar.zst
		[ "$status" -eq 2 ]
	done
}

@test "a flipped bit in file data: exit 14 in every format that has a sum" {
	mkdir one
	head -c 3000000 /dev/urandom >one/noise
	for f in tar.gz tar.xz tar.lz tar.bz2 tar.lz4 tar.zst zip 7z; do
		cala-pack -f "$f" -C one . >a
		# noise stays noise: the middle is file data in all of them
		old=$(dd if=a bs=1 skip=1500000 count=1 status=none | od -An -tu1)
		# shellcheck disable=SC2059
		printf "\\$(printf %o $((old ^ 1)))" |
		    dd of=a bs=1 seek=1500000 conv=notrunc status=none
		rm -rf to
		run cala-unpack --to to <a
		echo "$f: $output"
		[ "$status" -eq 14 ]
		[ ! -e to ]
	done
}
