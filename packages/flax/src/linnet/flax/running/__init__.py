"""Programs written for Flax, run on Linnet unchanged.

`hook` is the one mechanism: once it is installed, `import flax` gives `linnet.flax`. The ways to
run a program differ only in who installs the hook, and when:

- `LINNET_FLAX=1` in the environment: Python itself, before the program starts (`startup`, which the
  file `linnet_flax.pth` imports). Child processes inherit the environment, so they are
  covered too, whether they are started by `multiprocessing`, a pool of workers or `subprocess`.
- `python -m linnet.flax script.py`: the same, since `command` sets the variable and restarts
  Python with the rest of the command line. No frame of this library is below the program.
- `%load_ext linnet.flax`, `pytest -p linnet.flax` and `linnet.flax.install()`: the function
  `install`, which also sets the variable for child processes.
"""

from linnet.flax.running.hook import install as install
from linnet.flax.running.hook import uninstall as uninstall
