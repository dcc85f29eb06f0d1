# The disk ddup-bak: what other programs, containers and power cuts do to it.

load common
load ddup

# forget: the index as a program saves it that read it when it was empty.
forget() {
	python3 - "$R/chunks/index" <<-'END'
	import sys, zlib
	data = zlib.decompress(open(sys.argv[1], "rb").read(), -15)
	head = bytearray(data[:32])
	head[0:8] = head[16:24] = bytes(8)
	head[24:32] = (1).to_bytes(8, "little")
	z = zlib.compressobj(6, zlib.DEFLATED, -15)
	open(sys.argv[1], "wb").write(z.compress(bytes(head)) + z.flush())
	END
}

@test "a delete takes nothing from a backup whose ids only ours explain" {
	vector rust-sample
	mkdir t
	d restore "$PWD/t" -b $U
	put t $U4
	forget
	# Ours tell what its ids mean, though they come behind it.
	d rm -b $U4
	d verify -b $U --read-data
	whole t $U
	healthy
}
