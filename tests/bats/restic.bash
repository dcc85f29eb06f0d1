# A restic repository of a suite's own, and which restic.
# shellcheck shell=bash
#
#	restic_which old|new   Debian's, or the newest (tests/peers), as "restic" in
#	                       PATH; sets RESTIC
#	restic_conf FILE [LINE...]
#	                       a configuration "c" for REPO, with more lines
#	r COMMAND...           restic itself, on REPO

# Nothing that the machine itself knows of any repository.
unset "${!RESTIC_@}" "${!AWS_@}"

restic_path=$PATH

restic_which() {
	PATH=$restic_path
	case $1 in
	old)
		need restic
		RESTIC=$(command -v restic) ;;
	new)
		peer restic
		RESTIC=$PEER ;;
	esac
	mkdir -p "$BATS_FILE_TMPDIR/bin-$1"
	ln -sf "$RESTIC" "$BATS_FILE_TMPDIR/bin-$1/restic"
	PATH=$BATS_FILE_TMPDIR/bin-$1:$PATH
}

restic_conf() {
	local file=$1
	shift
	printf 'test-password\n' >"$BATS_TEST_TMPDIR/password"
	chmod 600 "$BATS_TEST_TMPDIR/password"
	cat >"$file" <<-END
	[configuration "c"]
	disk = restic
	repository = $REPO
	environment.RESTIC_PASSWORD-file = $BATS_TEST_TMPDIR/password
	cache-directory = $BATS_TEST_TMPDIR/cache
	maintenance = no
	END
	[ $# -eq 0 ] || printf '%s\n' "$@" >>"$file"
	chmod 600 "$file"
	export CALA_CONFIG=$file
}

r() {
	RESTIC_PASSWORD=test-password RESTIC_REPOSITORY=$REPO \
		RESTIC_CACHE_DIR=$BATS_TEST_TMPDIR/cache-own "$RESTIC" "$@"
}

# Making a repository takes a second or two: one for all tests, copied.
restic_repo() {
	REPO=$BATS_TEST_TMPDIR/repo
	local empty=$BATS_FILE_TMPDIR/empty-${RESTIC//\//-}
	if [ ! -d "$empty" ]; then
		REPO=$empty r init >/dev/null
		"$top/tests/restic/cheapen" "$empty" test-password
	fi
	rm -rf "$REPO"
	cp -r "$empty" "$REPO"
}
