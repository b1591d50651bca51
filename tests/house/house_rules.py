"""The house's rules as functions: one parsed file in, a sentence for every breach out."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("config", "daemon", "kernels", "risk", "strategy")

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100
SIGN_LINES_MAX = 12

DOORS: dict[str, tuple[str, ...]] = {
    # library: the only files (or folders, with a slash) of the rooms that may import it
    "arch": ("strategy/evaluation/contests.py",),
    "aiohttp": (
        *("daemon/venues/", "daemon/simulated/", "daemon/alert_delivery.py"),
        *("daemon/dashboard/page_server.py", "daemon/life_sign.py"),
    ),
    "ccxt": ("daemon/venues/",),
    "cryptography": ("daemon/model_signature.py",),
    "gymnasium": ("strategy/learning/trade_simulator.py",),
    "msgspec": ("daemon/venues/", "daemon/simulated/", "daemon/event_words.py"),
    "llvmlite": ("kernels/panels.py", "kernels/tiles.py"),
    "numba": ("kernels/jit.py", "kernels/panels.py", "kernels/tiles.py"),
    "orjson": ("daemon/",),
    "prometheus_client": ("daemon/metrics.py",),
    "plotly": ("strategy/evaluation/tear_sheet.py",),
    "pyarrow": ("daemon/bar_files.py",),
    "pydantic": ("config/", "strategy/manifest.py"),
    "ray": ("daemon/side_by_side.py",),
    "rich": ("daemon/",),
    "safetensors": ("strategy/",),
    "sqlite3": ("daemon/journal.py", "daemon/journal_reader.py", "daemon/journal_writer.py"),
    "structlog": ("daemon/logs.py", "daemon/log_lines.py"),
    "time": ("daemon/clock.py",),
    "torch": ("strategy/",),
    "trustme": ("daemon/simulated/",),
    "uvloop": ("daemon/app.py", "daemon/simulated/", "daemon/bench/wire_client.py"),
    "watchfiles": ("daemon/hotswap.py", "daemon/reload.py"),
    "websockets": ("daemon/simulated/", "daemon/bench/wire_stage.py"),
    "yaml": ("config/load.py",),
}

ROOM_LIBRARIES: dict[str, frozenset[str]] = {
    # what the lower floors may import besides the standard library and the rooms below them
    "config": frozenset({"pydantic", "pydantic_core", "yaml"}),
    "kernels": frozenset({"llvmlite", "numba", "numpy"}),
    "risk": frozenset({"config", "kernels", "numpy"}),
    "strategy": frozenset(
        {"arch", "config", "gymnasium", "kernels", "numpy"}
        | {"plotly", "pydantic", "safetensors", "torch"}
    ),
}

CORE_BANNED = frozenset({"asyncio", "random", "socket", "subprocess", "threading", "time"})
"""Standard modules that no pure file may import."""

CORE = ("kernels/", "risk/", "strategy/", "daemon/engine.py")

NEVER_IMPORTED = frozenset({"pickle", "marshal", "shelve", "dill", "cloudpickle", "random"})
"""Code execution on load, and randomness without a seed that is handed in."""

VAGUE_WORDS = frozenset({"px", "qty", "data", "info", "manager", "helper", "util", "utils"})

UNIQUE_EXEMPT = frozenset({"__init__.py", "__main__.py", "conftest.py"})


@dataclass(frozen=True, slots=False, kw_only=True)
class SourceFile:
    """One Python file of the house; ``path`` is relative to the root, with forward slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Return the parsed module."""
        return ast.parse(self.text, self.path)

    @property
    def room(self) -> str:
        """Return the top-level folder."""
        return self.path.split("/", 1)[0]

    @property
    def is_test(self) -> bool:
        """Tell whether the file lies under tests/."""
        return self.room == "tests"


Rule = Callable[[SourceFile], Iterator[str]]


@lru_cache(maxsize=1)
def house_files() -> tuple[SourceFile, ...]:
    """Read every Python file of the rooms and the tests, in path order."""
    return tuple(
        SourceFile(path=path.relative_to(ROOT).as_posix(), text=path.read_text(encoding="utf-8"))
        for folder in (*ROOMS, "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
    )


def breaches(rule: Rule, files: Iterable[SourceFile]) -> list[str]:
    """Apply a rule to files and prefix every sentence with its place."""
    return [f"{file.path}:{sentence}" for file in files for sentence in rule(file)]


def long_files(file: SourceFile) -> Iterator[str]:
    """Stop at 500 lines."""
    count = len(file.text.splitlines())
    if count > FILE_LINES_MAX:
        yield f"{count}: a file stops at {FILE_LINES_MAX} lines"


def long_functions(file: SourceFile) -> Iterator[str]:
    """Stop at 70 lines from ``def`` to the last line."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            if count > FUNCTION_LINES_MAX:
                yield f"{node.lineno}: {node.name} has {count} lines of {FUNCTION_LINES_MAX}"


