# The toy driver, by both its names, for contract.bats.  shellcheck shell=bash

driver_setup() {
	store=$1/toys
	mkdir -m 700 "$store"
	cat >"$1/cala.conf" <<-END
	[configuration "c"]
	disk = ${driver##*/cala-}
	directory = $store
	maintenance = no
	END
	chmod 600 "$1/cala.conf"
}

driver_damage() {
	local f=$store/$1.tar
	printf 'X' | dd of="$f" bs=1 seek=$(($(stat -c %s "$f") / 3)) \
		conv=notrunc status=none
}

driver_leftovers() {
	find "$store" -name '.*.part*'
}
