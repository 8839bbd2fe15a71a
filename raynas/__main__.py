"""`python -m raynas`: the same as the `raynas` command."""

import sys

from raynas.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
