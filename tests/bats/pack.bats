#!/usr/bin/env bats
# cala-pack: what it writes is what others read.

load common

setup() {
	cd "$BATS_TEST_TMPDIR"
	mkdir src
}

# as_tar FILE: the tar inside, by the reference program of each format.
as_tar() {
	case $1 in
	*.tar) cat "$1" ;;
	*.tar.zst) zstd -qdc "$1" ;;
	*.tar.gz) gzip -dc "$1" ;;
	*.tar.xz) xz -dc "$1" ;;
	*.tar.lz) lzip -dc "$1" ;;
	*.tar.bz2) bzip2 -dc "$1" ;;
	*.tar.lz4) lz4 -dc "$1" ;;
	esac
}

@test "an empty source is refused: it may not be mounted" {
	mkdir nothing
	run --separate-stderr cala-pack -C nothing .
	[ "$status" -eq 4 ]
	[ -z "$output" ]
	cala-pack -C nothing --allow-empty . | zstd -dc | tar t
	mkdir nothing/folder
	cala-pack -C nothing . | zstd -dc | tar t | grep -qx folder/
}

@test "every kind of thing comes back by GNU tar, in all tar formats" {
	need tar zstd gzip xz lzip bzip2 lz4 setfattr setfacl
	sample src
	facts src >want || true
	for f in tar tar.zst tar.gz tar.xz tar.lz tar.bz2 tar.lz4; do
		cala-pack -f $f -C src . >a.$f
		mkdir x.$f
		as_tar a.$f >t
		tar --xattrs --xattrs-include='*' --acls -S --numeric-owner \
		    -p -C x.$f -xf t
		facts x.$f >got || true
		[ -s want ]
		diff want got
		[ "$(du -k x.$f/sparse | cut -f1)" -lt 1000 ]
	done
}

@test "every kind of thing comes back by bsdtar" {
	need bsdtar setfattr setfacl
	sample src
	cala-pack -C src . >a.tar.zst
	mkdir x
	bsdtar --xattrs --acls --numeric-owner -C x -xpf a.tar.zst
	# bsdtar leaves the time of "." itself alone.
	diff <(facts src | sed 1d) <(facts x | sed 1d)
}

@test "compressed formats hold the same tar, and their checkers are content" {
	need zstd gzip pigz xz lzip bzip2 lz4
	sample src
	cala-pack -f tar -C src . >a.tar
	for f in tar.zst tar.gz tar.xz tar.lz tar.bz2 tar.lz4; do
		cala-pack -f $f -j 2 -C src . >a.$f
		as_tar a.$f | cmp - a.tar
	done
	zstd -qt a.tar.zst
	gzip -t a.tar.gz
	pigz -dt a.tar.gz
	xz -t a.tar.xz
	lzip -t a.tar.lz
	bzip2 -t a.tar.bz2
	lz4 -qt a.tar.lz4
}

@test "zip and 7z are whole for unzip and 7z, hard links are copies" {
	need unzip 7z
	sample src
	run --separate-stderr cala-pack -f zip -C src -o a.zip .
	[ "$status" -eq 3 ]
	[[ $stderr == *"zip can't hold devices and fifos (left out)"* ]]
	unzip -tq a.zip
	mkdir x
	unzip -q a.zip -d x || [ $? -eq 1 ]
	cmp src/hard x/hard
	cmp src/server.properties x/server.properties
	[ "$(readlink x/soft)" = server.properties ]
	[ "$(stat -c %a x/server.properties)" = 640 ]
	unzip -z a.zip | grep -q '^cala-pack 1 entries=.* warnings=2$'
	run --separate-stderr cala-pack -f 7z -C src -o a.7z .
	[ "$status" -eq 3 ]
	7z t a.7z >/dev/null
	mkdir y
	7z x -oy a.7z >/dev/null
	cmp src/server.properties y/server.properties
}

@test "any number of jobs writes the same bytes" {
	mkdir src/d
	for i in $(seq 40); do
		head -c $((i * 20011)) /dev/urandom >src/d/$i
		seq 1 $((i * 4000)) >src/d/t$i
	done
	for f in tar.zst tar.gz tar.bz2; do
		cala-pack -f $f -j 1 -C src . >one
		cala-pack -f $f -j 5 -C src . >five
		cmp one five
	done
	cala-pack -j 1 -C src . >one
	cala-pack -j 2 --memory 37M -C src . >tight
	cmp one tight
}

