"""The `relay` command: `serve` goes straight to the relay, everything else through the command line."""

import os
import sys

UMASK = 0o027
"""What is made in the data directory is for its owner and their group, whichever command makes it."""


def main() -> None:
    """Run the command line."""
    os.umask(UMASK)
    arguments = sys.argv[1:]
    # A relay runs for months and should not carry the command line's libraries with it.
    if arguments[:1] == ["serve"] and not {"--help", "-h"} & set(arguments):
        from relay.serve import main as serve

        sys.exit(serve(arguments[1:]))
    from relay.cli.app import run

    run()


if __name__ == "__main__":
    main()
