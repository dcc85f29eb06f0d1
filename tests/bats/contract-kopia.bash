# The disk kopia, against a server of the real program, one for all tests, for
# contract.bats.  shellcheck shell=bash

driver=cala-kopia
# What is no text is not kept as it was.
utf8_names=1
load ../kopia/kopia

driver_setup_file() {
	kopia_up "$BATS_FILE_TMPDIR/kopia"
}

driver_teardown_file() {
	kopia_down
}

driver_setup() {
	kopia_need
	kopia_wipe
	kopia_conf "$1/cala.conf"
	kopia_known "$1/B"
}

# A byte of every pack of contents; another test may need the same contents.
driver_damage() {
	local f
	cp -a "$KOPIA_DIR/repo" "$BATS_TEST_TMPDIR/sound"
	find "$KOPIA_DIR/repo" -name '*.f' -path '*/p*' | while read -r f; do
		printf 'XXXXXXXXXXXXXXXX' | dd of="$f" bs=1 conv=notrunc \
			seek=$(($(stat -c %s "$f") / 3)) status=none
		printf 'XXXXXXXXXXXXXXXX' | dd of="$f" bs=1 conv=notrunc \
			seek=20 status=none
	done
}

driver_teardown() {
	[ ! -d "$BATS_TEST_TMPDIR/sound" ] ||
		cp -a "$BATS_TEST_TMPDIR/sound/." "$KOPIA_DIR/repo/"
}
