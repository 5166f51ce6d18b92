//! A deployment's directory on disk: atomic state, the lock with its holder's name, the journal.
