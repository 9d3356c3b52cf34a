"""``python -m bench``: the command line, for an interpreter whose scripts aren't on the PATH."""

from bench.cli.app import main

if __name__ == "__main__":
    main()