def long_lines(file: SourceFile) -> Iterator[str]:
    """Stop at column 100; the reason of an exemption may run on, as ruff counts too."""
    for number, line in enumerate(file.text.splitlines(), start=1):
        if len(re.split(r"  # (?:noqa|type: ignore)\b", line)[0]) > COLUMNS_MAX:
            yield f"{number}: {len(line)} columns of {COLUMNS_MAX}"


def code_in_signs(file: SourceFile) -> Iterator[str]:
    """Keep ``__init__.py`` a docstring of at most twelve lines, and tests free of it."""
    if PurePosixPath(file.path).name != "__init__.py":
        return
    if file.is_test:
        yield "1: no __init__.py under tests, it would hide the room of the same name"
        return
    body = file.tree.body
    if len(body) != 1 or ast.get_docstring(file.tree) is None:
        yield "1: a room's sign is one docstring and no code"
    if len(file.text.splitlines()) > SIGN_LINES_MAX:
        yield f"1: a room's sign has at most {SIGN_LINES_MAX} lines"


def imported_modules(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every absolute import, also of literal import_module calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
        elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
            names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
            yield from ((node.lineno, str(name)) for name in names)


def wrong_doors(file: SourceFile) -> Iterator[str]:
    """Let each third-party library in through its own door only; tests are exempt."""
    if file.is_test:
        return
    for line, module in imported_modules(file.tree):
        library = module.split(".")[0]
        doors = DOORS.get(library)
        if doors and not file.path.startswith(doors):
            yield f"{line}: {library} is imported only in {', '.join(doors)}"
        allowed = ROOM_LIBRARIES.get(file.room, frozenset({library}))
        if library not in allowed | {file.room} | sys.stdlib_module_names:
            yield f"{line}: {file.room} does not import {library}"


def impure_core(file: SourceFile) -> Iterator[str]:
    """Keep clock, sockets, threads and randomness out of the pure rooms and the engine."""
    core = file.path.startswith(CORE)
    for line, module in imported_modules(file.tree):
        library = module.split(".")[0]
        if core and library in CORE_BANNED:
            yield f"{line}: the pure core does not import {library}"
    if core:
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Attribute) and node.attr in {"utcnow", "today"}:
                yield f"{node.lineno}: the pure core reads no clock"


def dangerous_calls(file: SourceFile) -> Iterator[str]:
    """Refuse what runs code found in data, and unseeded randomness; tests may plant such things."""
    if file.is_test:
        return
    for line, module in imported_modules(file.tree):
        if module.split(".")[0] in NEVER_IMPORTED:
            yield f"{line}: {module} is never imported"
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called in {"eval", "exec", "os.system", "os.popen"}:
            yield f"{node.lineno}: {called} runs whatever it is given"
        if called == "torch.load" and keywords.get("weights_only") != "True":
            yield f"{node.lineno}: torch.load needs weights_only=True"
        if called in {"np.load", "numpy.load"} and keywords.get("allow_pickle") != "False":
            yield f"{node.lineno}: np.load needs allow_pickle=False"
        if keywords.get("shell") == "True":
            yield f"{node.lineno}: no shell between us and a child process"
        if called.endswith("default_rng") and not (node.args or node.keywords):
            yield f"{node.lineno}: default_rng needs its seed"


def forged_approvals(file: SourceFile) -> Iterator[str]:
    """Let nothing but risk/gate.py make an ``Approved``, by whatever name it was imported."""
    if file.is_test or file.path == "risk/gate.py":
        return
    names = {"Approved"}
    for node in ast.walk(file.tree):
        if isinstance(node, ast.ImportFrom):
            names |= {a.asname for a in node.names if a.name == "Approved" and a.asname}
        if isinstance(node, ast.Assign) and _last_name(node.value) in names:
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call):
            made = _last_name(node.func) in names
            raw = _called(node) == "__new__" and any(_last_name(a) in names for a in node.args)
            bound = isinstance(node.func, ast.Attribute) and _last_name(node.func.value) in names
            if made or raw or bound:
                yield f"{node.lineno}: only risk/gate.py makes an Approved"
        if isinstance(node, ast.ClassDef) and any(_last_name(b) in names for b in node.bases):
            yield f"{node.lineno}: {node.name} must not derive from Approved"


