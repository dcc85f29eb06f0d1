# The side port of a test server (side.py).  shellcheck shell=bash

# side_json [K=V...]: the members; V that looks like a number or a boolean is
# one, and K:=JSON is as it stands.
side_json() {
	local item k v out=
	for item; do
		k=${item%%=*} v=${item#*=}
		if [[ $k == *: ]]; then
			k=${k%:}
		elif ! [[ $v =~ ^(-?[0-9]+(\.[0-9]+)?|true|false)$ ]]; then
			v=${v//\\/\\\\}
			v=\"${v//\"/\\\"}\"
		fi
		out+=", \"$k\": $v"
	done
	printf '%s' "$out"
}

# side_do PORT WORD [K=V...]: its answer; false when it refuses.
side_do() {
	local port=$1 word=$2 fd answer
	shift 2
	exec {fd}<>"/dev/tcp/127.0.0.1/$port" || return
	printf '{"do": "%s"%s}\n' "$word" "$(side_json "$@")" >&"$fd"
	if [ "$word" = bytes ]; then
		cat <&"$fd"
		exec {fd}>&-
		return
	fi
	answer=$(cat <&"$fd")
	exec {fd}>&-
	[ -z "$answer" ] || printf '%s\n' "$answer"
	[[ $answer != !* ]]
}
