"""Computing and communication planned together: what a request will take, and where it goes."""
