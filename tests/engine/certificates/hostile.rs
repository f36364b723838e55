//! Chains that somebody tampered with, or made to cost much.

use serde_json::json;
use weighbridge::signature::{CertificateError, Profile, Rejection, RejectionCode, TrustMaterial};

use super::{BOTH, anonymous, check, code, good, model, path_length};
use crate::pki::{Holder, ca, chain_material, leaf, trust};

use RejectionCode::{MalformedBundle, TooLarge, UntrustedSigner};

#[test]
fn a_tampered_certificate_proves_nothing() {
    let (root, between, signer) = good();
    let bundle = signer.sign(&model(), &[&between]);
    let flipped = |der: &[u8], at: usize| {
        let mut der = der.to_vec();
        der[at] ^= 1 << (at % 8);
        der
    };
    for profile in BOTH {
        let trust = trust(&[&root], profile);
        let mut met = std::collections::BTreeMap::new();
        for at in 0..signer.der.len() {
            let mut bundle = bundle.clone();
            bundle["verificationMaterial"] = chain_material(&[&flipped(&signer.der, at), &between.der]);
            let code = code(&bundle, &trust).unwrap_or_else(|| panic!("{profile:?}: byte {at} counts for nothing"));
            *met.entry(format!("{code:?}")).or_insert(0) += 1;
        }
        for at in 0..between.der.len() {
            let mut bundle = bundle.clone();
            bundle["verificationMaterial"] = chain_material(&[&signer.der, &flipped(&between.der, at)]);
            assert!(code(&bundle, &trust).is_some(), "{profile:?}: byte {at} counts for nothing");
        }
        let kinds: Vec<&str> = met.keys().map(String::as_str).collect();
        assert_eq!(kinds, ["MalformedBundle", "SignatureInvalid", "UntrustedSigner"], "{met:?}");
        let mut tampered = bundle.clone();
        let end = signer.der.len() - 1;
        tampered["verificationMaterial"] = chain_material(&[&flipped(&signer.der, end), &between.der]);
        assert!(matches!(check(&tampered, &trust), Err(Rejection::Certificate(CertificateError::ForgedChain { .. }))));
    }
}

#[test]
fn a_hostile_chain_costs_little() {
    let (root, between, _) = good();
    let trust = trust(&[&root], Profile::Strict);
    let signer = between.issue(anonymous(leaf("signer")));
    let mut bundle = signer.sign(&model(), &[]);
    let mut chain = |chain: &[&[u8]]| {
        bundle["verificationMaterial"] = chain_material(chain);
        check(&bundle, &trust).unwrap_err()
    };
    assert_eq!(chain(&[&[0]]).code(), MalformedBundle);
    assert_eq!(chain(&[&signer.der, b"no certificate"]).code(), MalformedBundle);
    assert_eq!(chain(&[&signer.der[..], &[&signer.der[..], b"more"].concat()]).code(), MalformedBundle);
    assert_eq!(chain(&[&signer.der, &[0x30; 100_000]]).code(), MalformedBundle);
    assert_eq!(chain(&vec![&signer.der[..]; 17]).code(), TooLarge);
    // Fifteen CAs of one name, each of which could have issued each other.
    let twins: Vec<Holder> = (0..15).map(|_| Holder::root(anonymous(ca("between")))).collect();
    let mut ders = vec![&signer.der[..]];
    ders.extend(twins.iter().map(|twin| &twin.der[..]));
    let began = std::time::Instant::now();
    let rejection = chain(&ders);
    assert!(matches!(rejection, Rejection::Certificate(CertificateError::TooManyWays)), "{rejection}");
    assert!(began.elapsed().as_secs() < 5);
}

#[test]
fn long_and_crossed_chains() {
    let root = Holder::root(ca("root"));
    let mut above = vec![root.issue(ca("level 1"))];
    for level in 2..=7 {
        above.push(above[above.len() - 1].issue(ca(&format!("level {level}"))));
    }
    for profile in BOTH {
        for (levels, expected) in [(6, None), (7, Some(UntrustedSigner))] {
            let signer = above[levels - 1].issue(leaf("signer"));
            let chain: Vec<&Holder> = above[..levels].iter().rev().collect();
            assert_eq!(code(&signer.sign(&model(), &chain), &trust(&[&root], profile)), expected, "{levels}");
        }
    }
    // Certified by a root that nobody trusts and by one that somebody does: either way is tried, in either order.
    let (known, unknown) = (Holder::root(ca("known")), Holder::root(ca("unknown")));
    let between = unknown.issue(ca("between"));
    let crossed = between.certified_by(&known);
    let signer = between.issue(leaf("signer"));
    for profile in BOTH {
        for above in [[&between, &crossed], [&crossed, &between]] {
            assert_eq!(code(&signer.sign(&model(), &above), &trust(&[&known], profile)), None);
        }
    }
    // Of two ways to trusted roots the one counts that holds: the other root allows no CA below it.
    let narrow = Holder::root(path_length(ca("narrow"), 0));
    let crossed = between.certified_by(&narrow);
    let signer = signer.sign(&model(), &[&crossed, &between]);
    for profile in BOTH {
        assert_eq!(code(&signer, &trust(&[&narrow, &unknown], profile)), None);
        assert_eq!(code(&signer, &trust(&[&narrow], profile)), Some(UntrustedSigner));
    }
}

#[test]
fn hostile_subjects_are_shown_harmlessly() {
    let root = Holder::root(ca(&format!("\u{202e}{}", "x".repeat(3000))));
    let signer = root.issue(leaf(&format!("\u{202e}{}", "y".repeat(3000))));
    let bundle = signer.sign(&model(), &[]);
    for trust in [TrustMaterial::default(), trust(&[&Holder::root(ca("\u{202e}z"))], Profile::Strict)] {
        let text = check(&bundle, &trust).unwrap_err().to_string();
        assert!(!text.contains('\u{202e}') && text.len() < 600, "{text}");
    }
}

#[test]
fn a_chain_says_no_more_than_certificates() {
    let (root, _, signer) = good();
    let trust = trust(&[&root], Profile::Strict);
    for chain in [
        json!(null),
        json!([]),
        json!({ "certificates": null }),
        json!({ "certificates": [{}] }),
        json!({ "certificates": [{ "rawBytes": "*" }] }),
        json!({ "certificates": [{ "rawBytes": "", "x": 1 }] }),
        json!({ "certificates": [], "x": 1 }),
    ] {
        let mut bundle = signer.sign(&model(), &[]);
        bundle["verificationMaterial"]["x509CertificateChain"] = chain.clone();
        assert_eq!(code(&bundle, &trust), Some(MalformedBundle), "{chain}");
    }
}
