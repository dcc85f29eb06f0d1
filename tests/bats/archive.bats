# Archives of others, both ways: what GNU tar, bsdtar, zip, 7z, the compressors
# and Wings write is read, and what we write is read by them.

load common

# run sets it.
stderr=

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
}

# tree: what every format can hold.
tree() {
	mkdir -p src/world/region src/empty
	head -c 200000 /dev/urandom >src/world/region/r.0.0.mca
	seq 1 30000 >src/latest.log
	printf 'motd=hello\n' >src/server.properties
	: >src/zero
	ln -s server.properties src/soft
	printf 'u\n' >src/$'\xc3\xbcber'
	chmod 0640 src/server.properties
	find src -exec touch -h -d '2001-02-03T04:05:06Z' {} +
}

# back ARCHIVE: unpack it from a pipe and from a file, compare with src.
back() {
	rm -rf one two && mkdir one two
	cala-unpack -C one <"$1"
	cala-unpack -C two -i "$1"
	diff <(facts src) <(facts one)
	diff <(facts src) <(facts two)
}

@test "zip: names that are no UTF-8 come back as the bytes they are" {
	mkdir -p src/$'d\xff'
	printf 'l\n' >src/$'latin-\xe9'
	printf 'u\n' >src/$'utf-\xc3\xa9'
	printf 'b\n' >src/$'d\xff/\xc3\xa9'
	ln -s $'latin-\xe9' src/$'\xc3\xa9-to-latin'
	ln -s $'utf-\xc3\xa9' src/$'\xe9-to-utf'
	find src -exec touch -h -d '2001-02-03T04:05:06Z' {} +
	cala-pack -f zip -C src . >a.zip
	for LC_ALL in C C.UTF-8; do
		back a.zip
	done
	need 7z
	7z t a.zip
}

@test "7z: UTF-8 names come back in any locale, others spelled out" {
	mkdir src
	printf 'l\n' >src/$'latin-\xe9'
	printf 'u\n' >src/$'utf-\xc3\xa9'
	run --separate-stderr cala-pack -f 7z -o a.7z -C src .
	[ "$status" -eq 3 ]
	[[ "$stderr" == *"names that are not UTF-8 (stored with %XX): 1, first: "* ]]
	for LC_ALL in C C.UTF-8; do
		rm -rf out && mkdir out
		cala-unpack -C out <a.7z
		[ "$(cat out/$'utf-\xc3\xa9')" = u ]
		[ "$(cat out/latin-%E9)" = l ]
	done
}

@test "GNU tar: every format, whole trees" {
	tree
	for f in v7 oldgnu gnu ustar posix; do
		tar --format=$f -C src -cf a.tar .
		back a.tar
	done
}

@test "GNU tar: long names, holes, attributes, several volumes" {
	sample src
	d=$(printf 'd%.0s' $(seq 120))
	mkdir -p "src/$d/$d"
	echo deep >"src/$d/$d/$d"
	ln -s "$d/$d/$d" src/far
	for f in oldgnu gnu posix; do
		tar --format=$f -S -C src -cf a.tar .
		mkdir -p out
		cala-unpack --to out <a.tar
		# these formats have no nanoseconds, no xattrs without asking
		cmp src/sparse out/sparse
		[ "$(stat -c %b out/sparse)" -lt 200 ]
		[ "$(cat "out/$d/$d/$d")" = deep ]
		[ "$(readlink out/far)" = "$d/$d/$d" ]
		[ "$(stat -c %i out/hard)" = "$(stat -c %i out/server.properties)" ]
		rm -rf out
	done
	for v in 0.0 0.1 1.0; do
		tar --format=posix --sparse-version=$v -S --xattrs --acls \
			-C src -cf a.tar .
		back a.tar
	done
	tar -M -L 300 -C src -cf v1 -f v2 -f v3 world logs
	run --separate-stderr cala-unpack --to volume <v1
	[ "$status" -eq 4 ]
	[ ! -e volume ]
	run --separate-stderr cala-unpack --to volume <v2
	[ "$status" -ne 0 ]
}

