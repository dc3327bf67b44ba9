"""The figures that `run.py` prints: a line for each measurement, and a summary of several rounds."""

import statistics
from typing import Any

Figures = dict[str, Any]


def line_of(row: Figures) -> str:
    if row["work"] == "start":
        return (
            f"start   ready {row['ready_ms']} ms  {row['rss_mib']} MiB, {row['rss_idle_mib']} MiB with"
            f" {row['idle_connections']} idle ({row['kib_per_idle']} KiB each)  {row['logins_per_s']} logins/s"
            f"  idle core {row['idle_core']}"
        )
    delays = "".join(
        f"  {title} {row[name]['p50']:.2f}/{row[name]['p99']:.2f}"
        for name, title in (("delivery", "delivered"), ("last", "last"), ("done", "done"))
    )
    rest = "".join(f"  {name} {row[name]}" for name in row if name.startswith(("Pi ", "card_")))
    if "disk_per_message" in row:
        rest += f"  {row['messages_per_sync']} messages/sync  {row['disk_per_message']} B/message to disk"
    return (
        f"{row['work']:10} {row['rate']:>8.0f} messages/s {row['deliveries']:>8.0f} deliveries/s"
        f"  {row['cpu_us_per_message']} µs/message{delays} ms (p50/p99)"
        f"  core {row['core']:.2f} generator {row['generator_core']:.2f}{rest}  left {row['left']}"
    )


def summary(rows: list[Figures]) -> list[str]:
    lines = []
    for what in dict.fromkeys(row["work"] for row in rows):
        for tree in dict.fromkeys(row["tree"] for row in rows):
            mine = [row for row in rows if row["work"] == what and row["tree"] == tree]
            if not mine:
                continue
            key = "ready_ms" if what == "start" else "deliveries" if "w2" in what else "rate"
            values = [row[key] for row in mine]
            middle = min(mine, key=lambda row: abs(row[key] - statistics.median(values)))
            spread = f"{len(values)} rounds, {min(values):.0f} … {max(values):.0f}"
            if "cpu_us_per_message" in middle:
                spread += f", least {min(row['cpu_us_per_message'] for row in mine)} µs/message"
            lines.append(f"{tree} ({spread}): {line_of(middle)}")
    return lines
