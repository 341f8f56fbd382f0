"""Networks as data: capture a teacher, decide what goes, build the student that is left."""
