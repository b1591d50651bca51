"""What a bundle's manifest.json may say: typed, strict, unknown keys refused."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from config.section import Section

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Count = Annotated[int, Field(ge=1, le=4096)]

FILE_NAMES: tuple[str, ...] = ("ensemble.pt", "golden.npz", "tables.safetensors")
"""What every bundle has beside its manifest."""

WEIGHTS_NAME = "weights.safetensors"
PART_PATTERN = r"weights\.safetensors|agent_[a-z][a-z0-9_]{0,63}\.pt"
FileName = Annotated[
    str, Field(pattern=rf"^(ensemble\.pt|golden\.npz|tables\.safetensors|{PART_PATTERN})$")
]


def part_names(agents: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a bundle may have besides, all or none: weights, and each agent by itself."""
    return (WEIGHTS_NAME, *(f"agent_{agent}.pt" for agent in agents))


class StrictSection(Section):
    """A section that converts nothing: a number in quotes is no number."""

    model_config = ConfigDict(strict=True)


class FileEntry(StrictSection):
    """One file beside the manifest."""

    name: FileName
    sha256: Sha256
    bytes: Annotated[int, Field(ge=1, le=1 << 40)]


class ObservationSpec(StrictSection):
    """Columns of one observation row and their frozen normalisation."""

    feature_names: Annotated[tuple[Name, ...], Field(min_length=1, max_length=1024)]
    feature_schema_sha256: Sha256
    extra_names: tuple[Name, ...]
    mean: tuple[float, ...] = Field(description="of every feature, in its own unit")
    scale: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(description="of every feature")
    bar_interval_ms: Annotated[int, Field(ge=1)] = Field(description="bars it was fitted on")


class BundleLimits(StrictSection):
    """What the bundle may do at most, whatever the configuration allows."""

    exposure_frac_max: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        description="largest target exposure, as a share of a full position"
    )


class Manifest(StrictSection):
    """The whole manifest."""

    format_version: Literal[2] = Field(description="of the layout that this code reads")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    created_ns: Annotated[int, Field(ge=0)] = Field(description="UNIX time; 0: not recorded")
    status: Annotated[str, Field(min_length=1, max_length=200)]
    provenance: dict[str, str] = Field(
        description="where it comes from: data and its hash, commit, settings; empty when untrained"
    )
    torch_version: Annotated[str, Field(min_length=1, max_length=64)]
    seed: Annotated[int, Field(ge=0)]
    observation: ObservationSpec
    agents: Annotated[tuple[Name, ...], Field(min_length=1, max_length=64)]
    regimes: Annotated[tuple[Name, ...], Field(min_length=2, max_length=64)]
    files: tuple[FileEntry, ...]
    golden_tolerance: Annotated[float, Field(gt=0.0, le=1e-2)]
    limits: BundleLimits
    expires_ns: Annotated[int, Field(gt=0)] | None = Field(description="null: never")

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        seen = self.observation
        if not len(seen.feature_names) == len(seen.mean) == len(seen.scale):
            raise ValueError("feature_names, mean and scale differ in length")
        for what, names in (
            ("feature_names", seen.feature_names),
            ("agents", self.agents),
            ("regimes", self.regimes),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} lists one name twice")
        listed, parts = sorted(entry.name for entry in self.files), part_names(self.agents)
        if listed not in (sorted(FILE_NAMES), sorted((*FILE_NAMES, *parts))):
            raise ValueError(
                f"files must list exactly {', '.join(FILE_NAMES)}, or {', '.join(parts)} as well"
            )
        return self


def parse_manifest(content: bytes) -> Manifest:
    """Read a manifest; ValueError with one line of reason for anything but a valid one."""
    try:
        json.loads(content, object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("manifest.json is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"manifest.json is not valid JSON: {error}") from error
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"manifest.json {where}: {first['msg']}") from error


def render_manifest(manifest: Manifest) -> bytes:
    """Write a manifest as indented JSON with a final newline; equal manifests, equal bytes."""
    return (json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n").encode()


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"key {key!r} appears twice")
    return dict(pairs)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")
