# Programs that a harness must hold, each from a line of four hashes to the next.
# solve is never right, so none may pass; one that reaches what it must not
# raises Exception("ESCAPED"). CANARY is a file outside with SECRET in it, which
# is also the value of an environment variable; PORT is a port and "\0SECRET" an
# abstract socket that something outside listens on; VICTIM is a process outside.

#### fork bomb
import posix
while True:
    posix.fork()

#### fork bomb that goes on at errors
import posix
while True:
    try:
        posix.fork()
    except OSError:
        pass

#### thread bomb
import threading, time
while True:
    threading.Thread(target=time.sleep, args=(1000,)).start()

#### thread bomb that goes on at errors
import threading, time
while True:
    try:
        threading.Thread(target=time.sleep, args=(1000,)).start()
    except BaseException:
        pass

#### daemonises
import posix, time
if posix.fork() == 0:
    posix.setsid()
    if posix.fork() == 0:
        time.sleep(1000)
raise Exception("ESCAPED")

#### starts a shell
import posix
posix.posix_spawn("/bin/sh", ["sh", "-c", "sleep 1000"], {})
raise Exception("ESCAPED")

#### becomes another program
import posix, sys
posix.execv(sys.executable, [sys.executable, "-c", "while True: pass"])

#### starts processes by subprocess' own helper
import importlib, subprocess
importlib.reload(subprocess)
subprocess.run(["/bin/sh", "-c", "true"])
raise Exception("ESCAPED")

#### deletes a file outside
import posix
posix.unlink("CANARY")
raise Exception("ESCAPED")

#### deletes all that it finds
import os, posix
for folder, _, files in os.walk("/"):
    for name in files:
        try:
            posix.unlink(os.path.join(folder, name))
        except OSError:
            continue
        if not folder.startswith("/tmp"):
            raise Exception("ESCAPED")

#### overwrites Python's library
import os
with open(os.__file__, "a") as file:
    file.write("#")
raise Exception("ESCAPED")

#### writes a file outside
with open("CANARY", "w") as file:
    file.write("was here")
raise Exception("ESCAPED")

#### reads a file outside
if "SECRET".replace('" "', "") in open("CANARY").read():
    raise Exception("ESCAPED")

#### reads secrets of the machine
import os
for path in ("/etc/shadow", "/root/.ssh", "/root/.bashrc", "/home", "/run", "/var/log", "/sys", "/boot", "/work", "/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda"):
    if os.path.exists(path):
        raise Exception("ESCAPED " + path)

#### reads secrets from the environment
import os, posix
for value in list(os.environ.values()) + [v.decode() for v in posix.environ.values()]:
    if "SECRET".replace('" "', "") in value:
        raise Exception("ESCAPED")

#### reads environments from /proc
import os
for name in os.listdir("/proc"):
    raise Exception("ESCAPED /proc/" + name)
for path in ("/proc/1/environ", "/proc/self/environ", "/proc/self/../1/cmdline"):
    if open(path).read():
        raise Exception("ESCAPED")

#### writes to /proc
for path in ("/proc/self/mem", "/proc/self/oom_score_adj", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/1/fd/1"):
    with open(path, "r+b", 0) as file:
        file.write(b"0")
    raise Exception("ESCAPED")

#### connects to a port of the machine
import socket
socket.create_connection(("127.0.0.1", PORT), 1)
raise Exception("ESCAPED")

#### sends a datagram
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("8.8.8.8", 53))
raise Exception("ESCAPED")

#### listens on a port
import socket
socket.create_server(("0.0.0.0", 0))
raise Exception("ESCAPED")

#### raw, netlink and kernel sockets
import socket
for family, kind in ((socket.AF_INET, socket.SOCK_RAW), (socket.AF_NETLINK, socket.SOCK_RAW), (17, socket.SOCK_RAW), (38, socket.SOCK_SEQPACKET), (40, socket.SOCK_STREAM)):
    try:
        socket.socket(family, kind)
    except OSError:
        continue
    raise Exception("ESCAPED")

#### connects to Unix sockets outside
import os, socket
for address in ("\0" + "SECRET".replace('" "', ""), os.path.join(os.path.dirname("CANARY"), "socket"), "/var/run/docker.sock"):
    try:
        socket.socket(socket.AF_UNIX).connect(address)
    except OSError:
        continue
    raise Exception("ESCAPED")

#### allocates 100 GB
x = bytearray(100 << 30)
raise Exception("ESCAPED")

#### allocates for ever
kept = []
while True:
    try:
        kept.append(bytearray(1 << 22))
    except MemoryError:
        pass
    if len(kept) > 1000:
        raise Exception("ESCAPED")

#### maps shared memory that no limit counts
import mmap, os
kept = []
while True:
    kept.append(mmap.mmap(-1, 1 << 26))
    if len(kept) > 100:
        raise Exception("ESCAPED")