@test "names: contents of one directory, last components of several" {
	mkdir -p a/b c
	echo 1 >a/b/f
	echo 2 >c/g
	run cala-pack -n a
	[ "$output" = $'.\nb\nb/f' ]
	run cala-pack -n a/b c a/b/f
	[ "$output" = $'b\nb/f\nc\nc/g\nf' ]
	run cala-pack -n -C a b/f
	[ "$output" = f ]
	run -2 cala-pack -n a/b c/../a/b
	run -2 cala-pack -n a ..
	run -10 cala-pack -n a nothing-here
}

@test "names from a file keep their paths; a missing one is a warning" {
	mkdir -p a/b
	echo 1 >a/b/f
	echo 2 >"a/new
line"
	printf 'a/b/f\0./a/new\nline\0' >list
	cala-pack -0 -T list -f tar >l.tar
	[ "$(tar tf l.tar)" = $'a/b/f\na/new\\nline' ]
	printf 'a/b/f\ngone\n' >list
	run -3 --separate-stderr cala-pack -T - -o l.tar <list
	[[ $stderr == *gone* ]]
	[ "$(tar tf l.tar)" = a/b/f ]
	printf '../a/b/f\n' >list
	run -2 cala-pack -T list -o l2.tar
	[ ! -e l2.tar ]
}

@test "rules: options first, .pteroignore last" {
	mkdir src/logs src/world
	touch src/logs/a.log src/logs/b.log src/world/x
	printf '!logs/b.log\n' >src/.pteroignore
	run cala-pack -n -e '*.log' src
	[[ $'\n'$output$'\n' != *$'\nlogs/a.log\n'* ]]
	[[ $'\n'$output$'\n' == *$'\nlogs/b.log\n'* ]]
	run cala-pack -n -e '*.log' --no-pteroignore src
	[[ $output != *.log* ]]
	printf 'world\n' >rules
	run cala-pack -n --exclude-from rules src
	[[ $output != *world* ]]
	run -2 cala-pack -n -e 'a[' src
}

@test "excluding everything exits 4 and gives no whole archive" {
	touch src/a src/b
	run -4 cala-pack -e '*' -f tar -o a.tar src
	[ ! -e a.tar ]
	cala-pack -e '*' -f tar src >cut.tar || [ $? -eq 4 ]
	run ! grep -q 'cala-pack 1 end' cut.tar
	cala-pack -e '*' --allow-empty -f tar src >a.tar
	grep -q 'cala-pack 1 end entries=1 files=0 size=0' a.tar
}

@test "the report tells the dispatcher what was done" {
	echo hello >src/a
	touch src/b.tmp
	cala-pack -e '*.tmp' --report r.json --report-fd 5 -C src -o a.tar.zst . 5>fd.json
	cmp r.json fd.json
	python3 - <<-'E'
	import json, os
	r = json.load(open("r.json"))
	assert r["v"] == 1 and r["type"] == "summary" and r["ok"] and r["code"] == 0
	assert r["files"] == 1 and r["entries"] == 2 and r["size"] == 6, r
	assert r["stored"] == os.stat("a.tar.zst").st_size, r
	assert r["excluded"] == 1 and r["ignored"] == ["*.tmp"], r
	assert r["warnings"] == [] and r["warnings_count"] == 0
	E
	run -4 cala-pack -e '*' --report r.json -C src -o b.tar.zst .
	grep -q '"ok":false,"code":4' r.json
}

@test "a partial archive says so inside, and exits 3; --strict makes none" {
	[ "$(id -u)" = 0 ] || skip "needs root to drop privileges"
	need setpriv
	echo x >src/a
	echo y >src/secret
	chmod 000 src/secret
	chmod 755 . src "$BATS_TEST_TMPDIR"
	chmod 777 .
	np() { setpriv --reuid 65534 --clear-groups --inh-caps=-all "$@"; }
	np true && np test -x "$(command -v cala-pack)" || skip "no access to the build"
	np test -r src/a || skip "the temporary folder is closed to others"
	np cala-pack -f tar -C src . >a.tar || [ $? -eq 3 ]
	grep -q 'cala-pack 1 end .* warnings=1' a.tar
	run -1 np cala-pack --strict -f tar -C src -o s.tar .
	[ ! -e s.tar ]
}

@test "the archive is not packed into itself" {
	echo x >src/a
	cala-pack -f tar -o src/me.tar src
	[ "$(tar tf src/me.tar | sort -u)" = $'./\na' ]
	cala-pack -f tar -C src . >src/out.tar
	[ "$(tar tf src/out.tar | sort -u)" = $'./\na\nme.tar' ]
}

@test "wrong usage exits 2 and writes nothing" {
	touch src/a
	run -2 cala-pack
	run -2 cala-pack -f rar src
	run -2 cala-pack -f tar.gz -l 13 src
	run -2 cala-pack --memory 10M src
	run -2 cala-pack -l 19 --memory 64M src
	run -2 cala-pack --trailer -f tar.gz src
	run -2 cala-pack --trailer --index src
	run -2 cala-pack --profile other src
	run -2 cala-pack --bogus src
}

