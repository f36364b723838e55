//! Writing a file so that it is there in full or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

/// Writes a file by way of another in the same folder, which takes its name once it is on the disk. Without `replace`, a
/// file that is there already is left as it is (`AlreadyExists`), also if it appears in the meantime.
pub(super) fn write(path: &Path, content: &[u8], replace: bool) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (mut file, unfinished) = create_beside(path, parent)?;
    let done = file.write_all(content).and_then(|()| file.sync_all());
    if let Err(error) = done.and_then(|()| give_name(&unfinished, path, replace)) {
        // What is left of it is of no use; whether it can be removed changes nothing.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    // So that the name is on the disk as well. Some file systems cannot, and have written it already.
    let _ = File::open(parent).and_then(|folder| folder.sync_all());
    Ok(())
}

/// A new file with a name that nobody else has. Its rights are those that the process gives new files.
fn create_beside(path: &Path, parent: &Path) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?.to_string_lossy();
    let unfinished = parent.join(format!(".{name}.{}.part", std::process::id()));
    match OpenOptions::new().write(true).create_new(true).open(&unfinished) {
        // A process of the same id died while it wrote.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&unfinished)?;
            OpenOptions::new().write(true).create_new(true).open(&unfinished).map(|file| (file, unfinished))
        }
        opened => opened.map(|file| (file, unfinished)),
    }
}

fn give_name(unfinished: &Path, path: &Path, replace: bool) -> io::Result<()> {
    if replace {
        return fs::rename(unfinished, path);
    }
    match rustix::fs::renameat_with(CWD, unfinished, CWD, path, RenameFlags::NOREPLACE) {
        // File systems without that flag (NFS): a hard link fails where a name is taken.
        Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(unfinished, path).and_then(|()| fs::remove_file(unfinished)),
        renamed => Ok(renamed?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::tempdir;

    #[test]
    fn nothing_is_replaced_unless_wanted_and_nothing_is_left_behind() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("model.sig");
        write(&path, b"one", false).unwrap();
        assert_eq!(write(&path, b"two", false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, b"two", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert!(write(&dir.path().join("missing/model.sig"), b"x", true).is_err());
        fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(write(&dir.path().join("folder"), b"x", true).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_a_process_of_the_same_id_left_is_no_obstacle() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("model.sig");
        fs::write(dir.path().join(format!(".model.sig.{}.part", std::process::id())), "half").unwrap();
        write(&path, b"one", false).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
