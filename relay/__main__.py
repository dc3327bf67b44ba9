"""The `relay` command: `serve` goes straight to the relay, everything else through the command line."""

import os
import sys

UMASK = 0o027
"""What is made in the data directory is for its owner and their group, whichever command makes it."""


INTERRUPTED_EXIT_CODE = 130
"""The exit code of what was ended with Ctrl-C, as shells have it."""


def main() -> None:
    """Run the command line; Ctrl-C ends it silently, at whichever moment it comes."""
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_EXIT_CODE)


def _run() -> None:
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
