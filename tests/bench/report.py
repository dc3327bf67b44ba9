"""The table and the plot of a comparison, made only from the output of compare.py.

Usage: python tests/bench/report.py results.jsonl…    (writes results.svg and the table in README.md beside it)
"""

import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from html import escape
from operator import itemgetter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- table: made by report.py -->", "<!-- end of table -->"
Rows = list[dict[str, Any]]


class Results:
    """Rows by peer and work."""

    def __init__(self, rows: Rows) -> None:
        self.rows: dict[tuple[str, str], Rows] = defaultdict(list)
        for row in rows:
            self.rows[row["peer"], row["work"]].append(row)
        self.peers = list(dict.fromkeys(row["peer"] for row in rows))

    def median(self, peer: str, work: str, of: Callable[[dict[str, Any]], float]) -> float | None:
        values = [of(row) for row in self.rows[peer, work]]
        return statistics.median(values) if values else None

    def syncs(self, peer: str) -> bool:
        """Whether a single message makes a server sync."""
        return any(row["syncs"] >= row["messages"] / 2 for row in self.rows[peer, "syncs"])

    def spread(self, peer: str, work: str, key: str) -> str:
        values = [row[key] for row in self.rows[peer, work]]
        if not values:
            return ""
        if not any(values):
            return "none in time"
        middle = _short(statistics.median(values))
        return middle if len(values) == 1 else f"{middle} ({_short(min(values))} to {_short(max(values))})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def table(results: Results) -> str:
    """One row per peer. Rates are medians, with the minimum and the maximum of the rounds."""
    lines = [
        (
            "| server | 50 dialogs, messages/s | of the relay | one alone, /s | p50 ms | group of 200, deliveries/s,"
            " 1 under way | last member p50 ms | 8 under way | ready ms | MiB | KiB per idle | left of answered |"
            " syncs per answer |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    ours = results.median("relay", "w1", lambda row: row["rate"])
    for peer in results.peers:
        rate = results.median(peer, "w1", lambda row: row["rate"])
        alone = results.median(peer, "one", lambda row: row["done"]["p50"])
        last = results.median(peer, "w2-1", lambda row: row["last"]["p50"])
        start = results.rows[peer, "start"]
        cells = [
            f"**{peer}**" if peer == "relay" else f"*{peer}*" if peer == "floor" else peer,
            results.spread(peer, "w1", "rate"),
            f"{rate / ours:.2f}" if rate and ours else "",
            results.spread(peer, "one", "rate"),
            f"{alone:.2f}" if alone is not None else "",
            results.spread(peer, "w2-1", "deliveries"),
            f"{last:.1f}" if last is not None else "",
            results.spread(peer, "w2-8", "deliveries"),
            _short(start[0]["ready_ms"]) if start else "",
            _short(start[0]["rss_mib"]) if start else "",
            _short(start[0]["kib_per_idle"]) if start else "",
            *_kept(results, peer),
        ]
        if peer == "floor":
            cells[-2] = ""
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _kept(results: Results, peer: str) -> list[str]:
    killed, synced = results.rows[peer, "kill"], results.rows[peer, "syncs"]
    return [
        f"{min(row['left'] for row in killed)} of {killed[0]['answered']}" if killed else "keeps nothing",
        f"{synced[0]['syncs'] / max(1, synced[0]['messages']):.2f}" if synced else "",
    ]


WIDTH, ROW, LEFT, GAP = 760, 18, 140, 46


def plot(results: Results) -> str:
    """Bars on a logarithmic scale: dialogs, and a group of 200."""
    panels = [
        ("50 dialogs, 8 sends under way in each: messages per second, answered and delivered", "w1", "rate"),
        ("group of 200, one send under way: deliveries per second", "w2-1", "deliveries"),
    ]
    drawn: list[str] = []
    y = 24
    for title, work, key in panels:
        drawn.append(f'<text x="8" y="{y}" class="title">{escape(title)}</text>')
        y += 10
        values = {peer: results.median(peer, work, itemgetter(key)) for peer in results.peers}
        most = max((value for value in values.values() if value), default=1)
        for peer, value in values.items():
            if not value:
                continue
            length = (WIDTH - LEFT - 90) * math.log10(max(value, 10) / 10) / math.log10(most / 10)
            kind = (
                "ours"
                if peer == "relay"
                else "floor"
                if peer == "floor"
                else "syncs"
                if results.syncs(peer)
                else "other"
            )
            drawn += [
                f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(peer)}</text>',
                f'<rect x="{LEFT}" y="{y + 2}" width="{length:.1f}" height="{ROW - 5}" class="{kind}"/>',
                f'<text x="{LEFT + length + 6:.1f}" y="{y + 13}">{_short(value)}</text>',
            ]
            y += ROW
        y += GAP - 10
    legend = (
        ("ours", "this relay"),
        ("syncs", "syncs each answer"),
        ("other", "does not"),
        ("floor", "floor of one CPython thread"),
    )
    x = LEFT
    for kind, text in legend:
        drawn.append(f'<rect x="{x}" y="{y - 12}" width="12" height="12" class="{kind}"/>')
        drawn.append(f'<text x="{x + 17}" y="{y - 2}">{escape(text)}</text>')
        x += 40 + 7 * len(text)
    style = (
        "text{font:12px system-ui,sans-serif;fill:#222}.title{font-weight:600}.ours{fill:#2563a8}"
        ".syncs{fill:#7fa8d1}.other{fill:#b9bec6}.floor{fill:#e0c27a}rect.page{fill:#fff}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 12}" role="img" aria-labelledby="t">'
        f'<title id="t">Messages per second of this relay and of other servers, logarithmic</title>'
        f'<style>{style}</style><rect class="page" width="100%" height="100%"/>' + "".join(drawn) + "</svg>\n"
    )


def main(paths: list[Path]) -> None:
    results = Results([json.loads(line) for path in paths for line in path.read_text().splitlines() if line.strip()])
    (HERE / "results.svg").write_text(plot(results))
    readme = HERE / "README.md"
    head, _, rest = readme.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    readme.write_text(f"{head}{BEGIN}\n{table(results)}\n{END}{tail}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
