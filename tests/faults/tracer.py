"""tracer: runs the program and, at the N-th of some system calls, kills it or answers in the kernel's place.

strace counts calls a thread; what must be hit is the N-th call of the whole program. So this asks the kernel itself:
seccomp stops the chosen calls only, ptrace looks at them one at a time. Linux on x86-64."""

import ctypes
import errno
import os
import platform
import signal
import struct
import time

from space import default_signals

CALLS = {
    "read": 0, "write": 1, "close": 3, "mmap": 9, "pread64": 17, "pwrite64": 18, "sendfile": 40, "flock": 73,
    "fsync": 74, "fdatasync": 75, "ftruncate": 77, "rename": 82, "mkdir": 83, "link": 86, "unlink": 87, "chmod": 90,
    "openat": 257,
    "mkdirat": 258, "unlinkat": 263, "renameat": 264, "linkat": 265, "fchmodat": 268, "renameat2": 316,
    "copy_file_range": 326, "statx": 332,
}
NAMES = {number: name for name, number in CALLS.items()}
# Which argument holds a descriptor, and which a path.
BY_DESCRIPTOR = {"read": 0, "write": 0, "close": 0, "mmap": 4, "pread64": 0, "pwrite64": 0, "sendfile": 0, "flock": 0,
                 "fsync": 0, "fdatasync": 0, "ftruncate": 0, "copy_file_range": 2}
BY_PATH = {"rename": 1, "mkdir": 0, "link": 1, "unlink": 0, "chmod": 0, "openat": 1, "mkdirat": 1, "unlinkat": 1,
           "renameat": 3, "linkat": 3, "fchmodat": 1, "renameat2": 3, "statx": 1}
O_CREAT = 0o100

TRACEME, CONT, GETREGS, SETREGS, SETOPTIONS, GETEVENTMSG = 0, 7, 12, 13, 0x4200, 0x4201
OPTIONS = 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000  # fork, vfork, clone, exec, seccomp; kill with the tracer
EVENT_SECCOMP = 7
REGISTERS = struct.Struct("27Q")  # struct user_regs_struct
RAX, RDX, ORIG_RAX = 10, 12, 15
ARGUMENTS = [14, 13, 12, 7, 9, 8]  # rdi, rsi, rdx, r10, r8, r9

libc = ctypes.CDLL(None, use_errno=True)


def available():
    """Why there is no tracing here; None where there is."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return "ptrace: only on Linux on x86-64"
    try:
        calls = []
        code, _ = trace(["/bin/mkdir", "-p", "/"], ".", {}, os.devnull, os.devnull, ["mkdir"], "/", calls.append, 10)
        return None if code == 0 and calls else "ptrace: this system does not let us"
    except OSError as error:
        return f"ptrace: {error}"


class Call:
    """A system call that is about to happen."""

    def __init__(self, pid, name, registers, path):
        self.pid, self.name, self.registers, self.path = pid, name, registers, path
        self.creates = name == "openat" and bool(registers[ARGUMENTS[2]] & O_CREAT)

    def __repr__(self):
        return f"{self.name} {self.path}"


def trace(argv, cwd, env, out, err, calls, folder, act, patience):
    """Runs argv to its end. `act(call)` is asked for each of `calls` on a path below `folder`, and answers None (let it
    happen), "kill", an errno (fail with it), or ("short", bytes). Returns the exit code (-signal) and the seconds."""
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        start(argv, cwd, env, out, err, [CALLS[name] for name in calls])
    os.waitpid(pid, 0)  # the stop before exec
    ptrace(SETOPTIONS, pid, 0, OPTIONS)
    ptrace(CONT, pid, 0, 0)
    known = {pid}
    old = signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, patience)
    try:
        while True:
            thread, status = os.waitpid(-1, 0x40000000)  # __WALL
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                known.discard(thread)
                if thread == pid:
                    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
                    return code, time.monotonic() - began
                continue
            known.add(thread)
            deliver = 0
            if status >> 16 == EVENT_SECCOMP:
                look(pid, thread, folder, act)
            elif status >> 16 == 0 and os.WSTOPSIG(status) not in (signal.SIGSTOP, signal.SIGTRAP):
                deliver = os.WSTOPSIG(status)
            ptrace(CONT, thread, 0, deliver, may_be_gone=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def look(pid, thread, folder, act):
    """Asks what to do with the call that a thread stopped at, and does it."""
    raw = ctypes.create_string_buffer(REGISTERS.size)
    if ptrace(GETREGS, thread, 0, ctypes.addressof(raw), may_be_gone=True) is None:
        return
    registers = list(REGISTERS.unpack(raw))
    name = NAMES.get(registers[ORIG_RAX])
    path = path_of(thread, name, registers) if name else None
    if path is None or not path.startswith(folder):
        return
    answer = act(Call(thread, name, registers, path))
    if answer is None:
        return
    if answer == "kill":
        os.kill(pid, signal.SIGKILL)
        return
    if isinstance(answer, tuple):
        registers[RDX] = answer[1]
    else:
        registers[ORIG_RAX], registers[RAX] = 2**64 - 1, 2**64 - answer
    changed = ctypes.create_string_buffer(REGISTERS.pack(*registers), REGISTERS.size)
    ptrace(SETREGS, thread, 0, ctypes.addressof(changed), may_be_gone=True)


def path_of(thread, name, registers):
    """The absolute path that a call is about."""
    try:
        if name in BY_DESCRIPTOR:
            descriptor = ctypes.c_int(registers[ARGUMENTS[BY_DESCRIPTOR[name]]] & 0xFFFFFFFF).value
            return os.readlink(f"/proc/{thread}/fd/{descriptor}") if descriptor >= 0 else None
        with open(f"/proc/{thread}/mem", "rb", 0) as memory:
            memory.seek(registers[ARGUMENTS[BY_PATH[name]]])
            text = memory.read(4096).split(b"\0")[0]
        path = os.fsdecode(text)
        return os.path.normpath(os.path.join(os.readlink(f"/proc/{thread}/cwd"), path))
    except OSError:
        return None


def ptrace(request, pid, address, data, may_be_gone=False):
    """The system call; None where the thread is gone and may be."""
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, pid, address, data) == -1:
        code = ctypes.get_errno()
        if may_be_gone and code == errno.ESRCH:
            return None
        raise OSError(code, f"ptrace {request:#x}: {os.strerror(code)}")
    return True


def start(argv, cwd, env, out, err, numbers):
    """In the child: asks to be traced, has the kernel stop at these calls, and becomes the program."""
    try:
        os.chdir(cwd)
        for descriptor, path in ((0, os.devnull), (1, out), (2, err)):
            flags = os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(path, flags), descriptor)
        default_signals()
        ptrace(TRACEME, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        listen(numbers)
        os.execve(argv[0], argv, env)
    finally:
        os._exit(127)


def listen(numbers):
    """A filter that lets everything happen but asks the tracer about these numbers."""
    load, equal, give = 0x20, 0x15, 0x06
    steps = [(load, 0, 0, 0)]
    for at, number in enumerate(numbers):
        steps.append((equal, len(numbers) - at, 0, number))
    steps += [(give, 0, 0, 0x7FFF0000), (give, 0, 0, 0x7FF00000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
    # PR_SET_NO_NEW_PRIVS; then PR_SET_SECCOMP with a filter.
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")
