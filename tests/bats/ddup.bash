# Repositories for tests of the disk ddup-bak.  shellcheck shell=bash

driver=cala-ddup
S=11111111-aaaa-4bbb-8ccc-000000000001
U=aaaa1111-0000-4000-8000-000000000001
U2=aaaa1111-0000-4000-8000-000000000002
U3=aaaa1111-0000-4000-8000-000000000003
U4=aaaa1111-0000-4000-8000-000000000004

# repo [LINE...]: a configuration with the repository B/.ddup-bak, not made yet.
# shellcheck disable=SC2120
repo() {
	cd "$BATS_TEST_TMPDIR" || return
	B=$BATS_TEST_TMPDIR/backups
	R=$B/.ddup-bak
	mkdir -p "$B"
	{
		printf '[configuration "c"]\ndisk = ddup-bak\n'
		printf 'backup-directory = %s\n' "$B"
		[ $# -eq 0 ] || printf '%s\n' "$@"
	} >cala.conf
	chmod 600 cala.conf
	export CALA_CONFIG=$BATS_TEST_TMPDIR/cala.conf
}

# put DIR UUID [OPTION...]
put() {
	local dir=$1 uuid=$2
	shift 2
	d put "$dir" -s $S --uuid "$uuid" "$@"
}

# vector NAME: that repository in B, its archives under UUIDs in order.
vector() {
	local n=0 f
	repo
	tar -C "$B" -xf "$top/tests/vectors/ddup/$1.tar"
	for f in "$R"/archives/*.ddup; do
		n=$((n + 1))
		mv "$f" "$R/archives/aaaa1111-0000-4000-8000-00000000000$n.ddup"
	done
}

chunks() {
	find "$R/chunks" -name '*.chunk' | sort
}

# largest: the largest chunk: in trees of small(), one of the region file's.
largest() {
	find "$R/chunks" -name '*.chunk' -printf '%s %p\n' | sort -n |
		sed -n '$s/^[0-9]* //p'
}

# chunk FILE: where the one chunk of a FILE of 256 KiB or less is.
chunk() {
	local h
	h=$(b2sum -l 256 "$1")
	echo "$R/chunks/${h:0:2}/${h:2:2}/${h:4:60}.chunk"
}

# whole DIR UUID: the backup restores to what DIR is.
whole() {
	rm -rf whole
	mkdir whole
	d restore "$PWD/whole" -b "$2"
	diff -r --no-dereference "$1" whole
}

# healthy: nothing to correct, in counts or files.
healthy() {
	d gc -n >gc.out
	if grep -E 'correct|damaged|unfinished|chunk files' gc.out; then
		return 1
	fi
}

# small DIR: what ddup-bak itself can restore, too: it changes modes through
# symbolic links, which fails when their targets are not there yet.
small() {
	mkdir -p "$1/world/region" "$1/empty"
	printf 'motd=hello\n' >"$1/server.properties"
	seq 1 50000 >"$1/world/level.dat"
	head -c 3000000 /dev/urandom >"$1/world/region/r.0.0.mca"
	head -c 1000 /dev/urandom >"$1/world/region/tiny"
	: >"$1/zero"
	chmod 640 "$1/server.properties"
	touch -d '2001-02-03T04:05:06Z' "$1/world/level.dat"
}

# forget: the index as a program saves it that read it when it was empty.
forget() {
	python3 - "$R/chunks/index" <<-'END'
	import sys, zlib
	data = zlib.decompress(open(sys.argv[1], "rb").read(), -15)
	head = bytearray(data[:32])
	head[0:8] = head[16:24] = bytes(8)
	head[24:32] = (1).to_bytes(8, "little")
	z = zlib.compressobj(6, zlib.DEFLATED, -15)
	open(sys.argv[1], "wb").write(z.compress(bytes(head)) + z.flush())
	END
}
