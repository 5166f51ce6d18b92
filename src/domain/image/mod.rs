//! Images: disks of prepared nodes that other nodes are made from: in this user's cache for provider `machine`, in the account for
//! AWS.
//!
//! `recipe` is what one is made of, and so its name; `order` what is to be baked, `bake` how; `shelf` where images are, and `keep`
//! which of them are needed.

mod bake;
mod keep;
mod order;
mod place;
mod recipe;
mod shelf;

pub use bake::{Bake, Step};
pub use keep::{GroupImage, Removed, clean, of, plan, prune, remove, shelf_of};
pub use order::{DEBIAN_USER, Order, Wanted};
pub use place::Place;
pub use recipe::{Base, Recipe};
pub use shelf::{Baked, Shelf};

use crate::base::error::Result;
use crate::base::event::Cx;
use crate::base::project::Project;
use crate::transport::provider::machine::images::Images;

pub use crate::transport::provider::NewImage;
pub use crate::transport::provider::machine::images::{Image, ImageLine};

/// Lists all images with who uses them, by name.
pub fn images(project: &Project) -> Result<Vec<ImageLine>> {
    Images::new(&project.cache).list()
}

/// Removes an image. One that is in use stays, and the error names its users.
pub async fn remove_image(project: &Project, name: &str, cx: &Cx) -> Result<()> {
    Images::new(&project.cache).remove(name, cx).await
}