@test "bsdtar: tar, pax, gnutar, cpio is refused, zip and 7zip" {
	need bsdtar
	tree
	for f in ustar pax gnutar zip 7zip; do
		bsdtar --format=$f -C src -cf a .
		back a
	done
	bsdtar --format=cpio -C src -cf a .
	run cala-unpack --to out <a
	[ "$status" -eq 14 ]
}

@test "what we write is read by GNU tar, bsdtar and each compressor" {
	need bsdtar gzip zstd xz lzip lz4 bzip2
	tree
	for f in tar tar.gz tar.zst tar.xz tar.lz tar.bz2 tar.lz4; do
		rm -rf one two && mkdir one two
		cala-pack -f $f -C src . >a
		case $f in
		tar) cp a plain ;;
		tar.gz) gzip -dc <a >plain ;;
		tar.zst) zstd -qdc <a >plain ;;
		tar.xz) xz -dc <a >plain ;;
		tar.lz) lzip -dc <a >plain ;;
		tar.bz2) bzip2 -dc <a >plain ;;
		tar.lz4) lz4 -qdc <a >plain ;;
		esac
		tar -C one -xpf plain
		bsdtar -C two -xpf a
		diff <(facts src) <(facts one)
		# bsdtar leaves the time of the directory it stands in
		diff <(facts src | tail -n +2) <(facts two | tail -n +2)
	done
}

@test "zip and 7z of ours are read by unzip, 7z and bsdtar" {
	need unzip 7z bsdtar
	tree
	for f in zip 7z; do
		rm -rf one two && mkdir one two
		cala-pack -f $f -C src . >a.$f
		7z t -bd a.$f >/dev/null
		bsdtar -C one -xpf a.$f
		diff <(facts src | tail -n +2) <(facts one | tail -n +2)
		if [ $f = zip ]; then
			unzip -q a.zip -d two
		else
			7z x -bd -snl -otwo a.7z >/dev/null
		fi
		diff -r --no-dereference src two
	done
}

@test "compressors: members, streams, frames behind one another, long windows" {
	need gzip pigz zstd xz lzip lz4 bzip2
	tree
	tar --format=posix --pax-option=delete=atime,delete=ctime -C src -cf a.tar .
	split -b 100000 a.tar part.
	each() {
		local p
		for p in part.*; do "$@" <"$p"; done
	}
	printf '\x52\x2a\x4d\x18\x05\x00\x00\x00hello' >skip
	gzip -c a.tar >c1
	pigz -c -p 2 a.tar >c2
	each gzip -c >c3
	each bzip2 -c >c4
	each xz -c >c5
	xz -T2 --block-size=65536 -c a.tar >c6
	each lzip -c >c7
	lzip -b 100000 -c a.tar >c8
	each lz4 -qc >c9
	lz4 -qlc a.tar >c10
	lz4 -qc -BD --content-size a.tar >c11
	each zstd -qc >c12
	zstd -qc --long=27 a.tar >c13
	zstd -qc --ultra -20 <a.tar >c14
	{ cat skip; zstd -qc --no-check <part.aa; cat skip skip
	  for p in part.a[!a]* part.[!a]*; do
		[ -e "$p" ] && zstd -qc <"$p"
	  done; cat skip; } >c15
	# xz's padding is multiples of four; lzip lets anything follow.
	for p in part.*; do xz -c <"$p"; head -c 8 /dev/zero; done >c16
	{ each lzip -c; echo 'a note behind it'; } >c17
	# several blocks, with and without their sizes; every check there is
	xz -T1 --block-size=30000 --check=sha256 -c a.tar >c18
	xz --check=none --x86 --lzma2=dict=4096 -c a.tar >c19
	xz --format=lzma -c a.tar >lzma
	for i in $(seq 19); do
		back "c$i"
	done
	run cala-unpack --to out <lzma
	[ "$status" -eq 14 ]
}

