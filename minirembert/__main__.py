"""Makes `python -m minirembert` the command `minirembert`."""

import sys

from minirembert.cli import main

sys.exit(main())
