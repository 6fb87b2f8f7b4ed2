"""`python -m tests.fuzz`: mutants of cases/ and random expressions, and what they must not do.

python -m tests.fuzz --cases 1000 --seed 0     # a line SEED:NUMBER for each finding, then counts by kind
python -m tests.fuzz --seed 0 --only 17        # one mutant again, with its text
python -m tests.fuzz --expressions 100000
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.fuzz.child import serve, verdicts
from tests.fuzz.expressions import expression_findings
from tests.fuzz.judge import judge
from tests.fuzz.mutations import mutant


def main() -> int:
    """Run what was asked for; 1 if there are findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=0, help="number of mutants")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--expressions", type=int, default=0, help="number of random expressions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run one mutant here, without limits of memory, and show its text")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.seed, options.serve)
        return 0
    if options.only is not None:
        return _one(options.seed, options.only)
    found = _cases(options) if options.cases else 0
    if options.expressions:
        findings = list(expression_findings(options.seed, options.expressions))
        print("\n".join([*findings, f"{options.expressions} expressions, {len(findings)} findings"]))
        found += len(findings)
    return 1 if found else 0


def _one(seed: int, number: int) -> int:
    name, text = mutant(seed, number)
    print(f"# of {name}\n{text}")
    verdict = judge(text, name, 60.0)
    print(verdict.outcome, verdict.findings)
    return 1 if verdict.findings else 0


def _cases(options: argparse.Namespace) -> int:
    outcomes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    begun = time.monotonic()
    for number, verdict in verdicts(options.seed, range(options.first, options.first + options.cases)):
        outcomes[verdict.outcome.partition(":")[0]] += 1
        kinds.update(verdict.findings.keys())
        for kind, sentence in verdict.findings.items():
            print(f"{options.seed}:{number} {kind}: {sentence}", flush=True)
        if time.monotonic() - begun > options.seconds:
            break
    print(f"{outcomes.total()} cases in {time.monotonic() - begun:.0f} s: {_told(outcomes)}")
    print(f"findings: {_told(kinds) or 'none'}")
    return kinds.total()


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.most_common())


if __name__ == "__main__":
    sys.exit(main())
