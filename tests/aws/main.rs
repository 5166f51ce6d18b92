//! Deployments on EC2: plan, apply, change, remove, and never leak. The cloud is a fake that says what it stands for
//! (`tests/support/aws_proxy.py`).

#[path = "../common/aws.rs"]
mod aws;
mod contact;
mod drift;
mod faults;
mod images;
mod input;
mod kill;
mod lab;
mod life;
#[path = "../common/lab.rs"]
mod local;
mod project;
mod real;
mod recover;
