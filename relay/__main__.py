"""The `relay` command: `serve` goes straight to the relay, everything else through the command line."""

import sys


def main() -> None:
    """Run the command line."""
    arguments = sys.argv[1:]
    # A relay runs for months and should not carry the command line's libraries with it.
    if arguments[:1] == ["serve"] and not {"--help", "-h"} & set(arguments):
        from relay.serve import main as serve

        sys.exit(serve(arguments[1:]))
    from relay.cli.app import run

    run()


if __name__ == "__main__":
    main()
