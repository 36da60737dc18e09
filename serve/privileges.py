"""Whose rights the container's processes have: those of a user who owns nothing, wherever that is enough.

A container is started as root unless it is told otherwise. What decodes strangers' pictures and speaks HTTP needs none
of that, so PID 1 changes its user before it starts anything.
"""

import os
import pwd
import stat
import sys
from pathlib import Path

from serve.settings import Settings

_USER = "serve"

#: Ports below need root, unless the container's network says otherwise, as Docker's does.
_UNPRIVILEGED_PORTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def give_up(settings: Settings) -> None:
    """Become the unprivileged user for good; where root is needed, stay root and say why."""
    if os.getuid() != 0:
        return
    reason = _why_root(settings)
    if reason:
        print(f"running as root: {reason}", file=sys.stderr)
        return
    user = pwd.getpwnam(_USER)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def nginx_user() -> str | None:
    """Return the user that nginx's worker is to become; None where its master is not root."""
    if os.getuid() != 0:
        return None
    return "nobody nogroup" if _can_change_user() else "root root"


def _why_root(settings: Settings) -> str | None:
    if not _can_change_user():
        return "the container may not change its user, and root has no rights here either"
    if settings.port < int(_UNPRIVILEGED_PORTS.read_text(encoding="ascii")):
        return f"port {settings.port} can be opened by root only"
    unreadable = next((path for path in _all_of(settings.model_dir) if not _is_readable(path)), None)
    if unreadable:
        return f"only root, or its owner, can read {unreadable}"
    return None


def _can_change_user() -> bool:
    """Tell whether this process has the capabilities to set its user and its groups (CAP_SETUID 7, CAP_SETGID 6)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return effective >> 6 & 0b11 == 0b11


def _all_of(folder: Path) -> list[Path]:
    return [folder, *folder.rglob("*")] if folder.is_dir() else []


def _is_readable(path: Path) -> bool:
    """Tell whether a user with no rights of their own could read a file, or enter and list a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:  # a link that leads nowhere: whether it matters is for the model's reader to say
        return True
    wanted = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
    return mode & wanted == wanted
