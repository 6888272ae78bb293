"""Runs random programs on Linnet and on Flax, and prints small programs that differ.

    nox -s fuzz -- --seconds 600 --seed 7      all arms, in turn
    nox -s fuzz -- --arm graphs --seconds 60   one of them
    nox -s fuzz -- --replay 'graphs:{...}'     the program of a finding

A program is data (JSON), so it can be printed on one line, run again, and made smaller by rules
that don't know its meaning. An arm makes programs and runs them; each has its own file:

    layers      layers with random options, shapes and types, in both styles
    graphs      nnx modules that share and nest, split, merged and transformed
    nests       linen's lifted transforms, nested
    containers  nnx.List, nnx.Dict, State, FrozenDict and traverse_util
    stored      state dicts and bytes

A run of a program is a generator of events, each a label and a value. Linnet's events are compared
one by one with those of its peers: Flax, and in some arms plain Python. At each event, Linnet must
agree with one of them; an exception is an event as well. A peer that disagrees is ignored from then
on, because its state differs. If no peer is left, that is a finding, unless differences.toml lists
it (`fuzz` of a behavior).

Program `n` of an arm depends only on the seed, the arm and `n`, so a seed gives the same findings
in each run; the time limit only determines how many programs run.
"""
