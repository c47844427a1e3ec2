"""Sets the filter argv[1] and calls what argv[2] lists; prints "fine" if all is as it must be."""

import base64
import ctypes
import errno
import json
import os
import socket
import struct
import sys
import threading

code = base64.b64decode(sys.argv[1])
buffer = ctypes.create_string_buffer(code, len(code))
head = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.create_string_buffer(head, len(head)), 0, 0) == 0
wrong = []
for number in json.loads(sys.argv[2]):
    ctypes.set_errno(0)
    if libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != errno.EPERM:
        wrong.append("call %d gives %d" % (number, ctypes.get_errno()))
for what, action in {
    "fork": os.fork,
    "posix_spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "execv": lambda: os.execv("/bin/true", ["true"]),
    "inet": lambda: socket.socket(socket.AF_INET),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "vsock": lambda: socket.socket(40),
    "alg": lambda: socket.socket(38, socket.SOCK_SEQPACKET),
}.items():
    try:
        action()
        wrong.append(what + " was let through")
    except PermissionError:
        pass
one, other = socket.socketpair()
one.send(b"x")
assert other.recv(1) == b"x"
done = []
thread = threading.Thread(target=done.append, args=(1,))
thread.start()
thread.join()
assert done and os.getpid() and os.urandom(1) and open(os.__file__).read(1)
print("\n".join(wrong) or "fine")
