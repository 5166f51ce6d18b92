//! The stack of an environment: CloudFormation is the source of truth, nothing about it is kept here.
//!
//! `status` says what each verb does in each of a stack's statuses.

pub mod status;
