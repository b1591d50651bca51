"""What a running service really may do, read from the kernel's own account of its process."""

from __future__ import annotations

import os
from pathlib import Path

SEALED = ("/usr", "/etc", "/boot")
"""Places that ProtectSystem=strict makes read-only; the root above them as well."""


def look(pid: str) -> dict[str, str]:
    """Return the process's status fields; every protection that is not in force raises."""
    process = Path("/proc") / pid
    lines = (process / "status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2", "no filter of system calls"
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, f"{name} {status[name]}"
    mounts = {}
    for line in (process / "mountinfo").read_text().splitlines():
        fields = line.split()
        mounts[fields[4]] = fields[5].split(",")  # the last one over a place is the one in force
    assert "ro" in mounts["/"], "the system can be written to"
    for place in SEALED:
        assert "ro" in mounts.get(place, mounts["/"]), place
    for home in ("root", "home"):
        assert list(os.scandir(process / "root" / home)) == [], f"/{home} can be seen"
    devices = {entry.name for entry in os.scandir(process / "root" / "dev")}
    assert not devices & {"sda", "vda", "mem", "kmsg", "console"}, devices
    limits = (process / "limits").read_text()
    assert any(
        line.split()[:5] == ["Max", "core", "file", "size", "0"] for line in limits.splitlines()
    )
    return {name: status[name] for name in ("NoNewPrivs", "Seccomp", "CapBnd")}
