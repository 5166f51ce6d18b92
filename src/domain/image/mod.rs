//! Images: disks of prepared nodes that other nodes are made from: in this user's cache for provider `machine`, in the account for
//! AWS.
//!
//! `recipe` is what one is made of, and so its name.

mod recipe;

pub use recipe::{Base, Recipe};

use crate::base::error::Result;
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::transport::provider::machine::images::Images;

pub use crate::transport::provider::machine::images::{Image, ImageLine};

/// Lists all images with who uses them, by name.
pub fn images(project: &Project) -> Result<Vec<ImageLine>> {
    Images::new(&project.cache).list()
}

/// Removes an image. One that is in use stays, and the error names its users.
pub async fn remove_image(project: &Project, name: &str, cx: &Cx) -> Result<()> {
    Images::new(&project.cache).remove(name, cx).await
}
