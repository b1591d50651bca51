"""Everything is compiled before the first decision: a tick that waits for the compiler is lost."""

from __future__ import annotations

import json
import subprocess
import sys

LOOK = """
import asyncio, gc, json
from numba.core.dispatcher import Dispatcher
from daemon.bench.tick_stage import TickRig
from kernels.warmup import warm_up

def forms():
    kernels = [each for each in gc.get_objects() if isinstance(each, Dispatcher)]
    return {f"{k.py_func.__module__}.{k.__name__}": len(k.overloads) for k in kernels}

async def main():
    warm_up()
    with TickRig() as rig:
        before = forms()
        sent = 0
        for tick in rig.ticks[:120]:
            rig.prepare(tick)
            sent += bool(rig.tick(tick))
        late = sorted(name for name, count in forms().items() if count > before.get(name, 0))
        await rig.venue.close()
    print(json.dumps({"sent": sent, "late": late}))

asyncio.run(main())
"""


def test_no_kernel_is_compiled_by_a_tick() -> None:
    """In a process of its own, ticks that decide and send add no form of any kernel."""
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["sent"] > 100
    assert found["late"] == []
