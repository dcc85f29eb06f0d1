# fish completion for cala and every cala-TOOL; see completions/bash/cala for
# what is asked of whom.

function __cala_ask
	timeout 1 $argv </dev/null 2>/dev/null
end

# The words before the current one that are no options, the program first.
function __cala_words
	for word in (commandline -opc)
		string match -q -- '-*' $word; or echo $word
	end
end

function __cala_options
	set -l words (__cala_words)
	set -l run $words[1]
	if test (__cala_base $run) = cala
		if set -q words[2]; and command -q cala-$words[2]
			set run cala-$words[2]
		else
			set run cala $words[2]
		end
	end
	__cala_ask $run --list-options
end

function __cala_base
	string replace -r '.*/' '' -- $argv[1]
end

function __cala_commands
	__cala_ask cala | string replace -rf '^  ([a-z][a-z-]*) .*' '$1'
	complete -C cala- | string replace -r '^cala-([^\t]*).*' '$1'
end

function __cala_configurations
	__cala_ask cala-config list | cut -f1
end

function __cala_servers
	__cala_ask cala-resolve --list | cut -f1
end

function __cala_backups
	printf '%s\n' latest oldest
	__cala_ask cala list --json -- $argv[1] |
		string match -ra '"uuid": *"[0-9a-f-]*"' |
		string replace -r '.*"([0-9a-f-]*)"$' '$1'
end

function __cala_operands
	set -l words (__cala_words)
	switch (__cala_base $words[1])
	case cala
		switch "$words[2]"
		case ''
			__cala_commands
		case help
			__cala_commands
		case check
			__cala_configurations
		case backup list
			__cala_servers
		case '*'
			switch (count $words)
			case 2
				__cala_servers
			case 3
				__cala_backups $words[3]
			end
		end
	case cala-resolve
		__cala_servers
	end
end

function __cala_value
	switch (commandline -opc)[-1]
	case -c --configuration
		__cala_configurations
	case -s --server
		__cala_servers
	case -f --format
		printf '%s\n' tar tar.gz tar.xz tar.lz tar.bz2 tar.lz4 tar.zst zip 7z
	case --color
		printf '%s\n' auto always never
	case --profile
		printf '%s\n' full wings
	case '*'
		return 1
	end
end

function __cala_complete
	__cala_value; and return
	if string match -q -- '-*' (commandline -ct)
		__cala_options
	else
		__cala_operands
	end
end

for tool in cala (complete -C cala- | string replace -r '\t.*' '')
	complete -c $tool -a '(__cala_complete)'
end
