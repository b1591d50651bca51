"""Build ``Settings`` from a preset, a file and overrides; the only reader of YAML.

Layers, later ones win: the preset, the file, ``--set key=value``. The preset is the one of
``--set preset=``, else of the command line, else the one the file names, else balanced. YAML is
read by the 1.2 core rules (``no`` is text, ``010`` is ten, ``1:30`` is text) and without its
traps: duplicate keys, anchors, aliases and tags are refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import ValidationError

from config.credentials import Credentials, load_credentials, load_smtp_password
from config.fault_specs import FaultScript, FaultSpec
from config.problems import (
    ConfigError,
    KeyPath,
    Place,
    annotation_at,
    dotted,
    explain,
    near,
    raise_all,
    shape_problems,
)
from config.settings import Settings

__all__ = [
    "PRESETS",
    "ConfigError",
    "Credentials",
    "dump_settings",
    "load_credentials",
    "load_fault_script",
    "load_settings",
    "load_smtp_password",
    "settings_sha256",
]

PRESETS: tuple[str, ...] = ("conservative", "balanced", "aggressive", "research")
"""Presets that are shipped; ``custom`` is accepted as well and has the values of balanced."""

DEFAULT_PRESET = "balanced"
FILE_BYTES_MAX = 256 * 1024

_PRESET_DIRECTORY = Path(__file__).parent / "presets"
_OVERRIDE_SOURCE = "--set"
_TAG = "tag:yaml.org,2002:"
_LAYER_PRESET, _LAYER_FILE, _LAYER_OVERRIDE = 0, 1, 2

Places = dict[KeyPath, Place]


def load_settings(preset: str | None, file: Path | None, overrides: Sequence[str]) -> Settings:
    """Return the settings of one run.

    ``overrides`` are texts ``key.path=value``. Raises ConfigError with every problem of the first
    stage that has one: reading, then names and kinds, then ranges and rules over several keys.
    """
    from_file, file_places = _read_file(file, _LAYER_FILE) if file is not None else ({}, {})
    from_overrides, override_places = _read_overrides(overrides)
    raise_all(
        [
            *shape_problems(from_file, file_places),
            *shape_problems(from_overrides, override_places),
        ]
    )
    name = DEFAULT_PRESET
    for candidate, place in (
        (from_file.get("preset"), file_places.get(("preset",))),
        (preset, None),
        (from_overrides.get("preset"), override_places.get(("preset",))),
    ):
        if candidate is not None:
            name = _known_preset(candidate, place)
    values, places = _read_preset(name)
    for layer, layer_places in ((from_file, file_places), (from_overrides, override_places)):
        values = _merged(values, layer)
        places |= layer_places
    values["preset"] = name
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise_all(explain(detail, places) for detail in error.errors(include_url=False))
        raise


def load_fault_script(file: Path) -> tuple[FaultSpec, ...]:
    """Return the faults that a script arms (``faults:`` and a list); ConfigError names each line.

    Two faults of one name are refused as well.
    """
    values, places = _read_file(file, _LAYER_FILE)
    try:
        faults = FaultScript.model_validate(values).faults
    except ValidationError as error:
        raise_all(explain(detail, places) for detail in error.errors(include_url=False))
        raise
    names = [fault.name for fault in faults]
    for number, name in enumerate(names):
        if name and name in names[:number]:
            path = ("faults", number, "name")
            message = f"a fault named {name!r} stands above"
            raise ConfigError(str(file), dotted(path), places[path].line, message)
    return faults


def dump_settings(settings: Settings) -> str:
    """Print settings as YAML with every knob; loading it gives equal settings."""
    return yaml.dump(
        settings.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True
    )


def settings_sha256(settings: Settings) -> str:
    """Return the fingerprint of all values, independent of how they were written."""
    canonical = json.dumps(settings.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _known_preset(name: str, place: Place | None) -> str:
    if name not in (*PRESETS, "custom"):
        source, line = (place.source, place.line) if place else ("--preset", None)
        message = f"unknown preset {name!r}{near(name, PRESETS)}"
        known = f"(there are {', '.join(PRESETS)} and custom)"
        raise ConfigError(source, "preset", line, f"{message} {known}")
    return name


def _read_preset(name: str) -> tuple[dict[str, Any], Places]:
    file_name = DEFAULT_PRESET if name == "custom" else name
    values, places = _read_file(_PRESET_DIRECTORY / f"{file_name}.yaml", _LAYER_PRESET)
    raise_all(shape_problems(values, places))
    return values, places


def _read_file(path: Path, layer: int) -> tuple[dict[str, Any], Places]:
    source = str(path)
    try:
        with open(path, "rb", opener=_open_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise ConfigError(source, "", None, "not a regular file")
            content = stream.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(source, "", None, f"cannot be read: {reason}") from error
    if len(content) > FILE_BYTES_MAX:
        raise ConfigError(source, "", None, f"larger than {FILE_BYTES_MAX} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(source, "", line, f"not UTF-8 text: {error.reason}") from error
    values, places = _parse(text, layer, source)
    if values is None:
        raise ConfigError(source, "", None, "is empty; write {} to change nothing")
    if not isinstance(values, dict):
        raise ConfigError(source, "", places[()].line, "must hold keys and values at the top")
    return values, places


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a FIFO at once instead of waiting for its writer; it is refused afterwards."""
    return os.open(path, flags | os.O_NONBLOCK)


