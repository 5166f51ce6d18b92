//! Deployments through the real program: provision, change, look, remove; bad input; crashes.

mod crashes;
mod errors;
mod lab;
mod lifecycle;
