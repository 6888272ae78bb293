"""Entry point: `python tools/parity/fuzz`, or `python -m parity.fuzz` in tools."""

import runpy
import sys
from pathlib import Path

if __package__:
    from .cli import main

    sys.exit(main())

# When the folder is run as a program, this file is not part of a package, and `sys.path` begins
# with the folder, whose files could hide modules of the same name.
here = Path(__file__).resolve().parent
sys.path[:] = [
    str(here.parent.parent),
    *(p for p in sys.path if Path(p or ".").resolve() != here),
]
runpy.run_module("parity.fuzz", run_name="__main__", alter_sys=True)
