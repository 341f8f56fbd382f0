"""Every figure that hwn2n publishes comes from a command in this folder."""