@test "zip: zip64, descriptors, links; 7z: its methods" {
	need zip 7z
	tree
	(cd src && zip -qry ../links.zip . && zip -qryfd ../desc.zip . &&
		zip -qry - . >../pipe.zip)
	for z in links desc pipe; do
		rm -rf out && mkdir out
		cala-unpack -C out <$z.zip
		diff -r --no-dereference src out
		[ "$(stat -c '%a %Y' out/server.properties)" = \
			"$(stat -c '%a %Y' src/server.properties)" ]
	done
	python3 - <<'PY'
import zipfile
z = zipfile.ZipFile("64.zip", "w", zipfile.ZIP_DEFLATED)
with z.open("big", "w", force_zip64=True) as f:
    f.write(b"x" * 300000)
for i in range(66000):
    z.writestr("d/%05d" % i, b"")
z.close()
PY
	cala-unpack --to 64 <64.zip
	[ "$(ls 64/d | wc -l)" -eq 66000 ]
	[ "$(stat -c %s 64/big)" -eq 300000 ]
	for m in lzma lzma2 ppmd bzip2 deflate copy; do
		rm -f a.7z
		(cd src && 7z a -bd -m0=$m ../a.7z latest.log world >/dev/null)
		rm -rf out && mkdir out
		cala-unpack -C out <a.7z
		cmp src/latest.log out/latest.log
		cmp src/world/region/r.0.0.mca out/world/region/r.0.0.mca
	done
}

@test "Wings: GNU headers, NUL owners, L records, members of gzip" {
	python3 - <<'PY'
import gzip, io, os
def head(name, size, flag=b"0", link=b"", mode=0o644):
    h = bytearray(512)
    def put(at, b): h[at:at + len(b)] = b
    put(0, name[:100])
    put(100, b"%07o\0" % mode)
    # uid, gid: NUL bytes, as Go leaves what it does not know
    put(124, b"%011o\0" % size)
    put(136, b"%011o\0" % 981173106)
    put(156, flag)
    put(157, link[:100])
    put(257, b"ustar  \0")
    put(148, b" " * 8)
    put(148, b"%06o\0 " % sum(h))
    return bytes(h)
def pad(b): return b + bytes(-len(b) % 512)
def longer(name, flag): return head(b"././@LongLink", len(name) + 1, flag) + pad(name + b"\0")
out = io.BytesIO()
deep = b"/".join([b"d" * 90] * 3) + b"/file"
far = b"x" * 150
out.write(head(b"world/", 0, b"5", mode=0o755))
out.write(head(b"world/level.dat", 5) + pad(b"level"))
out.write(longer(deep, b"L") + head(deep, 4) + pad(b"deep"))
out.write(longer(far, b"K") + head(b"link", 0, b"2", far))
big = os.urandom(3 << 20)
open("big", "wb").write(big)
out.write(head(b"big", len(big)) + big)
out.write(bytes(1024))
tar = out.getvalue()
open("wings.tar", "wb").write(tar)
with open("wings.tar.gz", "wb") as f:       # pgzip: a member a block
    for i in range(0, len(tar), 1 << 20):
        f.write(gzip.compress(tar[i:i + (1 << 20)], 1))
PY
	for f in wings.tar wings.tar.gz; do
		rm -rf out && mkdir out
		run --separate-stderr cala-unpack -C out <$f
		[ "$status" -eq 0 ]
		[ -z "$stderr" ]
		[ "$(cat out/world/level.dat)" = level ]
		[ "$(cat out/d*/d*/d*/file)" = deep ]
		[ "$(readlink out/link)" = "$(printf 'x%.0s' $(seq 150))" ]
		cmp big out/big
		[ "$(stat -c '%u:%g' out/big)" = "0:0" ]
	done
}

