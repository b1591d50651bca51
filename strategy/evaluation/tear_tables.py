"""The tables of a tear sheet as HTML: every word escaped, no Sharpe without its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from strategy.evaluation.report_lines import (
    interval_words,
    met_words,
    number,
    percentile_words,
    random_words,
)

Report = Mapping[str, Any]
Row = Mapping[str, Any]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in a box that scrolls by itself; the first column names the row."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(text)}</td>" for text in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts_table(report: Report) -> str:
    """Return what the figures are made of: model, bars, commit, seed, costs, trials."""
    bars, costs = report["bars"], report["costs"]
    span = f"{_day(report['test_from_ns'])} to {_day(report['test_to_ns'])}"
    cost = ", ".join(
        f"{name.removesuffix('_frac').replace('_', ' ')} {1e4 * value:g} bps"
        for name, value in costs.items()
        if name.endswith("_frac")
    )
    rows = [
        ("bundle", f"{report['bundle']} ({report['status']})"),
        ("bundle sha256", report["bundle_sha256"]),
        ("bars", f"{report['bars_file']}, {bars['test']:,} of {bars['length_s']:g} s, {span}"),
        ("before the test", f"{bars['training']:,} bars that only teach"),
        ("bars sha256", report["bars_sha256"]),
        ("settings sha256", report["config_sha256"]),
        (
            "costs",
            f"{cost} (funding per 8 h); half a spread is at least {costs['half_ticks']:g} half "
            "price steps",
        ),
        ("trials counted", str(report["certainty"]["trials"])),
        ("resampling seed", str(report["resampling_seed"])),
        ("commit", report["commit"] or "unknown"),
        ("made", report["created"]),
    ]
    rows += [("sealed data", line) for line in report["seal"]]
    return table(("fact", ""), rows)


def standings_table(report: Report) -> str:
    """Return ensemble and rivals with what each did."""
    rows = []
    for row in report["standings"]:
        found, held = row["metrics"], row["activity"]
        rows.append(
            (
                row["name"] + ("" if row["is_tradable"] else " (not tradable: knew the outcome)"),
                interval_words(row["sharpe"]),
                interval_words(row["lead"]) if row["lead"] else "",
                "" if row["spa_p"] is None else f"{row['spa_p']:.3f}",
                _percent(found["total_return"]),
                _percent(found["drawdown_frac_max"]),
                number(found["sortino"]),
                number(found["calmar"]),
                _percent(found["win_frac"]),
                f"{held['turnover_per_year']:.0f}",
                _percent(held["cost_frac"]),
                number(held["shortfall_bps"]),
            )
        )
    drawn = report["random"]
    rows.append(
        (
            f"{drawn['name']} (median; 95 % of {drawn['draws']:,} paths)",
            random_words(drawn),
            percentile_words(drawn),
            "",
            _percent(drawn["total_return"]),
            *("",) * 4,
            f"{drawn['turnover_per_year']:.0f}",
            *("",) * 2,
        )
    )
    heads = (
        *("strategy", "annual Sharpe [95 %]", "ensemble's lead [95 %]", "SPA p", "return"),
        *("deepest fall", "Sortino", "Calmar", "bars won", "turnover a year", "costs", "bps/trade"),
    )
    return table(heads, rows)


def variants_table(rows: Sequence[Row]) -> str:
    """Return the ensemble under other circumstances."""
    return table(
        ("circumstance", "annual Sharpe [95 %]", "over equal weight", "change", "return", "costs"),
        [
            (
                row["name"],
                interval_words(row["sharpe"]),
                interval_words(row["lead"]),
                interval_words(row["change"]) if row["change"] else "",
                _percent(row["total_return"]),
                _percent(row["cost_frac"]),
            )
            for row in rows
        ],
    )


def regimes_table(report: Report) -> str:
    """Return a row for each reported regime; too few episodes say so."""
    rows = []
    for row in report["regimes"]:
        mean = row["verdict"]
        if not mean:
            mean = f"{row['mean_bps']:+.3f} [{row['low_bps']:+.3f}, {row['high_bps']:+.3f}]"
        rows.append(
            (
                row["name"],
                f"{row['bars']:,}",
                _percent(row["share"]),
                str(row["episodes"]),
                mean,
                row["verdict"] or interval_words(row["sharpe"]),
                _percent(row["win_frac"]),
            )
        )
    heads = ("regime", "bars", "share", "episodes", "bps a bar [95 %]", "annual Sharpe", "bars won")
    return table(heads, rows)


def certainty_table(report: Report) -> str:
    """Return how sure one can be, with the count of trials."""
    sure = report["certainty"]
    return table(
        ("certainty", "value", "is"),
        [
            ("PSR", number(sure["psr"]), "chance that the true Sharpe is above 0"),
            ("DSR", number(sure["dsr"]), f"the same against the best of {sure['trials']} trials"),
            ("PBO", number(sure["pbo"]), "chance that choosing the best of all here overfits"),
            (
                "record needed",
                number(sure["record_years_min"]),
                "years at this Sharpe that would show it",
            ),
            ("effective trials", number(sure["trials_effective"]), "independent ones among these"),
            ("not ruled out", str(len(sure["confident"])), ", ".join(sure["confident"])),
        ],
    )


def calibration_table(report: Report) -> str:
    """Return slopes of outcome on belief; 1 is honest."""
    rows = []
    for row in report["calibration"]:
        slope = "undefined: nothing was predicted"
        if row["slope"] is not None:
            slope = f"{row['slope']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
        rows.append((row["name"], slope, f"{row['bars']:,}"))
    return table(("what was believed", "slope of what came [95 %]", "bars"), rows)


def risk_table(report: Report) -> str:
    """Return whether a full position's risk was what sizing took it to be."""
    found = report["risk"]
    near = "undefined"
    if found["near_frac"] is not None:
        near = f"{found['near_frac']:.0%} of {found['windows']}"
    return table(
        ("risk of a full position", "value", "is"),
        [
            ("realised over forecast volatility", number(found["ratio"]), "1 is honest"),
            ("windows of 90 days within 15 %", near, "at least 80 % is the aim"),
            (
                "losses beyond the 95 % bound",
                _percent(found["beyond_frac"]),
                f"5 % of {found['bars']:,} bars would be honest",
            ),
            ("coverage (Kupiec), p", number(found["coverage_p"]), "below 0.05 rejects the bound"),
            (
                "independence (Christoffersen), p",
                number(found["independence_p"]),
                "below 0.05: such losses cluster",
            ),
            (
                "losses beyond the learned bound",
                _percent(found["learned_beyond_frac"]),
                "5 % would be honest",
            ),
            ("its coverage, p", number(found["learned_coverage_p"]), "below 0.05 rejects it"),
            ("its independence, p", number(found["learned_independence_p"]), "likewise"),
        ],
    )


