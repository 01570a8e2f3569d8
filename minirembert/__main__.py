import sys

from minirembert.cli import main

sys.exit(main())
