"""h2wire: HTTP/2 on an upgraded connection, by python3-h2.

One thread owns the socket and all of h2's state; requests are carried out by
a pool, several at once and answered as they end.  h2 itself holds the peer to
the protocol: windows, frames, states of streams.
"""

import json
import queue
import random
import select
import socket
import ssl
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

import schema
import session as sessions
from schema import Refused

PREFACE = 24
BUFFER = 4 << 20                # of answers that wait for the socket
BODY_P = {3: 65536, 4: 524288}  # of class P
NO_SPACE = ("inserting chunk on store '{store}' failed for {digest} - mkstemp"
            " \"{path}.tmp_XXXXXX\" failed: ENOSPC: No space left on device")


class Over(Exception):
    """The connection ends here; reset: with RST."""

    def __init__(self, why, reset=False):
        super().__init__(why)
        self.why, self.reset = why, reset


class Stream:
    def __init__(self, number, headers):
        self.id = number
        self.headers = dict(headers)
        self.method = self.headers.get(":method", "")
        path, _, self.query = self.headers.get(":path", "").partition("?")
        self.path = path
        self.op = f"{self.method} {path.lstrip('/') or '/'}"
        self.body = bytearray()
        self.received = 0
        self.endpoint = self.params = None
        self.fault = {}
        self.answered = self.ended = self.gone = False
        self.out, self.sent, self.stop = None, 0, None
        self.status, self.text = 0, None
        self.start = time.monotonic()

    def at(self, *when):
        return self.fault if self.fault.get("when", "late") in when else {}


