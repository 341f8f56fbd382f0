"""The verdict of `hwn2n check`, what it is compared with, and the formats that machines read."""
