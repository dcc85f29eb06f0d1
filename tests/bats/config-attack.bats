# shellcheck shell=bash disable=SC2154,SC2016
# Files that mean harm, folders and disks that do not go along, kills.
load common

setup() {
	export CALA_CONFIG=$BATS_TEST_TMPDIR/cala.conf
	export CALA_KEY_FILE=$BATS_TEST_TMPDIR/secret.key
	cd "$BATS_TEST_TMPDIR" || return 1
	printf '; top\n[configuration "a"]\ndisk = local\n' >"$CALA_CONFIG"
	chmod 600 "$CALA_CONFIG"
}

root() { [ "$(id -u)" = 0 ] || skip "needs root"; }

# in_etc SCRIPT: run it where /etc/cala is a folder of our own.
in_etc() {
	root
	unshare -m true 2>/dev/null || skip "can't make a mount namespace"
	mkdir -p etc/cala/conf.d
	cp -a /etc/passwd /etc/group /etc/ld.so.cache etc/ 2>/dev/null || true
	unshare -m bash -c 'mount --bind etc /etc && unset CALA_CONFIG && eval "$1"' \
		bash "$1"
}

@test "lines of 100 kB are values, longer than 128 KiB are errors" {
	head -c 100000 /dev/zero | tr '\0' x >long
	{ printf '[configuration "r"]\ndisk = restic\nrepository = /srv/r\n'
	  printf 'environment.A = %s' "$(head -c 60000 long)"
	  printf '%60000s; c\n' ''
	  printf ';%s\n' "$(cat long)"; } >>"$CALA_CONFIG"
	cala-config set a description=x
	cala-config lint
	[ "$(cala-config show --reveal r | wc -c)" -gt 60000 ]
	{ printf 'environment.B = '; cat long long; echo; } >>"$CALA_CONFIG"
	run --separate-stderr cala-config lint
	[ "$status" -eq 2 ]
	[[ "$stderr" == *"line too long"* ]]
	run --separate-stderr cala-config set a description="$(cat long)"
	[ "$status" -eq 2 ]
}

@test "NUL bytes, control characters and empty names are errors with a line" {
	printf 'description = a\0b\n[configuration ""]\n[]\n[ "x"]\n= y\nk\001 = z\n' \
		>>"$CALA_CONFIG"
	run --separate-stderr cala-config lint
	[ "$status" -eq 2 ]
	for line in 4 5 6 7 9; do
		[[ "$stderr" == *"cala.conf:$line: "* ]] || { echo "$line: $stderr" >&2; return 1; }
	done
	[[ "$stderr" != *$'\001'* ]]
}

@test "a byte order mark and CRLF: read, and kept by edits" {
	printf '\xef\xbb\xbf[configuration "a"]\r\ndisk = local\r\n; end\r\n' >"$CALA_CONFIG"
	[ "$(cala-config list | cut -f1,2)" = $'a\tlocal' ]
	cala-config set a description=x archive-format=zip
	cala-config set a description=y
	cala-config create b disk=local
	[ "$(head -c 3 "$CALA_CONFIG" | od -An -tx1)" = ' ef bb bf' ]
	run ! grep -qv $'\r$' "$CALA_CONFIG"
	cala-config lint
}

@test "a key before any section, and the same section twice" {
	printf 'disk = s3\n[configuration "a"]\ndisk = local\n[configuration "a"]\ndescription = d\n' >"$CALA_CONFIG"
	run --separate-stderr cala-config lint
	[ "$status" -eq 2 ]
	[[ "$stderr" == *":1: disk: a key before the first [section]"* ]]
	sed -i 1d "$CALA_CONFIG"
	cala-config lint
	cala-config remove a
	[ ! -s "$CALA_CONFIG" ]
}

@test "a linked file stays a link, its target keeps mode and owner" {
	mkdir real
	mv "$CALA_CONFIG" real/c
	ln -s real/c "$CALA_CONFIG"
	chmod 640 real/c
	[ "$(id -u)" != 0 ] || chown 0:1234 real/c
	owner=$(stat -c %u:%g real/c)
	cala-config set a description=x
	[ -L "$CALA_CONFIG" ]
	grep -q 'description = x' real/c
	[ "$(stat -c %a/%u:%g real/c)" = "640/$owner" ]
}

@test "an owner that is none of ours is kept; whom we don't trust is said" {
	root
	chown 1234:2345 "$CALA_CONFIG"
	run --separate-stderr cala-config set a description=x
	[ "$status" -eq 3 ]
	[[ "$stderr" == *"owned by uid 1234"* ]]
	[ "$(stat -c %u:%g:%a "$CALA_CONFIG")" = 1234:2345:600 ]
}

@test "a folder that can't be written: an error, nothing changed" {
	root
	need setpriv
	chmod 644 "$CALA_CONFIG"
	cp -p "$CALA_CONFIG" before
	chmod 755 .
	for d in "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR"/test; do chmod 755 "$d"; done
	run --separate-stderr setpriv --reuid 65534 --regid 65534 --clear-groups \
		cala-config set a description=x
	[ "$status" -ne 0 ]
	[[ "$stderr" == *"error: "* ]]
	cmp before "$CALA_CONFIG"
}

