//! The SSH client: pooled connections, commands, file transfer, forwarding.
