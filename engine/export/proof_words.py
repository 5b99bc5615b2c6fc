"""A proof in words: the table that is printed, the same in Markdown, and the verdict."""

from engine.export.proof import Proof, Speed


def rows_of(proof: Proof) -> list[tuple[str, str, str]]:
    """Measure, before, after."""
    beside = "same input" if proof.same_input else "with preprocessing"
    rows = [
        ("top-1", proof.share(proof.top1_before), proof.share(proof.top1_after)),
        ("top-5", proof.share(proof.top5_before), proof.share(proof.top5_after)),
        ("same top-1", "", proof.share(proof.agreeing)),
        (
            f"largest logit difference, {beside}",
            f"(sd {proof.logit_scale:.3g})",
            f"{proof.logit_difference:.2g}",
        ),
    ]
    for speed in proof.speeds:
        name = "latency, batch 1" if speed.images == 1 else f"throughput, batch {speed.images}"
        rows.append((name, _speed(speed, speed.before), _speed(speed, speed.after)))
        if speed.fp32 is not None:
            rows.append((f"{name}, fp32 of the same kind", "", _speed(speed, speed.fp32)))
    return rows


def _speed(speed: Speed, seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms" if speed.images == 1 else f"{speed.images / seconds:,.0f} images/s"


_HEAD = ("", "PyTorch", "package")


def table(proof: Proof) -> str:
    """Aligned columns for a terminal."""
    rows = [_HEAD, *rows_of(proof)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"  {name:<{widths[0]}}  {before:>{widths[1]}}  {after:>{widths[2]}}" for name, before, after in rows
    )


def markdown(proof: Proof) -> str:
    """The same rows as a table in Markdown."""
    rows = [_HEAD, ("---", "---:", "---:"), *rows_of(proof)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def verdict(proof: Proof, limit: float) -> str:
    """One line: passed or failed, and by how much."""
    if proof.lost_points > limit + 1e-9:
        return f"failed: top-1 fell by {proof.lost_points:.2f} points, more than --max-loss {limit:g}; nothing was kept"
    # Not "-0.00".
    gained = 0.0 - proof.lost_points
    return f"passed: top-1 changed by {gained:+.2f} points (allowed: -{limit:g})"
