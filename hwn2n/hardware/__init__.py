"""Hardware: what a network costs, counted or measured on a target."""
