"""One conversation held with two servers at once: the same bytes out, both answers in."""

import select
import socket
import time

from resp import encode, frame_end

PATIENCE = 120  # seconds without a byte before a server counts as hung


class Lost(Exception):
    """A server closed the connection or fell silent. `who` is 0 (Redis) or 1 (larder)."""

    def __init__(self, who, what, got):
        super().__init__(f"{('redis', 'larder')[who]} {what} after {got} replies")
        self.who = who
        self.got = got


class Half:
    """One server's end."""

    def __init__(self, address):
        self.sock = socket.create_connection(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.buf = bytearray()
        self.at = 0

    def begin(self, payload, replies):
        self.out = memoryview(payload)
        self.want = replies
        self.got = []
        if self.at:
            del self.buf[: self.at]
            self.at = 0

    def done(self):
        return len(self.got) == self.want and not self.out

    def write(self):
        try:
            self.out = self.out[self.sock.send(self.out) :]
        except BlockingIOError:
            pass

    def read(self):
        """False at the end of the stream."""
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        if not data:
            return False
        self.buf += data
        while len(self.got) < self.want:
            end = frame_end(self.buf, self.at)
            if end < 0:
                break
            self.got.append(bytes(self.buf[self.at : end]))
            self.at = end
        return True


    def ask(self, args):
        """One command, one raw reply."""
        self.begin(encode(args), 1)
        while not self.done():
            readable, writable, _ = select.select([self.sock], [self.sock] if self.out else [], [], PATIENCE)
            if writable:
                self.write()
            if readable and not self.read() or not (readable or writable):
                raise Lost(1, "did not answer", 0)
        return self.got[0]


class Link:
    """A connection to each of two servers."""

    def __init__(self, addresses):
        self.halves = [Half(a) for a in addresses]
        self.queue = []  # what MULTI has queued, in the judge's terms

    def close(self):
        for h in self.halves:
            h.sock.close()

    def exchange(self, payload, replies):
        """Send to both, return (their replies, our replies)."""
        for h in self.halves:
            h.begin(payload, replies)
        last = time.monotonic()
        while True:
            busy = [h for h in self.halves if not h.done()]
            if not busy:
                return self.halves[0].got, self.halves[1].got
            readable, writable, _ = select.select([h.sock for h in busy], [h.sock for h in busy if h.out], [], PATIENCE)
            for who, h in enumerate(self.halves):
                if h.sock in writable:
                    try:
                        h.write()
                    except ConnectionError:
                        raise Lost(who, "closed the connection", len(h.got)) from None
                if h.sock in readable:
                    last = time.monotonic()
                    if not h.read():
                        raise Lost(who, "closed the connection", len(h.got))
            if not readable and time.monotonic() - last > PATIENCE:
                who = self.halves.index(busy[0])
                raise Lost(who, "fell silent", len(busy[0].got))

    def commands(self, *commands):
        return self.exchange(b"".join(encode(c) for c in commands), len(commands))

    def surplus(self):
        """Bytes that came without being asked for: (theirs, ours)."""
        for h in self.halves:
            h.begin(b"", 0)
            h.read()
        return tuple(bytes(h.buf[h.at :]) for h in self.halves)


def converse(address, payload):
    """A whole conversation on a fresh connection: send, half-close, read to the end."""
    with socket.create_connection(address, timeout=PATIENCE) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        out = []
        try:
            s.sendall(payload)
            s.shutdown(socket.SHUT_WR)
        except OSError as e:
            if isinstance(e, TimeoutError):
                raise
        try:
            while True:
                data = s.recv(1 << 18)
                if not data:
                    break
                out.append(data)
        except ConnectionError:
            pass
        return b"".join(out)
