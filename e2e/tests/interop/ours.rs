//! weighbridge, by its command line, in this process.

use std::ffi::OsString;
use std::path::Path;

use weighbridge::cli::{self, Exit};

use crate::table::{Case, Method, Signer};
use crate::trees::{Built, Links};

pub(crate) fn sign(keys: &Path, case: &Case, tree: &Built, bundle: &Path) -> Result<(), String> {
    let mut arguments = vec!["sign".into(), tree.model.clone().into(), "--hash".into(), case.hash.into()];
    if let Method::Shards(size) = case.method {
        arguments.extend(["--shard-size".into(), size.to_string().into()]);
    }
    for path in tree.ignore {
        arguments.extend(["--ignore".into(), tree.model.join(path).into()]);
    }
    match case.signer {
        Signer::Key(curve) => arguments.extend(["--key".into(), keys.join(format!("{curve}.pem")).into()]),
        Signer::Certificate { leaf, .. } => arguments.extend([
            "--key".into(),
            keys.join(format!("{leaf}.pem")).into(),
            "--certificate".into(),
            keys.join(format!("{leaf}.crt")).into(),
            "--chain".into(),
            keys.join("intermediate.crt").into(),
        ]),
    }
    run(arguments, tree, bundle)
}

pub(crate) fn verify(keys: &Path, case: &Case, tree: &Built, bundle: &Path) -> Result<(), String> {
    let mut arguments = vec!["verify".into(), tree.model.clone().into()];
    match case.signer {
        Signer::Key(curve) => arguments.extend(["--key".into(), keys.join(format!("{curve}.pub")).into()]),
        Signer::Certificate { profile, .. } => arguments.extend([
            "--certificate-roots".into(),
            keys.join("root.crt").into(),
            "--certificate-profile".into(),
            profile.into(),
        ]),
    }
    run(arguments, tree, bundle)
}

/// Refused and not determined are errors, in our own words. Usage that makes no sense is a mistake in the table.
fn run(mut arguments: Vec<OsString>, tree: &Built, bundle: &Path) -> Result<(), String> {
    arguments.insert(0, "weighbridge".into());
    arguments.extend(["--signature".into(), bundle.into()]);
    arguments.extend((tree.links == Links::Allowed).then(|| "--allow-symlinks".into()));
    arguments.extend((!tree.ignore_git).then(|| "--no-ignore-git-paths".into()));
    let (exit, said) = call(arguments);
    match exit {
        Exit::Success => Ok(()),
        Exit::Refused | Exit::Undetermined => Err(said),
        Exit::Usage | Exit::Failed => panic!("{said}"),
    }
}

/// Runs a command line; what it printed, on whichever stream.
pub(crate) fn call(arguments: Vec<OsString>) -> (Exit, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = cli::run(arguments, &mut out, &mut err);
    (exit, String::from_utf8_lossy(&[out, err].concat()).into_owned())
}
