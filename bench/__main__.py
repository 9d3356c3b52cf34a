"""``python -m bench`` and the command ``bench``."""

import sys


def main() -> None:
    """Load the command line and run it; Ctrl-C while it loads leaves 130 as later, without a traceback."""
    try:
        from bench.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
