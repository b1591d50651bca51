"""A report as lines of text for a terminal; a Sharpe never stands without its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from strategy.evaluation.figures import UNDEFINED

Row = Mapping[str, Any]


def report_lines(report: Row) -> Iterator[str]:
    """Yield the lines of a report (``strategy.evaluation.report_json``), headline first."""
    bars = report["bars"]
    yield report["headline"]
    for reason in report["missing"]:
        yield f"  not shown: {reason}"
    yield (
        f"  {report['bundle']} on {report['bars_file']}: {bars['test']:,} test bars of "
        f"{bars['length_s']:g} s after {bars['training']:,} that only teach"
    )
    yield f"  {'':36s}{'annual Sharpe':24s}{'lead of the ensemble':24s}{'return':>9s}{'fall':>8s}"
    for row in report["standings"]:
        mark = "" if row["is_tradable"] else " (knew the outcome)"
        yield (
            f"  {row['name'] + mark:36s}{interval_words(row['sharpe']):24s}"
            f"{interval_words(row['lead']) if row['lead'] else '':24s}"
            f"{row['metrics']['total_return']:>+9.1%}{row['metrics']['drawdown_frac_max']:>8.1%}"
        )
    yield (
        f"  {report['random']['name']:36s}{random_words(report['random']):24s}"
        f"{percentile_words(report['random']):24s}{report['random']['total_return']:>+9.1%}"
    )
    for key in ("cost_sensitivity", "latency"):
        for row in report[key]:
            yield (
                f"  {row['name']:36s}{interval_words(row['sharpe']):24s}"
                f"{interval_words(row['lead'])}"
            )
    sure = report["certainty"]
    yield (
        f"  PSR {number(sure['psr'])}, DSR {number(sure['dsr'])} over {sure['trials']} trials, "
        f"PBO {number(sure['pbo'])}; years that would show it: {number(sure['record_years_min'])}"
    )
    for finding in report["findings"]:
        verdict = "clean" if finding["is_clean"] else "FAULT"
        yield f"  {verdict} {finding['name']}: {finding['said']}"
    for row in report["requirements"]:
        yield f"  {met_words(row['is_met'])} {row['name']}: {row['said']}"
    for line in report["seal"]:
        yield f"  sealed: {line}"
    found = report["specified"]
    yield f"  grade {found['grade']}, {found['score']:.0f} of 100"


def interval_words(interval: Row | None) -> str:
    """Write an estimate with its 95 % interval, or that it is undefined."""
    if interval is None:
        return UNDEFINED
    return f"{interval['estimate']:+.2f} [{interval['low']:+.2f}, {interval['high']:+.2f}]"


def random_words(row: Row) -> str:
    """Write the median of the random paths' Sharpe ratios and what holds 95 % of them."""
    if row["median"] is None:
        return UNDEFINED
    return f"{row['median']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"


def percentile_words(row: Row) -> str:
    """Write how many of the random paths the ensemble is above."""
    if row["percentile_frac"] is None:
        return UNDEFINED
    return f"above {row['percentile_frac']:.1%} of {row['draws']:,}"


def met_words(is_met: bool | None) -> str:
    """Write whether a requirement is met."""
    return UNDEFINED if is_met is None else "met" if is_met else "MISSED"


def number(value: float | None) -> str:
    """Write a number with two digits behind the point, or that it is undefined."""
    return UNDEFINED if value is None else f"{value:.2f}"
