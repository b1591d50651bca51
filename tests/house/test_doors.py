"""Who may import what, and who may make an ``Approved``; each rule is shown to be able to fail."""

from __future__ import annotations

import pytest

from tests.house import house_rules
from tests.house.house_rules import DOORS, ROOT, Rule, SourceFile, breaches, house_files

FORGERIES = [
    "from risk.gate import Approved\na = Approved(intent=i, approved_ns=1)\n",
    "from risk.gate import Approved as Passed\na = Passed(intent=i, approved_ns=1)\n",
    "from risk import gate\na = gate.Approved(intent=i, approved_ns=1)\n",
    "import risk.gate\nMake = risk.gate.Approved\na = Make(intent=i, approved_ns=1)\n",
    "from risk.gate import Approved\na = object.__new__(Approved)\n",
    "from risk.gate import Approved\na = Approved.__new__(Approved)\n",
    "from risk.gate import Approved\na = Approved.forge(i)\n",
    "from risk.gate import Approved\nclass Mine(Approved): ...\n",
]

PLANTED: list[tuple[Rule, str, str]] = [
    *[(house_rules.forged_approvals, "daemon/engine.py", text) for text in FORGERIES],
    *[
        (house_rules.wrong_doors, "config/settings.py", f"import {name}\n")
        for name in DOORS
        if name != "pydantic"
    ],
    (house_rules.wrong_doors, "daemon/app.py", "import pydantic\n"),
    (house_rules.wrong_doors, "daemon/app.py", "from ccxt.pro import binanceusdm\n"),
    (house_rules.wrong_doors, "daemon/app.py", "def late():\n    import torch.nn\n"),
    (house_rules.wrong_doors, "daemon/app.py", "m = importlib.import_module('ccxt.pro')\n"),
    (house_rules.wrong_doors, "kernels/book.py", "import pandas\n"),
    (house_rules.wrong_doors, "kernels/book.py", "from config.settings import Settings\n"),
    (house_rules.wrong_doors, "risk/gate.py", "from strategy.ensemble import weigh\n"),
    (house_rules.wrong_doors, "strategy/ensemble.py", "import risk.gate\n"),
    (house_rules.wrong_doors, "config/load.py", "import daemon.clock\n"),
    (house_rules.impure_core, "daemon/engine.py", "import asyncio\n"),
    (house_rules.impure_core, "risk/gate.py", "from time import time_ns\n"),
    (house_rules.impure_core, "kernels/book.py", "a = datetime.utcnow()\n"),
    (house_rules.dangerous_calls, "strategy/bundle.py", "import pickle\n"),
    (house_rules.dangerous_calls, "strategy/bundle.py", "torch.load(path)\n"),
    (house_rules.dangerous_calls, "strategy/bundle.py", "torch.load(path, weights_only=False)\n"),
    (house_rules.dangerous_calls, "strategy/bundle.py", "np.load(path)\n"),
    (house_rules.dangerous_calls, "daemon/app.py", "eval(text)\n"),
    (house_rules.dangerous_calls, "daemon/app.py", "subprocess.run(text, shell=True)\n"),
    (house_rules.dangerous_calls, "strategy/export.py", "np.random.default_rng()\n"),
]

CLEAN: list[tuple[Rule, str, str]] = [
    (house_rules.forged_approvals, "risk/gate.py", FORGERIES[0]),
    (house_rules.forged_approvals, "daemon/engine.py", "if isinstance(a, Approved):\n    b = a\n"),
    (house_rules.wrong_doors, "tests/daemon/test_app.py", "import ccxt\n"),
    (house_rules.wrong_doors, "daemon/venues/feeds.py", "import ccxt.pro\n"),
    (house_rules.wrong_doors, "kernels/jit.py", "import numba\n"),
    (house_rules.wrong_doors, "risk/gate.py", "from kernels.events import Side\nimport math\n"),
    (house_rules.wrong_doors, "daemon/clock.py", "import time\n"),
    (house_rules.impure_core, "daemon/app.py", "import asyncio\n"),
    (house_rules.dangerous_calls, "strategy/bundle.py", "np.load(path, allow_pickle=False)\n"),
    (house_rules.dangerous_calls, "strategy/export.py", "np.random.default_rng(seed)\n"),
]

RULES = sorted({rule for rule, _, _ in PLANTED}, key=lambda rule: rule.__name__)


@pytest.mark.parametrize(("rule", "path", "text"), PLANTED)
def test_rule_finds_a_planted_breach(rule: Rule, path: str, text: str) -> None:
    """A rule that cannot fail would prove nothing."""
    assert breaches(rule, [SourceFile(path=path, text=text)])


@pytest.mark.parametrize(("rule", "path", "text"), CLEAN)
def test_rule_lets_clean_text_pass(rule: Rule, path: str, text: str) -> None:
    """A rule that always fails would be switched off."""
    assert breaches(rule, [SourceFile(path=path, text=text)]) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_house_keeps_the_rule(rule: Rule) -> None:
    """No file of the rooms breaks the rule."""
    assert breaches(rule, house_files()) == []


def test_doors_exist() -> None:
    """A door that was moved is moved in the table too."""
    places = [place for doors in DOORS.values() for place in doors]
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_gate_makes_approvals() -> None:
    """The one permitted maker does make them, so the rule guards something."""
    gate = next(file for file in house_files() if file.path == "risk/gate.py")
    elsewhere = SourceFile(path="risk/elsewhere.py", text=gate.text)
    assert breaches(house_rules.forged_approvals, [elsewhere])
