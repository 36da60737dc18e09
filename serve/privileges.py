"""Whose rights the container's processes have: those of a user who owns nothing, wherever that is enough.

A container is started as root unless it is told otherwise. What decodes strangers' pictures and speaks HTTP needs none
of that, so PID 1 changes its user before it starts anything.
"""

import os
import pwd
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
    closed = _closed(settings.model_dir)
    return f"only root, or its owner, can use {closed}" if closed else None


def _closed(folder: Path) -> Path | None:
    """Return a file of the model, or a GPU's device, that the unprivileged user may not use."""
    user, groups = pwd.getpwnam(_USER), os.getgroups()
    os.setgroups([])
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        wanted = [(path, os.R_OK | os.W_OK) for path in Path("/dev").glob("nvidia*") if not path.is_dir()]
        wanted.append((folder, os.R_OK | os.X_OK))
        for root, folders, files in os.walk(folder):
            wanted += [(Path(root) / name, os.R_OK | os.X_OK) for name in folders]
            wanted += [(Path(root) / name, os.R_OK) for name in files]
        closed = [path for path, mode in wanted if not os.access(path, mode, effective_ids=True)]
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
    # A link that leads nowhere is closed to root, too.
    return next((path for path in closed if path.exists()), None)


def _can_change_user() -> bool:
    """Tell whether this process has the capabilities to set its user and its groups (CAP_SETUID 7, CAP_SETGID 6)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return effective >> 6 & 0b11 == 0b11
