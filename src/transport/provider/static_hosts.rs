//! Hosts that exist already, by address or from an ssh_config.
