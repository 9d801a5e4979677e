"""`python -m bench [publish | answer | fanout | timers] [numbers …]`; `python -m bench ledger …` has options."""

import sys
from collections.abc import Callable

from bench import answer, fanout, ledger, publish, timers

MEASUREMENTS: dict[str, Callable[..., None]] = {
    "publish": publish.main,
    "answer": answer.main,
    "fanout": fanout.main,
    "timers": timers.main,
}


def main() -> None:
    """Run the measurement named, or all of them."""
    if sys.argv[1:2] == ["ledger"]:
        ledger.main(sys.argv[2:])
        return
    names = [word for word in sys.argv[1:] if not word.isdigit()] or list(MEASUREMENTS)
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    for name in names:
        MEASUREMENTS[name](*numbers)


if __name__ == "__main__":
    main()
