"""The way between a site and the cloud: measured on the socket, and emulated where it is wanted."""
