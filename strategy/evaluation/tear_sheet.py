"""The tear sheet: one HTML file that needs nothing else, neither network nor server.

Plotly's own script is written into it, and a content policy forbids it to ask for anything. It
reads on a desk and on a phone, dark and light as the reader's system is. Everything on it comes
from the report; nothing is computed here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from plotly.offline import get_plotlyjs

from strategy.evaluation import tear_tables as tables
from strategy.evaluation.tear_figures import REGIME_COLOURS, figures_of

Report = Mapping[str, Any]

STYLE = """
:root{color-scheme:light dark;--ink:#1a1d21;--soft:#5a626c;--line:#d8dde3;--page:#fff;
--good:#00714d;--bad:#a33b00}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#9aa4b0;--line:#343b44;
--page:#14171a;--good:#3fd0a0;--bad:#ff9a5c}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:74rem;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.35rem;line-height:1.35;margin:.3rem 0 .6rem}
h2{font-size:1.05rem;margin:2rem 0 .4rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}
p,ul{margin:.3rem 0 .6rem}ul{padding-left:1.2rem}
.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:4px}
table{border-collapse:collapse;width:100%;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .6rem;text-align:right;white-space:nowrap;border-top:1px solid var(--line)}
thead th{border-top:0;color:var(--soft);font-weight:600}
th:first-child{text-align:left}
.facts td,.words td{text-align:left;white-space:normal;overflow-wrap:anywhere}
.chips span{display:inline-block;margin:0 .9rem .2rem 0;font-size:.82rem}
.chips i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.35em}
.figure{width:100%}
"""

SCRIPT = """
const figures = JSON.parse(document.getElementById("figures").textContent);
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function draw() {
  for (const [id, figure] of Object.entries(figures)) {
    const layout = structuredClone(figure.layout);
    layout.font = {color: colour("--ink"), size: 12};
    for (const [name, axis] of Object.entries(layout))
      if (/^[xy]axis/.test(name)) axis.gridcolor = axis.zerolinecolor = colour("--line");
    Plotly.react(id, figure.data, layout, {responsive: true, displaylogo: false,
      modeBarButtonsToRemove: ["lasso2d", "select2d"]});
  }
  document.body.dataset.drawn = "yes";
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
"""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)


def tear_sheet(report: Report) -> str:
    """Return the whole page for a report of ``strategy.evaluation.report_json``."""
    figures = json.dumps(figures_of(report), allow_nan=False).replace("</", "<\\/")
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n',
            '<meta name="viewport" content="width=device-width,initial-scale=1">\n',
            '<link rel="icon" href="data:,">\n',
            f"<title>{escape(report['bundle'])}: tear sheet</title>\n<style>{STYLE}</style>\n",
            f"</head><body>\n{_top(report)}\n{_middle(report)}\n{_end(report)}\n",
            f'<script type="application/json" id="figures">{figures}</script>\n',
            f"<script>{get_plotlyjs()}</script>\n<script>{SCRIPT}</script>\n</body></html>\n",
        )
    )


def _top(report: Report) -> str:
    """Headline, what it lacks, faults, and what everything is made of."""
    lacking = "".join(f"<li>{escape(reason)}</li>" for reason in report["missing"])
    found = "".join(
        f'<li><b class="{"good" if one["is_clean"] else "bad"}">'
        f"{'clean' if one['is_clean'] else 'FAULT'}</b> {escape(one['name'])}: "
        f"{escape(one['said'])}</li>"
        for one in report["findings"]
    )
    return (
        f"<header><h1>{escape(report['headline'])}</h1>"
        + (f'<p class="soft">Not shown:</p><ul class="soft">{lacking}</ul>' if lacking else "")
        + "</header>"
        + _section("Leak and fault detectors", f"<ul>{found}</ul>")
        + _section("Made of", f'<div class="facts">{tables.facts_table(report)}</div>')
    )


def _middle(report: Report) -> str:
    """Curves over time, and the table by regime."""
    chips = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for name, colour in zip(report["curves"]["regimes"], REGIME_COLOURS, strict=True)
    )
    return (
        _section(
            "Equity, net of all costs, and falls from the peak; bands are the reported regime",
            f'<p class="chips">{chips}</p>{_figure("equity")}',
        )
        + _section("Weights over time", _figure("weights"))
        + _section("Regime posterior", _figure("posterior"))
        + _section("By reported regime", tables.regimes_table(report))
    )


def _end(report: Report) -> str:
    """Rivals, sensitivity, ablations, certainty, calibration, the specification's figures."""
    return (
        _section(
            "Rivals at the same costs and sizing: annual Sharpe, 95 % intervals",
            _figure("rivals") + tables.standings_table(report),
        )
        + _section(
            "Costs and latency: lead over equal weight",
            _figure("costs")
            + tables.variants_table([*report["cost_sensitivity"], *report["latency"]]),
        )
        + _section(
            "What each part is worth: change of annual Sharpe without it",
            _figure("ablations") + tables.variants_table(report["ablations"]),
        )
        + _section("From later starts on", tables.variants_table(report["starts"]))
        + _section(
            "How sure one can be",
            f'<div class="words">{tables.certainty_table(report)}</div>',
        )
        + _section("Was what was believed what came?", tables.calibration_table(report))
        + _section(
            "Was the risk what it was taken for?",
            f'<div class="words">{tables.risk_table(report)}</div>',
        )
        + _section("All figures of both paths", tables.metrics_table(report))
        + _section("What was asked of this evaluation", tables.requirements_table(report))
        + _section("Figures of the specification", tables.specified_table(report))
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _figure(name: str) -> str:
    return f'<div class="figure" id="{name}"></div>'
