//! What is known of a node while changes to it are planned: which facts still hold, and which changes have put in doubt.

use super::foresight::Foreseen;
use super::{Fact, Known, Touch, Wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The facts that a list of resources needs.
pub(super) struct View {
    /// By resource.
    needs: Vec<Vec<Fact>>,
    /// What commands look at, of facts that are commands.
    looks: BTreeMap<Fact, Vec<Touch>>,
    pub known: Known,
    doubts: BTreeMap<Fact, Doubt>,
}

/// Why a fact may not hold any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Doubt {
    /// What touched it last: "file /etc/motd would be changed first".
    pub why: Arc<str>,
    /// The change is about this very thing, and does not merely touch everything.
    pub certain: bool,
}

impl View {
    pub fn new(wanted: &[Wanted]) -> Self {
        let mut looks: BTreeMap<Fact, Vec<Touch>> = BTreeMap::new();
        let mut needs = Vec::new();
        for Wanted { resource, .. } in wanted {
            let facts = resource.needs();
            for fact in facts.iter().filter(|fact| matches!(fact, Fact::Test(_) | Fact::Output(_))) {
                looks.entry(fact.clone()).or_default().extend(resource.looks_at());
            }
            needs.push(facts);
        }
        Self { needs, looks, known: Known::default(), doubts: BTreeMap::new() }
    }

    /// Every fact that any resource needs.
    pub fn facts(&self) -> BTreeSet<Fact> {
        self.needs.iter().flatten().cloned().collect()
    }

    /// Facts that resources from this one on need and that do not hold any more.
    pub fn doubtful_from(&self, at: usize) -> BTreeSet<Fact> {
        self.needs.iter().skip(at).flatten().filter(|fact| self.doubts.contains_key(fact)).cloned().collect()
    }

    /// Why the facts that a resource needs may not hold: the doubt that weighs most.
    pub fn doubt(&self, at: usize) -> Option<Doubt> {
        let doubts = self.needs.get(at)?.iter().filter_map(|fact| self.doubts.get(fact).map(|doubt| (fact, doubt.clone())));
        // Of a command's outcome nothing can be said, whatever was touched.
        let weigh = |(fact, doubt): (&Fact, Doubt)| {
            let command = matches!(fact, Fact::Test(_) | Fact::Output(_));
            Doubt { certain: doubt.certain || command, ..doubt }
        };
        doubts.map(weigh).max_by_key(|doubt| doubt.certain)
    }

    /// The resource's answer may be another next time, whatever is known.
    pub fn doubt_needs_of(&mut self, at: usize, why: &Arc<str>) {
        for fact in self.needs.get(at).into_iter().flatten() {
            self.doubts.insert(fact.clone(), Doubt { why: why.clone(), certain: true });
        }
    }

    /// A change has been planned: what it touches is in doubt, what it leaves is known.
    pub fn plan(&mut self, change: &Foreseen) {
        for fact in self.needs.iter().flatten() {
            let looks = self.looks.get(fact).map_or(&[][..], Vec::as_slice);
            let mut reached = change.touches.iter().filter(|touch| touch.reaches(fact, looks)).peekable();
            if change.leaves.has(fact) {
                self.doubts.remove(fact);
            } else if reached.peek().is_some() {
                let certain = reached.any(|touch| *touch != Touch::Everything);
                self.doubts.insert(fact.clone(), Doubt { why: change.why.clone(), certain });
            }
        }
        self.known.update(change.leaves.clone());
    }

    /// These facts have been read.
    pub fn learn(&mut self, read: &BTreeSet<Fact>, known: Known) {
        self.doubts.retain(|fact, _| !read.contains(fact));
        self.known.update(known);
    }
}
