"""The experiments of the paper (Ashok et al., arXiv 1709.06030), one module for each of its tables.

    python -m benchmarks.paper --list
    python -m benchmarks.paper table1-cifar10-resnet18 --data-root FOLDER --device cuda --minutes 9

A row is one experiment. What it needs, the teacher included, is made once under `runs/` and shared
by all rows; a row that was interrupted goes on, and one that is finished is read from
`benchmarks/results/paper-ROW.json`. Every network of a row, searched for, pruned, designed by hand
or uniformly narrowed to the same size, has the same teacher and the same final training, so that a
better training recipe is never booked as a gain of the search.
"""