#### memory in files without a name
import os
files = [os.memfd_create("x") for _ in range(100)]
for file in files:
    os.write(file, bytes(1 << 26))
raise Exception("ESCAPED")

#### writes 10 GB into one file
with open("big", "wb") as file:
    for _ in range(10_000):
        file.write(bytes(1 << 20))
raise Exception("ESCAPED")

#### writes 10 GB into many files
for n in range(10_000):
    with open("big%d" % n, "wb") as file:
        file.write(bytes(1 << 20))
raise Exception("ESCAPED")

#### makes files without number
import os
for n in range(1_000_000):
    os.mkdir("d%d" % n)
raise Exception("ESCAPED")

#### a folder too deep and locked to be removed
import posix
for n in range(3000):
    posix.mkdir("d" * 200)
    posix.chdir("d" * 200)
    if n % 500 == 499:
        posix.chmod(".", 0)

#### leaves something for the next program
import os
for path in ("/tmp/sitecustomize.py", "/tmp/left", "/dev/shm/left", "/var/tmp/left"):
    with open(path, "w") as file:
        file.write("raise SystemExit")

#### ignores all signals
import signal
signal.setitimer(signal.ITIMER_REAL, 0)
for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
while True:
    pass

#### stops itself
import posix, signal
posix.kill(posix.getpid(), signal.SIGSTOP)

#### kills its parent
import posix, signal, time
parent = posix.getppid()
for number in signal.valid_signals():
    try:
        posix.kill(parent, number)
    except OSError:
        pass
time.sleep(0.2)
if posix.getppid() != parent:
    raise Exception("ESCAPED")

#### kills all
import posix, signal
posix.kill(-1, signal.SIGKILL)

#### kills its group
import posix, signal
posix.killpg(0, signal.SIGKILL)

#### kills a process outside
import posix, signal
posix.kill(VICTIM, signal.SIGKILL)
raise Exception("ESCAPED")

#### prints for ever
while True:
    print("x" * 1000)

#### writes to all descriptors for ever
import posix
while True:
    for fd in range(128):
        try:
            posix.write(fd, b"x" * 1000)
        except OSError:
            pass

