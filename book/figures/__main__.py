"""`python -m book.figures`: see draw.py."""
import sys

from book.figures.draw import main

sys.exit(main())