@test "trailer: count and hash of all bytes before" {
	head -c 100000 /dev/urandom >src/a
	cala-pack --trailer -C src . >a.tar.zst
	cala-pack --no-index --no-trailer -C src . >plain.tar.zst
	size=$(stat -c %s plain.tar.zst)
	[ "$(stat -c %s a.tar.zst)" -eq $((size + 56)) ]
	head -c "$size" a.tar.zst | cmp - plain.tar.zst
	want=5c2a4d183000000043414c41454f5331
	want+=$(python3 -c "print($size .to_bytes(8,'little').hex())")
	want+=$(sha256sum plain.tar.zst | cut -c1-64)
	[ "$(tail -c 56 a.tar.zst | od -An -v -tx1 | tr -d ' \n')" = "$want" ]
	zstd -qt a.tar.zst
}

@test "the seek table adds up to the file" {
	head -c 9000000 /dev/urandom >src/a
	seq 1 900000 >src/b
	cala-pack -C src . >a.tar.zst
	python3 - <<-'E'
	import struct
	b = open("a.tar.zst", "rb").read()
	n, desc, magic = struct.unpack("<IBI", b[-9:])
	assert magic == 0x8F92EAB1 and desc == 0x80
	t = 8 + 12 * n + 9
	assert b[-t:][:4] == bytes.fromhex("5e2a4d18")
	rows = [struct.unpack("<III", b[len(b)-t+8+12*i:][:12]) for i in range(n)]
	assert sum(r[0] for r in rows) + t == len(b)
	assert rows[-1][1:] == (0, 0x51D8E999)
	assert max(r[1] for r in rows) == 8 << 20 and n == 3
	at = [sum(r[0] for r in rows[:i]) for i in range(n)]
	assert all(b[i:i+4] == bytes.fromhex("28b52ffd") for i in at[:-1])
	at = at[-1]
	assert b[at+8:at+16] == b"CALAIDXZ"
	E
}

@test "long, odd and foreign names, large ids, old and fine times" {
	need bsdtar
	d=$(printf 'd%.0s' $(seq 120))
	mkdir -p "src/$d/$d/$d"
	echo 1 >"src/$d/$d/$d/file"
	echo 2 >"src/$(printf 'n%.0s' $(seq 240))"
	bad=$(printf 'x%.0s' $(seq 200))$'\xff\xfe'
	echo 3 >"src/$bad"
	echo 4 >src/ümläut
	ln "src/$bad" src/zz-hard
	ln -s "$(printf 't%.0s' $(seq 150))" src/link
	echo 5 >src/old
	touch -d '1965-01-02T03:04:05.25Z' src/old
	[ "$(id -u)" != 0 ] || chown 3000000:4000000 src/old
	cala-pack -f tar -C src . >a.tar
	mkdir x y
	tar --numeric-owner -C x -xpf a.tar 2>err
	diff <(facts src) <(facts x)
	bsdtar --numeric-owner -C y -xpf a.tar
	diff <(facts src | sed 1d) <(facts y | sed 1d)
}

@test "profile wings: no links, holes or special files, one stream" {
	sample src
	run --separate-stderr -3 cala-pack --profile wings -f tar -C src -o w.tar .
	tar tvf w.tar >list
	run ! grep -qE '^[hpcb]' list
	grep -q ' hard$' list
	grep -q ' server.properties$' list
	run ! grep -q GNU.sparse w.tar
	[ "$(tar xOf w.tar hard)" = motd=hello ]
	run -3 cala-pack --profile wings -f tar.bz2 -C src -o w.tar.bz2 .
	bzip2 -dc w.tar.bz2 | cmp - w.tar
}

@test "a reader that goes away ends it by SIGPIPE, silently" {
	head -c 3000000 /dev/urandom >src/a
	run --separate-stderr bash -c \
	    'set -o pipefail; cala-pack -C src . | head -c 10 >/dev/null; exit ${PIPESTATUS[0]}'
	[ "$status" -eq 141 ]
	[ -z "$stderr" ]
}

@test "a full disk is said, exits 16 and leaves nothing" {
	head -c 300000 /dev/urandom >src/a
	run --separate-stderr -16 cala-pack -o /dev/full src
	[[ $stderr == *"No space left"* ]]
}

