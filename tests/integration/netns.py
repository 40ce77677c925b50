"""A network of a test's own: an address that is not loopback, yet reaches no wire.

run_apart(work) calls work() in a child process inside a fresh network namespace whose
loopback interface also carries OUTSIDE. It raises what work() raised, and Unavailable
where the kernel allows no namespaces, or not what work() builds in them by sh().
"""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import traceback

OUTSIDE = "10.9.8.7"

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
_SIOCSIFADDR, _SIOCSIFFLAGS, _IFF_UP = 0x8916, 0x8914, 1


class Unavailable(Exception):
    pass


def sh(*words, stdin=None):
    """What it printed; a tool that is not there or may not is Unavailable."""
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as e:
        raise Unavailable(str(e)) from e
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _unshare(libc):
    if libc.unshare(_CLONE_NEWNET) != 0 and libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        raise Unavailable(os.strerror(ctypes.get_errno()))


def own_mounts():
    """Mounts of this process and its children are seen by nobody else, and end with them."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        raise Unavailable(os.strerror(ctypes.get_errno()))
    sh("mount", "--make-rprivate", "/")


def _configure():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
        address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(OUTSIDE))
        fcntl.ioctl(s, _SIOCSIFADDR, struct.pack("16s16s8x", b"lo:1", address))


def run_apart(work):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        text = ""
        try:
            try:
                _unshare(ctypes.CDLL(None, use_errno=True))
                _configure()
            except OSError as e:
                raise Unavailable(str(e)) from e
            work()
        except Unavailable as e:
            text = f"unavailable: {e}"
        except BaseException:  # noqa: BLE001 - told to the parent
            text = traceback.format_exc()
        os.write(write, text.encode()[-60000:])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as f:
        text = f.read()
    os.waitpid(child, 0)
    if text.startswith("unavailable: "):
        raise Unavailable(text)
    assert not text, text