def _read_overrides(overrides: Sequence[str]) -> tuple[dict[str, Any], Places]:
    values: dict[str, Any] = {}
    places: Places = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        path: KeyPath = tuple(key.strip().split("."))
        if not equals or not all(path):
            raise ConfigError(_OVERRIDE_SOURCE, override, None, "write it as key.path=value")
        if path[0] == "live":
            message = "arming live trading must stand in the file, it cannot be overridden"
            raise ConfigError(_OVERRIDE_SOURCE, dotted(path), None, message)
        annotation = annotation_at(path)
        is_text = annotation is str or (
            get_origin(annotation) is Literal and isinstance(get_args(annotation)[0], str)
        )
        value, inner_places = (
            (text, {})
            if is_text
            else _parse(text, _LAYER_OVERRIDE, _OVERRIDE_SOURCE, dotted(path), has_lines=False)
        )
        branch: dict[str, Any] = {str(path[-1]): value}
        for part in reversed(path[:-1]):
            branch = {str(part): branch}
        values = _merged(values, branch)
        place = Place(layer=_LAYER_OVERRIDE, source=_OVERRIDE_SOURCE, line=None)
        places |= {path[: length + 1]: place for length in range(len(path))}
        places |= {(*path, *inner): inner_place for inner, inner_place in inner_places.items()}
    return values, places


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one tree over another; sections mix, everything else is replaced."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = _merged(below, value) if both and below is not None else value
    return result


def _parse(
    text: str, layer: int, source: str, key_path: str = "", *, has_lines: bool = True
) -> tuple[Any, Places]:
    """Read one YAML document into plain values and the place of every key."""
    reader = _Reader(layer, source, key_path, has_lines)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        value = None if root is None else reader.value(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise reader.problem(error.problem or "malformed", mark, "not valid YAML: ") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"not valid YAML: character {error.character!r} is not allowed"
        raise ConfigError(source, key_path, line if has_lines else None, message) from error
    except RecursionError as error:
        raise ConfigError(source, key_path, None, "nested too deeply") from error
    return value, reader.places


class _Reader:
    """Turn the nodes of one document into values, remembering where each was written."""

    def __init__(self, layer: int, source: str, key_path: str, has_lines: bool) -> None:
        self.places: Places = {}
        self._layer = layer
        self._source = source
        self._key_path = key_path
        self._has_lines = has_lines

    def problem(self, message: str, mark: yaml.Mark | None, before: str = "") -> ConfigError:
        line = mark.line + 1 if mark is not None and self._has_lines else None
        return ConfigError(self._source, self._key_path, line, before + message)

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        line = node.start_mark.line + 1 if self._has_lines else None
        self.places.setdefault(path, Place(layer=self._layer, source=self._source, line=line))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        try:
            return _scalar(node.tag, node.value)
        except ValueError as error:  # more digits than Python converts
            raise self.problem(f"{dotted(path)}: not a number", node.start_mark) from error

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != f"{_TAG}str":
                shown = f", got {key_node.value}" if isinstance(key_node.value, str) else ""
                raise self.problem(f"a key must be a word{shown}", key_node.start_mark)
            here = (*path, key_node.value)
            if key_node.value in result:
                message = f"{dotted(here)}: key given twice, first in line {self.places[here].line}"
                raise self.problem(message, key_node.start_mark)
            line = key_node.start_mark.line + 1 if self._has_lines else None
            self.places[here] = Place(layer=self._layer, source=self._source, line=line)
            result[key_node.value] = self.value(value_node, here)
        return result


def _scalar(tag: str, text: str) -> Any:
    kind = tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text, 0 if text[:2] in ("0x", "0o") else 10)
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


_CORE_RULES: tuple[tuple[str, str, str], ...] = (  # YAML 1.2.2, section 10.3.2
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
)


class _Loader(yaml.SafeLoader):
    """Composes nodes only, without anchors, aliases and tags."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 yaml's own class attribute

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it untyped
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            message = "anchors and aliases are not supported"
            raise yaml.MarkedYAMLError(problem=message, problem_mark=event.start_mark)
        if getattr(event, "tag", None) is not None:
            message = "tags are not supported"
            raise yaml.MarkedYAMLError(problem=message, problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Quotes exactly what ``_Loader`` would not read back as text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 yaml's own class attribute


for _kind, _pattern, _first in _CORE_RULES:
    for _reader_or_writer in (_Loader, _Dumper):
        _reader_or_writer.add_implicit_resolver(
            _TAG + _kind, re.compile(_pattern), ["" if one == "\0" else one for one in _first]
        )
