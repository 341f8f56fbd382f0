"""What every student of a teacher has at least and at most, and proofs that a budget excludes all.

The students are those that a search under given settings can decide on: any set of removable
layers taken out, any widths and kernels that the actions or the projection reach. Bounds may be
loose, never wrong. `presence` says which operations are sure to be there, `widths` bounds the
channels that an operation makes, `shapes` the sizes of every tensor, `costs` what each layer adds
to a counted column; `program` searches these for a point inside a budget, and `proof` says which
rows exclude each other where there is none. A new operator needs a rule in `follow` (for widths)
and one in `intervals` (for shapes).
"""
