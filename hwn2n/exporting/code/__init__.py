"""A network as a plain PyTorch source file: a class with named layers, readable and editable."""
