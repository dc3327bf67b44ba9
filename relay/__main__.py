"""The `relay` command: `serve` goes straight to the relay, everything else through the command line."""

import os
import signal
import sys

UMASK = 0o027
"""Files in the data directory are for its owner and their group, whichever command makes them."""


INTERRUPTED_EXIT_CODE = 130
"""The exit code of a command ended with Ctrl-C, as in shells."""


def main() -> None:
    """Run the command line; Ctrl-C ends it silently at any moment."""
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_EXIT_CODE)


def _run() -> None:
    os.umask(UMASK)
    arguments = sys.argv[1:]
    # A relay runs for months and should not carry the command line's libraries with it.
    if arguments[:1] == ["serve"] and not {"--help", "-h"} & set(arguments):
        # By default SIGHUP would end it, and the imports take most of a start.
        reloads: list[bool] = []
        signal.signal(signal.SIGHUP, lambda *_: reloads.append(True))
        from relay.serve import main as serve

        sys.exit(serve(arguments[1:], early_reloads=reloads))
    from relay.cli.app import run

    run()


if __name__ == "__main__":
    main()
