"""Print, as Markdown, what a codec makes of synthetic tones and hits.

    PYTHONPATH=. python benchmarks/tones_and_hits.py [--model default] [--all]
"""

from __future__ import annotations

import argparse

from vampnet import checkpoints
from vampnet.evaluation.report import markdown_table
from vampnet.evaluation.round_trip import HIT_HEADS, TONE_HEADS, measure_round_trip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--all", action="store_true", help="every tone, and not only the worst")
    args = parser.parse_args()
    found = measure_round_trip(checkpoints.load_codec(checkpoints.resolve(args.model)))
    rows = found.tone_rows(len(found.tones)) if args.all else found.tone_rows()
    print("\n".join(markdown_table(TONE_HEADS, rows)), "\n")
    print("\n".join(markdown_table(HIT_HEADS, found.hit_rows())))


if __name__ == "__main__":
    main()
