"""Size, form and honesty of every file; each rule is first shown to be able to fail."""

from __future__ import annotations

import pytest

from tests.house import house_rules
from tests.house.house_rules import Rule, SourceFile, breaches, house_files

ROOM = "kernels/planted.py"
TEST = "tests/kernels/test_planted.py"
LONG_FUNCTION = "def walk():\n" + "    step = 1\n" * 70
LONG_LINE = "limit = 1  # " + "x" * 100 + "\n"

PLANTED: list[tuple[Rule, str, str]] = [
    (house_rules.long_files, ROOM, "limit = 1\n" * 501),
    (house_rules.long_functions, ROOM, LONG_FUNCTION),
    (
        house_rules.long_functions,
        ROOM,
        "class Book:\n    async def walk(self):\n" + "        step = 1\n" * 70,
    ),
    (house_rules.long_lines, ROOM, LONG_LINE),
    (house_rules.code_in_signs, "kernels/__init__.py", '"""Sign."""\nimport os\n'),
    (house_rules.code_in_signs, "kernels/__init__.py", ""),
    (house_rules.code_in_signs, "kernels/__init__.py", '"""Sign.\n' + "line\n" * 12 + '"""\n'),
    (house_rules.code_in_signs, "tests/kernels/__init__.py", '"""Sign."""\n'),
    (house_rules.undocumented_tests, TEST, "def test_book():\n    assert 1\n"),
    (house_rules.undocumented_tests, TEST, "class TestA:\n    async def test_b(self): ...\n"),
    (house_rules.swallowed_errors, ROOM, "try:\n    a\nexcept ValueError:\n    pass\n"),
    (house_rules.swallowed_errors, ROOM, "try:\n    a\nexcept ValueError:\n    ...\n"),
    (house_rules.swallowed_errors, ROOM, "try:\n    a\nexcept:\n    raise\n"),
    (house_rules.swallowed_errors, ROOM, "with suppress(Exception):\n    a\n"),
    (house_rules.unreasoned_exemptions, ROOM, "a = 1  # type: ignore[misc]\n"),
    (house_rules.unreasoned_exemptions, ROOM, "a = 1  # type: ignore  # stubs are missing\n"),
    (house_rules.unreasoned_exemptions, ROOM, "a = 1  # noqa: E501\n"),
    (house_rules.unreasoned_exemptions, ROOM, "a = 1  # noqa\n"),
    (house_rules.unreasoned_exemptions, ROOM, "a = 1  # noqa: A, because I said so\n"),
    (house_rules.vague_names, ROOM, "def last_px(book): ...\n"),
    (house_rules.vague_names, ROOM, "def add(qty): ...\n"),
    (house_rules.vague_names, ROOM, "class OrderManager: ...\n"),
    (house_rules.vague_names, ROOM, "class Order:\n    info: str\n"),
    (house_rules.vague_names, ROOM, "def process(order): ...\n"),
]

CLEAN: list[tuple[Rule, str, str]] = [
    (house_rules.long_files, ROOM, "limit = 1\n" * 500),
    (house_rules.long_functions, ROOM, "def walk():\n" + "    step = 1\n" * 69),
    (house_rules.long_lines, ROOM, "#" * 100 + "\n"),
    (house_rules.long_lines, ROOM, "a = 1  # noqa: E501 - " + "why " * 30 + "\n"),
    (house_rules.code_in_signs, "kernels/__init__.py", '"""Sign."""\n'),
    (house_rules.undocumented_tests, TEST, 'def test_book():\n    """Hold."""\n'),
    (house_rules.undocumented_tests, TEST, "def tested(): ...\n"),
    (house_rules.swallowed_errors, ROOM, "with suppress(KeyError):\n    a\n"),
    (house_rules.swallowed_errors, ROOM, "try:\n    a\nexcept ValueError:\n    b = 1\n"),
    (house_rules.unreasoned_exemptions, ROOM, "a = 1  # type: ignore[misc]  # numba is untyped\n"),
    (house_rules.unreasoned_exemptions, ROOM, "a = 1  # noqa: E501 - an address cannot be cut\n"),
    (house_rules.unreasoned_exemptions, ROOM, 'a = "# noqa"\n'),
    (house_rules.vague_names, ROOM, "def _helper(data): ...\ndef database(): ...\n"),
    (house_rules.vague_names, ROOM, "class P:\n    def data_received(self, data): ...\n"),
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
    """No file of the rooms or the tests breaks the rule."""
    assert breaches(rule, house_files()) == []


def test_house_is_seen() -> None:
    """The rules look at real files, not at an empty list."""
    rooms = {file.room for file in house_files()}
    assert rooms == {*house_rules.ROOMS, "tests"}
    assert len(house_files()) > 40
