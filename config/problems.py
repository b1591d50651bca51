"""What is wrong with a configuration, said with file, key, line and the nearest valid word."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from config.section import Section
from config.settings import Settings

KeyPath = tuple[str | int, ...]

_NEAR_SCORE_MIN = 0.6
_SHOWN_LENGTH_MAX = 40
_SECRET_NAME = re.compile(r"secret|api_?key|password|token", re.IGNORECASE)


class ConfigError(Exception):
    """A configuration that cannot be used; the message names source, line and key.

    ``source`` is a file or ``--set``; ``line`` counts from 1, None where there is none. ``also``
    holds the further problems found in the same go; the text lists them too, one per line.
    """

    def __init__(
        self,
        source: str,
        key_path: str,
        line: int | None,
        message: str,
        also: Sequence[ConfigError] = (),
    ) -> None:
        """Keep the parts for machines and the sentence for people."""
        self.source = source
        self.key_path = key_path
        self.line = line
        self.message = message
        self.also = tuple(also)
        place = source if line is None else f"{source}:{line}"
        own = ": ".join(part for part in (place, key_path, message) if part)
        super().__init__("\n".join([own, *map(str, self.also)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a value was written; a later ``layer`` overrides an earlier one."""

    layer: int
    source: str
    line: int | None


def raise_all(problems: Iterable[ConfigError]) -> None:
    """Raise the first problem with the others attached; do nothing when there is none."""
    unique = list({str(problem): problem for problem in problems}.values())
    if not unique:
        return
    first, *others = unique
    raise ConfigError(first.source, first.key_path, first.line, first.message, others)


def dotted(path: KeyPath) -> str:
    """Print a key path: ``limits.leverage_max``, ``instruments[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def near(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for the nearest known word, or nothing."""
    found = difflib.get_close_matches(word, list(known), 1, _NEAR_SCORE_MIN)
    return f"; did you mean {found[0]}?" if found else ""


def annotation_at(path: KeyPath) -> Any:
    """Return the type of the knob or section at a path, None when there is no such key."""
    annotation: Any = Settings
    for part in path:
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return None
        field = annotation.model_fields.get(str(part))
        if field is None:
            return None
        annotation = field.annotation
    return annotation


def shape_problems(
    values: Mapping[str, Any], places: Mapping[KeyPath, Place], path: KeyPath = ()
) -> Iterator[ConfigError]:
    """Yield one problem per key that does not exist or holds a value of the wrong kind.

    Kinds are strict, unlike in pydantic: ``true`` is no number, ``"3"`` neither, ``yes`` no bool.
    """
    section = annotation_at(path)
    for key, value in values.items():
        here = (*path, key)
        place = places[here]
        annotation = annotation_at(here)
        message = ""
        if annotation is None:
            message = _unknown_key(key, section)
        elif value is None:
            message = "has no value; give it one or remove the key"
        elif isinstance(annotation, type) and issubclass(annotation, Section):
            if isinstance(value, Mapping):
                yield from shape_problems(value, places, here)
            else:
                message = f"is a section and needs keys under it, got {_shown(value)}"
        else:
            message = _wrong_kind(annotation, value)
        if message:
            yield ConfigError(place.source, dotted(here), place.line, message)


def _unknown_key(key: str, section: type[BaseModel]) -> str:
    if _SECRET_NAME.search(key):
        return (
            "credentials do not belong in a configuration file; use systemd credentials or "
            "METAENSEMBLE_API_KEY and METAENSEMBLE_API_SECRET"
        )
    suggestion = near(key, section.model_fields)
    if suggestion:
        return f"unknown key{suggestion}"
    homes = [path for path in _all_paths(Settings) if path[-1] == key]
    if homes:
        return f"unknown key here; did you mean {dotted(homes[0])}?"
    return f"unknown key{near(key, (str(path[-1]) for path in _all_paths(Settings)))}"


def _all_paths(section: type[BaseModel], path: KeyPath = ()) -> Iterator[KeyPath]:
    for name, field in section.model_fields.items():
        yield (*path, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _all_paths(field.annotation, (*path, name))


def _wrong_kind(annotation: Any, value: Any) -> str:
    """Return what kind of value is needed, or nothing when the kind is right."""
    wanted = ""
    if annotation is bool:
        wanted = "" if isinstance(value, bool) else "true or false"
    elif annotation in (int, float):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        wanted = "" if is_number else "a number"
    elif annotation is str:
        wanted = "" if isinstance(value, str) else "text"
    elif get_origin(annotation) is tuple:
        wanted = _wrong_items(get_args(annotation)[0], value)
    elif get_origin(annotation) is Literal:
        options = get_args(annotation)
        if isinstance(value, bool) or value not in options:
            suggestion = near(value, map(str, options)) if isinstance(value, str) else ""
            wanted = f"one of {', '.join(map(str, options))}"
            return f"must be {wanted}, got {_shown(value)}{suggestion}"
    else:
        assert not isinstance(annotation, types.UnionType), f"no rule for {annotation}"
    return f"must be {wanted}, got {_shown(value)}" if wanted else ""


def _wrong_items(item: Any, value: Any) -> str:
    """Return what kind of list is needed, or nothing when its kind is right."""
    kind, words = (str, "texts") if item is str else (int, "whole numbers")
    is_list = isinstance(value, list) and all(
        isinstance(each, kind) and not isinstance(each, bool) for each in value
    )
    return "" if is_list else f"a list of {words}"


def explain(detail: ErrorDetails, places: Mapping[KeyPath, Place]) -> ConfigError:
    """Turn one pydantic error into ours, at the place where the value was last written."""
    path: KeyPath = detail["loc"]
    message = detail["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "must be").replace("valid integer", "whole number")
    message = message.removesuffix(", got a number with a fractional part")
    if detail["type"] == "value_error":
        path = _named_key(path, message, places)
    elif not isinstance(detail["input"], Mapping):
        message = f"{message}, got {_shown(detail['input'])}"
    known = path
    while known and known not in places:
        known = known[:-1]
    place = places.get(known, Place(layer=0, source="defaults", line=None))
    return ConfigError(place.source, dotted(path), place.line, message)


def _named_key(path: KeyPath, message: str, places: Mapping[KeyPath, Place]) -> KeyPath:
    """Find the key that a rule over several keys is about: of those it names, the last written."""
    candidates = []
    for word in re.findall(r"[a-z_][a-z_.]*[a-z_]", message):
        named = (*path, *word.split("."))
        if named in places:
            candidates.append(named)
    return max(candidates, key=lambda named: places[named].layer, default=path)


def _shown(value: Any) -> str:
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN_LENGTH_MAX else f"{text[:_SHOWN_LENGTH_MAX]}..."
