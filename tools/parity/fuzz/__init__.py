"""Random programs, run on Linnet and on Flax: what differs is found, made small, and printed.

    nox -s fuzz -- --seconds 600 --seed 7      all arms, in turns
    nox -s fuzz -- --arm graphs --seconds 60   one of them
    nox -s fuzz -- --replay 'graphs:{...}'     one program, as a finding prints it

A program is data (JSON), so it can be printed in one line, run again, and made smaller by rules
that know nothing of what it means. An arm makes programs and runs them; there is one file an arm:

    layers      layers with random options, shapes and types, in both styles
    graphs      nnx modules that share and nest, taken apart and transformed
    nests       linen's lifted transforms, nested
    containers  nnx.List, nnx.Dict, State, FrozenDict and traverse_util
    stored      state dicts and bytes

A run of a program is a generator of events, a label and a value each. Linnet's events are compared
one by one with those of its peers: Flax, and where there is one, plain Python. Linnet has to agree
with one of them at each event; to refuse is an event as well. A peer that disagrees once is left
out from there on, as its state is another one. Where no peer is left, there is a finding, unless
differences.toml knows it (`fuzz` of a behavior).

The program number `n` of an arm depends on the seed, the arm and `n` alone, so a seed finds the
same in each run; the time given decides only how far it goes.
"""
