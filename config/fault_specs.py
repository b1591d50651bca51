"""What a fault of the simulated exchange is called, what it takes, and when it strikes.

The same document arms a fault from a YAML script (``config.load.load_fault_script``) and over the
exchange's control port (``read_fault``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from config.problems import ConfigError, explain, near
from config.section import Frac, Section


class Site(StrEnum):
    """Where in the exchange a fault strikes, and so what its target names."""

    FRAME = "frame"
    """One message of a stream; the target is a stream's name, or ``user``, on spot
    ``spot/btcusdt@trade`` and ``spot/user``."""
    USER = "user"
    """One event of the user stream; the target is a client order id."""
    REST = "rest"
    """One request; the target is ``METHOD /path``."""
    ORDER = "order"
    """One order at the venue's door; the target is ``TYPE TIME-IN-FORCE client-order-id``."""
    SOCKET = "socket"
    """Stream connections, at a time; the target is public, market or private."""
    ACCOUNT = "account"
    """Account and listen key, at a time; the target is a venue id such as BTCUSDT, and for
    ``change_balance`` a wallet: futures or spot."""
    CLOCK = "clock"
    """The venue's clock, at a time."""


TIMED_SITES = frozenset({Site.SOCKET, Site.ACCOUNT, Site.CLOCK})
"""Sites without occasions: a fault there strikes ``count`` times, ``every_s`` apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """One kind of fault: its site, default target, how often it strikes, own parameters."""

    site: Site
    sentence: str
    target: str = "*"
    count: int = 1
    parameters: Mapping[str, Any] = field(default_factory=dict)


_UNKNOWN_TEXT = (
    "Timeout waiting for response from backend server. Send status unknown; "
    "execution status unknown."
)
_WEIGHT_TEXT = "Too many requests; please use the websocket for live updates."
_BAN_TEXT = "Way too many requests; IP banned. Please use the websocket for live updates."
_COUNTERPARTY_TEXT = "The counterparty's best price does not meet the PERCENT_PRICE filter limit."

FAULT_KINDS: Mapping[str, FaultKind] = {
    "drop_frames": FaultKind(site=Site.FRAME, sentence="a message is never sent"),
    "duplicate_frames": FaultKind(site=Site.FRAME, sentence="a message is sent twice"),
    "reorder_frames": FaultKind(site=Site.FRAME, sentence="a message goes out after the next one"),
    "delay_frames": FaultKind(
        site=Site.FRAME, sentence="a message goes out late", parameters={"delay_ms": 200.0}
    ),
    "corrupt_frames": FaultKind(site=Site.FRAME, sentence="a message is cut or blotted: no JSON"),
    "depth_gap": FaultKind(
        site=Site.FRAME, sentence="a depth update is missing in its chain", target="*@depth*"
    ),
    "stall_stream": FaultKind(
        site=Site.FRAME, sentence="a stream falls silent on a live socket", count=0
    ),
    "cross_book": FaultKind(
        site=Site.FRAME,
        sentence="depth and best prices show a bid above the ask, until the next message",
        parameters={"ticks": 5},
    ),
    "empty_book": FaultKind(
        site=Site.FRAME,
        sentence="depth and best prices show nothing on a side, until the next message",
        parameters={"side": "both"},
    ),
    "duplicate_fill": FaultKind(site=Site.USER, sentence="a fill is told twice"),
    "fill_before_ack": FaultKind(
        site=Site.USER, sentence="the fill of an order is told before its acceptance"
    ),
    "fill_after_cancel": FaultKind(
        site=Site.USER,
        sentence="what was cancelled is filled after all",
        parameters={"delay_ms": 20.0},
    ),
    "overfill": FaultKind(
        site=Site.USER,
        sentence="more is filled than was ordered",
        parameters={"lots": 1, "delay_ms": 0.0},
    ),
    "rest_error": FaultKind(
        site=Site.REST,
        sentence="an error before anything is done",
        parameters={"status": 503, "code": 0, "message": "Service unavailable."},
    ),
    "rest_error_after": FaultKind(
        site=Site.REST,
        sentence="an error although everything was done",
        parameters={"status": 503, "code": 0, "message": "Service unavailable."},
    ),
    "unknown_status": FaultKind(
        site=Site.REST,
        sentence="-1007 with status 408, the request carried out or not",
        parameters={"status": 408, "code": -1007, "message": _UNKNOWN_TEXT, "accepted": True},
    ),
    "no_answer": FaultKind(
        site=Site.REST,
        sentence="no answer on an open connection, the request carried out or not",
        parameters={"accepted": True},
    ),
    "drop_connection": FaultKind(
        site=Site.REST,
        sentence="the connection is reset after the request was read, carried out or not",
        parameters={"accepted": True},
    ),
    "truncate_answer": FaultKind(site=Site.REST, sentence="the answer ends in the middle"),
    "slow_answer": FaultKind(
        site=Site.REST, sentence="the answer comes late", parameters={"delay_ms": 500.0}
    ),
    "rate_limited": FaultKind(
        site=Site.REST,
        sentence="429 with Retry-After",
        parameters={"status": 429, "code": -1003, "message": _WEIGHT_TEXT, "retry_after_s": 1},
    ),
    "banned": FaultKind(
        site=Site.REST,
        sentence="418 with Retry-After",
        parameters={"status": 418, "code": -1003, "message": _BAN_TEXT, "retry_after_s": 2},
    ),
    "maintenance": FaultKind(
        site=Site.REST,
        sentence="503 without JSON for every request, streams closed and refused",
        count=0,
        parameters={"status": 503},
    ),
    "refuse_orders": FaultKind(
        site=Site.ORDER,
        sentence="an order is refused, as often as it is sent",
        count=0,
        parameters={"code": -2010, "message": "NEW_ORDER_REJECTED"},
    ),
    "refuse_takers": FaultKind(
        site=Site.ORDER,
        sentence="market, IOC and FOK orders are refused",
        count=0,
        parameters={"code": -4131, "message": _COUNTERPARTY_TEXT},
    ),
    "close_streams": FaultKind(
        site=Site.SOCKET,
        sentence="websockets are closed with a handshake",
        parameters={"close_code": 1001},
    ),
    "reset_streams": FaultKind(site=Site.SOCKET, sentence="websockets are reset (RST)"),
    "mute_streams": FaultKind(
        site=Site.SOCKET, sentence="websockets stay open and nothing moves on them, half-open"
    ),
    "expire_listen_key": FaultKind(site=Site.ACCOUNT, sentence="the listen key expires"),
    "change_balance": FaultKind(
        site=Site.ACCOUNT,
        sentence="money comes or goes from outside, told or not",
        parameters={"amount_quote": -1000.0, "is_told": True},
    ),
    "change_position": FaultKind(
        site=Site.ACCOUNT,
        sentence="somebody else trades on the account, told or not",
        parameters={"lots": 10, "is_told": True},
    ),
    "liquidate": FaultKind(
        site=Site.ACCOUNT, sentence="orders are cancelled and the position is liquidated"
    ),
    "deleverage": FaultKind(
        site=Site.ACCOUNT,
        sentence="a share of the position is closed by auto-deleveraging",
        parameters={"share": 0.5},
    ),
    "charge_funding": FaultKind(
        site=Site.ACCOUNT, sentence="funding is charged now", parameters={"rate_bps": 1.0}
    ),
    "jump_clock": FaultKind(
        site=Site.CLOCK, sentence="the venue's clock jumps", parameters={"offset_ms": 5000.0}
    ),
    "skew_clock": FaultKind(
        site=Site.CLOCK,
        sentence="the venue's clock runs fast or slow",
        parameters={"drift_ppm": 1000.0},
    ),
}
"""Every fault that can be armed, by name."""


class FaultSpec(Section):
    """One fault as it is armed: kind, target, times, chance, and the parameters of its kind.

    A kind that takes a parameter fills it in; giving one that the kind does not take is refused.
    """

    model_config = ConfigDict(strict=True)

    kind: str
    name: str = Field("", max_length=80, description="to disarm it by; made up when empty")
    target: str = Field("", max_length=200, description="pattern with * and ?; empty: of the kind")
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    at_s: Annotated[float, Field(ge=0.0)] = Field(0.0, description="not before this market time")
    after_s: Annotated[float, Field(ge=0.0)] = Field(0.0, description="not before, since armed")
    for_s: Annotated[float, Field(ge=0.0)] = Field(0.0, description="over after this; 0: never")
    skip: Annotated[int, Field(ge=0)] = Field(0, description="occasions that pass unharmed first")
    every: Annotated[int, Field(ge=1)] = Field(1, description="then each n-th occasion")
    every_s: Annotated[float, Field(gt=0.0)] = Field(1.0, description="timed kinds: between two")
    count: Annotated[int, Field(ge=0)] = Field(1, description="how often; 0: without end")
    chance: Frac = Field(1.0, description="of each occasion, drawn from the seed")

    accepted: bool = True
    amount_quote: float = 0.0
    close_code: Annotated[int, Field(ge=1000, le=4999)] = 1001
    code: Annotated[int, Field(ge=-99_999, le=0)] = 0
    delay_ms: Annotated[float, Field(ge=0.0, le=600_000.0)] = 0.0
    drift_ppm: Annotated[float, Field(ge=-500_000.0, le=500_000.0)] = 0.0
    is_told: bool = True
    lots: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0
    message: str = Field("", max_length=400)
    offset_ms: Annotated[float, Field(ge=-86_400_000.0, le=86_400_000.0)] = 0.0
    rate_bps: Annotated[float, Field(ge=-1000.0, le=1000.0)] = 0.0
    retry_after_s: Annotated[int, Field(ge=0, le=259_200)] = 0
    share: Frac = 0.0
    side: Literal["both", "bids", "asks"] = "both"
    status: Annotated[int, Field(ge=400, le=599)] = 503
    ticks: Annotated[int, Field(ge=0, le=100_000)] = 0

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """Refuse an unknown kind and foreign parameters; fill in what the kind brings along."""
        if not isinstance(values, Mapping):
            return values
        name = values.get("kind")
        if not isinstance(name, str):
            raise ValueError("kind is missing; it names what is to go wrong")
        kind = FAULT_KINDS.get(name)
        if kind is None:
            raise ValueError(f"kind {name!r} does not exist{near(name, FAULT_KINDS)}")
        own = set(kind.parameters)
        for key in values:
            if key in _PARAMETERS and key not in own:
                raise ValueError(f"{key} is no parameter of {name}")
        return {"target": kind.target, "count": kind.count, **kind.parameters, **values}

    @property
    def site(self) -> Site:
        """Where this fault strikes."""
        return FAULT_KINDS[self.kind].site

    def document(self) -> dict[str, Any]:
        """Return what was armed, without the parameters of other kinds."""
        foreign = _PARAMETERS - set(FAULT_KINDS[self.kind].parameters)
        return self.model_dump(exclude=set(foreign))


_PARAMETERS = frozenset(name for kind in FAULT_KINDS.values() for name in kind.parameters)


class FaultScript(Section):
    """A file of faults."""

    faults: tuple[FaultSpec, ...]


def read_fault(document: object, source: str) -> FaultSpec:
    """Read one fault from a JSON document; ConfigError names ``source`` and what is wrong."""
    try:
        return FaultSpec.model_validate(document)
    except ValidationError as error:
        problem = explain(error.errors(include_url=False)[0], {})
        raise ConfigError(source, problem.key_path, None, problem.message) from None
