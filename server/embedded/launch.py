"""Becomes one child process: `python -I -S launch.py '<orders>' program arguments...`.

A script of its own rather than a function run between fork and exec: the parent may have threads, and code run
between fork and exec in such a process can deadlock. It imports only the standard library, so it starts in
about 15 ms.

Orders (JSON): `parent` (pid), `signal` (sent to the program when the parent dies), and for root only `user`
with `reach`: whether the program needs root's right to walk through directories closed to that user.
"""

import ctypes
import json
import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 4
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522
PARENT_IS_GONE = 99


def call(function: Callable[..., int], *arguments: object) -> None:
    """Call into libc; raise OSError with its errno when it says no."""
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become(libc: ctypes.CDLL, name: str, *, reach: bool) -> None:
    """Give up root for the user; with `reach`, keep only the right to pass closed directories.

    The right survives exec as an ambient capability. Containers that forbid user namespaces still grant it.
    """
    user = pwd.getpwnam(name)
    if reach:
        # Keeps rights when the user changes, and has access(2) count them, by which PostgreSQL looks for its programs.
        call(libc.prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    if reach:
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
        wanted = 1 << CAP_DAC_OVERRIDE
        # Two words each of effective, permitted and inheritable capabilities.
        data = (ctypes.c_uint32 * 6)(wanted, wanted, wanted, 0, 0, 0)
        call(libc.capset, header, data)
        call(libc.prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def follow_by_pipe(program: list[str], lifeline: int, farewell: int, user: str | None) -> int:
    """Run the program as a child and end it when the lifeline closes: for systems without a parent-death signal."""
    group = pwd.getpwnam(user).pw_gid if user else None
    groups: list[int] | None = [] if user else None
    child = subprocess.Popen(program, user=user, group=group, extra_groups=groups)  # noqa: S603 - our parent's own
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, lambda got, _frame: child.send_signal(got))

    def watch() -> None:
        os.read(lifeline, 1)  # returns at the end of the pipe: nobody ever writes into it
        child.send_signal(farewell)

    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def main() -> None:
    """Tie this process's life to its parent's, then become the program."""
    orders = json.loads(sys.argv[1])
    program = sys.argv[2:]
    farewell = int(orders["signal"])
    if orders.get("lifeline") is not None:
        sys.exit(follow_by_pipe(program, int(orders["lifeline"]), farewell, orders.get("user")))
    libc = ctypes.CDLL(None, use_errno=True)
    if orders.get("user"):
        become(libc, orders["user"], reach=bool(orders.get("reach")))
    # After the change of user, because that clears it.
    call(libc.prctl, PR_SET_PDEATHSIG, farewell, 0, 0, 0)
    # The parent may have died before the line above; then nobody would ever send the signal.
    if os.getppid() != int(orders["parent"]):
        sys.exit(PARENT_IS_GONE)
    os.execv(program[0], program)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