#### lifts its limits
import sys
del sys.modules["resource"]
import resource
for what in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):
    try:
        resource.setrlimit(what, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        continue
    raise Exception("ESCAPED")

#### limits its parent
import posix, sys
del sys.modules["resource"]
import resource
resource.prlimit(posix.getppid(), resource.RLIMIT_CPU, (0, 0))
raise Exception("ESCAPED")

#### takes the priority from others
import os
try:
    os.setpriority(os.PRIO_USER, 0, 19)
except OSError:
    os.sched_setaffinity(1, {0})
raise Exception("ESCAPED")

#### becomes root
import posix
for call in (posix.setuid, posix.setgid):
    call(12345)
    raise Exception("ESCAPED")

#### mounts, by ctypes
import ctypes
if ctypes.CDLL(None).mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0:
    raise Exception("ESCAPED")

#### unshares, by ctypes loaded anew
import sys
for name in list(sys.modules):
    if "ctypes" in name:
        del sys.modules[name]
import _ctypes, ctypes
if ctypes.CDLL(None).unshare(0x10000000) == 0:
    raise Exception("ESCAPED")

#### traces its parent, by what is left of ctypes
import sys
frame = sys._getframe()
while frame:
    for thing in list(frame.f_globals.values()):
        libc = getattr(thing, "ptrace", None) or getattr(thing, "_FuncPtr", None)
        if libc:
            raise Exception("ESCAPED")
    frame = frame.f_back

#### keeps a key in the kernel's keyring, by ctypes from its file
import importlib.machinery, importlib.util
module = importlib.util.module_from_spec(importlib.machinery.PathFinder.find_spec("_ctypes"))
libc = module.dlopen(None, 0)
if module.call_function(module.dlsym(libc, "syscall"), (248, b"user", b"left", b"x", 1, -3)) > 0:
    raise Exception("ESCAPED")

#### System V shared memory, by multiprocessing
from multiprocessing import shared_memory
import sys
sys.modules["resource"] = None
kept = [shared_memory.SharedMemory(create=True, size=1 << 26) for _ in range(10)]
for k in kept:
    k.buf[:] = bytes(1 << 26)
raise Exception("ESCAPED")

#### device files
import posix, stat
posix.mknod("disk", 0o600 | stat.S_IFBLK, posix.makedev(254, 0))
raise Exception("ESCAPED")

#### symbolic links out of the folder
import os
os.symlink("/", "root")
os.symlink("CANARY", "file")
for path in ("root/../../../.." + "CANARY", "file"):
    if os.path.exists(path):
        raise Exception("ESCAPED")

#### a link in place of its folder, for whoever clears it away
import os, posix
posix.chdir("/tmp")
posix.rmdir("program")
os.symlink(os.path.dirname(os.__file__), "program")

#### hard links to what is outside its folder
import os
os.link(os.__file__, "copy")
raise Exception("ESCAPED")

#### says passed on all descriptors
import posix
for fd in range(128):
    for words in (b"passed", b"p0:", bytes(16) + b"p0:", b'\0\0\0\x14{"result": "passed"}'):
        try:
            posix.write(fd, words)
        except OSError:
            pass
posix._exit(0)

#### looks for the token in frames and objects, then says passed
import posix, sys, threading
found = []
def look(thing, depth=0):
    if isinstance(thing, bytes) and len(thing) >= 16:
        found.append(thing[:16])
    if depth < 4 and isinstance(thing, (dict, list, tuple, set)):
        for inner in list(thing.values() if isinstance(thing, dict) else thing):
            look(inner, depth + 1)
    if depth < 4 and hasattr(thing, "__closure__") and thing.__closure__:
        for cell in thing.__closure__:
            look(cell.cell_contents, depth + 1)
try:
    1 / 0
except ZeroDivisionError as e:
    frame = e.__traceback__.tb_frame
while frame:
    look(dict(frame.f_locals))
    look(dict(frame.f_globals))
    frame = frame.f_back
for frame in sys._current_frames().values():
    look(dict(frame.f_locals))
for token in found:
    for fd in range(3, 128):
        try:
            posix.write(fd, token + b"p0:")
        except OSError:
            pass
posix._exit(0)

#### looks for the token in a pipe
import posix, os
for fd in range(3, 128):
    try:
        os.set_blocking(fd, False)
        token = posix.read(fd, 16)
    except OSError:
        continue
    for out in range(3, 128):
        try:
            posix.write(out, token + b"p0:")
        except OSError:
            pass

#### asks the collector for the judge
import gc
gc.get_objects()
raise Exception("ESCAPED")

#### renames all that the judge may use
import builtins, codecs, json, os, signal, struct, sys, time
def lie(*arguments, **names):
    return b"p0:"
frame = sys._getframe()
while frame:
    for name in list(frame.f_globals):
        if frame.f_globals is not globals() and callable(frame.f_globals[name]):
            frame.f_globals[name] = lie
    frame = frame.f_back
real_write, out = os.write, list(range(3, 20))
os.write, os._exit, json.dumps, struct.pack, time.monotonic, signal.setitimer = (lie,) * 6
codecs.register_error("surrogatepass", lambda e: ("passed", e.end))
for name in ("BaseException", "len", "str", "bytes", "isinstance", "format", "repr", "PermissionError"):
    setattr(builtins, name, lie)
raise ValueError("\udc80")

#### changes the judge's variables
import sys
def trap(*arguments):
    return b"p0:"
frame = sys._getframe()
while frame:
    variables = frame.f_locals
    for name in list(variables):
        if frame.f_globals is not globals():
            try:
                variables[name] = trap
            except BaseException:
                pass
    frame = frame.f_back
raise ValueError("no")

#### jumps in the judge by a trace function
import sys
def trace(frame, event, argument):
    while frame:
        frame.f_trace = jump
        frame = frame.f_back
    return jump
def jump(frame, event, argument):
    for line in range(frame.f_code.co_firstlineno, frame.f_code.co_firstlineno + 40):
        try:
            frame.f_lineno = line
        except ValueError:
            pass
    return jump
sys.settrace(trace)
trace(sys._getframe(), "", None)

#### jumps in the judge by a profile function of threads
import sys, threading
threading.setprofile(lambda *a: None)
if hasattr(sys, "monitoring"):
    sys.monitoring.use_tool_id(1, "x")
    sys.monitoring.register_callback(1, sys.monitoring.events.LINE, print)
else:
    sys.setprofile(lambda *a: None)
if sys.getprofile() or hasattr(sys, "monitoring"):
    raise Exception("ESCAPED")

#### an exception that calls itself passed
class Passed(Exception):
    def __str__(self):
        return "passed"
    def __format__(self, how):
        return "\r\x1b[2Kpassed"
raise Passed

#### an exception whose text takes for ever
class Endless(Exception):
    def __str__(self):
        while True:
            pass
raise Endless

#### an exception with a text of 50 MB
raise ValueError("x" * 50_000_000)

#### closes all descriptors
import os
os.closerange(0, 1024)

#### threads that hang
import threading
for _ in range(5):
    threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()

#### handlers at the exit
import atexit, time, weakref
atexit.register(time.sleep, 1000)
atexit.register(print, "passed")
class Last:
    def __del__(self):
        while True:
            pass
last = Last()

#### ends the process with success
import os
os._exit(0)

#### ends the process by a fault
import faulthandler
faulthandler._sigsegv()

#### recursion without end in C
import sys
sys.setrecursionlimit(1 << 30)
x = ()
for _ in range(1_000_000):
    x = (x,)
repr(x)
