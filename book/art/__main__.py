"""`python -m book.art`: see pictures.py."""
import sys

from book.art.pictures import main

sys.exit(main())