def requirements_table(report: Report) -> str:
    """Return what an evaluation must satisfy, and whether this one does."""
    return table(
        ("requirement", "is", "because"),
        [(row["name"], met_words(row["is_met"]), row["said"]) for row in report["requirements"]],
    )


def metrics_table(report: Report) -> str:
    """Return every figure of the ensemble's and of equal weight's path, side by side."""
    two = [row for row in report["standings"] if row["name"] in ("ensemble", "equal weight")]
    figures = [{**row["metrics"], **row["activity"]} for row in two]
    rows = [
        (name, *(_figure(found.get(name)) for found in figures))
        for name in figures[0]
        if not name.startswith("sharpe")  # a Sharpe stands beside its interval, above
    ]
    return table(("figure", *(row["name"] for row in two)), rows)


def specified_table(report: Report) -> str:
    """Return the figures of the specification over episodes."""
    found = report["specified"]
    rows = [
        (name, value if isinstance(value, str) else _figure(value))
        for name, value in found.items()
        if name != "mean_sharpe_ratio"
    ]
    own = report["standings"][0]["sharpe"]
    mean = _figure(found["mean_sharpe_ratio"])
    rows.insert(3, ("mean_sharpe_ratio", f"{mean}; of the whole test {interval_words(own)}"))
    return table(("figure", "value"), rows)


def _figure(value: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1%}"


def _day(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M")
