# The disk ddup-bak, for contract.bats.  shellcheck shell=bash

driver_setup() {
	store=$1/backups
	mkdir -m 700 "$store"
	cat >"$1/cala.conf" <<-END
	[configuration "c"]
	disk = ddup-bak
	backup-directory = $store
	maintenance = no
	END
	chmod 600 "$1/cala.conf"
}

# A byte of every chunk: whichever a test looks at.
driver_damage() {
	local f
	find "$store/.ddup-bak/chunks" -name '*.chunk' | while read -r f; do
		printf 'X' | dd of="$f" bs=1 seek=$(($(stat -c %s "$f") / 2)) \
			conv=notrunc status=none
		truncate -s -1 "$f"
	done
}

driver_leftovers() {
	find "$store/.ddup-bak" -name '*.cala-tmp' -o -name '*.part' -o \
		-name '*.tmp.cala.*' -o -name '.cala-temp.*'
}
