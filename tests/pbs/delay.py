#!/usr/bin/env python3
"""delay FILE PORT MS [RATE]: a long way to a server on 127.0.0.1.

A TCP proxy: every byte arrives MS/2 milliseconds after it was sent, in both
directions, and so does the end of a connection; RATE bytes a second at most in
each (0: as many as there are).  Its own port is written to FILE when it listens.
What is under way lies here, up to 256 MiB in a direction, so that no window of
TCP's but those of the two ends decide how much that is.
"""

import collections
import os
import socket
import sys
import threading
import time

PIECE = 256 << 10
ROOM = 256 << 20


class Way:
    """One direction of one connection."""

    def __init__(self, source, target, delay, rate):
        self.source, self.target = source, target
        self.delay, self.rate = delay, rate
        self.queue = collections.deque()        # (due, bytes); b"" is the end
        self.held = 0
        self.change = threading.Condition()
        for run in (self.take, self.give):
            threading.Thread(target=run, daemon=True).start()

    def put(self, data):
        with self.change:
            while self.held > ROOM:
                self.change.wait()
            self.queue.append((time.monotonic() + self.delay, data))
            self.held += len(data)
            self.change.notify_all()

    def take(self):
        data = b"x"
        while data:
            try:
                data = self.source.recv(PIECE)
            except OSError:
                data = b""
            self.put(data)

    def give(self):
        free = time.monotonic()
        while True:
            with self.change:
                while not self.queue:
                    self.change.wait()
                due, data = self.queue.popleft()
            if self.rate:
                free = max(free, due) + len(data) / self.rate
                due = max(due, free)
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            try:
                if data:
                    self.target.sendall(data)
                else:
                    self.target.shutdown(socket.SHUT_WR)
            except OSError:
                # the other side is gone: so is this one
                try:
                    self.source.shutdown(socket.SHUT_RD)
                except OSError:
                    pass
            with self.change:
                self.held -= len(data)
                self.change.notify_all()
            if not data:
                return


def main():
    if not 4 <= len(sys.argv) <= 5:
        sys.exit(f"usage: {sys.argv[0]} FILE PORT MS [RATE]")
    name, port = sys.argv[1], int(sys.argv[2])
    delay = float(sys.argv[3]) / 2000
    rate = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    listener = socket.create_server(("127.0.0.1", 0))
    with open(name + ".new", "w", encoding="ascii") as f:
        f.write(f"{listener.getsockname()[1]}\n")
    os.rename(name + ".new", name)
    while True:
        near, _ = listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", port))
        except OSError:
            near.close()
            continue
        for s in (near, far):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Way(near, far, delay, rate)
        Way(far, near, delay, rate)


if __name__ == "__main__":
    main()
