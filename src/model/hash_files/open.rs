//! Opening the very files that were met, and noticing when one is no longer what it was.

use std::fs::File;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::HashError;
use super::reading::Reader;
use super::stretch::Stretch;
use crate::model::{Folder, Identity, Links, ResourceName, TreeFile, shown};

/// Opens files for one thread, by the folder that they lie in: to look at one of thousands of files from its folder takes
/// a fraction of the time that it takes from the model's root.
pub(super) struct Opener<'a> {
    root: &'a Folder,
    links: Links,
    last: Option<Rc<Parent>>,
}

/// A folder below the model's root.
struct Parent {
    name: ResourceName,
    folder: Folder,
    identity: Identity,
}

/// An open stretch.
pub(super) struct Open<'a> {
    pub(super) stretch: Stretch<'a>,
    file: Arc<File>,
    /// From where the file was opened, unless from the root, and its name there.
    parent: Option<Rc<Parent>>,
    base: ResourceName,
}

impl<'a> Opener<'a> {
    pub(super) fn new(root: &'a Folder, links: Links) -> Self {
        Opener { root, links, last: None }
    }

    /// Opens a stretch of the very file that was met.
    pub(super) fn open(&mut self, stretch: Stretch<'a>) -> Result<Open<'a>, HashError> {
        let name = &stretch.file.name;
        let parent = self.parent(name)?;
        let base = if parent.is_some() { name.in_parent() } else { name.clone() };
        let folder = parent.as_ref().map_or(self.root, |parent| &parent.folder);
        let (file, seen) = folder.file_called(&base, self.links, name)?;
        if seen.identity != stretch.file.identity {
            return Err(changed(stretch.file));
        }
        Ok(Open { stretch, file: Arc::new(file), parent, base })
    }

    /// Looks whether the name still leads to the file, in the same state, after all of the stretch was read. Otherwise
    /// somebody wrote in the meantime.
    pub(super) fn close(&self, open: Open<'a>) -> Result<(), HashError> {
        let met = open.stretch.file;
        let folder = open.parent.as_ref().map_or(self.root, |parent| &parent.folder);
        let after = folder.look_called(&open.base, self.links, &met.name)?;
        if after.is_none_or(|after| after.identity != met.identity) {
            return Err(changed(met));
        }
        self.let_go(open.parent)
    }

    /// No more files will be opened, and all are closed.
    pub(super) fn finish(&mut self) -> Result<(), HashError> {
        let last = self.last.take();
        self.let_go(last)
    }

    /// The folder of a file, if it is opened from there. A link may lead to anywhere beneath the root, and so it is
    /// resolved from the root.
    fn parent(&mut self, name: &ResourceName) -> Result<Option<Rc<Parent>>, HashError> {
        let Some(parent) = name.parent().filter(|parent| self.links == Links::Refuse && !parent.is_root()) else {
            return Ok(None);
        };
        if let Some(last) = self.last.take_if(|last| last.name != parent) {
            self.let_go(Some(last))?;
        }
        if self.last.is_none() {
            let folder = self.root.folder(&parent)?;
            let identity = folder.identity().map_err(|source| unreadable(&parent, source))?;
            self.last = Some(Rc::new(Parent { name: parent, folder, identity }));
        }
        Ok(self.last.clone())
    }

    /// Whoever is the last one to need a folder looks whether its name still leads to it: what was seen of the files in
    /// it was seen from there.
    fn let_go(&self, parent: Option<Rc<Parent>>) -> Result<(), HashError> {
        let Some(Parent { name, identity, folder: _ }) = parent.and_then(Rc::into_inner) else { return Ok(()) };
        match self.root.look(&name, Links::Refuse)? {
            Some(after) if after.identity.is_same_file(&identity) => Ok(()),
            _ => Err(HashError::Changed { path: shown(name.as_str()) }),
        }
    }
}

impl Open<'_> {
    /// Somebody who reads it from there on, for whom the kernel already begins.
    pub(super) fn reader(&self, from: u64) -> Reader {
        let Stretch { file, end, .. } = self.stretch;
        Reader::new(Arc::clone(&self.file), from, end, end == file.bytes)
    }

    pub(super) fn changed(&self) -> HashError {
        changed(self.stretch.file)
    }

    pub(super) fn unreadable(&self, source: io::Error) -> HashError {
        unreadable(&self.stretch.file.name, source)
    }
}

fn changed(file: &TreeFile) -> HashError {
    HashError::Changed { path: shown(file.name.as_str()) }
}

fn unreadable(name: &ResourceName, source: io::Error) -> HashError {
    HashError::Read { path: shown(name.as_str()), source }
}
