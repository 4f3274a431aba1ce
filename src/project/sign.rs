//! Signing what the store knows of targets.

use super::pack::fact_keys;
use super::{Project, ProjectError};
use crate::plan::{Graph, Pins, Recipes, Staleness};
use crate::share::parcel::Recorder;
use crate::share::{Parcel, SecretKey};

impl Project {
    /// Signs the facts about targets, about all they are made of and about the parts of trees that they
    /// use. Returns these facts.
    pub fn sign(
        &self,
        recipes: &Recipes,
        pins: Pins,
        key: &SecretKey,
    ) -> Result<Parcel, ProjectError> {
        let recorder = Recorder::new(&self.facts);
        let graph = Graph::build(recipes, &self.lock, &recorder, pins)?;
        let staleness = Staleness::walk(&graph, &recorder, &mut ())?;
        let mut parcel = Parcel::default();
        parcel.add_facts(&self.store, fact_keys(&staleness, &recorder)?)?;
        parcel.sign(&self.store, key)?;
        Ok(parcel)
    }
}
