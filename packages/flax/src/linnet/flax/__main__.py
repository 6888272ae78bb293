"""`python -m linnet.flax script.py`: runs a program written for Flax on Linnet, unchanged."""

from linnet.flax.running.command import main

if __name__ == "__main__":
    main()
