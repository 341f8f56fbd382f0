"""What the policies choose among: steps, actions, and what is left out beforehand."""