@test "a signal ends it by that signal, without end mark or file" {
	head -c 8000000 /dev/urandom >src/a
	mkfifo out
	cala-pack -f tar -C src . >out &
	pid=$!
	exec 7<out
	head -c 100000 <&7 >cut
	kill -TERM $pid
	cat <&7 >>cut
	exec 7<&-
	status=0
	wait $pid || status=$?
	[ "$status" -eq 143 ]
	run ! grep -q 'cala-pack 1 end' cut
	# -o: the temporary file goes as well.
	cala-pack --limit-read 100K -o b.tar src &
	pid=$!
	until ls .b.tar.*.part >/dev/null 2>&1; do sleep 0.02; done
	kill -HUP $pid
	status=0
	wait $pid || status=$?
	[ "$status" -eq 129 ]
	[ ! -e b.tar ]
	[ -z "$(ls -A | grep part)" ]
}

@test "every option is in the manual" {
	cala-pack --list-options | while read -r o; do
		o=${o%=}
		case $o in
		--*) man=$(printf '%s' "${o#--}" | sed 's/-/\\\\*-/g')
			grep -qE "Fl -$man( |\$)" "$top/man/cala-pack.1" ||
			    { echo "missing: $o"; exit 1; } ;;
		esac
	done
}

@test "--from-archive: another archive's entries, in any format, with the proof" {
	mkdir src/d
	echo a >src/a
	ln src/a src/h
	ln -s a src/l
	touch -d @1.5 src/d
	head -c 300000 /dev/urandom >src/d/big
	truncate -s 5M src/sparse
	cala-pack -C src . >one
	# the same entries are the same bytes, whatever they came in
	for f in tar tar.gz tar.xz tar.zst; do
		cala-pack -f "$f" -C src . | cala-pack --from-archive - | cmp - one
	done
	tar cf - --sort=name -C src . >foreign
	cala-pack --from-archive foreign -o two --report rep
	jq -e '.files == 5 and .ok' rep
	mkdir back
	cala-unpack -C back <two
	diff -r --no-dereference src back
	[ back/a -ef back/h ]
	[ "$(cala-pack --from-archive one -n | sort)" = \
		"$(cala-pack -C src . -n | sort)" ]
}

@test "--from-archive: what was cut, damaged or partial does not become whole" {
	head -c 300000 /dev/urandom >src/big
	cala-pack -C src . >one
	head -c 200000 one >cut
	run bash -c 'cala-pack --from-archive cut >out'
	[ "$status" -eq 4 ]
	run zstd -tq out
	[ "$status" -ne 0 ]
	cp one flip
	printf XX | dd of=flip bs=1 seek=100000 conv=notrunc status=none
	run bash -c 'cala-pack --from-archive flip >out'
	[ "$status" -eq 14 ]
	echo no archive >text
	run bash -c 'cala-pack --from-archive text >out'
	[ "$status" -eq 14 ]
	run bash -c 'cala-pack -C src -T <(echo big; echo absent) >part'
	[ "$status" -eq 3 ]
	run --separate-stderr bash -c 'cala-pack --from-archive part >again'
	[ "$status" -eq 3 ]
	[[ $stderr == *'was partial'* ]]
	run bash -c 'cala-pack --from-archive again >/dev/null'
	[ "$status" -eq 3 ]
	for bad in . '-T x' '-e x' -x --no-xattrs '--profile wings'; do
		# shellcheck disable=SC2086
		run cala-pack --from-archive one $bad
		[ "$status" -eq 2 ]
	done
}

@test "sockets are left out, counted and said once at -v: no warning" {
	need python3
	echo a >src/a
	for n in 1 2 3; do
		python3 -c 'import socket, sys
socket.socket(socket.AF_UNIX).bind(sys.argv[1])' src/s$n
	done
	run --separate-stderr bash -c \
		'cala-pack -v --report rep -C src . | tar --zstd -t'
	[ "$status" -eq 0 ]
	[ "$output" = "$(printf './\na\n./')" ]
	[ "$(grep -c socket <<<"$stderr")" -eq 1 ]
	jq -e '.sockets == 3 and .warnings_count == 0' rep
	mkdir keep
	printf '[configuration "c"]\ndisk = local\nbackup-directory = %s\n' \
		"$PWD/keep" >conf
	chmod 600 conf
	cala-pack --report facts -C src . | cala-local put --config-file conf \
		-c c -s 9d8f2b6c-6a53-4a43-b6dd-0d3b8b1c9a11 --facts facts >rec
	jq -e '.sockets == 3 and .complete' rec
}

@test "-vv names each thing when its turn comes" {
	mkdir src/d
	echo x >src/d/f
	echo y >src/$'n\nl'
	cala-pack -vv -C src -o a.tar . 2>err
	[ "$(head -n 4 err)" = 'cala-pack: .
cala-pack: d
cala-pack: d/f
cala-pack: n\nl' ]
	! cala-pack -v -C src . 2>&1 >/dev/null | grep d/f
}
