# cala-restic beyond the contract, with real repositories: Wings' snapshots,
# paths, ignore rules, what a stream can't carry, who else works there.

load common
load restic

driver=cala-restic
S=11111111-aaaa-4bbb-8ccc-000000000001
S2=11111111-aaaa-4bbb-8ccc-000000000002
U=aaaa1111-0000-4000-8000-000000000001
U2=aaaa2222-0000-4000-8000-000000000002

setup() {
	need jq tar
	cd "$BATS_TEST_TMPDIR" || return
	restic_which new
	restic_repo
	restic_conf "$BATS_TEST_TMPDIR/cala.conf"
	V=$BATS_TEST_TMPDIR/volumes/$S
}

old() {
	restic_which old
	restic_repo
}

# root with all it can do, as mounts need
root() {
	[ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null ||
		skip "needs root that may mount"
}

@test "a backup of Wings is listed, read, restored, renamed and deleted" {
	sample "$V"
	r backup -q "$V" --tag $U --group-by tags
	d list >list
	jq -e --arg u $U --arg s $S '.uuid == $u and .server == $s and .foreign and
		.size > 10000000 and .files == 9' list
	[ "$(d list -s $S | jq -r .uuid)" = $U ]
	[ -z "$(d list -s $S2)" ]
	[ "$(d cat -b $U server.properties)" = motd=hello ]
	[ "$(d ls -s $S -b latest --json soft | jq -r .target)" = server.properties ]
	mkdir out
	d restore "$PWD/out" -b $U
	diff <(facts "$V") <(facts out)
	d verify -b $U
	d set -b $U --name 'kept, one' --lock
	d list | jq -e '.name == "kept, one" and .locked and .foreign'
	# Wings reads the first tag, and the path.
	r snapshots --json | jq -e --arg u $U --arg v "$V" \
		'length == 1 and .[0].tags[0] == $u and .[0].paths == [$v]'
	fails 22 d rm -b $U
	d set -b $U --no-lock
	d rm -b $U
	[ -z "$(d list)" ]
	[ "$(r snapshots --json | jq length)" -eq 0 ]
}

@test "Wings finds, reads and restores what is put" {
	sample "$V"
	d put "$V" -s $S --uuid $U --name n
	r snapshots --json >s
	jq -e --arg u $U --arg v "$V" 'length == 1 and .[0].tags[0] == $u and
		.[0].paths == [$v]' s
	id=$(jq -r '.[0].short_id' s)
	[ "$(r dump "$id:$V" /server.properties)" = motd=hello ]
	r restore -q "$id:$V" --target out
	diff <(facts "$V" | tail -n +2) <(facts out | tail -n +2)
}

@test "a dump of a database by Wings is a file of an unknown server" {
	echo 'CREATE TABLE t;' | r backup -q --stdin --stdin-filename $U.sql --tag $U
	d list | jq -e --arg u $U '.uuid == $u and (has("server") | not)'
	[ -z "$(d list -s $S)" ]
	[ "$(d ls -b $U --json | jq -r .path)" = $U.sql ]
	[ "$(d cat -b $U $U.sql)" = 'CREATE TABLE t;' ]
	d verify -b $U
	d set -b $U --server $S2
	[ "$(d list -s $S2 | jq -r .uuid)" = $U ]
}

@test "a snapshot of the folder '.' is read, too" {
	sample t
	(cd t && r backup -q . --tag $U)
	[ "$(d cat -b $U server.properties)" = motd=hello ]
	[ "$(d ls -b $U --json world | jq -r .path)" = world/region ]
	d get -b $U | tar t >names
	grep -qx './world/region/r.0.0.mca' names || grep -qx 'world/region/r.0.0.mca' names
	mkdir out
	d restore "$PWD/out" -b $U
	diff <(facts t | tail -n +2) <(facts out | tail -n +2)
	fails 10 d cat -b $U nothing
	d verify -b $U
}

@test "snapshots of others are no backups, and stay" {
	mkdir t
	echo x >t/x
	r backup -q "$PWD/t" --tag daily
	r backup -q "$PWD/t"
	[ -z "$(d list)" ]
	fails 10 d rm -b $U
	d put t -s $S --uuid $U
	d rm -b $U
	d gc
	[ "$(r snapshots --json | jq length)" -eq 2 ]
}

@test "tags of others stay, whatever is set" {
	mkdir t
	r backup -q "$PWD/t" --tag $U --tag team=ops --tag cala.later=1
	d set -b $U --name x
	r snapshots --json | jq -e --arg u $U '.[0].tags |
		.[0] == $u and index("team=ops") and index("cala.later=1")'
}

@test "a snapshot of the server is stored under the server's own path" {
	root
	sample snap
	mkdir -p "$V"
	echo live >"$V/live"
	d put snap -s $S --uuid $U --as "$V"
	# Others on this machine mount and unmount in the meantime.
	run ! grep -F "$BATS_TEST_TMPDIR" /proc/self/mountinfo
	[ "$(ls -A "$V")" = live ]
	r snapshots --json | jq -e --arg v "$V" '.[0].paths == [$v]'
	mkdir out
	d restore "$PWD/out" -b $U
	diff <(facts snap) <(facts out)
	# Unchanged files are not read again.
	d put snap -s $S --uuid $U2 --as "$V" -e x 2>/dev/null ||
		d put snap -s $S --uuid $U2 --as "$V"
	r snapshots --json | jq -e '.[1].summary.files_unmodified == 9'
}

@test "the path on record need not be there, nor be a folder" {
	root
	sample snap
	mkdir real
	ln -s real link
	n=1
	for as in "$PWD/not/there" "$PWD/link" /not-there/at/all "$PWD/snap/fifo"; do
		u=aaaa1111-0000-4000-8000-00000000000$n
		n=$((n + 1))
		d put snap -s $S --uuid $u --as "$as"
		r snapshots --json --tag $u | jq -e --arg v "$as" '.[0].paths == [$v]'
		mkdir out
		d restore "$PWD/out" -b $u
		diff <(facts snap) <(facts out)
		rm -rf out
		[ ! -e /not-there ] && [ ! -e not ]
	done
	[ -z "$(find cache -name '.root.*')" ]
	fails 2 d put snap -s $S --as relative
}

@test "where nothing can be mounted, the real path is stored, and said" {
	need setpriv
	[ "$(id -u)" = 0 ] || skip "needs root to give up its rights"
	sample t
	run --separate-stderr setpriv --inh-caps=-all --bounding-set=-all \
		cala-restic put t -c c -s $S --uuid $U --as "$V"
	[ "$status" -eq 0 ]
	[[ $stderr == *"stored under $PWD/t, not under $V"* ]]
	[ "$(d list | jq -r .server)" = $S ]
	[ "$(d cat -b $U server.properties)" = motd=hello ]
}

# rules LINE...: what restic stores is what cala-pack packs
rules() {
	local u
	printf '%s\n' "$@" >rules
	count=$((count + 1))
	u=aaaa1111-0000-4000-8000-$(printf %012d $count)
	d put t -s $S --uuid "$u" --exclude-from rules >/dev/null
	# Folders that are only passed through come into being by what they hold.
	mkdir "want.$count"
	cala-pack -q --exclude-from rules --format=tar -C t . |
		tar -C "want.$count" -xf -
	find "want.$count" -mindepth 1 -printf '%P\0' | python3 -c '
import sys
names = sys.stdin.buffer.read().split(b"\0")[:-1]
print("\n".join(sorted(repr(n) for n in names)))' >want
	d ls -b "$u" -R --json | python3 -c '
import sys, json, base64
names = []
for line in sys.stdin:
    e = json.loads(line)
    names.append(base64.b64decode(e["path_b64"]) if "path_b64" in e
                 else e["path"].encode())
print("\n".join(sorted(repr(n) for n in names)))' >got
	diff want got || { echo "rules: $*"; return 1; }
}

@test "ignore rules leave out what they leave out everywhere" {
	need python3
	mkdir -p t/{logs,a/b/c,a/logs,build/logs,'$HOME',x.d/y.d} "t/ lead " t/sub/logs
	touch t/{a.log,b.log,keep.log,'c[1].txt','d?.txt','#hash','!bang','$x','back\slash'} \
		t/logs/{1.log,2} t/a/logs/3 t/a/b/c/{d.log,e} t/build/x t/build/logs/z \
		't/$HOME/f' t/x.d/y.d/z 't/ lead /f' $'t/tail ' $'t/nl\n.log' \
		$'t/raw\xe9.log' t/sub/{keep.log,logs/q} t/ab t/aab t/b t/.hidden
	count=0
	rules '*.log'
	rules '/logs'
	rules 'logs/'
	rules 'a/b'
	rules '/a/*.log' 'sub/logs' '/b'
	rules '*.log' '!keep.log'
	rules '/*' '!/a/' 
	rules '*' '!a/b/c/e'
	rules 'a/**' '**/z'
	rules '**/logs/**'
	rules 'c\[1\].txt' 'd\?.txt' '\#hash' '\!bang'
	rules '[ab].log' '?ab'
	rules '$x' '$HOME'
	rules 'x.*' '.*'
	rules 'tail\ ' 'nl*' 'raw*'
	rules '# comment' '' 'build/' '*.d'
	rules 'volumes' 'tmp' 't' 'home' 'repo'
	rules 'back*' '/sub/*/q'
}

@test "with Debian's restic the rules mean the same" {
	need python3
	old
	mkdir -p t/{logs,a/b/c} t/sub/logs
	touch t/{a.log,keep.log,'$x','tail '} t/logs/1.log t/a/b/c/e t/sub/logs/q
	count=0
	rules '*.log' 
	rules '*.log' '!keep.log' 'logs/'
	rules '$x' 'tail\ ' '/a/b'
}

@test "a cache that restic made only half is no obstacle" {
	local version
	mkdir t
	touch t/a
	d put t -s $S --uuid $U
	version=$(echo cache/*/version)
	: >"$version"
	run ! r --cache-dir cache snapshots
	d put t -s $S --uuid $U2
	[ -s "$version" ]
	: >"$version"
	[ "$(d cat -b $U2 a)" = '' ]
	[ "$(listed)" = "$U $U2 " ]
}

@test "what cala itself leaves behind in a folder is no part of a backup" {
	mkdir -p t/.cala-restore-$U t/.cala-old-$U t/sub/.cala-restore-x
	touch t/.cala-restore-$U/x t/.cala-old-$U/x t/a \
		t/sub/.cala.0123456789abcdef.012345 t/sub/.cala-unpack-0123456789abcdef \
		t/sub/.cala-unpack-other
	d put t -s $S --uuid $U
	[ "$(d ls -b $U -R --json | jq -r .path | sort | tr '\n' ' ')" = \
		"a sub sub/.cala-restore-x sub/.cala-unpack-other " ]
}

@test "get has all that restic knows, and says what it can't carry" {
	sample t
	d put t -s $S --uuid $U
	run --separate-stderr bash -c '"$@" | tar -C "$0" --xattrs \
		--xattrs-include="*" --acls -xpf -' "$(mktemp -d out.XXX)" \
		cala-restic get -c c -b $U
	[ "$status" -eq 0 ]
	[ "$(grep -c 'hard link' <<<"$stderr")" -eq 1 ]
	# Links apart, nothing is lost: number of names is the fifth field.
	diff <(facts t | sed -E 's/^(([^|]*\|){4})[0-9]+/\1/') \
		<(facts out.* | sed -E 's/^(([^|]*\|){4})[0-9]+/\1/')
	d verify -b $U 2>err
	[ ! -s err ]
}

@test "restore of a part needs that part" {
	sample t
	mkdir -p 't/odd [x]*'
	echo odd >'t/odd [x]*/f\o?'
	echo other >t/oddx
	d put t -s $S --uuid $U
	mkdir out none
	d restore "$PWD/out" -b $U 'odd [x]*/f\o?' soft
	[ "$(cd out && find . ! -type d | sort | tr '\n' ' ')" = './odd [x]*/f\o? ./soft ' ]
	fails 10 d restore "$PWD/none" -b $U nothing
	[ -z "$(ls -A none)" ]
}

@test "a large backup's end is only an end when restic says so" {
	mkdir t
	head -c 3000000 /dev/urandom >t/big
	d put t -s $S --uuid $U
	# Its pieces are in different packs, or places of one: damage the last.
	for f in "$REPO"/data/*/*; do
		chmod u+w "$f"
		printf XXXX | dd of="$f" bs=1 conv=notrunc status=none \
			seek=$(($(stat -c %s "$f") * 3 / 4))
	done
	run bash -c 'cala-restic cat -c c -b '$U' big | wc -c; exit ${PIPESTATUS[0]}'
	[ "$status" -eq 14 ]
	run bash -c 'cala-restic get -c c -b '$U' big | tar t; exit ${PIPESTATUS[0]}'
	[ "$status" -eq 14 ]
	run d verify -b $U
	[ "$status" -eq 14 ]
}

@test "list asks once, cat and ls for what is asked, put for no more than two" {
	mkdir bin t
	cat >bin/restic <<-END
	#!/bin/sh
	case \$1 in version) ;; *) echo "\$*" >>$PWD/log ;; esac
	exec $RESTIC "\$@"
	END
	chmod +x bin/restic
	PATH=$PWD/bin:$PATH
	seq 1 1000 >t/f
	d put t -s $S --uuid $U
	[ "$(wc -l <log)" -eq 2 ]
	d put t -s $S2 --uuid $U2
	: >log
	d list >/dev/null
	[ "$(wc -l <log)" -eq 1 ]
	: >log
	d cat -b $U f >/dev/null
	[ "$(wc -l <log)" -le 3 ]
	: >log
	d ls -b $U >/dev/null
	[ "$(wc -l <log)" -le 2 ]
	# What is known by now takes no more than restic alone.
	mkdir o1 o2
	for cmd in "cat -b $U f" "restore o2 -b $U" "put t -s $S"; do
		[[ $cmd != restore* ]] || d restore o1 -b $U
		: >log
		# shellcheck disable=SC2086
		d $cmd >/dev/null
		[ "$(wc -l <log)" -eq 1 ]
	done
	diff -r o1 o2
	cmp t/f o2/f
	! grep -q prune log
}

# elsewhere COMMAND...: cala-restic with another cache, as on another machine
elsewhere() {
	local here=$CALA_CONFIG
	sed 's,^cache-directory = .*,cache-directory = '"$PWD/cache-there," \
		"$here" >there.conf
	chmod 600 there.conf
	CALA_CONFIG=$PWD/there.conf d "$@"
}

@test "what is remembered is never what the repository would deny" {
	for which in new old; do
		restic_which $which
		restic_repo
		rm -rf t o?
		mkdir t o1 o2 o3 o4
		echo one >t/f
		: >t/empty
		d put t -s $S --uuid $U
		d put t -s $S --uuid $U2
		for f in f empty; do
			d cat -b $U $f
			d cat -b $U2 $f
		done >/dev/null
		d restore o1 -b $U
		d ls -b $U >/dev/null
		# Its id is another now.
		elsewhere set -b $U --name there
		[ "$(d cat -b $U f)" = one ]
		elsewhere set -b $U --name again
		d restore o2 -b $U
		diff -r t o2
		elsewhere set -b $U --name third
		[ "$(d ls -b $U | wc -l)" -eq 2 ]
		elsewhere set -b $U --name fourth
		d cat -b $U empty
		elsewhere rm -b $U
		elsewhere rm -b $U2
		for cmd in "cat -b $U2 f" "cat -b $U2 empty" "ls -b $U2" \
			"restore o3 -b $U" "restore o4 f -b $U" \
			"get -b $U" "cat -b $U f"; do
			# Each from what was remembered before.
			cp cache/cala-* kept/ 2>/dev/null || {
				mkdir kept
				cp cache/cala-* kept/
			}
			# shellcheck disable=SC2086
			echo "$which: $cmd"; fails 10 d $cmd
			cp kept/* cache/
		done
		rm -r kept cache
		[ -z "$(ls -A o3 o4 | grep -v :)" ]
	done
}

@test "the lock of somebody who lives is waited for, that of the dead removed" {
	mkdir t
	d put t -s $S --uuid $U
	# A backup of a pipe holds its lock until the pipe ends.
	mkfifo pipe
	r backup -q --stdin <pipe >/dev/null 2>&1 3>&- &
	pid=$!
	exec 8>pipe
	until [ -n "$(ls "$REPO/locks")" ]; do sleep 0.05; done
	fails 11 d set -b $U --name x
	[ -n "$(ls "$REPO/locks")" ]
	kill -KILL $pid
	wait $pid || true
	exec 8>&-
	[ -n "$(ls "$REPO/locks")" ]
	d set -b $U --name y
	[ "$(d list | jq -r .name)" = y ]
	[ -z "$(ls "$REPO/locks")" ]
}

@test "with Debian's restic a lock is waited for as long as is configured" {
	old
	echo 'retry-lock-seconds = 60' >>cala.conf
	mkdir t
	d put t -s $S --uuid $U
	mkfifo pipe
	r backup -q --stdin <pipe >/dev/null 2>&1 3>&- &
	pid=$!
	exec 8>pipe
	until [ -n "$(ls "$REPO/locks")" ]; do sleep 0.05; done
	cala-restic set -c c -v -b $U --name x >out 2>err 3>&- 8>&- &
	set=$!
	# It has met the lock at least once.
	until grep -q 'stale locks' err; do
		kill -0 $set
		sleep 0.05
	done
	exec 8>&-
	wait $pid || true
	wait $set
	[ "$(d list | jq -r .name)" = x ]
}

@test "a UUID taken by Wings is refused, and nothing is left of ours" {
	mkdir -p "$V"
	echo first >"$V/f"
	r backup -q "$V" --tag $U
	echo second >"$V/f"
	fails 15 d put "$V" -s $S --uuid $U
	[ "$(r snapshots --json | jq length)" -eq 1 ]
	[ "$(d cat -b $U f)" = first ]
}

@test "a change of tags that was killed: one backup, and gc clears up" {
	mkdir t
	d put t -s $S --uuid $U --name old
	cp -r "$REPO/snapshots" kept
	d set -b $U --name new
	cp -n kept/* "$REPO/snapshots/"
	[ "$(r snapshots --json | jq length)" -eq 2 ]
	[ "$(d list | jq -r .name)" = new ]
	[ "$(d set -b $U --group g | jq -r .name)" = new ]
	d gc
	[ "$(r snapshots --json | jq length)" -eq 1 ]
	[ "$(d list | jq -r '.name + .group')" = newg ]
	# And the next change: what it was at first is all that restic keeps.
	rm -r kept
	cp -r "$REPO/snapshots" kept
	d set -b $U --name newest
	cp -n kept/* "$REPO/snapshots/"
	[ "$(r snapshots --json | jq length)" -eq 2 ]
	[ "$(d list | jq -r .name)" = newest ]
	d set -b $U --lock | jq -e '.name == "newest" and .locked'
	d gc
	[ "$(r snapshots --json | jq length)" -eq 1 ]
	[ "$(d list | jq -r '.name')" = newest ]
}

@test "gc gives space back, and --dry-run does not" {
	mkdir t
	head -c 2000000 /dev/urandom >t/big
	d put t -s $S --uuid $U
	d rm -b $U
	before=$(du -sk "$REPO/data" | cut -f1)
	d gc --dry-run
	[ "$(du -sk "$REPO/data" | cut -f1)" -eq "$before" ]
	d gc
	[ "$(du -sk "$REPO/data" | cut -f1)" -lt "$((before - 1500))" ]
}

@test "init makes a repository once" {
	rm -rf "$REPO"
	fails 10 d list
	run d check
	[ "$status" -eq 10 ]
	[[ $output == *"cala-restic init"* ]]
	d init
	[ -z "$(d list)" ]
	fails 15 d init
}

@test "wrong password, no repository, nobody there: each its own status" {
	mkdir t
	echo wrong >password
	fails 12 d list
	fails 12 d put t -s $S --uuid $U
	run d check
	[ "$status" -eq 12 ]
	echo test-password >password
	sed -i "s|^repository = .*|repository = $PWD/nothing|" cala.conf
	fails 10 d list
	[[ $stderr != *"no backup"* ]]
	fails 10 d put t -s $S --uuid $U
	echo 'timeout = 1s' >>cala.conf
	sed -i 's|^repository = .*|repository = rest:http://127.0.0.1:1/|' cala.conf
	fails 13 d list
	fails 13 d cat -b $U x
	sed -i '/RESTIC_PASSWORD/d' cala.conf
	fails 2 d list
	[[ $stderr == *"password is not configured"* ]]
	RESTIC_PASSWORD=x fails 13 d list
}

@test "no restic, and one that is too old" {
	mkdir bin
	run -127 --separate-stderr env PATH="$PWD/bin" \
		"$(command -v cala-restic)" list -c c
	[[ $stderr == *"restic is not installed"* ]]
	printf '#!/bin/sh\necho restic 0.12.1 compiled with go1.16\n' >bin/restic
	chmod +x bin/restic
	PATH=$PWD/bin:$PATH fails 2 d list
	[[ $stderr == *0.12.1*"too old"* ]]
	printf '#!/bin/sh\necho something else\n' >bin/restic
	PATH=$PWD/bin:$PATH fails 1 d list
}
