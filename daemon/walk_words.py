"""A walk's results in words: lines for a terminal, and the block that stands in a README."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from strategy.evaluation.report_lines import (
    interval_words,
    met_words,
    number,
    percentile_words,
    random_words,
)

BEGIN = "<!-- walk: written by metaensemble walkforward --readme -->"
END = "<!-- end of walk -->"
Answer = dict[str, Any]


def lines(answer: Answer) -> Iterator[str]:
    """Yield the lines of a result: joined folds first, then every file that was judged."""
    if answer["joined"] is not None:
        yield from _joined_lines(answer["joined"], answer["folds"])
    for row in answer["judged"]:
        yield (
            f"  {row['bars_file']}, seed {row['training_seed']}, {_span(row)}: annual Sharpe "
            f"{interval_words(row['sharpe'])}, lead over equal weight {interval_words(row['lead'])}"
        )
        yield f"    {row['headline']}"
        yield f"    {percentile_words(row['random'])} paths of its turnover with random timing"
        for each in row["requirements"]:
            yield f"    {met_words(each['is_met'])} {each['name']}: {each['said']}"
    for each in answer["spreads"]:
        yield (
            f"  seeds on {each['bars_file']}: {_signed(each['sharpes'])}, mean {each['mean']:+.2f}"
        )


def _joined_lines(joined: Answer, folds: list[Answer]) -> Iterator[str]:
    yield joined["headline"]
    for reason in joined["missing"]:
        yield f"  not shown: {reason}"
    for place, fold in enumerate(folds):
        yield (
            f"  fold {place + 1}: {_span(fold)}, {fold['bars']:,} bars, "
            f"annual Sharpe {interval_words(fold['sharpe'])}"
        )
    for row in joined["rows"]:
        yield (
            f"  {_name(row):38s}{interval_words(row['sharpe']):24s}"
            f"{interval_words(row['lead']) if row['lead'] else '':24s}"
            f"{row['metrics']['total_return']:>+9.1%}"
        )
    drawn = joined["random"]
    yield (
        f"  {drawn['name']:38s}{random_words(drawn):24s}{percentile_words(drawn):24s}"
        f"{drawn['total_return']:>+9.1%}"
    )
    yield (
        f"  DSR {number(joined['dsr'])} over {joined['trials']} trials, "
        f"PBO {number(joined['pbo'])}, SPA p {number(joined['spa_p'])}"
    )


def write_block(path: Path, answer: Answer) -> None:
    """Put the results between the marks of a text; ValueError where it has none."""
    text = path.read_text(encoding="utf-8")
    begin, end = text.find(BEGIN), text.find(END)
    if begin < 0 or end < begin:
        raise ValueError(f"{path} has no lines '{BEGIN}' and '{END}'")
    block = "\n".join((BEGIN, "", *markdown(answer), "", END))
    path.write_text(text[:begin] + block + text[end + len(END) :], encoding="utf-8")


def markdown(answer: Answer) -> Iterator[str]:
    """Yield the block: date, commits, seeds and costs first, then a table of each kind."""
    made = answer["made"]
    commits = ", ".join(commit[:7] or "outside a checkout" for commit in made["commits"])
    yield (
        f"Written by the command on {made['created'][:10]}, commit {commits}; bars of "
        f"{made['bar_s']:g} s of `{made['bars_file']}`,"
    )
    yield (
        f"training at effort {made['effort_frac']:g}, seed {made['seed']}; fee, half spread and "
        f"slippage {1e4 * made['trade_frac']:g} bps in all, more where half a price step is wider "
        "than the half spread. Annual Sharpe"
    )
    yield "ratios, net of all costs, with 95 % intervals."
    if answer["joined"] is not None:
        yield from _joined_table(answer["joined"], answer["folds"])
    if answer["judged"]:
        yield from _judged_table(answer["judged"])
    for each in answer["spreads"]:
        if each["deviation"] is not None:
            yield ""
            yield (
                f"{len(each['sharpes'])} training seeds on {each['bars_file']}: "
                f"{_signed(each['sharpes'])}; deviation {each['deviation']:.2f}."
            )


def _joined_table(joined: Answer, folds: list[Answer]) -> Iterator[str]:
    yield ""
    yield f"{len(folds)} folds, joined. {joined['headline']} DSR {number(joined['dsr'])},"
    yield f"PBO {number(joined['pbo'])}, SPA p {number(joined['spa_p'])}."
    yield ""
    yield "| strategy | annual Sharpe | lead of the ensemble | return |"
    yield "|---|---|---|---|"
    for row in joined["rows"]:
        lead = interval_words(row["lead"]) if row["lead"] else ""
        total = row["metrics"]["total_return"]
        yield f"| {_name(row)} | {interval_words(row['sharpe'])} | {lead} | {total:+.1%} |"
    drawn = joined["random"]
    yield (
        f"| {drawn['name']}: median, 95 % of the paths | {random_words(drawn)} | "
        f"{percentile_words(drawn)} | {drawn['total_return']:+.1%} |"
    )
    yield ""
    for place, fold in enumerate(folds):
        yield f"- fold {place + 1}, {_span(fold)}: {interval_words(fold['sharpe'])}"


def _judged_table(judged: list[Answer]) -> Iterator[str]:
    asked = [row["name"].split()[0] for row in judged[0]["requirements"]]
    yield ""
    named = ("judged on", "seed", "ensemble", "lead over equal weight", "random timing")
    named = (*named, "verdict", *asked)
    yield f"| {' | '.join(named)} |"
    yield "|" + "---|" * len(named)
    for row in judged:
        met = " | ".join(met_words(each["is_met"]) for each in row["requirements"])
        verdict = "better" if "better than" in row["headline"] else "not distinguishable"
        yield (
            f"| {row['bars_file']}, {_span(row)} | {row['training_seed']} | "
            f"{interval_words(row['sharpe'])} | {interval_words(row['lead'])} | "
            f"{percentile_words(row['random'])} | "
            f"{verdict if row['is_clean'] else 'no claim: a detector spoke'} | {met} |"
        )


def _name(row: Answer) -> str:
    return f"{row['name']}{'' if row['is_tradable'] else ' (knew the outcome)'}"


def _span(row: Answer) -> str:
    days = [
        datetime.fromtimestamp(row[name] / 1e9, UTC).strftime("%Y-%m-%d")
        for name in ("from_ns", "to_ns")
    ]
    return f"{days[0]} to {days[1]}"


def _signed(values: list[float]) -> str:
    return ", ".join(f"{value:+.2f}" for value in values)
