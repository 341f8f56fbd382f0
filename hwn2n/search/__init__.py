"""The search: two policies, their reward, and the loop of Algorithm 1."""
