# Completion in three shells, driven without a terminal.

load common

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
	mkdir -p backups volumes/survival
	cat >cala.conf <<-END
	[configuration "near"]
	disk = local
	backup-directory = $PWD/backups
	[configuration "nether"]
	disk = local
	backup-directory = $PWD/backups
	[server "survival"]
	path = $PWD/volumes/survival
	configuration = near
	END
	chmod 600 cala.conf
	export CALA_CONFIG=$PWD/cala.conf
}

# bash_says WORD...: the completions of the last word, a line each.
bash_says() {
	bash --norc -c '
		source "$1"
		shift
		compopt() { :; }
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_cala
		printf "%s\n" "${COMPREPLY[@]}"
	' bash "$top/completions/bash/cala" "$@"
}

# zsh_says WORD...: the same; compadd prints what it would offer.
zsh_says() {
	zsh -f -c '
		compadd() {
			local -a from
			local by=0
			while (( $# )); do
				case $1 in
				-a) by=1 ;;
				-S) shift ;;
				--) ;;
				*) from+=$1 ;;
				esac
				shift
			done
			(( by )) && from=(${(P)from[1]})
			print -l -- ${(M)from:#$words[CURRENT]*}
		}
		_alternative() {
			local a
			for a; do
				eval "${a#*:*:}"
			done
		}
		_files() { :; }
		compset() { :; }
		file=$1
		shift
		words=("$@") CURRENT=$#
		source $file
	' zsh "$top/completions/zsh/_cala" "$@"
}

fish_says() {
	local line
	printf -v line '%s ' "$@"
	HOME=$BATS_TEST_TMPDIR fish --no-config -c "
		source $top/completions/fish/cala.fish
		complete -C '${line% }'" | sed 's/\t.*//'
}

# offers LIST-COMMAND: stdin holds at least these.
offers_all() {
	sort -u >offered
	"$@" | sort -u >wanted
	comm -13 offered wanted >missing
	[ -s wanted ] && [ ! -s missing ] || { cat missing; return 1; }
}

@test "bash offers every option of every tool" {
	local t
	for t in "$top"/bin/*.c; do
		t=$(basename "$t" .c)
		bash_says "$t" -- | offers_all sh -c "$t --list-options | grep ^--"
	done
}

@test "zsh offers every option of every tool" {
	need zsh
	local t
	for t in "$top"/bin/*.c; do
		t=$(basename "$t" .c)
		zsh_says "$t" -- | offers_all sh -c "$t --list-options | grep ^--"
	done
}

@test "fish offers every option of every tool" {
	need fish
	local t
	for t in "$top"/bin/*.c; do
		t=$(basename "$t" .c)
		fish_says "$t" -- | offers_all sh -c "$t --list-options | grep ^--"
	done
}

@test "bash offers every verb of a driver, also those of its own" {
	bash_says cala-s3 '' >offered
	grep -qx import offered
	grep -qx verify offered
	[ "$(bash_says cala-local im)" = "" ]
}

@test "cala X and cala-X complete alike" {
	need zsh fish
	local s
	for s in bash_says zsh_says fish_says; do
		"$s" cala-pack --f | sort >a
		"$s" cala pack --f | sort >b
		[ -s a ]
		diff a b
	done
}

@test "cala offers its commands and the other tools" {
	need zsh fish
	local s
	for s in bash_says zsh_says fish_says; do
		"$s" cala ba | grep -x backup
		"$s" cala res | grep -x restore
		"$s" cala res | grep -x resolve
		"$s" cala backup --na | grep -E '^--name=?$'
	done
}

@test "-c offers the configurations, operands the servers" {
	need zsh fish
	local s
	for s in bash_says zsh_says fish_says; do
		"$s" cala backup -c ne | sort >got
		printf 'near\nnether\n' | diff - got
		"$s" cala-local put --configuration net | grep -x nether
		"$s" cala backup sur | grep -x survival
		"$s" cala-resolve sur | grep -x survival
		"$s" cala ls survival lat | grep -x latest
	done
}

@test "a backup's identity is offered" {
	need zsh fish
	local s id
	echo x >volumes/survival/file
	cala -q backup survival
	id=$(cala list --json survival | jq -r '.backups[0].uuid')
	[ -n "$id" ]
	for s in bash_says zsh_says fish_says; do
		"$s" cala ls survival "${id:0:3}" | grep -x "$id"
	done
}

@test "what fails or hangs is silent, and soon over" {
	need zsh fish
	local s
	mkdir fake
	printf '#!/bin/sh\necho bad >&2\nexit 1\n' >fake/cala
	printf '#!/bin/sh\nexec sleep 60\n' >fake/cala-config
	chmod +x fake/*
	# nothing here, so that a shell that falls back on files offers none
	PATH=$PWD/fake:$PATH
	TMPDIR=$PWD
	mkdir empty
	cd empty
	for s in bash_says zsh_says fish_says; do
		run --separate-stderr "$s" cala backup -c ne
		[ -z "$stderr" ]
		echo "$s: $output"
		[ -z "$output" ]
		run --separate-stderr "$s" cala list --js
		[ -z "$stderr" ]
		echo "$s: $output"
		[ -z "$output" ]
	done
	# The limit is timeout's, not a clock of ours: no sleep is left.
	run ! pgrep -P $$ -f 'sleep 60'
}