@test "a full disk: an error, the old file stays whole, nothing is left" {
	root
	unshare -m true 2>/dev/null || skip "can't make a mount namespace"
	mkdir small
	run --separate-stderr unshare -m bash -c '
		mount -t tmpfs -o size=64k t small
		cp cala.conf small/ && cp small/cala.conf before
		head -c 1M /dev/zero >small/fill 2>/dev/null
		cala-config --config-file small/cala.conf set a \
			description="$(printf "x%.0s" $(seq 1000))"
		echo "status $?"
		cmp before small/cala.conf && ls -A small'
	[ "${lines[0]}" = "status 16" ]
	[ "${lines[*]:1}" = "cala.conf fill" ]
}

@test "killed at any system call of any edit, the file is the old or the new" {
	need strace
	cala-secret init 2>/dev/null
	{ printf 'description = d\n[configuration "s"]\ndisk = s3\nbucket = b\n'
	  printf 'access-key = k\n[server "v"]\n'; } >>"$CALA_CONFIG"
	echo hunter2 | cala-config set s secret-key
	cp -p "$CALA_CONFIG" before
	killed=0 done=0
	while read -r edit; do
		cp -p before "$CALA_CONFIG"
		# shellcheck disable=SC2086
		cala-config $edit
		cala-config list | cut -f1 >wanted
		for call in openat write fsync renameat2 unlinkat; do
			for when in 1 2 3; do
				cp -p before "$CALA_CONFIG"
				# shellcheck disable=SC2086
				strace -qq -o /dev/null -e trace="$call" \
					-P "$CALA_CONFIG" -P "$BATS_TEST_TMPDIR" \
					-e inject="$call:signal=KILL:when=$when" \
					cala-config $edit </dev/null >/dev/null 2>&1 ||
					killed=$((killed + ($? == 137)))
				cmp -s before "$CALA_CONFIG" || {
					done=$((done + 1))
					cala-config list | cut -f1 >now
					cmp wanted now || return 1
					cala-config lint || return 1
				}
			done
		done
	done <<-'END'
		set a description=new
		unset a description
		create n disk=local
		duplicate s t
		rename s u
		assign a server v
		maintenance a on
		remove --force a
	END
	[ "$killed" -ge 24 ] && [ "$done" -ge 8 ]
	# What was left is no obstacle.
	cala-config set s region=eu
}

@test "who edits without our lock meanwhile loses nothing" {
	cala-secret init 2>/dev/null
	printf '[configuration "s"]\ndisk = s3\nbucket = b\naccess-key = k\n' >>"$CALA_CONFIG"
	mkfifo in
	cala-config set s secret-key <in 2>err &
	pid=$!
	exec 7>in
	while [ ! -e .cala-config.lock ]; do sleep 0.02; done
	# The lock is taken before the file is read; it is read once it waits.
	while [ "$(cat /proc/$pid/wchan 2>/dev/null)" != pipe_read ] &&
	    ! grep -q '^[^ ]* ([^)]*) S' /proc/$pid/stat; do sleep 0.02; done
	echo '; by hand' >>"$CALA_CONFIG"
	echo hunter2 >&7
	exec 7>&-
	status=0
	wait $pid || status=$?
	[ "$status" -eq 11 ]
	grep -q 'changed by others meanwhile' err
	grep -qx '; by hand' "$CALA_CONFIG"
	run ! grep -q secret-key "$CALA_CONFIG"
}

@test "conf.d in order of names; a later file wins; other files are not read" {
	in_etc '
		cd /etc/cala
		printf "[configuration \"a\"]\ndisk = local\ndescription = 0\nignore = x\n" >cala.conf
		printf "[configuration \"a\"]\ndescription = 10\nignore = y\n" >conf.d/10.conf
		printf "[configuration \"a\"]\ndescription = 9\n" >conf.d/9.conf
		printf "nonsense\n" >conf.d/.hidden.conf
		printf "nonsense\n" >conf.d/11.conf.bak
		chmod -R go= .
		cala-config list
		cala-config show --show-origin a | grep ^desc
		cala-config set a description=new
		grep -h description conf.d/9.conf
		cala-config set a archive-format=zip
		tail -1 cala.conf
		ln -s none conf.d/8.conf
		mkfifo conf.d/7.conf
		timeout 5 cala-config list; echo $?
	' >out
	sed 's/\t/ /g' out >plain
	[ "$(cat plain)" = "a local ready 0 9
description = 9 /etc/cala/conf.d/9.conf:2
description = new
archive-format = zip
2" ]
}

@test "editors of one file from two sides lose nothing they said was done" {
	in_etc '
		cd /etc/cala
		printf "[configuration \"a\"]\ndisk = restic\nrepository = /srv/r\n" >conf.d/a.conf
		chmod -R go= .
		for i in 1 2 3 4 5 6; do
			(cala-config set a environment.A$i-file=/x$i 2>/dev/null && echo A$i >>$BATS_TEST_TMPDIR/done) &
			(cala-config --config-file conf.d/a.conf set a \
				environment.B$i-file=/x$i 2>/dev/null && echo B$i >>$BATS_TEST_TMPDIR/done) &
		done
		wait
		sort $BATS_TEST_TMPDIR/done
		rm $BATS_TEST_TMPDIR/done
		echo --
		grep -o "environment.[AB][0-9]" conf.d/a.conf | cut -d. -f2 | sort
		ls -A conf.d
	' >out
	[ "$(sed '/^--$/,$d' out)" = "$(sed '1,/^--$/d; /conf$/d' out)" ]
	[ "$(sed '/^--$/,$d' out | wc -l)" -ge 1 ]
	[ "$(tail -1 out)" = a.conf ]
}
