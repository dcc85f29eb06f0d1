# Every tool's --help, manual page and list of options say the same.

load common

setup() {
	tools=()
	local t
	for t in "$top"/bin/*.c; do
		tools+=("$(basename "$t" .c)")
	done
}

# calls: each tool, and each verb of `cala`, as words to run.
calls() {
	local t
	for t in "${tools[@]}"; do
		echo "$t"
	done
	cala | sed -n "/^commands:/,/^\$/s/^  \([a-z-]*\) .*/cala \1/p"
}

# every FUNCTION: run it for each call; all failures, not only the first.
every() {
	local call bad=0
	while read -r call; do
		"$1" "$call" || { echo "$call: $1"; bad=1; }
	done < <(calls)
	[ "$bad" -eq 0 ]
}

help_is_plain() {
	local out err
	# shellcheck disable=SC2086
	out=$($1 --help 2>err </dev/null) || return 1
	err=$(cat err)
	[ -z "$err" ] && [[ $out == "usage: ${1%% *}"* ]] &&
	    [ "$(wc -L <<<"$out")" -le 80 ]
}

@test "--help: on stdout, status 0, at most 80 columns" {
	cd "$BATS_TEST_TMPDIR"
	[ "${#tools[@]}" -ge 7 ]
	every help_is_plain
}

help_lists() {
	local name
	# The dispatcher's own help lists its commands, not their options.
	[ "$1" != cala ] || return 0
	# shellcheck disable=SC2086
	$1 --help </dev/null >help || return 1
	# shellcheck disable=SC2086
	for name in $($1 --list-options | grep '^--' | tr -d =); do
		grep -qE -- "(^|[ ,[])$name([] =[]|$)" help || {
			echo "$1 --help lacks $name"
			return 1
		}
	done
}

@test "--help shows every option that --list-options names" {
	cd "$BATS_TEST_TMPDIR"
	every help_lists
}

names_are_well_formed() {
	local names
	# shellcheck disable=SC2086
	names=$($1 --list-options) || return 1
	[ -n "$names" ] &&
	    ! grep -vE '^(--[a-z0-9][a-z0-9-]*=?|-[A-Za-z0-9])$' <<<"$names" &&
	    [ -z "$(sort <<<"$names" | uniq -d)" ]
}

@test "--list-options: a name a line, none twice" {
	every names_are_well_formed
}

page_explains() {
	local page=$top/man/${1%% *}.1 name bad=0
	[ -f "$page" ] || { echo "no $page"; return 1; }
	# shellcheck disable=SC2086
	for name in $($1 --list-options | grep '^--' | tr -d =); do
		grep -qE "(Fl|,) -(no-)?${name#--}( |$)" "$page" || {
			echo "$(basename "$page") lacks $name of $1"
			bad=1
		}
	done
	[ "$bad" -eq 0 ]
}

@test "every manual page explains every option" {
	every page_explains
}

@test "no manual page explains an option that does not exist" {
	local t name bad=0
	for t in "${tools[@]}"; do
		[ -f "$top/man/$t.1" ] || continue
		while read -r call; do
			# shellcheck disable=SC2086
			[ "${call%% *}" != "$t" ] || $call --list-options
		done < <(calls) | grep '^--' | tr -d = | sort -u \
		    >"$BATS_TEST_TMPDIR/known"
		for name in $(grep -E '^\.It Fl' "$top/man/$t.1" |
		    grep -oE '(Fl|,) -[a-z0-9-]+' | sed 's/^[^-]*-/--/' |
		    sort -u); do
			grep -qxFe "$name" -e "--${name#--no-}" \
			    "$BATS_TEST_TMPDIR/known" || {
				echo "$t.1 explains $name"
				bad=1
			}
		done
	done
	[ "$bad" -eq 0 ]
}

@test "every manual page has its sections, in order, and parses" {
	local t page heads wanted
	wanted=$'NAME\nSYNOPSIS\nDESCRIPTION\nEXIT STATUS\nEXAMPLES\nSEE ALSO'
	for t in "${tools[@]}"; do
		page=$top/man/$t.1
		[ -f "$page" ]
		heads=$(sed -n 's/^\.Sh //p' "$page" | tr -d '"' |
		    grep -xF "$wanted")
		echo "$t: $heads"
		[ "$heads" = "$wanted" ]
	done
	if command -v mandoc >/dev/null; then
		mandoc -T lint -W warning "$top"/man/*.[1-9]
	fi
}

version_is_said() {
	# shellcheck disable=SC2086
	$1 --version </dev/null | grep -qE "^${1%% *} [0-9]+\.[0-9]+\.[0-9]+"
}

@test "--version names the tool and its version" {
	every version_is_said
}

@test "an unknown option: one line, a hint, status 2, nothing on stdout" {
	local t bad=0
	for t in "${tools[@]}"; do
		run --separate-stderr "$t" --nonsense </dev/null
		[ "$status" -eq 2 ] && [ -z "$output" ] &&
		    [[ ${stderr_lines[0]} == "$t: error: "*nonsense* ]] &&
		    [[ ${stderr_lines[1]} == "$t: hint: "*--help* ]] || {
			echo "$t: $status: $stderr"
			bad=1
		}
	done
	[ "$bad" -eq 0 ]
}

@test "--help into a full device is an error" {
	[ -c /dev/full ] || skip "no /dev/full here"
	local t
	for t in "${tools[@]}"; do
		run sh -c "$t --help >/dev/full"
		[ "$status" -ne 0 ]
	done
}

@test "--help into a closed pipe ends quietly" {
	local t
	for t in "${tools[@]}"; do
		run --separate-stderr bash -c "
			trap '' PIPE
			{ $t --help; echo \$? >&3; } 3>&2 | true"
		[[ ${stderr:-141} =~ ^(0|1|141)$ ]]
	done
}
