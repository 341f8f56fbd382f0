"""`python -m hwn2n`: the same as the console script."""

import sys

from hwn2n.cli import main

if __name__ == "__main__":
    sys.exit(main())
