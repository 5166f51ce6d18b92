//! Environments of an application, through the real binary and through the library.

#[path = "../common/aws.rs"]
mod aws;
mod baking;
mod ending;
mod example;
mod hosts;
mod image;
mod kill;
#[path = "../common/lab.rs"]
mod lab;
mod notify;
mod place;
mod shop;
mod stack;
mod verbs;
