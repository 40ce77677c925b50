"""A connection without a client library between the test and the bytes.

Replies become Python values that keep what RESP said: Status and Error are their
own types, a RESP3 map is a dict where its keys allow it, pushes and verbatim
strings are marked. Tests use it where a client library would hide the protocol.
"""

import socket
import time


class Status(str):
    """+OK"""


class Error(str):
    """-ERR ...; a value, because a reply can hold several"""

    @property
    def code(self):
        return self.split(" ", 1)[0]


class Push(list):
    """>n"""


class Set(list):
    """~n, in the order it came"""


class Verbatim(bytes):
    """=n, without its txt: prefix"""


class BigNumber(int):
    """(n"""


class ProtocolError(Exception):
    pass


def encode(*args):
    """A command as an array of bulk strings."""
    out = [b"*%d\r\n" % len(args)]
    for a in args:
        if isinstance(a, str):
            a = a.encode()
        elif isinstance(a, (int, float)):
            a = repr(a).encode()
        out.append(b"$%d\r\n%b\r\n" % (len(a), a))
    return b"".join(out)


class Wire:
    def __init__(self, address, timeout=60, protocol=2):
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(timeout)
            self.sock.connect(address)
        else:
            self.sock = socket.create_connection(address, timeout=timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b""
        self.at = 0
        if protocol == 3:
            self("HELLO", 3)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.sock.close()

    def __call__(self, *args):
        """Send one command and return its reply."""
        self.send(encode(*args))
        return self.read()

    def pipeline(self, *commands):
        """Send several commands in one piece and return all their replies."""
        self.send(b"".join(encode(*c) for c in commands))
        return [self.read() for _ in commands]

    def send(self, data):
        self.sock.sendall(data)

    def _more(self):
        data = self.sock.recv(1 << 18)
        if not data:
            raise EOFError("the server closed the connection")
        self.buf = self.buf[self.at :] + data
        self.at = 0

    def read_line(self):
        while True:
            end = self.buf.find(b"\r\n", self.at)
            if end >= 0:
                line = self.buf[self.at : end]
                self.at = end + 2
                return line
            self._more()

    def _read_exactly(self, n):
        if len(self.buf) - self.at < n:
            parts = [self.buf[self.at :]]
            have = len(parts[0])
            while have < n:
                data = self.sock.recv(min(1 << 20, n - have))
                if not data:
                    raise EOFError("the server closed the connection")
                parts.append(data)
                have += len(data)
            self.buf, self.at = b"".join(parts), 0
        out = self.buf[self.at : self.at + n]
        self.at += n
        return out

    def read(self):
        line = self.read_line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return Status(rest.decode("utf-8", "surrogateescape"))
        if kind == b"-":
            return Error(rest.decode("utf-8", "surrogateescape"))
        if kind == b":":
            return int(rest)
        if kind in b"$=":
            n = int(rest)
            if n == -1:
                return None
            data = self._read_exactly(n + 2)
            if data[-2:] != b"\r\n":
                raise ProtocolError(f"a bulk string of {n} bytes does not end there")
            return data[:-2] if kind == b"$" else Verbatim(data[4:-2])
        if kind == b"_":
            return None
        if kind == b"#":
            return {b"t": True, b"f": False}[rest]
        if kind == b",":
            return float(rest)
        if kind == b"(":
            return BigNumber(rest)
        if kind in b"*~>":
            n = int(rest)
            if n == -1:
                return None
            items = [self.read() for _ in range(n)]
            return items if kind == b"*" else Set(items) if kind == b"~" else Push(items)
        if kind == b"%":
            return {self._key(self.read()): self.read() for _ in range(int(rest))}
        if kind == b"|":
            for _ in range(2 * int(rest)):
                self.read()
            return self.read()
        raise ProtocolError(f"no reply starts with {line[:80]!r}")

    @staticmethod
    def _key(k):
        return tuple(k) if isinstance(k, list) else k

    def read_all(self):
        """Everything until the server closes, as bytes; a reset counts as a close."""
        out = [self.buf[self.at :]]
        self.buf, self.at = b"", 0
        try:
            while True:
                data = self.sock.recv(1 << 18)
                if not data:
                    break
                out.append(data)
        except ConnectionResetError:
            pass
        return b"".join(out)

    def closed(self, seconds=120):
        """True once the server has closed its side; False if it still has not after `seconds`."""
        deadline = time.monotonic() + seconds
        saved = self.sock.gettimeout()
        try:
            while time.monotonic() < deadline:
                self.sock.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    if not self.sock.recv(1 << 16):
                        return True
                except (ConnectionResetError, BrokenPipeError):
                    return True
                except socket.timeout:
                    return False
        finally:
            self.sock.settimeout(saved)
        return False

    def silent(self, seconds=0.2):
        """True if nothing arrives for a while."""
        if self.at < len(self.buf):
            return False
        saved = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(1 << 16)
            self.buf, self.at = self.buf[self.at :] + data, 0
            return False
        except socket.timeout:
            return True
        finally:
            self.sock.settimeout(saved)
