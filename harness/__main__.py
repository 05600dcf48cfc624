"""The ``harness`` command; ``python -m harness`` is the same."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; errors of harness become one sentence and exit status 2."""
    from harness.errors import HarnessError

    try:
        from harness.cli import app

        app()
    except HarnessError as error:
        print(f"harness: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("harness: interrupted; `harness run --resume` goes on with it", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
