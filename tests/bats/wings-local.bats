# What Wings left in its backup folder: listed, read, adopted, deleted.

load common

driver=cala-local
S=11111111-aaaa-4bbb-8ccc-000000000001
U=0e1c6a52-3f0c-4f0e-8b60-5f1f0d1f6a11
U2=0e1c6a52-3f0c-4f0e-8b60-5f1f0d1f6a22

setup() {
	need jq tar gzip
	cd "$BATS_TEST_TMPDIR" || return
	store=$PWD/backups
	mkdir -m 700 "$store"
	cat >cala.conf <<-END
	[cala]
	backup-directory = $store
	[configuration "c"]
	disk = local
	END
	chmod 600 cala.conf
	export CALA_CONFIG=$PWD/cala.conf
	mkdir -p t/world "t/$(printf 'd%.0s' $(seq 150))"
	printf 'motd=hello\n' >t/server.properties
	seq 1 50000 >t/world/level.dat
	printf 'deep\n' >"t/$(printf 'd%.0s' $(seq 150))/file"
	ln -s server.properties t/link
}

# As Wings' tar: GNU headers, names without "./", owners not said.
wings_tar() {
	(cd t && find . -mindepth 1 -maxdepth 1 -printf '%P\0' |
		tar --format=gnu --null -T - -cf -)
}

@test "archives of Wings are backups" {
	wings_tar >"$store/$U.tar"
	wings_tar | gzip -1 >"$store/$U2.tar.gz"
	touch -d '2025-03-09T04:12:33Z' "$store/$U.tar"
	[ "$(d list | wc -l)" -eq 2 ]
	d list | jq -se --argjson n "$(stat -c %s "$store/$U.tar")" \
		'map(select(.uuid == "'$U'"))[0] | .foreign and .stored == $n and
		.created == "2025-03-09T04:12:33Z" and .disk == "local" and
		(has("server") | not) and (has("checksum") | not)'
	# Nobody knows whose they are.
	[ -z "$(d list -s $S)" ]
	d verify -b $U | grep -q 'no checksum on record'
	d verify -b $U2
	mkdir out
	d get -b $U2 | tar -C out -xpf -
	diff -r --no-dereference t out
	[ "$(d cat -b $U2 server.properties)" = motd=hello ]
	d ls -b $U --json -R | jq -se 'length == 6'
}

@test "gzip in many members is read to its end" {
	wings_tar >whole
	{
		head -c 30000 whole | gzip -1
		tail -c +30001 whole | gzip -1
	} >"$store/$U.tar.gz"
	d verify -b $U
	mkdir out
	d get -b $U | tar -C out -xf -
	diff -r --no-dereference t out
}

@test "zip and 7z of Wings are read" {
	need zip bsdtar
	(cd t && zip -qry - .) >"$store/$U.zip"
	bsdtar -C t --format 7zip -cf "$store/$U2.7z" .
	for u in $U $U2; do
		d verify -b "$u"
		[ "$(d cat -b "$u" server.properties)" = motd=hello ]
		d get -b "$u" world | tar -xOf - world/level.dat |
			cmp - t/world/level.dat
	done
}

@test "of several archives the first in Wings' order counts" {
	(cd t && tar -cf - server.properties) | gzip >"$store/$U.tar.gz"
	wings_tar | zstd -q >"$store/$U.tar.zst"
	[ "$(d list | wc -l)" -eq 1 ]
	[ "$(d ls -b $U | wc -l)" -eq 1 ]
	run --separate-stderr d rm -b $U
	[ "$status" -eq 0 ]
	[[ $stderr == *"$U.tar.zst"* ]]
	[ ! -e "$store/$U.tar.gz" ]
	[ -e "$store/$U.tar.zst" ]
	[ "$(d ls -b $U | wc -l)" -eq 4 ]
}

@test "what Wings has not finished is no backup" {
	for n in $U.sql.gz.part $U.s3.part $U.s3.tar.gz $U.part .$U.tar \
	    $U.tar.gz.part ${U^^}.tar.gz x$U.tar $U.tar.gz.old $U. $U; do
		wings_tar >"$store/$n"
	done
	mkdir "$store/.kopia" "$store/.cache" "$store/.ddup-bak" "$store/btrfs"
	[ -z "$(d list)" ]
	ls -A "$store" | grep -v '^.cala.lock$' >before
	d gc
	ls -A "$store" | grep -v '^.cala.lock$' | diff before -
}