def undocumented_tests(file: SourceFile) -> Iterator[str]:
    """Give every test function its sentence."""
    if not file.is_test or not PurePosixPath(file.path).name.startswith("test_"):
        return
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("test_") and not ast.get_docstring(node):
            yield f"{node.lineno}: {node.name} says in no sentence what it shows"


def swallowed_errors(file: SourceFile) -> Iterator[str]:
    """Refuse handlers that do nothing, bare ones, and suppression of everything."""
    for node in ast.walk(file.tree):
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield f"{node.lineno}: a bare except also catches the interrupt"
            if all(_is_nothing(statement) for statement in node.body):
                yield f"{node.lineno}: an error is swallowed without a word"
        if isinstance(node, ast.Call) and _called(node) == "suppress":
            broad = {"Exception", "BaseException"} & {_last_name(arg) for arg in node.args}
            yield from (f"{node.lineno}: suppress({name}) is too broad" for name in broad)


def unreasoned_exemptions(file: SourceFile) -> Iterator[str]:
    """Ask every exception to a checker for its code and, on the same line, its reason."""
    for token in tokenize.generate_tokens(io.StringIO(file.text).readline):
        if token.type != tokenize.COMMENT:
            continue
        for mark in re.finditer(r"(type:\s*ignore|noqa|pragma:\s*no cover)(.*)", token.string):
            codes = re.match(r"\s*(\[[\w, -]+\]|:\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*)?(.*)", mark[2])
            assert codes is not None
            line = token.start[0]
            if codes[1] is None and not mark[1].startswith("pragma"):
                yield f"{line}: {mark[1]} names the rule that it lifts"
            if len(re.findall(r"[A-Za-z]{2,}", codes[2].split("noqa")[0])) < 2:
                yield f"{line}: {mark[1]} gives its reason on the line"


def vague_names(file: SourceFile) -> Iterator[str]:
    """Refuse words that say nothing in public names of functions, classes, arguments, fields."""
    if file.is_test:
        return
    for line, name in _public_names(file.tree):
        if (file.path, name) in SPECIFIED_NAMES:
            continue
        # data_age (received to decided) is a stage of the latency contract
        words = {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}
        if "data_age" not in name and (vague := words & VAGUE_WORDS):
            yield f"{line}: {name}: {', '.join(sorted(vague))} says nothing, use the domain's word"
        if name == "process":
            yield f"{line}: process() says nothing, say what it does"


def repeated_basenames(paths: Iterable[str]) -> list[str]:
    """Return a sentence for every file name used twice in the rooms and tests."""
    places = defaultdict(list)
    for path in paths:
        places[PurePosixPath(path).name].append(path)
    return [
        f"{name}: {', '.join(where)}"
        for name, where in sorted(places.items())
        if len(where) > 1 and name not in UNIQUE_EXEMPT
    ]


SPECIFIED_NAMES = frozenset(
    {
        ("config/meta_learning_config.py", "MetaLearningConfigManager"),
        ("strategy/agents/wrappers.py", "info"),
        ("strategy/learning/agent_wrappers.py", "info"),
        ("strategy/meta_ensemble.py", "MetaLearningEnsembleManager"),
        ("strategy/meta_ensemble.py", "update_market_data"),
        ("strategy/regime_tracker.py", "get_regime_info"),
    }
)
"""Names that the product's specification gave, with their file."""

DICTATED_NAMES = frozenset({"data_received", "clean_instance_data"})
"""Names that a base class dictates: ``asyncio.Protocol``, ccxt's ``Exchange.close``."""


def _public_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield what others see; nothing inside private functions and classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_private = node.name.startswith("_") and node.name != "__init__"
            if not (is_private or node.name in DICTATED_NAMES):
                names = {node.name, *_arguments(node)} - DICTATED_NAMES
                yield from ((node.lineno, name) for name in sorted(names))
        elif isinstance(node, ast.ClassDef):
            if node.name.startswith("_"):
                continue
            yield node.lineno, node.name
            if "Struct" not in {_last_name(base) for base in node.bases}:  # the wire's own names
                yield from ((s.lineno, name) for s in node.body for name in _field_names(s))
            yield from _public_names(node)


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [argument.arg for argument in every]


def _field_names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [statement.target.id]
    return []


def _called(node: ast.Call) -> str:
    return _last_name(node.func)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )
