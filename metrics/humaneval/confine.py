"""Closes a worker in, as far as the kernel lets it.

The worker's one argument is JSON: "folder", the folder for programs, or "" for
a root folder of its own; "identity", the user and group to become, or 0; "root", whether the machine's
root user started it;
"pivot_root", that system call's number; "filter", the system call filter in
base64, or "". The first process of its own namespaces makes itself a root
folder that holds Python's libraries, read-only, and a small folder in memory:
nothing else of the machine's files exists for it, /proc included. All mounts
are its own and end with it, so nothing can be left behind.
"""

import base64
import json
import os
import re
import struct
import sys
import sysconfig

if sys.path and sys.path[0] == "":
    del sys.path[0]

SETTINGS = json.loads(sys.argv[1])
OWN_PIDS = os.getpid() == 1
PROC = None  # a folder descriptor of /proc, where there is one for this worker alone

try:
    import ctypes

    LIBC = ctypes.CDLL(None, use_errno=True)
except (ImportError, OSError):
    ctypes = LIBC = None

READ_ONLY, NO_SUID, NO_DEVICES, NO_EXEC = 1, 2, 4, 8
MOUNT_FLAGS = {"nosuid": NO_SUID, "nodev": NO_DEVICES, "noexec": NO_EXEC, "noatime": 1 << 10, "nodiratime": 1 << 11, "relatime": 1 << 21}
REMOUNT, BIND, RECURSIVE, PRIVATE, DETACH = 1 << 5, 1 << 12, 1 << 14, 1 << 18, 2


def give_up():
    """Ends the worker: its caller then tries a weaker way."""
    os._exit(3)


def mount(source, target, kind, flags, options=None):
    def text(s):
        return None if s is None else os.fsencode(s)

    return LIBC.mount(text(source), text(target), text(kind), ctypes.c_ulong(flags), text(options)) == 0


def confine():
    """Closes this process in; returns the folder for programs and what held."""
    layers = []
    work = SETTINGS["folder"]
    on_linux = LIBC is not None and sys.platform == "linux"
    without_network = on_linux and not interfaces()
    if not work:
        if not on_linux or not OWN_PIDS:
            give_up()
        layers.append("own processes")
        work = own_root()
        layers.append("own files")
    work = os.path.realpath(work)
    os.environ["HOME"] = os.environ["TMPDIR"] = work
    os.chdir(work)
    if without_network:
        layers.append("no network")
    else:
        for name in ("socket", "_socket", "ssl", "_ssl"):
            sys.modules[name] = None
    # Without a root folder of its own, the machine's root owns most files.
    if on_linux and drop_privileges() and not (SETTINGS["root"] and SETTINGS["folder"]):
        layers.append("no privileges")
    if not SETTINGS["folder"]:
        try:  # what a program imports must be readable for the one that it runs as
            open(os.__file__).close()
            os.mkdir(os.path.join(work, "test"))
            os.rmdir(os.path.join(work, "test"))
        except OSError:
            give_up()
    return work, layers


def interfaces():
    """The network interfaces but the loopback, which is down in a new namespace."""
    try:
        with open("/proc/self/net/dev") as table:
            return [line for line in table.read().splitlines()[2:] if line.split(":")[0].strip() != "lo"]
    except OSError:
        return ["unknown"]


