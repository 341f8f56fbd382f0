"""The student as files that need neither hwn2n nor the teacher's code."""
