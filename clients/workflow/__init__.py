"""The logical AI workflow of asking, as a file says it: read, checked, executed, traced."""
