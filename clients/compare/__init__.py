"""The paper's ways to share work between edge and cloud, beside each other."""
