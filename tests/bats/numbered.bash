# Backups of the server S by number, and what comes back of them.
# shellcheck shell=bash

uuid() { printf 'aaaa1111-0000-4000-8000-%012d' "$1"; }

# back N DIR: restored through tar into a fresh DIR.
back() {
	mkdir "$2"
	d get -q -s "$S" -b "$(uuid "$1")" | cala-unpack -q -C "$2"
}

# same N DIR: is backup N what DIR is, in all that facts() sees?
same() {
	local tmp
	tmp=$(mktemp -d ./same.XXXXXX)
	back "$1" "$tmp/t"
	diff -u <(facts "$2") <(facts "$tmp/t") || return
	rm -rf "$tmp"
}
