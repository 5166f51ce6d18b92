//! Nodes on this machine: a directory, a loopback address and an SSH server of our own for each.
