//! The stack of an environment: CloudFormation is the source of truth, nothing about it is kept here.
//!
//! `status` says what each verb does in each of a stack's statuses, `explain` why an operation failed.

mod advice;
pub mod explain;
pub mod status;

#[cfg(test)]
mod explain_tests;