@test "cut in 20 places, bent in 50: no crash, no wrong bytes called good" {
	mkdir -p src/d
	seq 1 3000 >src/d/text
	head -c 20000 /dev/urandom >src/noise
	printf 'small\n' >src/small
	ln -s small src/link
	cat >matrix.py <<'PY'
import hashlib, os, random, shutil, subprocess, sys
name = sys.argv[1]
data = open("a." + name, "rb").read()
rnd = random.Random(name)
# tar and the names in a zip have no checksum; all else has
summed = name not in ("tar", "foreign.tar")
def contents(top):
    got = {}
    for d, _, files in os.walk(top):
        for f in files:
            p = os.path.join(d, f)
            got[os.path.relpath(p, top)] = ("link", os.readlink(p)) \
                if os.path.islink(p) else \
                hashlib.sha256(open(p, "rb").read()).hexdigest()
    return got
want = contents("src")
ways = (["cala-unpack", "-q", "-C", "out"],
        ["cala-unpack", "-q", "-C", "out", "-i", "b"])
def look(b, what, ways=ways):
    open("b", "wb").write(b)
    bad = []
    for argv in ways:
        shutil.rmtree("out", True)
        os.mkdir("out")
        p = subprocess.run(argv, stdin=open("b"), stderr=subprocess.PIPE,
                           timeout=60)
        s = p.returncode
        if s not in (0, 3, 4, 14, 16):
            bad.append((what, s, p.stderr))
        got = contents("out")
        if s == 0 and what[0] == "cut" and got != want:
            bad.append((what, s, "content is missing"))
        if s == 0 and summed:
            if "zip" in name:
                good = set(map(str, want.values())) >= \
                    set(str(v) for v in got.values() if v[0] != "link")
            else:
                good = got == want
            if not good:
                bad.append((what, s, "wrong content"))
    return bad
bad = look(data, ("whole", 0))
assert contents("out") == want, "whole"
cuts = sorted({0, 1, len(data) - 1} | {rnd.randrange(len(data)) for _ in range(17)})
for k in cuts:
    bad += look(data[:k], ("cut", k))
for i in range(50):
    k, bit = rnd.randrange(len(data)), 1 << rnd.randrange(8)
    b = bytearray(data)
    b[k] ^= bit
    bad += look(bytes(b), ("bent", k, bit), ways[i % 2:][:1])
for b in bad:
    print(name, len(data), *b)
sys.exit(bool(bad))
PY
	for f in tar tar.gz tar.zst tar.xz tar.lz tar.bz2 tar.lz4 zip 7z; do
		cala-pack -f $f -C src . >a.$f
	done
	tar -C src -cf a.foreign.tar .
	(cd src && zip -qry ../a.foreign.zip .)
	failed=0
	for f in tar foreign.tar tar.gz tar.zst tar.xz tar.lz tar.bz2 tar.lz4 \
	    zip foreign.zip 7z; do
		python3 matrix.py $f || failed=1
	done
	[ $failed -eq 0 ]
}

@test "7z: where it is kept meanwhile is full: 16, and nothing comes out" {
	[ "$(id -u)" = 0 ] || skip "only root can mount"
	mkdir small t
	mount -t tmpfs -o size=1m tmpfs small || skip "no tmpfs here"
	head -c 3000000 /dev/urandom >t/big
	# libarchive loses some bytes of its own then
	export ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0
	TMPDIR=$PWD/small run --separate-stderr bash -c \
		'cala-pack -f 7z -C t . >out.7z'
	umount small
	[ "$status" -eq 16 ]
	[[ $stderr == *TMPDIR* ]]
	[ ! -s out.7z ]
}

@test "Python reads every tar to its end" {
	need python3
	mkdir -p src/sub
	echo a >src/sub/a
	setfattr -n user.k -v v src 2>/dev/null || :
	for f in tar tar.gz tar.xz tar.bz2; do
		cala-pack -f $f -C src -o p.$f .
		python3 - p.$f <<-'E'
		import sys, tarfile
		with tarfile.open(sys.argv[1]) as t:
		    names = t.getnames()
		assert names == [".", "sub", "sub/a", "."], names
		E
	done
}