@test "database dumps are listed and given out raw" {
	echo 'create table x;' | gzip >"$store/$U.sql.gz"
	echo dump >"$store/$U2.rdb"
	[ "$(d list | wc -l)" -eq 2 ]
	d get -b $U --raw | gzip -dc | grep -q 'create table'
	[ "$(d get -b $U2 --raw)" = dump ]
	run d get -b $U
	[ "$status" -eq 2 ]
	run d ls -b $U
	[ "$status" -eq 2 ]
	run d verify -b $U
	[ "$status" -eq 4 ]
	d rm -b $U
	[ ! -e "$store/$U.sql.gz" ]
}

@test "a backup of Wings can be adopted" {
	wings_tar | gzip -1 >"$store/$U.tar.gz"
	sum=$(sha256sum <"$store/$U.tar.gz")
	d set -b $U --server $S --name 'before the move' --lock
	d list -s $S | jq -e '.uuid == "'$U'" and .server == "'$S'" and
		.name == "before the move" and .locked and
		(has("foreign") | not) and has("created")'
	[ "$(sha256sum <"$store/$U.tar.gz")" = "$sum" ]
	run d rm -b $U
	[ "$status" -eq 22 ]
	[ "$(d cat -s $S -b latest server.properties)" = motd=hello ]
	d verify -b $U
	d set -b $U --no-lock
	d rm -b $U
	[ -z "$(ls -A "$store" | grep -v '^.cala.lock$')" ]
}

@test "a lock on a foreign backup holds without adoption" {
	wings_tar >"$store/$U.tar"
	d set -b $U --lock
	run d rm -b $U
	[ "$status" -eq 22 ]
	d list | jq -e '.foreign and .locked and (has("server") | not)'
}

@test "an interrupted Wings backup is listed, and found out" {
	wings_tar | gzip -1 >whole
	head -c $(($(stat -c %s whole) / 2)) whole >"$store/$U.tar.gz"
	wings_tar | head -c 20480 >"$store/$U2.tar"
	[ "$(d list | wc -l)" -eq 2 ]
	for u in $U $U2; do
		run d verify -b "$u"
		[ "$status" -eq 14 ]
		d get -b "$u" >out 2>err && status=0 || status=$?
		[ "$status" -eq 14 ]
	done
}

@test "ours is named so that Wings finds it" {
	wings_tar | gzip -1 | d put -s $S --uuid $U
	[ -f "$store/$U.tar.gz" ]
	# Wings deletes by unlinking: then it is gone here, too.
	rm "$store/$U.tar.gz"
	[ -z "$(d list)" ]
	run d get -b $U
	[ "$status" -eq 10 ]
}

@test "what Wings kept no owner of becomes the directory's owner's" {
	[ "$(id -u)" = 0 ] || skip "only root gives files away"
	wings_tar | python3 -c '
import sys
data = bytearray(sys.stdin.buffer.read())
at = 0
while any(data[at:at + 512]):
    size = int(bytes(data[at + 124:at + 136]).split(b"\0")[0], 8)
    data[at + 108:at + 124] = bytes(16)
    data[at + 265:at + 329] = bytes(64)
    data[at + 148:at + 156] = b" " * 8
    data[at + 148:at + 156] = b"%06o\0 " % sum(data[at:at + 512])
    at += 512 + (size + 511) // 512 * 512
sys.stdout.buffer.write(data)' | gzip >"$store/$U.tar.gz"
	mkdir v
	chown 988:987 v
	cat >>cala.conf <<-END
	[server "s"]
	uuid = $S
	path = $PWD/v
	configuration = c
	END
	local how
	for how in "" world --truncate "--to $PWD/v/new"; do
		# shellcheck disable=SC2086 # several words
		cala restore s $U $how
		[ -z "$(find v ! -user 988 ! -name '.cala*')" ]
		[ -z "$(find v ! -group 987 ! -name '.cala*')" ]
		[ "$(cat v/world/level.dat | wc -l)" -eq 50000 ]
	done
	[ -e v/new/server.properties ]
}
