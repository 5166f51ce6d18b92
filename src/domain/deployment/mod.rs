//! A deployment: its directory, its nodes, plan and apply.