class Connection:
    def __init__(self, wire, session):
        self.wire, self.server, self.session = wire, wire.server, session
        self.sock = wire.sock
        self.kind = session.kind
        self.table = sessions.BACKUP if self.kind == "backup" else \
            sessions.READER
        self.streams, self.pending = {}, []
        self.inp, self.out = bytearray(), bytearray()
        self.got = self.put = 0
        self.done = queue.SimpleQueue()
        self.wake_r, self.wake_w = socket.socketpair()
        self.goodbye = False            # end when all is sent
        self.frozen = 0
        self.peak = self.active = 0
        self.held = []
        self.preface = True
        self.cut = self.server.faults.match(f"session {self.kind}")
        if self.cut.get("action") != "cut":
            self.cut = {}
        self.random = random.Random(1)
        self.begin()
        self.server.count_session(1)

    def begin(self):
        s = self.server.settings
        config = h2.config.H2Configuration(client_side=False,
                                           header_encoding="utf-8")
        self.h = h2.connection.H2Connection(config)
        code = h2.settings.SettingCodes
        first = {code.INITIAL_WINDOW_SIZE: s["window"],
                 code.MAX_FRAME_SIZE: s["frame"],
                 code.MAX_HEADER_LIST_SIZE: s["header_list"]}
        if s["streams"]:
            first[code.MAX_CONCURRENT_STREAMS] = s["streams"]
        self.h.local_settings = h2.settings.Settings(client=False,
                                                     initial_values=first)
        self.h.max_inbound_frame_size = s["frame"]
        self.h.DEFAULT_MAX_INBOUND_FRAME_SIZE = s["frame"]
        self.h.initiate_connection()
        if s["window"] > 65535:
            self.h.increment_flow_control_window(s["window"] - 65535)

    def settings_frames(self):
        return self.h.data_to_send()

    # The loop.

    def run(self, ahead):
        """ahead: what came with the request for the upgrade."""
        self.sock.setblocking(False)
        self.inp += ahead
        poll = select.poll()
        why, reset = "", False
        try:
            self.frames()
            while not self.server.stopping.is_set():
                self.out += self.h.data_to_send()
                self.write()
                if self.goodbye and not self.out:
                    raise Over("")
                self.wait(poll)
        except Over as e:
            why, reset = e.why, e.reset
        except (OSError, ssl.SSLError) as e:
            why = str(e)
        except h2.exceptions.ProtocolError as e:
            why = f"protocol error: {type(e).__name__}: {e}"
            self.server.flag(f"HTTP/2: {why}")
            self.last_words()
        finally:
            self.finish(why, reset)

    def wait(self, poll):
        wait, now = 1000, time.monotonic()
        if self.frozen > now:
            time.sleep(min(0.05, self.frozen - now))
            return
        poll.register(self.sock, select.POLLIN
                      | (select.POLLOUT if self.out else 0))
        poll.register(self.wake_r, select.POLLIN)
        if self.sock.pending():
            wait = 0
        ready = dict(poll.poll(wait))
        if self.wake_r.fileno() in ready:
            self.wake_r.recv(65536)
        if self.sock.pending() or ready.get(self.sock.fileno(), 0) & (
                select.POLLIN | select.POLLHUP | select.POLLERR):
            self.read()
        self.answers()

    def read(self):
        ended = False
        for _ in range(256):
            want = 1 << 20
            if self.cut.get("side", "in") == "in" and self.cut:
                want = min(want, self.cut["after"] - self.got)
                if want <= 0:
                    raise Over("cut", True)
            try:
                data = self.sock.recv(want)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except ssl.SSLEOFError:
                data = b""
            if not data:
                ended = True
                break
            self.got += len(data)
            self.inp += data
        self.frames()
        if ended:
            raise Over("")

    def write(self):
        while self.out:
            room = len(self.out)
            if self.cut.get("side") == "out":
                room = min(room, self.cut["after"] - self.put)
                if room <= 0:
                    raise Over("cut", True)
            try:
                n = self.sock.send(memoryview(self.out)[:min(room, 1 << 18)])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            self.put += n
            del self.out[:n]
            if len(self.out) < BUFFER // 2:
                self.pump()

    def last_words(self):
        """RST would swallow them: what still comes is read."""
        end = time.monotonic() + 2
        try:
            self.sock.settimeout(1)
            self.sock.sendall(bytes(self.out) + self.h.data_to_send())
            self.sock.shutdown(socket.SHUT_WR)
            while self.sock.recv(1 << 18) and time.monotonic() < end:
                pass
        except (OSError, ssl.SSLError):
            pass

    def frames(self):
        """Whole frames only: h2 copies what it has for every piece."""
        if self.goodbye:                # what was on its way meanwhile
            self.inp.clear()
            return
        view, at = memoryview(bytes(self.inp)), 0
        if self.preface and len(view) >= PREFACE:
            self.feed(view[:PREFACE])
            self.preface, at = False, PREFACE
        while not self.preface and len(view) - at >= 9:
            end = at + 9 + int.from_bytes(view[at:at + 3], "big")
            if end - at > 9 + self.server.settings["frame"] and \
                    end > len(view):
                end = len(view)         # h2 says what is wrong with it
            if end > len(view):
                break
            self.feed(view[at:end])
            at = end
            if self.goodbye:
                break
        del self.inp[:at]

    def feed(self, data):
        for e in self.h.receive_data(bytes(data)):
            self.event(e)
        self.out += self.h.data_to_send()

    def event(self, e):
        if isinstance(e, h2.events.RequestReceived):
            self.request(Stream(e.stream_id, e.headers))
        elif isinstance(e, h2.events.DataReceived):
            self.h.acknowledge_received_data(e.flow_controlled_length,
                                             e.stream_id)
            st = self.streams.get(e.stream_id)
            if st is not None:
                self.data(st, e.data)
        elif isinstance(e, h2.events.StreamEnded):
            st = self.streams.get(e.stream_id)
            if st is not None:
                self.ended(st)
        elif isinstance(e, h2.events.StreamReset):
            st = self.streams.get(e.stream_id)
            if st is not None:
                st.gone = True
                self.close(st)
        elif isinstance(e, (h2.events.WindowUpdated,
                            h2.events.RemoteSettingsChanged)):
            self.pump()
        elif isinstance(e, h2.events.ConnectionTerminated):
            self.server.log({"op": "GOAWAY", "conn": self.wire.number,
                             "code": int(e.error_code)})

    # A request.

    def request(self, st):
        self.streams[st.id] = st
        self.active += 1
        self.peak = max(self.peak, self.active)
        self.server.peak = max(self.server.peak, self.active)
        self.server.enter()
        st.fault = self.server.faults.match(st.op, st.query)
        if self.interrupt(st, "head"):
            return
        f = st.fault
        if f.get("action") == "status" and f.get("when") == "early":
            self.answer_early(st, f["status"], f.get("text", ""))
            return
        st.endpoint = self.table.get((st.method, st.path))
        try:
            if st.endpoint is None:
                raise Refused(404, f"Path '{st.path}' not found.")
            if st.endpoint.raw:
                st.params = schema.class_q(st.endpoint.types, [], st.query)
        except Refused as e:
            self.answer_early(st, e.status, e.text)

    def limit(self, st):
        if not st.endpoint.raw:
            return BODY_P[3 if not self.server.at_least(4, 0) else 4] - 1
        if st.endpoint.body == -1:
            return -1
        return st.params.get(st.endpoint.body, 0) if st.endpoint.body else 0

    def data(self, st, data):
        st.received += len(data)
        if st.answered or st.gone:
            return
        f = st.at("body")
        if f and st.received > f.get("after", 0):
            self.interrupt(st, "body")
            return
        most = self.limit(st)
        if most == -1:
            return
        st.body += data
        if len(st.body) > most:
            self.answer_early(st, 400, "got blob that is larger than announced"
                              if st.endpoint.raw else "Body too large")

    def ended(self, st):
        st.ended = True
        if st.answered or st.gone:
            return
        f = st.at("late")
        action = f.get("action")
        if self.interrupt(st, "late"):
            return
        if action == "status":
            self.answer(st, f["status"], f.get("text", "").encode(), "text")
        elif action == "nospace" or st.fault.get("action") == "nospace":
            digest = (st.params or {}).get("digest", "0" * 64)
            self.answer(st, 400, NO_SPACE.format(
                store=self.session.store.name, digest=digest,
                path=self.session.store.chunk_path(digest)).encode(), "text")
        elif action == "json":
            self.answer(st, 200, f.get("text", "").encode(), "json")
        else:
            self.server.pool.submit(self.work, st)

    def work(self, st):
        """In the pool."""
        s, result = self.server.settings, None
        try:
            params = st.params
            if not st.endpoint.raw:
                params = schema.class_p(
                    st.endpoint.types, [], st.query,
                    st.headers.get("content-type"), bytes(st.body))
            if st.op == "POST finish" and s["finish"]:
                time.sleep(s["finish"])
            result = st.endpoint.run(self.session, params, bytes(st.body))
            if isinstance(result, sessions.Raw):
                got = 200, result.data, "raw"
            else:
                got = 200, json.dumps({"data": result}).encode(), "json"
        except Refused as e:
            got = e.status, e.text.encode(), "text"
            if e.status == 401:
                time.sleep(s["delay_401"])
        except Exception as e:          # a mistake of ours
            self.server.oops(e)
            got = 500, f"{type(e).__name__}: {e}".encode(), "text"
        wait = s["latency"]
        if s["shuffle"] and st.endpoint.body:
            wait += self.random.random() * s["shuffle"]
        if wait:
            time.sleep(wait)
        self.done.put((st, got))
        self.wake()

    def wake(self):
        try:
            self.wake_w.send(b".")
        except OSError:
            pass                        # the connection is gone

    def answers(self):
        while True:
            try:
                st, got = self.done.get_nowait()
            except queue.Empty:
                break
            hold = self.server.settings["hold"]
            if hold and st.op.endswith("_chunk"):
                # The last first: no order is promised.
                self.held.append((st, got))
                if len(self.held) < min(hold, self.active):
                    continue
                for st, got in reversed(self.held):
                    self.carried_out(st, got)
                self.held = []
            else:
                self.carried_out(st, got)
        if self.held and len(self.held) >= self.active:
            for st, got in reversed(self.held):
                self.carried_out(st, got)
            self.held = []

    def carried_out(self, st, got):
        if st.gone:
            self.close(st)
            return
        if self.interrupt(st, "done"):
            return
        f = st.at("done")
        if f.get("action") == "status":
            got = f["status"], f.get("text", "").encode(), "text"
        self.answer(st, *got)

    def answer_early(self, st, status, text):
        """Before all of the body is there: the rest is not wanted."""
        self.answer(st, status, text.encode(), "text")
        if not st.ended and not st.gone and st.id in self.streams:
            self.pump()
            try:
                self.h.reset_stream(st.id, 0)
            except h2.exceptions.ProtocolError:
                pass
            self.close(st)

    def answer(self, st, status, body, kind):
        st.answered, st.status = True, status
        if status >= 300:
            st.text = body.decode("utf-8", "replace")
        body = self.bend(st, body)
        headers = [(":status", str(status))]
        headers.append(("content-type", "application/octet-stream"
                        if kind == "raw" else
                        "application/json;charset=UTF-8"))
        if st.fault.get("action") in ("reset", "close") and \
                st.fault.get("when") == "response":
            st.stop = st.fault.get("after", 0)
        try:
            self.h.send_headers(st.id, headers, end_stream=not body)
        except h2.exceptions.ProtocolError:
            st.gone = True              # reset by the peer meanwhile
        if st.gone or not body:
            self.close(st)
            return
        st.out = memoryview(body)
        self.pending.append(st)
        self.pump()

    def bend(self, st, body):
        f, body = st.fault, bytes(body)
        action = f.get("action")
        if action == "swap":
            body = self.server.another_chunk(self.session.store,
                                             st.params["digest"],
                                             f.get("digest"))
        elif action == "flip" and body:
            at = f.get("at", len(body) // 2) % len(body)
            body = body[:at] + bytes([body[at] ^ 0x20]) + body[at + 1:]
        elif action == "truncate":
            body = body[:f.get("after", 0)]
        elif action == "longer":
            body += b"Z" * f.get("size", 1)
        return body

    def pump(self):
        """Bodies, in turn, as windows and the buffer allow."""
        for st in list(self.pending):
            if st.gone:
                self.pending.remove(st)
                continue
            while st.sent < len(st.out):
                if len(self.out) > BUFFER:
                    return
                try:
                    n = min(len(st.out) - st.sent,
                            self.h.local_flow_control_window(st.id),
                            self.h.max_outbound_frame_size, 1 << 18)
                except h2.exceptions.ProtocolError:
                    st.gone = True
                    break
                if st.stop is not None:
                    n = min(n, st.stop - st.sent)
                    if n <= 0:
                        self.write_all()
                        raise Over("interrupted",
                                   st.fault["action"] == "reset")
                if n <= 0:
                    break
                last = st.sent + n == len(st.out)
                self.h.send_data(st.id, bytes(st.out[st.sent:st.sent + n]),
                                 end_stream=last)
                st.sent += n
                self.out += self.h.data_to_send()
            if st.gone or st.sent == len(st.out):
                self.pending.remove(st)
                self.close(st)

    def write_all(self):
        self.sock.setblocking(True)
        self.sock.settimeout(10)
        self.sock.sendall(bytes(self.out))
        self.out.clear()

    def close(self, st):
        if self.streams.pop(st.id, None) is None:
            return
        self.active -= 1
        self.server.leave()
        self.server.log({
            "op": st.op, "kind": self.kind, "conn": self.wire.number,
            "stream": st.id, "query": st.query, "status": st.status,
            "in": st.received, "out": st.sent, "text": st.text,
            "fault": st.fault.get("action"), "gone": st.gone,
            "ms": round((time.monotonic() - st.start) * 1000)})

    def interrupt(self, st, point):
        """What ends or silences at a named point; was it so?"""
        f = st.at(point)
        action = f.get("action")
        if action in ("reset", "close"):
            raise Over("interrupted", action == "reset")
        if action == "rst":
            self.h.reset_stream(st.id, f.get("code", 2))
            st.gone = True
            self.close(st)
            return True
        if action == "goaway":
            self.h.close_connection(
                f.get("code", 0), f.get("text", "").encode() or None,
                f.get("last", st.id))
            st.gone = self.goodbye = True
            self.close(st)
            return True
        if action == "garbage":
            self.out += self.h.data_to_send()
            self.out += bytes.fromhex(f.get("hex", "") or "ff" * 64)
            return False
        if action == "stall":
            st.fault = {}
            self.server.later(f.get("seconds", 3600), self.unstall, st, point)
            return True
        if action == "freeze":
            self.frozen = time.monotonic() + f.get("seconds", 3600)
        return False

    def unstall(self, st, point):
        if point == "done":
            self.done.put((st, (200, b'{"data":null}', "json")))
            self.wake()
        else:
            self.server.pool.submit(self.work, st)

    def finish(self, why, reset):
        if reset:
            self.wire.reset()
        for st in list(self.streams.values()):
            st.gone = True
            self.close(st)
        linger = self.server.settings["linger"]
        if linger and not self.server.at_least(4, 0):
            time.sleep(linger)
        self.session.end(why)
        self.server.log({"op": "end", "kind": self.kind, "why": why,
                         "conn": self.wire.number, "in": self.got,
                         "out": self.put, "peak": self.peak})
        self.wake_r.close()
        self.wake_w.close()
        self.server.count_session(-1)
