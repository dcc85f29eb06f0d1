# shellcheck shell=bash disable=SC2154
# cala-config lint: all that is wrong at once, also outside the files.
load common

setup() {
	export CALA_CONFIG=$BATS_TEST_TMPDIR/cala.conf
	export CALA_KEY_FILE=$BATS_TEST_TMPDIR/secret.key
	cd "$BATS_TEST_TMPDIR" || return 1
}

# conf: standard input becomes the configuration.
conf() { sed "s|@|$BATS_TEST_TMPDIR|g" >"$CALA_CONFIG"; chmod 600 "$CALA_CONFIG"; }
says() {
	[[ "$stderr" == *"$1"* ]] || { printf 'no: %s\nin: %s\n' "$1" "$stderr" >&2; return 1; }
}

@test "every dangling reference is found in one run, with place" {
	conf <<-'END'
		[cala]
		node = nod1
		volumes = @/v
		[location "eu"]
		configuration = gone1
		[node "n1"]
		location = us
		configuration = gone2
		[server "a"]
		node = n9
		configuration = gone3
		[group "b/daily"]
		keep-count = 1
		[group "a/daily"]
		keep-count = 1
		[policy "p"]
		schedule = 0 0 3 * * *
		configuration = gone4
		locations = eu, mars
		nodes = n1, n8
		servers = a, nobody
		[configuration "r"]
		disk = restic
		repository = /r
		prune-jobs = 0 0 5 * * * n1 n7
	END
	run --separate-stderr cala-config lint
	[ "$status" -eq 2 ]
	says ':2: [cala] node: there is no node '\''nod1'\'
	says ':5: [location "eu"] configuration: there is no configuration '\''gone1'\'
	says ':7: [node "n1"] location: there is no location '\''us'\'
	says "'gone2'"
	says ':10: [server "a"] node: there is no node '\''n9'\'
	says "'gone3'"
	says ':12: [group "b/daily"]: there is no server '\''b'\'
	says "'gone4'"
	says "'mars'"
	says "'n8'"
	says "'nobody'"
	says ':25: [configuration "r"] prune-jobs: there is no node '\''n7'\'
	says ':24: [configuration "r"] repository: 2 characters'
	[[ "$stderr" != *"repository is missing"* ]]
	says "13 errors in the configuration"
}

@test "tokens: no key file, another key, another place, an unknown key" {
	cala-secret init 2>/dev/null
	token=$(echo hunter2 | cala-secret encrypt elsewhere secret-key)
	conf <<-END
		[configuration "a"]
		disk = s3
		bucket = b
		access-key = k
		secret-key = $token
	END
	run --separate-stderr cala-config lint
	[ "$status" -eq 2 ]
	says ':5: [configuration "a"] secret-key: '
	sed -i "s|elsewhere|a|; s|^secret-key.*|secret-key = $(echo x |
		cala-secret encrypt a secret-key)|" "$CALA_CONFIG"
	cala-config lint
	rm "$CALA_KEY_FILE"
	run --separate-stderr cala-config lint
	[ "$status" -eq 2 ]
	says "$CALA_KEY_FILE"
	cala-secret init 2>/dev/null
	run --separate-stderr cala-config lint
	[ "$status" -eq 2 ]
	says ':5: [configuration "a"] secret-key: '
}

@test "secret files, programs and files that are missing or open to others" {
	echo x >open.secret; chmod 644 open.secret
	: >empty; chmod 600 empty
	echo x >noexec; chmod 644 noexec
	conf <<-'END'
		[server "a"]
		pre-backup = @/none --now
		post-backup = @/noexec
		[configuration "s"]
		disk = s3
		bucket = b
		access-key = k
		secret-key-file = @/open.secret
		cacert = @/none.pem
		[configuration "p"]
		disk = pbs
		url = https://h
		datastore = d
		token-id = a@b!c
		[configuration "k"]
		disk = kopia
		url = https://h
		username = a@b
		password-command = @/none.sh
		[configuration "r"]
		disk = restic
		repository = /srv/r
		environment.RESTIC_PASSWORD-file = @/none.secret
		[configuration "e"]
		disk = s3
		bucket = b
		access-key = k
		secret-key-file = @/empty
	END
	sed -i 's|token-id = .*|token-id = a@b!c|; s|username = .*|username = a@b|' "$CALA_CONFIG"
	run --separate-stderr cala-config lint
	[ "$status" -eq 2 ]
	says ':2: [server "a"] pre-backup: '
	says ':3: [server "a"] post-backup: '
	says ':8: [configuration "s"] secret-key-file: '
	says 'group or others'
	says ':9: [configuration "s"] cacert: '
	says ':10: [configuration "p"]: token-secret is missing'
	says ':19: [configuration "k"] password-command: '
	says ':23: [configuration "r"] environment.RESTIC_PASSWORD-file: '
	says ':28: [configuration "e"] secret-key-file: 0 characters'
	says "8 errors"
}

@test "a required secret may be a credential of the service manager" {
	mkdir creds
	conf <<-'END'
		[configuration "p"]
		disk = pbs
		url = https://h
		datastore = d
		token-id = x
	END
	sed -i 's|token-id = .*|token-id = a@b!c|' "$CALA_CONFIG"
	run -2 cala-config lint
	echo hunter2 >creds/cala.p.token-secret
	chmod 400 creds/cala.p.token-secret
	CREDENTIALS_DIRECTORY=$PWD/creds cala-config lint
	# Whoever does not need the secret can read the configuration.
	cala-config list
}

@test "keys that need another" {
	conf <<-'END'
		[configuration "a"]
		disk = s3
		bucket = b
		sse = customer
		sse-kms-key-id = x
		object-lock-retention = 30d
	END
	run --separate-stderr cala-config lint
	[ "$status" -eq 2 ]
	says "sse: needs sse-customer-key"
	says "sse-kms-key-id: needs sse = aws:kms aws:kms:dsse"
	says "object-lock-retention: needs object-lock-mode"
}