def libraries():
    """The files and folders that Python may load something from."""
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    wanted = {p for p in sys.path if any(p.startswith(prefix + "/") for prefix in prefixes)}
    wanted |= {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    wanted |= {os.path.join(prefix, "lib") for prefix in prefixes}
    wanted |= {"/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store"}
    wanted |= {"/usr/share/zoneinfo", "/etc/localtime", "/etc/ld.so.cache"}
    wanted |= {os.path.realpath(p) for p in wanted}
    kept = []
    for path in sorted(p for p in wanted if p != "/" and os.path.exists(p)):
        if not any(path.startswith(parent + "/") for parent in kept):
            kept.append(path)
    return kept


def own_root():
    """Makes a new root folder and enters it; returns the one folder in it that can be written."""
    global PROC
    if not mount("none", "/", None, RECURSIVE | PRIVATE):
        give_up()
    kept = libraries()
    base = next((f for f in ("/tmp", "/mnt", "/srv", "/media", "/var/tmp", "/run")
                 if os.path.isdir(f) and os.path.realpath(f) == f and not any((p + "/").startswith(f + "/") for p in kept)), None)
    if base is None or not mount("tmpfs", base, "tmpfs", NO_SUID | NO_DEVICES, "size=1m,mode=755"):
        give_up()
    devices = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"]
    for path in kept + [d for d in devices if os.path.exists(d)]:
        place = base + path
        if os.path.isdir(path):
            os.makedirs(place, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            open(place, "w").close()
        if not mount(path, place, None, BIND | RECURSIVE):
            give_up()
    identity = SETTINGS["identity"]
    for name, line in (("passwd", "user:x:%d:%d::/tmp:\n"), ("group", "user:x:%d:\n")):
        os.makedirs(base + "/etc", exist_ok=True)
        with open(os.path.join(base, "etc", name), "w") as file:
            file.write(line % ((identity,) * line.count("%")))
    for folder in ("/tmp", "/var", "/proc", "/dev"):
        os.makedirs(base + folder, exist_ok=True)
    os.symlink("/tmp", base + "/var/tmp")
    os.symlink("/tmp", base + "/dev/shm")
    # The times that processes waited for a processor stand in /proc. It is kept
    # as a descriptor, not as a folder that programs could reach.
    if mount("proc", base + "/proc", "proc", NO_SUID | NO_DEVICES | NO_EXEC):
        PROC = os.open(base + "/proc", os.O_RDONLY | os.O_DIRECTORY)
        if LIBC.umount2(os.fsencode(base + "/proc"), DETACH) != 0:
            give_up()
    make_read_only(base, {base + d for d in devices})
    options = "size=64m,nr_inodes=4096,mode=700,uid=%d,gid=%d" % (identity, identity)
    if not mount("tmpfs", base + "/tmp", "tmpfs", NO_SUID | NO_DEVICES, options):
        give_up()
    os.chdir(base)
    if LIBC.syscall(ctypes.c_long(SETTINGS["pivot_root"]), b".", b".") != 0 or LIBC.umount2(b".", DETACH) != 0:
        give_up()
    os.chdir("/tmp")
    return "/tmp"


def make_read_only(base, devices):
    """Makes the mount at base and each one in it read-only; flags that a mount has must be repeated.

    What is in it is told by parents: the machine may have mounts below the same
    path, which the one at base hides.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        rows = [line.split(" ") for line in table]
    device = os.stat(base).st_dev
    device = "%d:%d" % (os.major(device), os.minor(device))
    inside = {row[0] for row in rows if row[4] == base and row[2] == device}
    while grown := {row[0] for row in rows if row[1] in inside} - inside:
        inside |= grown
    for row in rows:
        if row[0] not in inside:
            continue
        place = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), row[4])
        flags = REMOUNT | BIND | READ_ONLY | NO_SUID
        if place not in devices:
            flags |= NO_DEVICES
        for option in row[5].split(","):
            flags |= MOUNT_FLAGS.get(option, 0)
        if not mount("none", place, None, flags):
            give_up()


def drop_privileges():
    """Becomes an ordinary user, for good; tells whether nothing is left."""
    set_dumpable, drop_bound, set_no_new_privs = 4, 24, 38
    for capability in range(64):
        LIBC.prctl(drop_bound, capability, 0, 0, 0)
    identity = SETTINGS["identity"]
    if identity:
        os.setgroups([])
        os.setresgid(identity, identity, identity)
        os.setresuid(identity, identity, identity)
    header = struct.pack("=Ii", 0x20080522, 0)
    LIBC.capset(header, bytes(24))
    LIBC.prctl(set_dumpable, 0, 0, 0, 0)  # no other process may look into this one
    now = ctypes.create_string_buffer(24)
    return LIBC.prctl(set_no_new_privs, 1, 0, 0, 0) == 0 and LIBC.capget(header, now) == 0 and not any(now.raw[:8] + now.raw[12:20])


def make_filter():
    """Returns a function that sets the system call filter of the calling process, or None.

    ctypes is emptied, and install forgets the one function that it has: with any
    function of C's library a program could read all of its memory.
    """
    global LIBC
    program = base64.b64decode(SETTINGS["filter"])
    install = None
    if LIBC is not None and program:
        code = ctypes.create_string_buffer(program, len(program))
        head = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
        prctl, pointer, keep = LIBC.prctl, ctypes.create_string_buffer(head, len(head)), [code]
        set_seccomp, by_filter = 22, 2

        def install():
            nonlocal prctl, pointer, keep
            held = prctl(set_seccomp, by_filter, pointer, 0, 0) == 0
            prctl = pointer = keep = None
            return held

        pid = os.fork()  # a filter cannot be taken back: it is tried in a child
        if pid == 0:
            os._exit(0 if install() else 1)
        if os.waitpid(pid, 0)[1] != 0:
            install = None
    if LIBC is not None:
        vars(LIBC).clear()
        vars(ctypes).clear()
        LIBC = None
    for name in [n for n in sys.modules if n.split(".")[0] in ("ctypes", "_ctypes")]:
        del sys.modules[name]
    return install
