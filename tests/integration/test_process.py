"""How the process ends, and what it says when it did not want to."""

import signal
import socket
import threading

import pytest

import harness
from netns import OUTSIDE, Unavailable, run_apart
from wire import encode


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_polite_signals_end_it_with_0(start_larder, sig):
    server = start_larder()
    conns = [server.wire() for _ in range(50)]
    for c in conns:
        assert c("SET", "k", "v") == "OK"
    server.expect_alarm = True
    assert server.kill(sig) == 0
    assert all(c.closed() for c in conns)
    assert b"bye bye" in server.log()


def test_sigterm_under_load(start_larder):
    """Replies that arrive are whole; then the connection closes."""
    server = start_larder()
    seen = []

    def load():
        with server.wire() as w:
            try:
                while True:
                    w.send(encode("SET", "k", "v" * 1000) * 100)
                    for _ in range(100):
                        assert w.read() == "OK"
                    seen.append(1)
            except (EOFError, OSError):
                pass

    threads = [threading.Thread(target=load) for _ in range(4)]
    for t in threads:
        t.start()
    harness.wait_until(lambda: len(seen) >= 20, what="the load")
    assert server.kill(signal.SIGTERM) == 0
    for t in threads:
        t.join()


@pytest.mark.parametrize("how", [("SHUTDOWN",), ("SHUTDOWN", "NOSAVE"), ("shutdown", "nosave", "now", "force")])
def test_shutdown(start_larder, how):
    server = start_larder()
    with server.wire() as w:
        w.send(encode(*how))
        assert w.closed()
    assert server.wait() == 0


def test_shutdown_errors(w):
    assert w("SHUTDOWN", "BOGUS") == "ERR syntax error"
    assert w("SHUTDOWN", "SAVE", "NOSAVE") == "ERR syntax error"
    assert w("SHUTDOWN", "ABORT") == "ERR No shutdown in progress."
    assert w("PING") == "PONG"


@pytest.mark.parametrize("sig", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_crash_leaves_a_report(start_larder, sig):
    server = start_larder()
    if b"__asan" in open(server.binary, "rb").read() or b"__tsan" in open(server.binary, "rb").read():
        sig_report = b"Sanitizer"  # the sanitizer's own handler reports instead
    else:
        sig_report = b"STACK TRACE"
    server.expect_alarm = True
    code = server.kill(sig)
    assert code == -sig or code != 0
    if sig_report == b"STACK TRACE" or sig == signal.SIGSEGV:
        assert sig_report in server.log()


def test_sigpipe_and_sighup_are_ignored(start_larder):
    server = start_larder()
    server.process.send_signal(signal.SIGPIPE)
    server.process.send_signal(signal.SIGHUP)
    with server.wire() as w:
        assert w("PING") == "PONG"


def test_debug_is_guarded(start_larder):
    server = start_larder()
    with server.wire() as w:
        assert w("DEBUG", "SLEEP", "0").startswith("ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\"")
    server = start_larder({"enable-debug-command": "local"})
    with server.wire() as w:
        assert w("DEBUG", "SLEEP", "0") == "OK"


def said_before_pong(server, proto, command):
    """The very bytes of the reply."""
    with socket.create_connection(server.address()) as s, s.makefile("rb") as f:
        s.sendall(b"HELLO %d\r\nECHO begin\r\n%s\r\nPING\r\n" % (proto, command))
        while f.readline() != b"begin\r\n":
            pass
        return b"".join(iter(f.readline, b"+PONG\r\n"))


@pytest.mark.parametrize("proto", [2, 3])
def test_debug_protocol_says_what_redis_says(larder, redis_server, proto):
    for kind in ("string integer double bignum null array set map attrib push verbatim true FALSE nosuch", ""):
        for one in kind.split(" "):
            command = b"DEBUG PROTOCOL " + one.encode()
            assert said_before_pong(larder, proto, command) == said_before_pong(redis_server, proto, command), one


def test_debug_log(larder, w):
    assert w("DEBUG", "LOG", "here we are") == "OK"
    harness.wait_until(lambda: b"DEBUG LOG: here we are" in larder.log(), what="the line in the log")
    assert w("DEBUG", "LOG", "one", "two").startswith("ERR unknown subcommand or wrong number of arguments for 'LOG'")


def test_debug_digest_value(r, w):
    r.mset({"a": "1", "b": "2"})
    one = w("DEBUG", "DIGEST-VALUE", "a", "b", "nothing")
    assert len(one) == 3 and all(len(d) == 40 for d in one) and one[2] == "0" * 40
    r.set("a", "1")
    assert w("DEBUG", "DIGEST-VALUE", "a") == one[:1]
    r.set("a", "other")
    assert w("DEBUG", "DIGEST-VALUE", "a") != one[:1]


def test_debug_digest_value_is_that_of_redis(larder):
    """So that a tool can compare a key of larder's with one of Redis's."""
    theirs = harness.Server(harness.REDIS_SERVER, {"enable-debug-command": "yes"}).start()
    try:
        with larder.wire() as a, theirs.wire() as b:
            for i, value in enumerate((b"", b"1", b"-5", b"hello", b"x" * 100000, bytes(range(256)))):
                for w in (a, b):
                    w("SET", f"k{i}", value)
                    w("SET", f"t{i}", value, "PXAT", "33000000000000")
                assert a("DEBUG", "DIGEST-VALUE", f"k{i}", f"t{i}") == b("DEBUG", "DIGEST-VALUE", f"k{i}", f"t{i}")
    finally:
        theirs.close()


def first_answer(port):
    """What a stranger hears: from outside of loopback, to the first PING."""
    with socket.create_connection((OUTSIDE, port), timeout=120) as s:
        s.sendall(b"PING\r\n")
        text = b""
        try:
            while not text.endswith(b"\r\n"):
                data = s.recv(4096)
                if not data:
                    break
                text += data
        except ConnectionResetError:
            pass
        return text


def protected_mode():
    server = harness.Server(options={"bind": [("127.0.0.1", OUTSIDE)]}).start()
    try:
        denied = first_answer(server.port)
        assert denied.startswith(b"-DENIED ") and b"protected mode" in denied and denied.count(b"\r\n") == 1
        with server.wire() as w:
            assert w("PING") == "PONG"
            assert w("CONFIG", "SET", "protected-mode", "no") == "OK"
            assert first_answer(server.port) == b"+PONG\r\n"
            assert w("CONFIG", "SET", "protected-mode", "yes", "requirepass", "x") == "OK"
            assert first_answer(server.port) == b"-NOAUTH Authentication required.\r\n"
    finally:
        trouble = server.close()
        assert not trouble, trouble


def test_protected_mode():
    """Without a password, whoever comes from elsewhere is told why it is not served."""
    try:
        run_apart(protected_mode)
    except Unavailable as e:
        pytest.skip(f"needs a network namespace: {e}")
