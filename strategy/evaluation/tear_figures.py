"""The figures of a tear sheet as plotly's own JSON: data and layout, nothing that runs here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Report = Mapping[str, Any]
Figure = dict[str, Any]

COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7a00", "#7f7f7f"),
    *("#332288", "#117733", "#882255", "#44aa99"),
)
"""After Okabe and Ito: told apart without red against green."""

REGIME_COLOURS = ("#009e73", "#d55e00", "#e69f00", "#56b4e9", "#0072b2", "#cc79a7", "#4d4d4d")


def figures_of(report: Report) -> dict[str, Figure]:
    """Return every figure by the id of the element that it is drawn into."""
    curves = report["curves"]
    return {
        "equity": _equity(curves),
        "weights": _stacked(curves, curves["weights"], COLOURS),
        "posterior": _stacked(curves, curves["posterior"], REGIME_COLOURS),
        "rivals": _forest([*report["standings"], _random_row(report["random"])], "sharpe"),
        "costs": _forest([*report["cost_sensitivity"], *report["latency"]], "lead"),
        "ablations": _forest(report["ablations"], "change"),
    }


def _equity(curves: Mapping[str, Any]) -> Figure:
    """Equity of the ensemble and some rivals over bands of the reported regime; its falls below."""
    lines = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": curves["ms"],
            "y": values,
            "line": {"width": 2.4 if place == 0 else 1.1, "color": COLOURS[place]},
        }
        for place, (name, values) in enumerate(curves["equity"].items())
    ]
    fall = {
        "type": "scatter",
        "mode": "lines",
        "name": "fall from the peak",
        "x": curves["ms"],
        "y": [-value for value in curves["drawdown"]],
        "yaxis": "y2",
        "fill": "tozeroy",
        "showlegend": False,
        "line": {"width": 1, "color": COLOURS[5]},
    }
    top = len(REGIME_COLOURS)
    scale = [
        [edge / top, colour]
        for place, colour in enumerate(REGIME_COLOURS)
        for edge in (place, place + 1)
    ]
    bands = {
        "type": "heatmap",
        "x": curves["ms"],
        "y": [0],
        "z": [curves["regime"]],
        "zmin": -0.5,
        "zmax": top - 0.5,
        "colorscale": scale,
        "showscale": False,
        "opacity": 0.22,
        "yaxis": "y3",
        "hoverinfo": "skip",
    }
    layout = _layout(430)
    layout["yaxis"] |= {"domain": [0.3, 1.0], "title": {"text": "equity"}}
    layout["yaxis2"] = {"domain": [0.0, 0.24], "tickformat": ".0%", "zeroline": False}
    layout["yaxis3"] = {"domain": [0.3, 1.0], "visible": False, "fixedrange": True}
    layout["xaxis"] |= {"anchor": "y2"}
    return {"data": [bands, *lines, fall], "layout": layout}


def _stacked(
    curves: Mapping[str, Any], parts: Mapping[str, Sequence[float]], colours: Sequence[str]
) -> Figure:
    layout = _layout(300)
    layout["yaxis"] |= {"range": [0, 1], "tickformat": ".0%"}
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "x": curves["ms"],
                "y": values,
                "stackgroup": "all",
                "line": {"width": 0.4, "color": colours[place % len(colours)]},
            }
            for place, (name, values) in enumerate(parts.items())
        ],
        "layout": layout,
    }


def _forest(rows: Sequence[Mapping[str, Any]], key: str) -> Figure:
    """One point with its interval for each row in which the figure is defined."""
    known = [row for row in rows if row[key] is not None][::-1]
    middle = [row[key]["estimate"] for row in known]
    layout = _layout(90 + 24 * len(known))
    layout["yaxis"] |= {"automargin": True, "zeroline": False}
    layout["xaxis"] = {"zeroline": True, "zerolinewidth": 2, "automargin": True}
    layout["showlegend"] = False
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "x": middle,
                "y": [row["name"] for row in known],
                "marker": {"size": 9, "color": COLOURS[0]},
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [row[key]["high"] - at for row, at in zip(known, middle, strict=True)],
                    "arrayminus": [
                        at - row[key]["low"] for row, at in zip(known, middle, strict=True)
                    ],
                    "color": COLOURS[0],
                    "thickness": 1.6,
                },
            }
        ],
        "layout": layout,
    }


def _random_row(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Return the random paths as a row of their own: median and what holds 95 % of them."""
    known = {"estimate": drawn["median"], "low": drawn["low"], "high": drawn["high"]}
    return {"name": drawn["name"], "sharpe": None if drawn["median"] is None else known}


def _layout(height: int) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 52, "r": 12, "t": 12, "b": 36},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": {"type": "date"},
        "yaxis": {"automargin": True},
        "legend": {"orientation": "h", "y": -0.16, "font": {"size": 11}},
        "hovermode": "closest",
    }
